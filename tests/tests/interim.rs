//! Interim responses (RFC 9110, 15.2) on their way from upstreams to clients.

use std::fmt::Display;

use postern_tests::raw::ByHand;
use postern_tests::setup::one_route;
use postern_tests::{Call, Connection, Gateway, Raw, Script, Upstream};

const ON: &str = "interim-responses = true";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n";

async fn gateway(target: impl Display) -> Gateway {
    Gateway::with(one_route(target, ON)).start().await
}

#[tokio::test]
async fn hints_come_before_their_upstream_answers() {
    let origin = ByHand::listen().await;
    let gateway = gateway(&origin).await;
    let mut client = Raw::connect(gateway.address()).await;
    // Twice on the same connections.
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    for round in 1..=2 {
        upstream.until("\r\n\r\n").await;
        for status in ["103 Early Hints", "102 Processing", "199 Whatever"] {
            let head = format!(
                "HTTP/1.1 {status}\r\nLink: </{round}.css>\r\nConnection: x-secret\r\nX-Secret: 1\r\nKeep-Alive: 5\r\n\r\n"
            );
            upstream.send(head).await;
            let number = &status[..3];
            let head = client.head().await.expect("an interim response");
            assert!(head.starts_with(&format!("HTTP/1.1 {number} ")), "{head}");
            assert!(
                head.contains(&format!("link: </{round}.css>\r\n")),
                "{head}"
            );
            assert!(head.contains("via: 1.1 postern\r\n"), "{head}");
            for gone in ["connection", "secret", "keep-alive"] {
                assert!(!head.contains(gone), "{head}");
            }
        }
        upstream.send(OK).await;
        let answer = client.answer().await.expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        assert_eq!(answer.header("link"), None);
        client.send(GET).await;
    }
}

#[tokio::test]
async fn those_that_come_with_the_answer_go_before_it() {
    let upstream = Upstream::start(|_| Script::after_body().send([HINTS, HINTS, OK].concat()));
    let gateway = gateway(&upstream).await;
    let mut client = Raw::connect(gateway.address()).await;
    for _ in 0..3 {
        // Two requests at once: each answer has its own.
        client.send([GET, GET].concat()).await;
        for _ in 0..2 {
            for _ in 0..2 {
                let head = client.head().await.expect("an interim response");
                assert!(head.starts_with("HTTP/1.1 103 Early Hints\r\n"), "{head}");
            }
            let answer = client.answer().await.expect("an answer");
            assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_not_read_yet_is_not_broken_into() {
    // The first answer is more than fits between the client and us, and the second has hints.
    const LARGE: usize = 8 << 20;
    let upstream = Upstream::start(|request| match request.target.as_str() {
        "/large" => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n");
            Script::after_body().send([head.as_bytes(), &vec![b'x'; LARGE]].concat())
        }
        _ => Script::after_body().send([HINTS, OK].concat()),
    });
    let gateway = gateway(&upstream).await;
    let mut client = Raw::connect(gateway.address()).await;
    client
        .send(["GET /large HTTP/1.1\r\nHost: a\r\n\r\n", GET].concat())
        .await;
    let large = client.answer().await.expect("an answer");
    assert!(large.complete && large.body.len() == LARGE);
    assert!(large.body.iter().all(|byte| *byte == b'x'));
    let mut head = client.head().await.expect("a head");
    if head.starts_with("HTTP/1.1 103") {
        head = client.head().await.expect("another head");
    }
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(client.bytes(2).await, b"ok");
}

#[tokio::test]
async fn continue_of_an_upstream_is_not_passed_on() {
    let upstream = Upstream::start(|_| {
        Script::after_body().send(["HTTP/1.1 100 Continue\r\n\r\n", HINTS, OK].concat())
    });
    let gateway = gateway(&upstream).await;
    let mut client = Raw::connect(gateway.address()).await;
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n";
    client.send(format!("{post}\r\nbody")).await;
    let head = client.head().await.expect("hints");
    assert!(head.starts_with("HTTP/1.1 103 "), "{head}");
    assert_eq!(client.answer().await.expect("an answer").status, 200);
    // Ours, once, whatever the upstream says.
    client
        .send(format!("{post}Expect: 100-continue\r\n\r\n"))
        .await;
    for status in [100, 103] {
        let head = client.head().await.expect("an interim response");
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        client.send(if status == 100 { "body" } else { "" }).await;
    }
    assert_eq!(client.answer().await.expect("an answer").status, 200);
}

#[tokio::test]
async fn clients_of_http_1_0_and_http_2_get_the_answer_alone() {
    let upstream = Upstream::start(|_| Script::after_body().send([HINTS, OK].concat()));
    let gateway = gateway(&upstream).await;
    let mut client = Raw::connect(gateway.address()).await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let text = String::from_utf8(client.rest().await).expect("text");
    assert!(
        text.starts_with("HTTP/1.0 200 ") || text.starts_with("HTTP/1.1 200 "),
        "{text}"
    );
    assert!(!text.contains("103") && text.ends_with("ok"), "{text}");
    let answer = Connection::h2(gateway.address())
        .await
        .call(&Call::get("/"))
        .await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
}

#[tokio::test]
async fn without_the_key_none_are_passed_on() {
    let upstream = Upstream::start(|_| Script::after_body().send([HINTS, OK].concat()));
    let gateway = Gateway::with(one_route(&upstream, "")).start().await;
    let mut client = Raw::connect(gateway.address()).await;
    client.send(GET).await;
    let head = client.head().await.expect("an answer");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

#[tokio::test]
async fn of_a_flood_a_client_gets_what_it_takes() {
    const HEADS: usize = 10_000;
    let origin = ByHand::listen().await;
    let gateway = gateway(&origin).await;
    let mut client = Raw::connect(gateway.address()).await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.until("\r\n\r\n").await;
    let head = format!(
        "HTTP/1.1 103 Early Hints\r\nlink: <{}>\r\n\r\n",
        "x".repeat(4_000)
    );
    // All of it is read, while the client does not.
    upstream.send([&head.repeat(HEADS), OK].concat()).await;
    let mut count = 0;
    loop {
        let head = client.head().await.expect("a head");
        if !head.starts_with("HTTP/1.1 103 ") {
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            break;
        }
        count += 1;
    }
    assert!((1..HEADS).contains(&count), "{count}");
    assert_eq!(client.bytes(2).await, b"ok");
}
