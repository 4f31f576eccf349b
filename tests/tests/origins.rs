//! What becomes of a request on its way: paths changed, clients sent elsewhere, requests split, led aside and copied.

use std::time::Duration;

use postern_tests::{Call, Gateway, Raw, Script, Upstream, eventually, reply};

fn named(name: &'static str) -> Upstream {
    Upstream::start(move |_| reply(200).body(name).into())
}

#[tokio::test]
async fn the_path_is_changed_on_its_way_to_the_upstream() {
    let upstream = Upstream::says("here");
    let gateway = Gateway::with(format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [
            {{ name = "strip", path = "/%61pi/v1/{{*rest}}", strip-prefix = "/%61pi/v1", upstream = "u" }},
            {{ name = "rewrite", path = "/old/{{a}}/{{*rest}}", rewrite = "/new/{{rest}}/{{a}}", upstream = "u" }},
            {{ name = "dots", path = "/dots/x{{a}}/{{b}}y", rewrite = "/d/{{a}}{{b}}/z", upstream = "u" }},
            {{ name = "regex", path-regex = "/r/(?<n>[0-9]+)([a-z]?)", rewrite = "/{{n}}-{{2}}{{$path}}", upstream = "u" }},
        ]
        "#
    ));
    let gateway = gateway.start().await;
    for (path, sent) in [
        ("/api/v1/x/y?q=/api/v1", "/x/y?q=/api/v1"),
        ("/api/v1", "/"),
        ("/api/v1?x", "/?x"),
        ("/api/v1/", "/"),
        ("/old/1/x/y?z", "/new/x/y/1?z"),
        ("/old/1", "/new/1"),
        ("/old/%2b/%C3%A4", "/new/%C3%A4/%2B"),
        ("/dots/x./.y", "/z"),
        ("/r/12a", "/12-a/r/12a"),
        ("/r/12", "/12-/r/12"),
    ] {
        assert_eq!(gateway.get(path).await.status, 200, "{path}");
        assert_eq!(upstream.last().target, sent, "{path}");
    }
    eventually!(gateway.access_log(), |lines| {
        lines.iter().any(|line| line["path"] == "/api/v1/x/y")
    });
}

#[tokio::test]
async fn a_plugin_that_changes_the_path_has_the_last_word() {
    let upstream = Upstream::says("here");
    let gateway = Gateway::with(format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/api/{{*rest}}", strip-prefix = "/api", plugins = ["edits"], upstream = "u" }}]
        [plugin.edits]
        file = "misbehaving.wasm"
        config = {{ do = "edit", when-header = "x-edit", path = "/api/edited?b" }}
        "#
    ));
    let gateway = gateway.start().await;
    assert_eq!(gateway.get("/api/x?a").await.status, 200);
    assert_eq!(upstream.last().target, "/x?a");
    let edited = Call::get("/api/x?a").header("x-edit", "1");
    assert_eq!(gateway.call(&edited).await.status, 200);
    assert_eq!(upstream.last().target, "/api/edited?b");
}

#[tokio::test]
async fn clients_are_sent_elsewhere() {
    let gateway = Gateway::with(
        r#"
        route = [
            { name = "https", path = "/s/{*rest}", redirect = { status = 308, to = "https://{$host}{$path}" } },
            { name = "moved", path = "/old/{id}", redirect = { to = "/new/{id}?from=old" } },
            { name = "group", path-regex = "/g(.*)", redirect = { status = 301, to = "/{1}" } },
            { name = "away", path = "/away", methods = ["GET"], redirect = { status = 302, to = "https://other.test/" } },
        ]
        "#,
    );
    let gateway = gateway.start().await;
    for (path, status, location) in [
        ("/s/a?b=c", 308, "https://shop.test/s/a?b=c"),
        ("/old/17?x=1", 307, "/new/17?from=old"),
        ("/g/evil.test/x?y", 301, "/evil.test/x?y"),
        ("/g", 301, "/"),
        ("/away", 302, "https://other.test/"),
    ] {
        let answer = gateway.call(&Call::get(path).host("Shop.test:8080")).await;
        assert_eq!(
            (answer.status, answer.header("location").as_deref()),
            (status, Some(location)),
            "{path}"
        );
        assert_eq!(answer.text(), "");
    }
}

