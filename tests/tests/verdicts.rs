//! What plugins may decide, and what the host does not let them: a bad verdict is a failure of the plugin, and the message
//! stays as it was.

use postern_tests::{Call, Gateway, Upstream, eventually};

async fn verdict(upstream: &Upstream, config: &str, keys: &str) -> Gateway {
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        upstream.other.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/{{*rest}}", plugins = ["bad"], upstream = "u" }}]
        [plugin.bad]
        file = "misbehaving.wasm"
        config = {{ {config} }}
        {keys}
        "#
    );
    Gateway::with(fragment).start().await
}

async fn assert_refused(config: &str, message: &str) {
    let upstream = Upstream::says("served");
    let budget = r#"budget = { reply-size = "1KiB", body-size = "1KiB" }"#;
    let gateway = verdict(&upstream, config, budget).await;
    let answer = gateway.call(&Call::post("/", "the body")).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "plugin-failed"),
        "{config}: {}",
        answer.text()
    );
    let series = r#"postern_plugin_failures_total{plugin="bad",reason="bad-verdict"}"#;
    eventually!(gateway.metric(series).await, |count| *count == Some(1.0));
    let id = answer.json()["request_id"]
        .as_str()
        .expect("it names the request")
        .to_owned();
    let lines = eventually!(gateway.log(&id), |lines| !lines.is_empty());
    assert!(
        lines.iter().any(|line| line.contains(message)),
        "{config}: {message:?} is not in {lines:#?}"
    );
}

