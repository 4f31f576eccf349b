//! Routes by regular expression, headers, query and priority.

use postern_tests::{Call, Gateway, Upstream, reply};

fn named(name: &'static str) -> Upstream {
    Upstream::start(move |_| reply(200).body(name).into())
}

#[tokio::test]
async fn conditions_and_expressions_choose_between_routes() {
    let (any, v2, beta, regex, first) = (
        named("any"),
        named("v2"),
        named("beta"),
        named("regex"),
        named("first"),
    );
    let gateway = Gateway::with(format!(
        r#"
        upstream.any.targets = ["{any}"]
        upstream.v2.targets = ["{v2}"]
        upstream.beta.targets = ["{beta}"]
        upstream.regex.targets = ["{regex}"]
        upstream.first.targets = ["{first}"]
        route = [
            {{ name = "any", path = "/orders/{{*rest}}", upstream = "any" }},
            {{ name = "v2", path = "/orders/{{*rest}}", headers = {{ x-api = "2" }}, upstream = "v2" }},
            {{ name = "beta", path = "/orders/{{*rest}}", headers = {{ x-api = "2" }}, query = {{ beta = {{ present = true }} }}, upstream = "beta" }},
            {{ name = "regex", path-regex = "/orders/[0-9]+", query = {{ old = {{ present = false }} }}, upstream = "regex" }},
            {{ name = "first", path = "/{{*all}}", methods = ["PURGE"], priority = 1, upstream = "first" }},
        ]
        "#
    ));
    let gateway = gateway.start().await;
    let v2 = |path: &str| Call::get(path).header("x-api", "2");
    for (call, name) in [
        (Call::get("/orders/x"), "any"),
        (Call::get("/orders/x").header("x-api", "3"), "any"),
        (
            Call::get("/orders/x")
                .header("x-api", "2")
                .header("x-api", "3"),
            "any",
        ),
        (v2("/orders/x"), "v2"),
        (v2("/orders/x?beta"), "beta"),
        (v2("/orders/x?a=b&b%65ta=1"), "beta"),
        (v2("/orders/17"), "regex"),
        (v2("/orders/17?old=1"), "v2"),
        (Call::get("/orders/17/items"), "any"),
        (Call::new("PURGE", "/orders/17"), "first"),
    ] {
        assert_eq!(gateway.call(&call).await.text(), name, "{call:?}");
    }
    let refused = gateway.get("/elsewhere").await;
    assert_eq!(
        (refused.status, refused.header("allow")),
        (405, Some("PURGE".into()))
    );
}

#[test]
fn routes_that_cannot_be_ordered_are_named_with_a_remedy() {
    let fragment = r#"
        upstream.u.targets = ["http://127.0.0.1:9"]
        route = [
            { name = "digits", path-regex = "/u/[0-9]+", upstream = "u" },
            { name = "hex", path-regex = "/u/[0-9a-f]+", upstream = "u" },
            { name = "letters", path-regex = "/u/[g-z]+", upstream = "u" },
            { name = "one", path = "/p/{a}", headers = { x-a = "1" }, upstream = "u" },
            { name = "other", path = "/p/{b}", headers = { x-b = "1" }, upstream = "u" },
            { name = "apart", path = "/p/{c}", headers = { x-a = "2", x-b = "2" }, upstream = "u" },
        ]
    "#;
    let finished = Gateway::with(fragment).check();
    assert_eq!(finished.code, Some(2), "{finished:?}");
    let lines = || {
        finished
            .stderr
            .lines()
            .filter(|line| line.contains(": route \""))
    };
    let found: Vec<&str> = lines()
        .filter_map(|line| line.split(": route \"").nth(1))
        .collect();
    assert_eq!(
        found,
        [
            "digits\" and route \"hex\": both take every method of some path",
            "one\" and route \"other\": both take every method of path \"/p/{b}\"",
        ]
    );
    assert!(
        finished.stderr.contains("give one of them a `priority`"),
        "{finished:?}"
    );
    let mended = fragment.replace("name = \"hex\"", "name = \"hex\", priority = -1");
    let mended = mended.replace("name = \"one\"", "name = \"one\", priority = 1");
    assert_eq!(Gateway::with(mended).check().code, Some(0));
}