#[tokio::test]
async fn requests_are_split_by_weight() {
    let (most, few, none) = (named("most"), named("few"), named("none"));
    let gateway = Gateway::with(format!(
        r#"
        upstream.most.targets = ["{most}"]
        upstream.few.targets = ["{few}"]
        upstream.none.targets = ["{none}"]
        [[route]]
        name = "split"
        path = "/"
        split = [
            {{ upstream = "most", weight = 80 }},
            {{ upstream = "none", weight = 0 }},
            {{ upstream = "few", weight = 20 }},
        ]
        "#
    ));
    let gateway = gateway.start().await;
    let mut connection = gateway.connect().await;
    for _ in 0..1_000 {
        assert_eq!(connection.call(&Call::get("/")).await.status, 200);
    }
    assert_eq!((most.count() + few.count(), none.count()), (1_000, 0));
    // Eight standard deviations.
    assert!((100..300).contains(&few.count()), "{}", few.count());
}

#[tokio::test]
async fn canary_rules_go_before_the_split() {
    let (old, new, third) = (named("old"), named("new"), named("third"));
    let gateway = Gateway::with(format!(
        r#"
        upstream.old.targets = ["{old}"]
        upstream.new.targets = ["{new}"]
        upstream.third.targets = ["{third}"]
        consumer.tester.api-key = [{{ key = "file:tester" }}]
        consumer.other.api-key = [{{ key = "file:other" }}]
        plugin.key = {{ file = "api-key.wasm", grants = ["identity"] }}
        [[route]]
        name = "split"
        path = "/"
        plugins = ["key"]
        upstream = "old"
        canary = [
            {{ upstream = "new", headers = {{ x-canary = "yes" }}, cookies = {{ beta = {{ regex = "[0-9]+" }} }} }},
            {{ upstream = "third", consumers = ["tester"] }},
        ]
        "#
    ));
    let gateway = gateway
        .file("tester", "key-of-the-tester")
        .file("other", "key-of-another");
    let gateway = gateway.start().await;
    let with = |key: &str, headers: &[(&str, &str)]| {
        let call = Call::get("/").header("x-api-key", key);
        headers
            .iter()
            .fold(call, |call, (name, value)| call.header(name, value))
    };
    let (other, canary) = ("key-of-another", ("x-canary", "yes"));
    for (call, name) in [
        (with(other, &[]), "old"),
        (with(other, &[canary]), "old"),
        (with(other, &[("cookie", "beta=1")]), "old"),
        (with(other, &[canary, ("cookie", "beta=x")]), "old"),
        (with(other, &[canary, ("cookie", "a=b; beta=12")]), "new"),
        (with("key-of-the-tester", &[]), "third"),
        (
            with("key-of-the-tester", &[canary, ("cookie", "beta=1")]),
            "new",
        ),
    ] {
        let answer = gateway.call(&call).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, name),
            "{call:?}"
        );
    }
}

