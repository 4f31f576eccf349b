//! What clients are told when something is wrong: with their request, or with the service behind the gateway.

use std::time::Duration;

use postern_tests::client::RequestBody;
use postern_tests::setup::one_route;
use postern_tests::upstream::{Refusing, Silent};
use postern_tests::{
    Answer, Call, Connection, Gateway, Raw, Script, Upstream, client, eventually, reply,
};

async fn gateway(target: impl std::fmt::Display, upstream: &str, route: &str) -> Gateway {
    let fragment = format!(
        r#"
        upstream.u = {{ targets = ["{target}"]{upstream} }}
        route = [{{ name = "r", path = "/{{*rest}}", upstream = "u"{route} }}]
        "#
    );
    Gateway::with(fragment).start().await
}

/// The shape of every answer that the gateway itself gives.
fn assert_problem(answer: &Answer, status: u16, code: &str, proxy_status: Option<&str>) {
    let document = answer.text();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (status, code),
        "{document}"
    );
    assert_eq!(
        answer.header("content-type").as_deref(),
        Some("application/problem+json")
    );
    let document = answer.json();
    assert_eq!(document["status"], status);
    assert!(
        document["title"]
            .as_str()
            .is_some_and(|title| !title.is_empty()),
        "{document}"
    );
    assert_eq!(
        document["request_id"].as_str().map(str::len),
        Some(32),
        "{document}"
    );
    let expected = proxy_status.map(|error| format!("postern; error={error}"));
    assert_eq!(answer.header("proxy-status"), expected);
}

