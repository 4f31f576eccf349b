//! HTTP/1.1 and HTTP/2 on the client's side: bodies, connections, and their ends.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use postern_tests::client::{self, RequestBody};
use postern_tests::{Call, Connection, Gate, Gateway, Raw, Script, Upstream, eventually, reply};

async fn gateway(upstream: &Upstream) -> Gateway {
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/{{*rest}}", upstream = "u", max-request-body = "1GiB" }}]
        "#
    );
    Gateway::with(fragment).start().await
}

async fn both(gateway: &Gateway) -> [Connection; 2] {
    [
        Connection::h1(gateway.address()).await,
        Connection::h2(gateway.address()).await,
    ]
}

/// Bytes in which no two places look alike.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32)
        .flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes())
        .take(length)
        .collect()
}

fn echo() -> Upstream {
    Upstream::start(|_| {
        Script::at_once()
            .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .echo_chunks()
    })
}

#[tokio::test]
async fn large_bodies_arrive_whole_in_both_directions() {
    let upstream = echo();
    let gateway = gateway(&upstream).await;
    for mut connection in both(&gateway).await {
        let body = pattern(10 << 20);
        let answer = connection.call(&Call::post("/", body.clone())).await;
        assert_eq!(answer.status, 200);
        assert!(answer.body == body, "the body came back different");
        let request = upstream.last();
        assert_eq!(
            request.header("content-length").as_deref(),
            Some("10485760")
        );
        assert_eq!(request.header("transfer-encoding"), None);
        assert!(request.complete);
    }
}