#[tokio::test]
async fn a_mirror_gets_copies_of_requests() {
    let (upstream, mirror) = (Upstream::says("answer"), named("thrown away"));
    let gateway = Gateway::with(format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        upstream.m.targets = ["{mirror}"]
        [[route]]
        name = "r"
        path = "/api/{{*rest}}"
        strip-prefix = "/api"
        upstream = "u"
        mirror = {{ upstream = "m", max-body = "10B" }}
        [[route]]
        name = "never"
        path = "/never"
        upstream = "u"
        mirror = {{ upstream = "m", share = "0%" }}
        "#
    ));
    let gateway = gateway.start().await;
    let counted = async |outcome: &str| {
        let series =
            format!("postern_mirrored_requests_total{{outcome=\"{outcome}\",route=\"r\"}}");
        gateway.metric(&series).await
    };
    assert_eq!(
        gateway
            .call(&Call::get("/api/a?b").header("x-a", "1"))
            .await
            .text(),
        "answer"
    );
    eventually!(counted("sent").await, |count| *count == Some(1.0));
    let copy = mirror.last();
    assert_eq!(
        (copy.method.as_str(), copy.target.as_str()),
        ("GET", "/a?b")
    );
    assert_eq!(
        (copy.header("x-a"), copy.header("host")),
        (Some("1".into()), upstream.last().header("host"))
    );

    assert_eq!(
        gateway
            .call(&Call::post("/api/p", "ten bytes!"))
            .await
            .text(),
        "answer"
    );
    eventually!(counted("sent").await, |count| *count == Some(2.0));
    assert_eq!(
        (mirror.last().body, mirror.last().target),
        (b"ten bytes!".to_vec(), "/p".to_owned())
    );

    // A body of unknown length is copied as it passes.
    let mut raw = Raw::connect(gateway.address()).await;
    let chunked = "POST /api/c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    raw.send(format!("{chunked}3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"))
        .await;
    assert_eq!(
        raw.answer().await.expect("there is an answer").text(),
        "answer"
    );
    eventually!(counted("sent").await, |count| *count == Some(3.0));
    assert_eq!(mirror.last().body, b"abcdef");

    // What is too large is not copied, whether that is known before or not.
    assert_eq!(
        gateway
            .call(&Call::post("/api/p", "eleven bytes"))
            .await
            .text(),
        "answer"
    );
    assert_eq!(upstream.last().body, b"eleven bytes");
    raw.send(format!("{chunked}6\r\nabcdef\r\n6\r\nghijkl\r\n0\r\n\r\n"))
        .await;
    assert_eq!(
        raw.answer().await.expect("there is an answer").text(),
        "answer"
    );
    assert_eq!(upstream.last().body, b"abcdefghijkl");
    eventually!(counted("dropped").await, |count| *count == Some(2.0));

    assert_eq!(gateway.get("/never").await.text(), "answer");
    assert_eq!((mirror.count(), upstream.count()), (3, 6));
}

#[tokio::test]
async fn a_mirror_that_hangs_or_fails_is_not_felt() {
    let upstream = Upstream::says("answer");
    let hanging = Upstream::start(|_| Script::after_body().until_hung_up());
    let gateway = Gateway::with(format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        upstream.hanging.targets = ["{hanging}"]
        upstream.absent.targets = ["http://127.0.0.1:9"]
        [[route]]
        name = "hanging"
        path = "/hanging"
        upstream = "u"
        mirror = {{ upstream = "hanging", max-pending = 2 }}
        [[route]]
        name = "absent"
        path = "/absent"
        upstream = "u"
        mirror = {{ upstream = "absent" }}
        "#
    ));
    let gateway = gateway.start().await;
    for path in ["/hanging", "/absent"] {
        for _ in 0..5 {
            assert_eq!(gateway.get(path).await.text(), "answer");
        }
    }
    let counted = async |route: &str, outcome: &str| {
        let series =
            format!("postern_mirrored_requests_total{{outcome=\"{outcome}\",route=\"{route}\"}}");
        gateway.metric(&series).await
    };
    eventually!(counted("absent", "failed").await, |count| *count
        == Some(5.0));
    eventually!(hanging.count(), |count| *count == 2);
    assert_eq!(counted("hanging", "dropped").await, Some(3.0));
}

#[tokio::test]
async fn a_route_may_have_less_patience_than_its_upstream() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let upstream = Upstream::start(move |request| match request.target.as_str() {
        "/read" => Script::after_body()
            .send(head)
            .chunk("begun")
            .until_hung_up(),
        "/total" => {
            let begun = Script::after_body().send(head);
            let pause = Duration::from_millis(50);
            (0..100).fold(begun, |script, _| script.chunk("more").pause(pause))
        }
        _ => Script::after_body().until_hung_up(),
    });
    let gateway = Gateway::with(format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [
            {{ name = "read", path = "/read", upstream = "u", read-timeout = "200ms" }},
            {{ name = "total", path = "/total", upstream = "u", total-timeout = "400ms" }},
            {{ name = "head", path = "/head", upstream = "u", read-timeout = "100ms" }},
        ]
        "#
    ));
    let gateway = gateway.start().await;
    for (path, begin) in [("/read", "begun"), ("/total", "more")] {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        let answer = raw.answer().await.expect("the head has come");
        assert!(
            !answer.complete && answer.text().starts_with(begin),
            "{path}: {answer:?}"
        );
    }
    let refused = gateway.get("/head").await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (504, "upstream-timeout")
    );
}