#[tokio::test]
async fn edits_that_would_break_a_request_are_refused() {
    for (config, message) in [
        (r#"set = [["x-a", "b\r\nx-forged: c"]]"#, "x-a"),
        (r#"set = [["x-a", "b\u0000c"]]"#, "x-a"),
        (r#"set = [["x a", "b"]]"#, "x a"),
        (r#"set = [["", "b"]]"#, ""),
        (r#"set = [["x-a: b\r\nx-forged", "c"]]"#, ""),
        (r#"set = [["content-length", "3"]]"#, "content-length"),
        (
            r#"append = [["Transfer-Encoding", "chunked"]]"#,
            "transfer-encoding",
        ),
        (r#"set = [["connection", "upgrade"]]"#, "connection"),
        (r#"set = [["host", "evil.test"]]"#, "host"),
        (r#"set = [["te", "trailers"]]"#, "te"),
        (r#"set = [["upgrade", "websocket"]]"#, "upgrade"),
        (r#"remove = ["content-length"]"#, "content-length"),
        (r#"method = "GE T""#, "GE T"),
        (r#"method = "CONNECT""#, "CONNECT"),
        (r#"path = "relative""#, "relative"),
        (r#"path = "/a b""#, "/a b"),
        (r#"path = "/a\r\nx: y""#, ""),
        (r#"path = "http://evil.test/""#, ""),
        (r#"authority = "a b""#, "a b"),
        (r#"authority = "user@evil.test""#, "user@evil.test"),
        (r#"upstream = "other""#, "not among the plugin's upstreams"),
        (
            r#"upstream = "nowhere""#,
            "not among the plugin's upstreams",
        ),
        (r#"body = "new""#, "body phase"),
        (r#"tell = [["x-a", "b\r\nx-forged: c"]]"#, "x-a"),
        (
            r#"tell = [["transfer-encoding", "chunked"]]"#,
            "transfer-encoding",
        ),
    ] {
        assert_refused(&format!(r#"do = "edit", {config}"#), message).await;
    }
}

#[tokio::test]
async fn edits_that_would_break_a_response_are_refused() {
    for (config, message) in [
        (r#"set = [["x-a", "b\r\nset-cookie: c"]]"#, "x-a"),
        (r#"set = [["content-length", "3"]]"#, "content-length"),
        (
            r#"set = [["transfer-encoding", "chunked"]]"#,
            "transfer-encoding",
        ),
        (r#"status = 99"#, "99"),
        (r#"status = 101"#, "101"),
        (r#"status = 600"#, "600"),
        (r#"body = "new""#, "body phase"),
    ] {
        assert_refused(
            &format!(r#"do = "edit", phase = "response", {config}"#),
            message,
        )
        .await;
    }
}

#[tokio::test]
async fn replies_that_would_break_a_connection_are_refused() {
    for phase in ["request", "response"] {
        for (config, message) in [
            ("status = 0", "0"),
            ("status = 100", "100"),
            ("status = 1000", "1000"),
            (r#"status = 204, body = "x""#, "no body"),
            (r#"status = 304, body = "x""#, "no body"),
            (r#"set = [["content-length", "1"]]"#, "content-length"),
            (r#"set = [["x", "a\nb"]]"#, "x"),
            (r#"code = "Not A Word""#, "kebab-case"),
            ("size = 2000", "budget.reply-size"),
        ] {
            assert_refused(
                &format!(r#"do = "reply", phase = "{phase}", {config}"#),
                message,
            )
            .await;
        }
    }
}

#[tokio::test]
async fn bodies_that_are_too_large_are_refused() {
    for phase in ["request-body", "response-body"] {
        assert_refused(
            &format!(r#"do = "edit", phase = "{phase}", size = 2000"#),
            "budget.body-size",
        )
        .await;
    }
}

#[tokio::test]
async fn an_edit_is_applied_as_a_whole_or_not_at_all() {
    let upstream = Upstream::says("served");
    let config =
        r#"do = "edit", set = [["x-good", "1"], ["content-length", "3"]], path = "/changed""#;
    let gateway = verdict(&upstream, config, r#"on-failure = "open""#).await;
    assert_eq!(gateway.get("/original").await.text(), "served");
    let request = upstream.last();
    assert_eq!(
        (request.target.as_str(), request.header("x-good")),
        ("/original", None)
    );
}

#[tokio::test]
async fn a_good_edit_changes_what_it_names_and_nothing_else() {
    let upstream = Upstream::says("served");
    let config = r#"do = "edit", set = [["x-set", "new"], ["x-latin", [228, 246]]], append = [["x-many", "2"]],
        remove = ["x-gone", "x-absent"], method = "PUT", path = "/changed?x=1", authority = "changed.test", upstream = "other""#;
    let gateway = verdict(
        &upstream,
        &config.replace('\n', ""),
        r#"upstreams = ["other"]"#,
    )
    .await;
    let call = Call::post("/original", "the body")
        .header("x-set", "old")
        .header("x-set", "older")
        .header("x-many", "1")
        .header("x-gone", "1")
        .header("x-kept", "1");
    assert_eq!(gateway.call(&call).await.text(), "served");
    let request = upstream.last();
    assert_eq!(
        (request.method.as_str(), request.target.as_str()),
        ("PUT", "/changed?x=1")
    );
    assert_eq!(request.body, b"the body");
    for (name, value) in [
        ("x-set", Some("new")),
        ("x-latin", Some("\u{fffd}\u{fffd}")),
        ("x-many", Some("1, 2")),
        ("x-gone", None),
        ("x-kept", Some("1")),
        ("host", Some("changed.test")),
    ] {
        assert_eq!(request.header(name).as_deref(), value, "{name}");
    }
    let log = eventually!(gateway.access_log(), |lines| lines.len() == 1);
    assert_eq!(
        (log[0]["upstream"].as_str(), log[0]["path"].as_str()),
        (Some("other"), Some("/original")),
        "{}",
        log[0]
    );
}

#[tokio::test]
async fn bodies_are_replaced_in_both_directions() {
    let upstream = Upstream::says("served");
    let gateway = verdict(
        &upstream,
        r#"do = "edit", phase = "request-body", body = "another, longer body""#,
        "",
    )
    .await;
    assert_eq!(
        gateway.call(&Call::post("/", "short")).await.text(),
        "served"
    );
    let request = upstream.last();
    assert_eq!(
        (
            request.body.as_slice(),
            request.header("content-length").as_deref()
        ),
        (&b"another, longer body"[..], Some("20"))
    );

    let gateway = verdict(
        &upstream,
        r#"do = "edit", phase = "response-body", status = 201, body = "x""#,
        "",
    )
    .await;
    let answer = gateway.get("/").await;
    assert_eq!((answer.status, answer.text().as_str()), (201, "x"));
    assert_eq!(answer.header("content-length").as_deref(), Some("1"));
}

#[tokio::test]
async fn a_body_phase_gets_no_more_than_it_asked_for() {
    let upstream = Upstream::says("served");
    let gateway = verdict(
        &upstream,
        r#"do = "nothing""#,
        r#"budget = { body-size = "1KiB" }"#,
    )
    .await;
    let answer = gateway.call(&Call::post("/", vec![b'x'; 2_000])).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (413, "request-too-large")
    );
    assert_eq!(
        gateway
            .call(&Call::post("/", vec![b'x'; 1_000]))
            .await
            .text(),
        "served"
    );
    let large = Upstream::start(|_| postern_tests::reply(200).body(vec![b'x'; 2_000]).into());
    let gateway = verdict(
        &large,
        r#"do = "nothing""#,
        r#"budget = { body-size = "1KiB" }"#,
    )
    .await;
    let answer = gateway.get("/").await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (502, "response-too-large")
    );
}

#[tokio::test]
async fn a_header_that_is_not_utf_8_passes_through_a_plugin_unharmed() {
    let upstream = Upstream::says("served");
    let gateway = verdict(&upstream, r#"do = "echo", when-header = "x-odd""#, "").await;
    let mut raw = postern_tests::Raw::connect(gateway.address()).await;
    raw.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Odd: \xe4\xff\r\n\r\n")
        .await;
    assert_eq!(raw.answer().await.expect("an answer").status, 200);
    assert_eq!(
        upstream.last().header("x-echoed").as_deref(),
        Some("\u{fffd}\u{fffd}")
    );
}

#[tokio::test]
async fn a_plugin_replaces_an_answer_and_the_log_says_so() {
    let upstream = Upstream::says("served");
    let config = r#"do = "reply", phase = "response", status = 418, body = "tea", code = "teapot""#;
    let gateway = verdict(&upstream, config, "").await;
    let answer = gateway.get("/").await;
    assert_eq!((answer.status, answer.text().as_str()), (418, "tea"));
    let log = eventually!(gateway.access_log(), |lines| lines.len() == 1);
    assert_eq!(
        (log[0]["source"].as_str(), log[0]["code"].as_str()),
        (Some("plugin"), Some("teapot")),
        "{}",
        log[0]
    );
}

/// What the host answers to a plugin that asks for more than it may have.
async fn told(config: &str, budget: &str) -> String {
    let upstream = Upstream::start(|_| postern_tests::reply(200).body(vec![b'x'; 100]).into());
    let fragment = format!(
        r#"
        upstream.granted.targets = ["{upstream}"]
        upstream.secret.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/", plugins = ["greedy"], upstream = "granted" }}]
        [plugin.greedy]
        file = "greedy.wasm"
        grants = ["identity", "keys", "limits", "store", "metrics"]
        upstreams = ["granted"]
        config = {{ {config} }}
        budget = {{ cpu = "1s", {budget} }}
        "#
    );
    let gateway = Gateway::with(fragment).start().await;
    let answer = gateway.get("/").await;
    match answer.status {
        200 => answer.text(),
        _ => answer.code(),
    }
}

#[tokio::test]
async fn outbound_calls_go_only_where_they_were_granted_and_only_so_many() {
    let granted = told(
        r#"do = "outbound", upstream = "granted", count = 3"#,
        "outbound-calls = 2",
    )
    .await;
    assert_eq!(
        granted,
        "200 100 bytes\n200 100 bytes\ndenied: the exchange has used its 2 outbound calls"
    );
    let parallel = told(
        r#"do = "outbound", upstream = "granted", count = 3, parallel = true"#,
        "outbound-concurrency = 2",
    )
    .await;
    assert_eq!(
        parallel,
        "200 100 bytes\n200 100 bytes\ndenied: 2 outbound requests of this plugin are under way already"
    );
    for upstream in ["secret", "nowhere", ""] {
        let denied = told(&format!(r#"do = "outbound", upstream = "{upstream}""#), "").await;
        assert!(
            denied.starts_with("denied: ") && denied.contains("not among the plugin's upstreams"),
            "{denied}"
        );
    }
    let denied = told(
        r#"do = "outbound", upstream = "granted", path = "http://evil.test/""#,
        "",
    )
    .await;
    assert!(denied.starts_with("denied: "), "{denied}");
    let denied = told(
        r#"do = "outbound", upstream = "granted", header = ["x", "a\r\nb: c"]"#,
        "",
    )
    .await;
    assert!(denied.starts_with("denied: "), "{denied}");
    let denied = told(
        r#"do = "outbound", upstream = "granted", header = ["content-length", "3"]"#,
        "",
    )
    .await;
    assert!(denied.starts_with("denied: "), "{denied}");
    let large = told(
        r#"do = "outbound", upstream = "granted""#,
        "body-size = \"64B\"",
    )
    .await;
    assert_eq!(large, "too large");
    let early = told(r#"do = "outbound-in-configure", upstream = "granted""#, "").await;
    assert!(early.contains("configure cannot call upstreams"), "{early}");
}

#[tokio::test]
async fn host_calls_hold_to_their_limits() {
    assert_eq!(
        told(r#"do = "random", size = 1024"#, "").await,
        "1024 bytes"
    );
    assert_eq!(
        told(r#"do = "random", size = 1025"#, "").await,
        "plugin-failed"
    );
    let mut all = String::new();
    for what in ["keys", "store", "limits", "metrics", "identity"] {
        all += &format!(
            "[{what}]\n{}\n\n",
            told(&format!("do = \"{what}\""), "").await
        );
    }
    postern_tests::golden::assert_golden("greedy.txt", &all);
}

#[tokio::test]
async fn what_a_request_phase_decides_about_the_response_is_done_to_every_answer() {
    let upstream = Upstream::says("served");
    let gateway = Gateway::with(format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        upstream.down.targets = ["http://127.0.0.1:1"]
        plugin.first = {{ file = "misbehaving.wasm", config = {{ do = "edit", tell = [["x-told", "first"]] }} }}
        plugin.second = {{ file = "misbehaving.wasm", config = {{ do = "edit", tell = [["x-told", "second"], ["x-told", "twice"]] }} }}
        plugin.third = {{ file = "misbehaving.wasm", config = {{ do = "edit", phase = "response", append = [["x-told", "third"]] }} }}
        plugin.answers = {{ file = "misbehaving.wasm", config = {{ do = "reply", status = 403 }} }}
        plugin.open = {{ file = "misbehaving.wasm", on-failure = "open", config = {{ do = "edit", phase = "request-body", tell = [["connection", "x"]] }} }}
        plugin.closed = {{ file = "misbehaving.wasm", config = {{ do = "edit", tell = [["x-told", "closed"], ["connection", "x"]] }} }}
        route = [
            {{ name = "served", path = "/served", plugins = ["first", "third", "second"], upstream = "u" }},
            {{ name = "down", path = "/down", plugins = ["first", "second"], upstream = "down" }},
            {{ name = "answered", path = "/answered", plugins = ["first", "answers", "second"], upstream = "u" }},
            {{ name = "open", path = "/open", plugins = ["first", "open", "second"], upstream = "u" }},
            {{ name = "closed", path = "/closed", plugins = ["first", "closed", "second"], upstream = "u" }},
        ]
        "#
    ))
    .start()
    .await;
    for (path, status, told) in [
        ("/served", 200, &["second", "twice", "third", "first"][..]),
        ("/down", 503, &["second", "twice", "first"]),
        ("/answered", 403, &["first"]),
        ("/open", 200, &["second", "twice", "first"]),
        ("/closed", 503, &["first"]),
    ] {
        let answer = gateway.call(&Call::post(path, "a body")).await;
        assert_eq!(answer.status, status, "{path}");
        let values: Vec<_> = answer
            .headers
            .get_all("x-told")
            .iter()
            .map(|value| value.to_str().expect("is text"))
            .collect();
        assert_eq!(values, told, "{path}");
    }
}