#[tokio::test]
async fn the_answer_begins_before_the_request_has_ended() {
    let upstream = echo();
    let gateway = gateway(&upstream).await;
    for mut connection in both(&gateway).await {
        let (parts, body) = RequestBody::parts();
        parts
            .send(Bytes::from_static(b"first "))
            .await
            .expect("it is read");
        let response = connection
            .begin(&Call::post("/", ""), body)
            .await
            .expect("the head of the answer");
        assert_eq!(response.status(), 200);
        let mut answer = response.into_body();
        let first = answer
            .frame()
            .await
            .expect("there is a part")
            .expect("it is whole");
        assert_eq!(first.into_data().expect("it is data"), "first ");
        assert!(!upstream.last().complete, "the request has not ended yet");
        parts
            .send(Bytes::from_static(b"second"))
            .await
            .expect("it is read");
        drop(parts);
        assert_eq!(
            answer.collect().await.expect("the rest").to_bytes(),
            "second"
        );
        let request = eventually!(upstream.last(), |request| request.complete);
        assert_eq!(
            request.header("transfer-encoding").as_deref(),
            Some("chunked")
        );
        assert_eq!(request.body, b"first second");
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_read_holds_the_client_back() {
    let upstream = Upstream::start(|_| Script::at_once().wait(&Gate::default()));
    let gateway = gateway(&upstream).await;
    for mut connection in both(&gateway).await {
        let (parts, body) = RequestBody::parts();
        let answering = tokio::spawn(async move {
            connection
                .begin(&Call::post("/", ""), body)
                .await
                .map(|_| ())
        });
        let part = Bytes::from(vec![b'x'; 64 << 10]);
        let mut sent = 0;
        // A part that nobody takes for so long is held back. 256 MiB are more than all buffers on the way.
        let patience = Duration::from_millis(500);
        while sent < 4_096
            && tokio::time::timeout(patience, parts.send(part.clone()))
                .await
                .is_ok_and(|sent| sent.is_ok())
        {
            sent += 1;
        }
        assert!(
            sent < 1_024,
            "{sent} parts of 64 KiB went into a pipe that nobody empties"
        );
        answering.abort();
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_upstream_back() {
    let part = "x".repeat(64 << 10);
    let upstream = Upstream::start(move |_| {
        let head =
            Script::after_body().send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        // 64 MiB, then the end.
        (0..1_024)
            .fold(head, |script, _| script.chunk(&part))
            .send("0\r\n\r\n")
    });
    let gateway = gateway(&upstream).await;
    for mut connection in both(&gateway).await {
        let before = upstream.hung_up();
        let response = connection
            .begin(&Call::get("/"), RequestBody::whole(Bytes::new()))
            .await
            .expect("the head");
        let body = response.into_body();
        // The upstream stops sending long before it is done; were the gateway to swallow all, nobody would hang up.
        tokio::time::timeout(Duration::from_millis(300), std::future::pending::<()>())
            .await
            .expect_err("nothing comes");
        drop((body, connection));
        eventually!(upstream.hung_up(), |count| *count == before + 1);
    }
}

#[tokio::test]
async fn connections_to_the_upstream_are_used_again() {
    let upstream = Upstream::says("ok");
    let gateway = gateway(&upstream).await;
    for _ in 0..5 {
        for mut connection in both(&gateway).await {
            assert_eq!(connection.call(&Call::post("/", "x")).await.text(), "ok");
            assert_eq!(connection.call(&Call::get("/")).await.text(), "ok");
        }
    }
    assert_eq!((upstream.connections(), upstream.count()), (1, 20));
}

#[tokio::test]
async fn a_connection_is_not_used_again_while_an_answer_comes_on_it() {
    let gate = Gate::default();
    let held = gate.clone();
    let upstream = Upstream::start(move |request| match request.target.as_str() {
        "/slow" => Script::after_body()
            .send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na")
            .wait(&held)
            .send("b"),
        _ => reply(200).body("fast").into(),
    });
    let gateway = gateway(&upstream).await;
    let mut slow = gateway.connect().await;
    let response = slow
        .begin(&Call::get("/slow"), RequestBody::whole(Bytes::new()))
        .await
        .expect("the head");
    assert_eq!(gateway.get("/fast").await.text(), "fast");
    gate.open();
    assert_eq!(
        client::whole(response).await.expect("the rest").text(),
        "ab"
    );
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    let upstream = Upstream::start(|request| match request.target.as_str() {
        "/head" => Script::after_body().send("HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n"),
        "/204" => reply(204).header("x-end", "1").into(),
        "/304" => reply(304).header("etag", "\"v1\"").into(),
        _ => reply(200).into(),
    });
    let gateway = gateway(&upstream).await;
    for mut connection in both(&gateway).await {
        let answer = connection.call(&Call::new("HEAD", "/head")).await;
        assert_eq!((answer.status, answer.body.len()), (200, 0));
        assert_eq!(answer.header("content-length").as_deref(), Some("1234"));
        let answer = connection.call(&Call::get("/204")).await;
        assert_eq!(
            (
                answer.status,
                answer.header("content-length"),
                answer.body.len()
            ),
            (204, None, 0)
        );
        let answer = connection.call(&Call::get("/304")).await;
        assert_eq!(
            (
                answer.status,
                answer.header("etag").as_deref(),
                answer.body.len()
            ),
            (304, Some("\"v1\""), 0)
        );
        let answer = connection.call(&Call::get("/empty")).await;
        assert_eq!(
            (
                answer.status,
                answer.header("content-length").as_deref(),
                answer.body.len()
            ),
            (200, Some("0"), 0)
        );
    }
    // All four on one connection: none left bytes behind that the next would be mistaken for.
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_problem_is_told_to_head_without_a_body() {
    let upstream = Upstream::says("ok");
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/here", upstream = "u" }}]
        "#
    );
    let gateway = Gateway::with(fragment).start().await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.send("HEAD /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    let answer = raw.answer_to("HEAD").await.expect("an answer");
    assert_eq!((answer.status, answer.body.len()), (404, 0));
    // The connection is where it should be: the next answer is found.
    raw.send("GET /here HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(raw.answer().await.expect("an answer").text(), "ok");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::start(|request| reply(200).body(request.target.clone()).into());
    let gateway = gateway(&upstream).await;
    let mut raw = Raw::connect(gateway.address()).await;
    let requests: String = (0..20)
        .map(|number| format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .collect();
    raw.send(requests).await;
    for number in 0..20 {
        assert_eq!(
            raw.answer().await.expect("an answer").text(),
            format!("/{number}")
        );
    }
}

#[tokio::test]
async fn requests_of_one_http2_connection_do_not_wait_for_each_other() {
    let gate = Gate::default();
    let held = gate.clone();
    let upstream = Upstream::start(move |request| match request.target.as_str() {
        "/slow" => Script::after_body()
            .wait(&held)
            .send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow"),
        _ => reply(200).body("fast").into(),
    });
    let gateway = gateway(&upstream).await;
    let mut connection = Connection::h2(gateway.address()).await;
    let mut other = connection.share().expect("it is HTTP/2");
    let slow = tokio::spawn(async move { other.call(&Call::get("/slow")).await.text() });
    eventually!(upstream.count(), |count| *count == 1);
    assert_eq!(connection.call(&Call::get("/fast")).await.text(), "fast");
    gate.open();
    assert_eq!(slow.await.expect("no panic"), "slow");
}

#[tokio::test]
async fn expect_continue_is_answered_by_the_gateway() {
    let upstream = Upstream::says("ok");
    let gateway = gateway(&upstream).await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        .await;
    let head = raw.head().await.expect("an interim answer");
    assert!(head.starts_with("HTTP/1.1 100"), "{head}");
    raw.send("body").await;
    assert_eq!(raw.answer().await.expect("an answer").text(), "ok");
    let request = upstream.last();
    assert_eq!(
        (request.header("expect"), request.body.as_slice()),
        (None, &b"body"[..])
    );
}

/// Answers the first request of each connection, and hangs up when a second one comes.
fn forgetful() -> Upstream {
    let seen = std::sync::Mutex::new(std::collections::HashSet::new());
    Upstream::start(move |request| {
        let first = seen.lock().expect("no panic").insert(request.connection);
        if first {
            reply(200).body("ok").into()
        } else {
            Script::after_body().close()
        }
    })
}

/// Longer than the gateway takes a kept connection for fresh.
const STALE: Duration = Duration::from_millis(700);

#[tokio::test]
async fn a_get_on_a_stale_connection_is_sent_again() {
    let upstream = forgetful();
    let gateway = gateway(&upstream).await;
    assert_eq!(gateway.get("/").await.status, 200);
    tokio::time::sleep(STALE).await;
    assert_eq!(gateway.get("/").await.text(), "ok");
    assert_eq!((upstream.connections(), upstream.count()), (2, 3));
}

#[tokio::test]
async fn a_post_that_reached_the_upstream_is_not_sent_again() {
    let upstream = forgetful();
    let gateway = gateway(&upstream).await;
    assert_eq!(gateway.get("/").await.status, 200);
    tokio::time::sleep(STALE).await;
    let answer = gateway.call(&Call::post("/", "order")).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (502, "upstream-closed")
    );
    assert_eq!(upstream.count(), 2, "it was sent once");
}

#[tokio::test]
async fn a_connection_that_the_upstream_closed_is_not_used() {
    let upstream = Upstream::start(|_| {
        Script::after_body()
            .send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .close()
    });
    let gateway = gateway(&upstream).await;
    for _ in 0..50 {
        assert_eq!(gateway.call(&Call::post("/", "order")).await.text(), "ok");
        // What the gateway sees of the close comes a moment later; a client takes at least as long.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!((upstream.connections(), upstream.count()), (50, 50));
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_request_along() {
    let upstream = Upstream::start(|_| Script::after_body().until_hung_up());
    let gateway = gateway(&upstream).await;
    for (number, mut connection) in both(&gateway).await.into_iter().enumerate() {
        let call = tokio::spawn(async move {
            connection
                .try_call(&Call::get("/"))
                .await
                .map(|answer| answer.status)
        });
        eventually!(upstream.count(), |count| *count == number + 1);
        call.abort();
        eventually!(upstream.hung_up(), |count| *count == number + 1);
        let log = eventually!(gateway.access_log(), |lines| lines.len() == number + 1);
        assert_eq!(
            (
                log[number]["status"].as_u64(),
                log[number]["aborted"].as_bool()
            ),
            (Some(499), Some(true))
        );
    }
}

#[tokio::test]
async fn a_client_that_goes_away_amid_the_answer_takes_the_answer_along() {
    let upstream = Upstream::start(|_| {
        Script::after_body()
            .send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nbegin")
            .until_hung_up()
    });
    let gateway = gateway(&upstream).await;
    for (number, mut connection) in both(&gateway).await.into_iter().enumerate() {
        let response = connection
            .begin(&Call::get("/"), RequestBody::whole(Bytes::new()))
            .await
            .expect("the head");
        drop((response, connection));
        eventually!(upstream.hung_up(), |count| *count == number + 1);
        let log = eventually!(gateway.access_log(), |lines| lines.len() == number + 1);
        assert_eq!(
            (
                log[number]["status"].as_u64(),
                log[number]["aborted"].as_bool()
            ),
            (Some(200), Some(true))
        );
    }
}

#[tokio::test]
async fn trailers_reach_the_other_side() {
    let upstream = Upstream::start(|_| {
        Script::after_body()
            .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n")
            .chunk("body")
            .send("0\r\nx-sum: 42\r\n\r\n")
    });
    let gateway = gateway(&upstream).await;
    let answer = Connection::h2(gateway.address())
        .await
        .call(&Call::get("/"))
        .await;
    assert_eq!(answer.text(), "body");
    assert_eq!(
        answer
            .trailers
            .get("x-sum")
            .map(http::HeaderValue::as_bytes),
        Some(&b"42"[..])
    );
}
