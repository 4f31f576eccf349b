//! Bodies as RFC 9110 and RFC 9112 have them: trailers, `Expect`, HTTP/1.0, streams, and clients that go away.

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use postern_tests::client::RequestBody;
use postern_tests::raw::ByHand;
use postern_tests::{Call, Connection, Gateway, Raw, Script, Upstream, eventually, reply};

async fn gateway(upstream: impl std::fmt::Display) -> Gateway {
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/{{*rest}}", upstream = "u", max-request-body = "1KiB" }}]
        "#
    );
    Gateway::with(fragment).start().await
}

const WITH_TRAILERS: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum, content-type\r\n\r\n\
    2\r\nok\r\n0\r\nx-sum: 42\r\ncontent-type: text/evil\r\nx-consumer-name: root\r\n\r\n";

#[tokio::test]
async fn trailers_of_a_response_reach_clients_that_asked_for_them() {
    let upstream = Upstream::start(|_| Script::after_body().send(WITH_TRAILERS));
    let gateway = gateway(&upstream).await;

    let mut raw = Raw::connect(gateway.address()).await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n")
        .await;
    let answer = raw.until("\r\n0\r\n").await + &raw.until("\r\n\r\n").await;
    assert!(
        answer.contains("\r\ntrailer: x-sum, content-type\r\n"),
        "{answer}"
    );
    assert!(
        answer.ends_with("2\r\nok\r\n0\r\nx-sum: 42\r\n\r\n"),
        "{answer}"
    );
    let request = upstream.last();
    assert_eq!(
        (
            request.header("te").as_deref(),
            request.header("connection").as_deref()
        ),
        (Some("trailers"), Some("te"))
    );

    // Who did not ask does not get them, and the connection is as good as before.
    for _ in 0..2 {
        raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let answer = raw.until("\r\n0\r\n").await + &raw.until("\r\n").await;
        assert!(answer.ends_with("2\r\nok\r\n0\r\n\r\n"), "{answer}");
        assert_eq!(upstream.last().header("te"), None);
    }

    let answer = Connection::h2(gateway.address())
        .await
        .call(&Call::get("/"))
        .await;
    assert_eq!(answer.text(), "ok");
    let names: Vec<&str> = answer
        .trailers
        .keys()
        .map(http::HeaderName::as_str)
        .collect();
    assert_eq!(names, ["x-sum"], "the rest must not be said in a trailer");
    assert_eq!(
        upstream.connections(),
        1,
        "the upstream's connection is used again"
    );
}

#[tokio::test]
async fn trailers_of_a_request_reach_the_upstream() {
    let upstream = ByHand::listen().await;
    let gateway = gateway(&upstream).await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum, Host\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n",
    )
    .await;
    let mut seen = upstream.accept().await;
    let head = seen.until("\r\n\r\n").await;
    assert!(head.contains("\r\ntrailer: X-Sum, Host\r\n"), "{head}");
    let body = seen.until("\r\n\r\n").await;
    assert_eq!(body, "3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n");
    seen.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(raw.answer().await.expect("an answer").status, 204);
}

#[tokio::test]
async fn trailers_of_an_http2_request_reach_an_http1_upstream_that_was_told_of_them() {
    let upstream = ByHand::listen().await;
    let gateway = gateway(&upstream).await;
    let stream = tokio::net::TcpStream::connect(gateway.address())
        .await
        .expect("it listens");
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .expect("it speaks HTTP/2");
    tokio::spawn(connection);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", http::HeaderValue::from_static("9"));
    let frames = [
        Frame::data(Bytes::from_static(b"abc")),
        Frame::trailers(trailers),
    ];
    let frames = frames.map(Ok::<_, std::convert::Infallible>);
    let request = http::Request::post("http://a/")
        .header("trailer", "x-sum")
        .body(StreamBody::new(futures_util::stream::iter(frames)))
        .expect("it is a request");
    let answering = tokio::spawn(sender.send_request(request));
    let mut seen = upstream.accept().await;
    seen.until("\r\n\r\n").await;
    assert_eq!(
        seen.until("\r\n\r\n").await,
        "3\r\nabc\r\n0\r\nx-sum: 9\r\n\r\n"
    );
    seen.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    let answer = answering.await.expect("no panic").expect("an answer");
    assert_eq!(answer.status(), 204);
}

