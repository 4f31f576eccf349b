//! Stream phases that fail, and bodies that are given up: who learns of it, what is freed, and who is not disturbed.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use postern_tests::client::RequestBody;
use postern_tests::{Call, Connection, Gate, Gateway, Raw, Script, Upstream, eventually, reply};

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

/// A gateway with one `streamer` on `/`, and a route without.
async fn gateway(upstream: &Upstream, config: &str, keys: &str) -> Gateway {
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [
            {{ name = "r", path = "/", plugins = ["bad"], upstream = "u" }},
            {{ name = "plain", path = "/plain", upstream = "u" }},
        ]
        [plugin.bad]
        file = "streamer.wasm"
        config = {{ when-header = "x-crash", {config} }}
        {keys}
        "#
    );
    Gateway::with(fragment).start().await
}

fn crash(method: &str) -> Call {
    Call::new(method, "/").header("x-crash", "now")
}

#[tokio::test]
async fn a_failure_breaks_the_response_off_where_the_client_sees_it() {
    for (config, reason) in [
        (r#"do = "trap", after = 1"#, "trap"),
        (r#"do = "trap", at = "end""#, "trap"),
        (r#"do = "spin", after = 1"#, "cpu"),
        (r#"do = "allocate", after = 1"#, "memory"),
        (r#"do = "error", after = 1"#, "error"),
        (r#"do = "error", at = "end""#, "error"),
        (r#"do = "bomb", after = 1, size = 262145"#, "bad-verdict"),
        (r#"do = "bomb", at = "end", size = 262145"#, "bad-verdict"),
        (
            r#"do = "bomb", after = 1, size = 5000000"#,
            "host-call-bytes",
        ),
    ] {
        let gate = Gate::default();
        let script = gate.clone();
        let upstream = Upstream::start(move |_| {
            Script::after_body()
                .send(CHUNKED)
                .chunk("first ")
                .wait(&script)
                .chunk("second")
                .send("0\r\n\r\n")
        });
        // Only what is about time may end for its time, however slow the machine.
        let keys = match reason {
            "cpu" => "on-failure = \"open\"",
            _ => "on-failure = \"open\"\nbudget.cpu = \"1s\"",
        };
        let gateway = gateway(&upstream, config, keys).await;

        let mut h1 = Raw::connect(gateway.address()).await;
        h1.send("GET / HTTP/1.1\r\nhost: x\r\nx-crash: now\r\n\r\n")
            .await;
        let head = h1.head().await.expect("the head is sent before the harm");
        assert!(head.starts_with("HTTP/1.1 200"), "{config}: {head}");
        let mut h2 = Connection::h2(gateway.address()).await;
        let call = crash("GET");
        let response = h2.begin(&call, RequestBody::whole(Bytes::new()));
        let mut body = response.await.expect("the head").into_body();
        let first = body.frame().await.expect("a frame").expect("of data");
        assert_eq!(first.into_data().expect("data"), "first ", "{config}");
        gate.open();

        let rest = String::from_utf8_lossy(&h1.rest().await).into_owned();
        assert!(rest.starts_with("6\r\nfirst \r\n"), "{config}: {rest:?}");
        assert!(!rest.contains("0\r\n\r\n"), "{config}: {rest:?}");
        let error = body.collect().await.expect_err("it breaks off");
        assert!(error.to_string().contains("error"), "{config}: {error}");
        assert!(!h2.is_closed(), "{config}: other streams go on");

        let series = format!(r#"postern_plugin_failures_total{{plugin="bad",reason="{reason}"}}"#);
        eventually!(gateway.metric(&series).await, |count| *count == Some(2.0));
        let log = eventually!(gateway.access_log(), |lines| lines.len() == 2);
        for line in log {
            assert_eq!(
                (&line["status"], &line["aborted"]),
                (&200.into(), &true.into())
            );
            assert_eq!(
                line["detail"], "plugin \"bad\" failed on the body",
                "{config}"
            );
            let id = line["id"].as_str().expect("lines name the request");
            let failures = gateway.log(id);
            let failure = failures.iter().find(|line| line.contains("\"reason\""));
            let failure = failure.unwrap_or_else(|| panic!("{config}: {failures:?}"));
            assert!(
                failure.contains("\"phase\":\"response-chunk\""),
                "{failure}"
            );
            assert!(failure.contains("\"route\":\"r\""), "{failure}");
        }
        assert_eq!(
            gateway.get("/").await.text(),
            "first second",
            "{config}: the next request"
        );
        assert_eq!(gateway.get("/plain").await.text(), "first second");
    }
}

#[tokio::test]
async fn before_the_head_is_sent_on_failure_decides() {
    let upstream = Upstream::says("served");
    for side in ["request", "response"] {
        for (on_failure, status, text) in [
            (r#"on-failure = "closed""#, 503, "plugin-failed"),
            (r#"on-failure = "open""#, 200, "served"),
            (r#"on-failure = { status = 530, body = "own" }"#, 530, "own"),
        ] {
            let config = format!(r#"do = "trap", at = "open", side = "{side}""#);
            let gateway = gateway(&upstream, &config, on_failure).await;
            let answer = gateway.call(&crash("POST").body("body")).await;
            assert_eq!(answer.status, status, "{side} {on_failure}");
            assert!(answer.text().contains(text), "{side}: {}", answer.text());
            let phase = format!(
                r#"postern_plugin_calls_total{{outcome="failed",phase="{side}-stream",plugin="bad"}}"#
            );
            assert_eq!(gateway.metric(&phase).await, Some(1.0));
        }
    }
}

#[tokio::test]
async fn a_failure_on_a_request_body_is_answered() {
    let upstream = Upstream::says("served");
    let config = r#"do = "trap", side = "request", after = 1"#;
    let gateway = gateway(&upstream, config, "").await;
    let connections = [
        Connection::h1(gateway.address()).await,
        Connection::h2(gateway.address()).await,
    ];
    for (number, mut connection) in connections.into_iter().enumerate() {
        let (parts, body) = RequestBody::parts();
        let answering = tokio::spawn(async move {
            let response = connection.begin(&crash("POST"), body).await;
            postern_tests::client::whole(response.expect("an answer")).await
        });
        let part = Bytes::from_static(b"part");
        parts.send(part.clone()).await.expect("it is taken");
        eventually!(upstream.requests(), |requests| requests
            .get(number)
            .is_some_and(|request| request.body == b"part"));
        parts.send(part).await.expect("it is taken");
        let answer = answering.await.expect("it does not panic");
        let answer = answer.expect("a whole one");
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "plugin-failed")
        );
        let received = upstream.last();
        assert!(
            !received.complete,
            "the upstream knows that it is not whole"
        );
    }
    assert_eq!(upstream.count(), 2);
    let failed =
        r#"postern_plugin_calls_total{outcome="failed",phase="request-chunk",plugin="bad"}"#;
    assert_eq!(gateway.metric(failed).await, Some(2.0));
}

#[tokio::test]
async fn a_client_that_goes_away_frees_the_instance_and_the_upstream() {
    let upstream = Upstream::start(|_| {
        Script::after_body()
            .send(CHUNKED)
            .chunk("first")
            .until_hung_up()
    });
    let gateway = gateway(&upstream, r#"do = "pass""#, "").await;
    let instances = r#"postern_plugin_instances{plugin="bad"}"#;
    for round in 1..=3 {
        for mut connection in [
            Connection::h1(gateway.address()).await,
            Connection::h2(gateway.address()).await,
        ] {
            let call = crash("GET");
            let response = connection.begin(&call, RequestBody::whole(Bytes::new()));
            let mut body = response.await.expect("the head").into_body();
            body.frame().await.expect("a frame").expect("of data");
            assert_eq!(gateway.metric(instances).await, Some(1.0));
            drop((body, connection));
            eventually!(gateway.metric(instances).await, |count| *count == Some(0.0));
        }
        eventually!(upstream.hung_up(), |count| *count == round * 2);
    }
    let log = eventually!(gateway.access_log(), |lines| lines.len() == 6);
    assert!(
        log.iter()
            .all(|line| line["aborted"] == true && line["bytes_out"] == 5)
    );
}

#[tokio::test]
async fn an_upstream_that_breaks_off_breaks_the_response_off() {
    let upstream = Upstream::start(|_| Script::after_body().send(CHUNKED).chunk("first").close());
    let gateway = gateway(&upstream, r#"do = "wrap", text = "t""#, "").await;
    let mut client = Raw::connect(gateway.address()).await;
    client
        .send("GET / HTTP/1.1\r\nhost: x\r\nx-crash: now\r\n\r\n")
        .await;
    let answer = client.answer().await.expect("an answer");
    assert!(
        !answer.complete && answer.text() == "<t>first",
        "{answer:?}"
    );
    let instances = r#"postern_plugin_instances{plugin="bad"}"#;
    eventually!(gateway.metric(instances).await, |count| *count == Some(0.0));
}

#[tokio::test]
async fn a_guest_that_returns_nothing_does_not_hold_its_worker() {
    let upstream = Upstream::start(|request| match request.target.as_str() {
        "/" => reply(200).body(vec![b'x'; 64 << 20]).into(),
        _ => reply(200).body("quick").into(),
    });
    let gateway = gateway(&upstream, r#"do = "swallow""#, "").await;
    let address = gateway.address();
    let slow =
        tokio::spawn(async move { postern_tests::client::call(address, &crash("GET")).await });
    let mut others = 0;
    let mut longest = Duration::ZERO;
    while !slow.is_finished() {
        let begun = Instant::now();
        assert_eq!(gateway.get("/plain").await.text(), "quick");
        longest = longest.max(begun.elapsed());
        others += 1;
    }
    assert_eq!(slow.await.expect("it does not panic").text(), "");
    assert!(
        others > 1,
        "only {others} others were served meanwhile, in {longest:?}"
    );
}
