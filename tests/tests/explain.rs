//! `postern routes` and `postern explain`.

use postern_tests::golden::assert_golden;
use postern_tests::setup::Setup;
use postern_tests::{Gateway, Upstream};

const CONFIG: &str = r#"
upstream.old.targets = ["http://127.0.0.1:7001", "http://127.0.0.1:7002"]
upstream.new.targets = ["http://127.0.0.1:7003"]
plugin.cors = { file = "cors.wasm", config = { origins = ["https://shop.test"] } }
plugin.key = { file = "api-key.wasm", grants = ["identity"] }
plugin.headers = { file = "header-transform.wasm", config = { response = { add = { x-a = "1" } } } }
consumer.tester.api-key = [{ key = "file:key" }]

[[route]]
name = "orders"
hosts = ["shop.test", "*.shop.test"]
path = "/orders/{id}"
methods = ["GET", "POST"]
plugins = ["cors", "key", "headers"]
split = [{ upstream = "old", weight = 9 }, { upstream = "new", weight = 1 }]

[[route]]
name = "orders-v2"
hosts = ["shop.test"]
path = "/orders/{id}"
headers = { x-api = "2" }
query = { debug = { present = false } }
upstream = "new"

[[route]]
name = "numbers"
path-regex = "/orders/(?<number>[0-9]+)"
rewrite = "/n/{number}"
upstream = "old"
mirror = { upstream = "new", share = "1%" }

[[route]]
name = "https"
path = "/{*rest}"
redirect = { to = "https://{$host}{$path}" }

[[route]]
name = "maintenance"
path = "/{*rest}"
priority = 100
headers = { x-maintenance = { regex = "on|yes" } }
redirect = { status = 303, to = "/sorry" }
"#;

fn setup() -> Setup {
    Gateway::with(CONFIG).file("key", "key-of-the-tester")
}

#[test]
fn the_table_of_routes() {
    let finished = setup().ask(&["routes"]);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    assert_golden("routes.txt", &finished.stdout);
}

#[test]
fn why_a_route_takes_a_request_and_others_do_not() {
    let mut all = String::new();
    for (arguments, code) in [
        (&["GET", "http://shop.test:8080//orders/./17?x=1"][..], 0),
        (
            &[
                "GET",
                "http://shop.test/orders/17",
                "-H",
                "x-api: 2",
                "-H",
                "X-Maintenance: on",
            ],
            0,
        ),
        (
            &[
                "PUT",
                "http://shop.test/orders/17?debug=1",
                "-H",
                "x-api: 2",
            ],
            1,
        ),
        (&["PUT", "http://shop.test/orders/17", "-H", "x-api: 2"], 0),
        (
            &[
                "OPTIONS",
                "/orders/17",
                "-H",
                "Host: www.shop.test",
                "-H",
                "Origin: https://shop.test",
                "-H",
                "Access-Control-Request-Method: POST",
            ],
            0,
        ),
        (&["GET", "http://elsewhere.test/orders/17"], 0),
        (&["GET", "/orders%2f17"], 1),
        (&["GET", "shop.test/x", "--listener", "public"], 0),
    ] {
        let finished = setup().ask(&[&["explain"], arguments].concat());
        assert_eq!(
            (finished.code, finished.stderr.as_str()),
            (Some(code), ""),
            "{arguments:?}: {}",
            finished.stdout
        );
        all += &format!(
            "$ postern explain {}\n{}\n",
            arguments.join(" "),
            finished.stdout
        );
    }
    assert_golden("explain.txt", &all);
}

#[test]
fn a_question_that_makes_no_sense_is_refused() {
    for arguments in [
        &["explain", "GET"][..],
        &["explain", "G ET", "/"],
        &["explain", "GET", "/", "-H", "x"],
        &["explain", "GET", "/", "--listener", "none"],
    ] {
        assert_eq!(setup().ask(arguments).code, Some(2), "{arguments:?}");
    }
    let wrong = Gateway::with(
        "upstream.u.targets = [\"http://127.0.0.1:9\"]\nroute = [{ name = \"a\", path = \"/a\", upstream = \"u\" }, { name = \"b\", path = \"/a\", upstream = \"u\" }]\n",
    );
    let finished = wrong.ask(&["routes"]);
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""));
    assert!(
        finished.stderr.contains("route \"a\" and route \"b\""),
        "{finished:?}"
    );
}

#[tokio::test]
async fn what_is_explained_is_what_happens() {
    let upstream = Upstream::says("here");
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [
            {{ name = "a", path = "/{{x}}/b", upstream = "u" }},
            {{ name = "b", path-regex = "/[a-c]/[a-c]", upstream = "u" }},
            {{ name = "c", path = "/a/{{*y}}", headers = {{ x = {{ present = true }} }}, upstream = "u" }},
            {{ name = "d", path = "/a/b", methods = ["POST"], upstream = "u" }},
        ]
        "#
    );
    let setup = Gateway::with(&fragment);
    let mut expected = Vec::new();
    let gateway = Gateway::with(&fragment).start().await;
    for path in ["/a/b", "/z/b", "/a/c", "/a/z", "/z/z", "/a//./b/c"] {
        for header in ["x: 1", "y: 1"] {
            let finished = setup.ask(&["explain", "GET", path, "-H", header]);
            let answer = finished
                .stdout
                .lines()
                .find(|line| line.starts_with("route ") || line.starts_with("answer "));
            let word = answer
                .and_then(|line| line.split_whitespace().nth(1))
                .unwrap_or_default()
                .to_owned();
            let (name, value) = header.split_once(": ").expect("it is a header");
            let call = postern_tests::Call::get(path).header(name, value);
            let status = gateway.call(&call).await.status;
            expected.push((path, header, word, status));
        }
    }
    postern_tests::eventually!(gateway.access_log(), |lines| lines.len() == expected.len());
    for ((path, header, word, status), line) in expected.iter().zip(gateway.access_log()) {
        let happened = line["route"].as_str().filter(|route| !route.is_empty());
        let happened = happened.map_or_else(|| status.to_string(), str::to_owned);
        assert_eq!(*word, happened, "{path} {header}: {line}");
    }
}