#[tokio::test]
async fn a_refusal_comes_without_100_and_before_the_body() {
    let upstream = Upstream::says("ok");
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        plugin.api-key = {{ file = "api-key.wasm", grants = ["identity"] }}
        [[route]]
        name = "limit"
        path = "/limit"
        upstream = "u"
        max-request-body = "10B"
        [[route]]
        name = "plugin"
        path = "/plugin"
        plugins = ["api-key"]
        upstream = "u"
        "#
    );
    let gateway = Gateway::with(fragment).start().await;
    for (path, status) in [("/limit", 413), ("/plugin", 401), ("/nowhere", 404)] {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.send(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 40\r\n\r\n"
        ))
        .await;
        let answer = raw.answer().await.expect("an answer");
        assert_eq!(answer.status, status, "{}", answer.head);
        // The body was never sent: what comes next on this connection could be anything.
        assert_eq!(
            raw.rest().await,
            b"",
            "nothing follows, and the connection is closed"
        );
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_body_that_outgrows_the_limit_is_refused_while_it_comes() {
    let upstream = Upstream::says("ok");
    let gateway = gateway(&upstream).await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nsmall\r\n")
        .await;
    eventually!(upstream.requests(), |requests| requests
        .iter()
        .any(|request| request.body == b"small"));
    raw.send(format!("800\r\n{}\r\n", "x".repeat(0x800))).await;
    assert_eq!(raw.answer().await.expect("an answer").status, 413);
    eventually!(upstream.hung_up(), |count| *count == 1);
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_an_answer_it_understands() {
    let upstream = Upstream::start(|_| {
        Script::after_body()
            .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .chunk("a stream")
            .send("0\r\n\r\n")
    });
    let gateway = gateway(&upstream).await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.send("GET / HTTP/1.0\r\n\r\n").await;
    let answer = String::from_utf8_lossy(&raw.rest().await).into_owned();
    assert!(
        answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"),
        "{answer}"
    );
    assert!(
        !answer.to_ascii_lowercase().contains("transfer-encoding"),
        "{answer}"
    );
    assert!(answer.ends_with("\r\n\r\na stream"), "{answer}");
    // It named no host; HTTP/1.1 must.
    assert_eq!(
        upstream.last().header("host"),
        Some(gateway.address().to_string())
    );
    assert!(upstream.last().head.starts_with("GET / HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_client_of_http_1_0_may_keep_its_connection() {
    let upstream = Upstream::says("ok");
    let gateway = gateway(&upstream).await;
    let mut raw = Raw::connect(gateway.address()).await;
    for _ in 0..2 {
        raw.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
            .await;
        let answer = raw.answer().await.expect("an answer");
        assert_eq!(
            (answer.text().as_str(), answer.complete),
            ("ok", true),
            "{}",
            answer.head
        );
    }
}

#[tokio::test]
async fn an_upstream_of_http_1_0_is_understood() {
    let upstream = Upstream::start(|request| match request.target.as_str() {
        "/framed" => Script::after_body()
            .send("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .close(),
        _ => Script::after_body()
            .send("HTTP/1.0 200 OK\r\n\r\nto the end")
            .close(),
    });
    let gateway = gateway(&upstream).await;
    for mut connection in [
        Connection::h1(gateway.address()).await,
        Connection::h2(gateway.address()).await,
    ] {
        assert_eq!(connection.call(&Call::get("/framed")).await.text(), "ok");
        assert_eq!(
            connection.call(&Call::get("/closed")).await.text(),
            "to the end"
        );
    }
}

#[tokio::test]
async fn interim_answers_are_not_taken_for_the_final_one() {
    let upstream = Upstream::start(|_| {
        Script::after_body()
            .send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n")
            .send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    });
    let gateway = gateway(&upstream).await;
    for mut connection in [
        Connection::h1(gateway.address()).await,
        Connection::h2(gateway.address()).await,
    ] {
        for _ in 0..2 {
            let answer = connection.call(&Call::get("/")).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
            assert_eq!(answer.header("link"), None);
        }
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn bytes_after_an_answer_without_a_body_are_nobodys_answer() {
    for (method, head) in [
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\n",
        ),
    ] {
        let evil = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
        let upstream = Upstream::start(move |request| match request.target.as_str() {
            "/bare" => Script::after_body().send([head, evil].concat()),
            _ => reply(200).body("good").into(),
        });
        let gateway = gateway(&upstream).await;
        let mut raw = Raw::connect(gateway.address()).await;
        raw.send(format!("{method} /bare HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        let answer = raw.answer_to(method).await.expect("an answer");
        assert!(head.starts_with(&format!("HTTP/1.1 {}", answer.status)));
        assert_eq!(answer.body, b"");
        raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(
            raw.answer().await.expect("an answer").text(),
            "good",
            "{head}"
        );
    }
}

#[tokio::test]
async fn server_sent_events_arrive_one_by_one() {
    let upstream = ByHand::listen().await;
    let gateway = gateway(&upstream).await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n")
        .await;
    let mut source = upstream.accept().await;
    source.until("\r\n\r\n").await;
    source
        .send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    raw.until("\r\n\r\n").await;
    for number in 0..5 {
        // Each is sent only when the one before has arrived: none waits for company.
        source.send(format!("9\r\ndata: {number}\n\n\r\n")).await;
        let event = raw.until("\n\n\r\n").await;
        assert!(
            event.ends_with(&format!("data: {number}\n\n\r\n")),
            "{event:?}"
        );
    }
    drop(raw);
    assert_eq!(
        source.rest().await,
        b"",
        "the source learns that nobody listens"
    );
}

#[tokio::test]
async fn a_client_that_goes_away_amid_its_body_takes_the_request_along() {
    let upstream = ByHand::listen().await;
    let gateway = gateway(&upstream).await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nbegin")
        .await;
    let mut seen = upstream.accept().await;
    seen.until("begin").await;
    drop(raw);
    assert_eq!(seen.rest().await, b"");

    let mut connection = Connection::h2(gateway.address()).await;
    let (parts, body) = RequestBody::parts();
    let call = tokio::spawn(async move {
        connection
            .begin(&Call::post("/", ""), body)
            .await
            .map(|_| ())
    });
    parts
        .send(Bytes::from_static(b"begin"))
        .await
        .expect("it is read");
    let mut seen = upstream.accept().await;
    seen.until("begin").await;
    call.abort();
    // What came so far was no whole body, and is not made one.
    assert!(!String::from_utf8_lossy(&seen.rest().await).contains("0\r\n\r\n"));
}

#[tokio::test]
async fn both_directions_stream_at_once() {
    let upstream = ByHand::listen().await;
    let gateway = gateway(&upstream).await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let mut seen = upstream.accept().await;
    seen.until("\r\n\r\n").await;
    seen.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    raw.until("\r\n\r\n").await;
    for number in 0..5 {
        raw.send(format!("2\r\nq{number}\r\n")).await;
        assert_eq!(
            seen.until(&format!("q{number}\r\n")).await,
            format!("2\r\nq{number}\r\n")
        );
        seen.send(format!("2\r\na{number}\r\n")).await;
        assert_eq!(
            raw.until(&format!("a{number}\r\n")).await,
            format!("2\r\na{number}\r\n")
        );
    }
    raw.send("0\r\n\r\n").await;
    seen.until("0\r\n\r\n").await;
    seen.send("0\r\n\r\n").await;
    raw.until("0\r\n\r\n").await;
}

#[tokio::test]
async fn the_rest_of_an_answer_that_was_begun_is_not_made_up() {
    let upstream = ByHand::listen().await;
    let gateway = gateway(&upstream).await;
    let mut connection = Connection::h2(gateway.address()).await;
    let begun = tokio::spawn(async move {
        connection
            .begin(&Call::get("/"), RequestBody::whole(Bytes::new()))
            .await
    });
    let mut seen = upstream.accept().await;
    seen.until("\r\n\r\n").await;
    seen.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        .await;
    let response = begun.await.expect("no panic").expect("the head");
    drop(seen);
    assert!(response.into_body().collect().await.is_err());
}