#[tokio::test]
async fn malformed_requests_are_refused_and_never_reach_the_upstream() {
    let upstream = Upstream::says("ok");
    let gateway = gateway(&upstream, "", "").await;
    for request in [
        "GET\r\n\r\n",
        "GET / HTTP/1.1 more\r\nHost: a\r\n\r\n",
        "GE T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Space : 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Nul: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n",
        "GET relative HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
    ] {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.send(request).await;
        let answer = raw
            .answer()
            .await
            .unwrap_or_else(|| panic!("no answer to {request:?}"));
        assert_eq!(answer.status, 400, "{request:?}: {}", answer.head);
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(gateway.get("/").await.status, 200);
}

#[tokio::test]
async fn a_request_with_two_lengths_does_not_smuggle_another() {
    let upstream = Upstream::says("ok");
    let gateway = gateway(&upstream, "", "").await;
    let mut raw = Raw::connect(gateway.address()).await;
    // RFC 9112, 6.1: a proxy must not trust such a length, and must close.
    raw.send(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    .await;
    raw.finish().await;
    let answers = String::from_utf8_lossy(&raw.rest().await).into_owned();
    let first = upstream
        .requests()
        .into_iter()
        .find(|request| request.target == "/");
    assert!(
        first.is_none_or(|request| request.header("content-length").is_none()),
        "{answers}"
    );
}

#[tokio::test]
async fn a_bad_request_line_is_told_what_is_wrong() {
    let upstream = Upstream::says("ok");
    let gateway = gateway(&upstream, "", "").await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        .await;
    let answer = raw.answer().await.expect("an answer");
    assert_eq!(
        answer.header("content-type").as_deref(),
        Some("application/problem+json")
    );
    assert!(
        answer.text().contains("more than one Host"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn oversized_heads_are_refused() {
    let upstream = Upstream::says("ok");
    let limits = "max-header-bytes = \"8KiB\"\nmax-headers = 20";
    let gateway = Gateway::with(one_route(&upstream, limits)).start().await;
    let large = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Large: {}\r\n\r\n",
        "x".repeat(9 << 10)
    );
    let many: String = (0..30).map(|number| format!("X-{number}: 1\r\n")).collect();
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n");
    for request in [large, many] {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.send(&request).await;
        let answer = raw.answer().await.expect("an answer");
        assert_eq!(answer.status, 431, "{}", answer.head);
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(70 << 10));
    let mut raw = Raw::connect(gateway.address()).await;
    raw.send(&long).await;
    let answer = raw.answer().await.expect("an answer");
    assert!(matches!(answer.status, 414 | 431), "{}", answer.head);
    let mut h2 = Connection::h2(gateway.address()).await;
    let call = Call::get("/").header("x-large", &"x".repeat(9 << 10));
    let refused = h2.try_call(&call).await;
    assert!(
        refused.map_or(true, |answer| answer.status == 431),
        "HTTP/2 has the same limit"
    );
    assert_eq!(upstream.count(), 0);
    let just = Call::get("/").header("x-large", &"x".repeat(7 << 10));
    assert_eq!(gateway.call(&just).await.status, 200);
}

#[tokio::test]
async fn bodies_that_are_too_large_are_refused_declared_or_not() {
    let upstream = Upstream::says("ok");
    let gateway = gateway(&upstream, "", ", max-request-body = \"1KiB\"").await;
    for mut connection in [
        Connection::h1(gateway.address()).await,
        Connection::h2(gateway.address()).await,
    ] {
        let answer = connection.call(&Call::post("/", vec![b'x'; 1_025])).await;
        assert_problem(&answer, 413, "request-too-large", None);
        assert_eq!(upstream.count(), 0, "nobody needs to see the body to know");
    }
    for mut connection in [
        Connection::h1(gateway.address()).await,
        Connection::h2(gateway.address()).await,
    ] {
        let (parts, body) = RequestBody::parts();
        let sending = tokio::spawn(async move {
            for _ in 0..3 {
                let _ = parts.send(vec![b'x'; 500].into()).await;
            }
        });
        let response = connection
            .begin(&Call::post("/", ""), body)
            .await
            .expect("an answer");
        let answer = client::whole(response).await.expect("the rest");
        assert_problem(&answer, 413, "request-too-large", None);
        sending.await.expect("no panic");
    }
    assert!(
        upstream.requests().iter().all(|request| !request.complete),
        "no upstream saw a whole request"
    );
    assert_eq!(
        gateway
            .call(&Call::post("/", vec![b'x'; 1_024]))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn an_upstream_that_is_down_is_unavailable() {
    let refusing = Refusing::default();
    let gateway = gateway(&refusing, "", "").await;
    let answer = gateway.get("/").await;
    assert_problem(
        &answer,
        503,
        "upstream-unreachable",
        Some("connection_refused"),
    );
    assert_eq!(answer.header("retry-after").as_deref(), Some("1"));
    assert!(
        !answer.text().contains("127.0.0.1"),
        "clients do not learn addresses: {}",
        answer.text()
    );
    let log = eventually!(gateway.access_log(), |lines| lines.len() == 1);
    assert_eq!(
        (log[0]["code"].as_str(), log[0]["source"].as_str()),
        (Some("upstream-unreachable"), Some("gateway"))
    );
    assert_eq!(
        log[0]["id"],
        answer.json()["request_id"],
        "the log has what the client was told"
    );
    assert!(
        log[0]["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("refused")),
        "{}",
        log[0]
    );
}

#[tokio::test]
async fn an_upstream_that_takes_no_connection_is_given_up_in_time() {
    let silent = Silent::default();
    let gateway = gateway(&silent, ", connect-timeout = \"100ms\"", "").await;
    let begun = std::time::Instant::now();
    let answer = gateway.get("/").await;
    assert_problem(
        &answer,
        503,
        "upstream-connect-timeout",
        Some("connection_timeout"),
    );
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn an_upstream_that_is_slow_is_given_up_in_time() {
    for (upstream_keys, route_keys) in [
        (", read-timeout = \"100ms\"", ""),
        (", total-timeout = \"100ms\"", ""),
        ("", ", timeout = \"100ms\""),
    ] {
        let upstream = Upstream::start(|_| Script::after_body().until_hung_up());
        let gateway = gateway(&upstream, upstream_keys, route_keys).await;
        let begun = std::time::Instant::now();
        let answer = gateway.get("/").await;
        assert_problem(
            &answer,
            504,
            "upstream-timeout",
            Some("http_response_timeout"),
        );
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "{:?}",
            begun.elapsed()
        );
        eventually!(upstream.hung_up(), |count| *count == 1);
    }
}

#[tokio::test]
async fn an_upstream_that_speaks_nonsense_is_a_bad_gateway() {
    for nonsense in [
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "\0\0\0\0\0\0\0\0\r\n\r\n",
    ] {
        let upstream = Upstream::start(move |_| Script::after_body().send(nonsense).close());
        let gateway = gateway(&upstream, "", "").await;
        let answer = gateway.get("/").await;
        assert_problem(
            &answer,
            502,
            "upstream-protocol-error",
            Some("http_protocol_error"),
        );
        assert_eq!(gateway.get("/").await.status, 502, "the gateway serves on");
    }
}

#[tokio::test]
async fn an_upstream_that_closes_without_an_answer_is_a_bad_gateway() {
    for script in [
        Script::after_body().close(),
        Script::after_body()
            .send("HTTP/1.1 200 OK\r\nx-half")
            .close(),
    ] {
        let upstream = Upstream::start(move |_| script.clone());
        let gateway = gateway(&upstream, "", "").await;
        assert_problem(
            &gateway.get("/").await,
            502,
            "upstream-closed",
            Some("connection_terminated"),
        );
        // A request is not sent twice on a fresh connection.
        assert_eq!(upstream.count(), 1);
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_passed_on_as_a_whole_one() {
    for (head, framing) in [
        ("content-length: 1000", "half"),
        ("transfer-encoding: chunked", "4\r\nhalf\r\n"),
    ] {
        let upstream = Upstream::start(move |_| {
            Script::after_body()
                .send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{framing}"))
                .close()
        });
        let gateway = gateway(&upstream, "", "").await;
        let mut raw = Raw::connect(gateway.address()).await;
        raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let answer = raw.answer().await.expect("its head had come");
        assert_eq!(
            (answer.status, answer.text().as_str(), answer.complete),
            (200, "half", false),
            "{head}"
        );
        assert_eq!(raw.rest().await, b"", "the connection is closed");
        let mut h2 = Connection::h2(gateway.address()).await;
        h2.try_call(&Call::get("/"))
            .await
            .expect_err("the stream is reset");
        let log = eventually!(gateway.access_log(), |lines| lines.len() == 2);
        for line in log {
            assert_eq!(
                (line["status"].as_u64(), line["aborted"].as_bool()),
                (Some(200), Some(true)),
                "{line}"
            );
            assert!(
                line["detail"]
                    .as_str()
                    .is_some_and(|detail| detail.contains("broke off")),
                "{line}"
            );
        }
    }
}

#[tokio::test]
async fn an_answer_that_stalls_is_broken_off() {
    let upstream = Upstream::start(|_| {
        Script::after_body()
            .send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")
            .until_hung_up()
    });
    let gateway = gateway(&upstream, ", read-timeout = \"100ms\"", "").await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let answer = raw.answer().await.expect("its head had come");
    assert_eq!((answer.text().as_str(), answer.complete), ("half", false));
    eventually!(upstream.hung_up(), |count| *count == 1);
}

#[tokio::test]
async fn a_request_that_breaks_off_is_not_taken_for_a_whole_one() {
    let upstream = Upstream::says("ok");
    let gateway = gateway(&upstream, "", "").await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf")
        .await;
    eventually!(upstream.count(), |count| *count == 1);
    drop(raw);
    eventually!(upstream.hung_up(), |count| *count == 1);
    let request = upstream.last();
    assert!(!request.complete, "{request:?}");
    let log = eventually!(gateway.access_log(), |lines| lines.len() == 1);
    let line = &log[0];
    assert_eq!(
        (line["status"].as_u64(), line["code"].as_str()),
        (Some(400), Some("request-incomplete")),
        "{line}"
    );
    assert_eq!(line["bytes_in"], 4, "{line}");
}

#[tokio::test]
async fn errors_of_the_gateway_carry_cors_headers_where_the_route_has_them() {
    let refusing = Refusing::default();
    let fragment = format!(
        r#"
        upstream.u.targets = ["{refusing}"]
        plugin.cors = {{ file = "cors.wasm", config = {{ origins = ["https://shop.test"] }} }}
        plugin.bad = {{ file = "misbehaving.wasm", config = {{ do = "trap" }} }}
        route = [
            {{ name = "down", path = "/down", plugins = ["cors"], upstream = "u" }},
            {{ name = "bad", path = "/bad", plugins = ["cors", "bad"], upstream = "u" }},
        ]
        "#
    );
    let gateway = Gateway::with(fragment).start().await;
    for (path, code) in [("/down", "upstream-unreachable"), ("/bad", "plugin-failed")] {
        let answer = gateway
            .call(&Call::get(path).header("origin", "https://shop.test"))
            .await;
        assert_eq!((answer.status, answer.code().as_str()), (503, code));
        assert_eq!(
            answer.header("access-control-allow-origin").as_deref(),
            Some("https://shop.test")
        );
        assert!(
            answer
                .header("vary")
                .is_some_and(|vary| vary.to_lowercase().contains("origin"))
        );
    }
}

const SHORT: &str = r#"
    [listen.public]
    address = "127.0.0.1:0"
    header-timeout = "200ms"
    idle-timeout = "400ms"
    max-connections = 3
"#;

async fn impatient(upstream: &Upstream) -> Gateway {
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/{{*rest}}", upstream = "u" }}]
        {SHORT}
        "#
    );
    Gateway::with(fragment).start().await
}

#[tokio::test]
async fn a_head_that_does_not_come_to_its_end_is_not_waited_for() {
    let upstream = Upstream::says("ok");
    let gateway = impatient(&upstream).await;
    for beginning in ["", "P", "GET / HT", "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "] {
        let mut raw = Raw::connect(gateway.address()).await;
        let begun = std::time::Instant::now();
        raw.send(beginning).await;
        raw.rest().await;
        assert!(
            begun.elapsed() >= Duration::from_millis(190),
            "{beginning:?}: {:?}",
            begun.elapsed()
        );
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "{beginning:?}: {:?}",
            begun.elapsed()
        );
    }
    // The same for a second request.
    let mut raw = Raw::connect(gateway.address()).await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(raw.answer().await.expect("an answer").status, 200);
    raw.send("GET / HT").await;
    let begun = std::time::Instant::now();
    raw.rest().await;
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn idle_connections_are_closed_and_slow_answers_are_not_idle() {
    let upstream = Upstream::start(|request| match request.target.as_str() {
        "/slow" => Script::after_body()
            .pause(Duration::from_millis(900))
            .send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow"),
        _ => reply(200).body("ok").into(),
    });
    let gateway = impatient(&upstream).await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(
        raw.answer()
            .await
            .expect("it takes longer than idle connections are kept")
            .text(),
        "slow"
    );
    let begun = std::time::Instant::now();
    assert_eq!(raw.rest().await, b"");
    assert!(
        begun.elapsed() >= Duration::from_millis(300),
        "{:?}",
        begun.elapsed()
    );
    let mut h2 = Connection::h2(gateway.address()).await;
    assert_eq!(h2.call(&Call::get("/slow")).await.text(), "slow");
    eventually!(h2.is_closed(), |closed| *closed);
}

#[tokio::test]
async fn more_connections_than_allowed_are_refused_and_the_others_served() {
    let upstream = Upstream::says("ok");
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/{{*rest}}", upstream = "u" }}]
        [listen.public]
        address = "127.0.0.1:0"
        max-connections = 3
        "#
    );
    let gateway = Gateway::with(fragment).start().await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut connection = gateway.connect().await;
        assert_eq!(connection.call(&Call::get("/")).await.status, 200);
        open.push(connection);
    }
    let mut fourth = Raw::connect(gateway.address()).await;
    fourth.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(fourth.rest().await, b"", "it is closed at once");
    for connection in &mut open {
        assert_eq!(connection.call(&Call::get("/")).await.status, 200);
    }
    open.pop();
    // One is gone, so there is room for one.
    let series = r#"postern_connections{listener="public"}"#;
    eventually!(gateway.metric(series).await, |open| *open == Some(2.0));
    assert_eq!(gateway.get("/").await.status, 200);
}
