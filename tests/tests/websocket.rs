//! WebSockets: over HTTP/1.1 (RFC 6455) and over HTTP/2 (RFC 8441), by hand and with programs that we did not write.

use bytes::Bytes;
use h2::client;
use http::{Method, Request};
use postern_tests::peers::Peer;
use postern_tests::raw::ByHand;
use postern_tests::{Call, Gateway, Raw, Script, Upstream, eventually};
use tokio::net::TcpStream;

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const GRANT: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn config(upstream: impl std::fmt::Display, more: &str) -> String {
    format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        [[route]]
        name = "chat"
        path = "/chat"
        upstream = "u"
        upgrade = ["websocket"]
        {more}
        [[route]]
        name = "plain"
        path = "/plain"
        upstream = "u"
        "#
    )
}

/// A tunnel, seen from both ends.
async fn tunnel(gateway: &Gateway, upstream: &ByHand) -> (Raw, Raw) {
    let mut client = Raw::connect(gateway.address()).await;
    client.send(ASK).await;
    let mut server = upstream.accept().await;
    server.until("\r\n\r\n").await;
    server.send(GRANT).await;
    client.until("\r\n\r\n").await;
    (client, server)
}

#[tokio::test]
async fn a_connection_becomes_a_tunnel() {
    let upstream = ByHand::listen().await;
    let gateway = Gateway::with(config(&upstream, "")).start().await;
    let mut client = Raw::connect(gateway.address()).await;
    client.send([ASK, "early"].concat()).await;
    let mut server = upstream.accept().await;
    let head = server.until("\r\n\r\n").await.to_ascii_lowercase();
    for line in [
        "get /chat http/1.1",
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-key: dghlihnhbxbszsbub25jzq==",
        "x-forwarded-for: 127.0.0.1",
    ] {
        assert!(head.contains(&format!("{line}\r\n")), "{line}\n{head}");
    }
    server.send([GRANT, "greeting"].concat()).await;
    let head = client.until("\r\n\r\n").await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    for line in [
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line}\n{head}");
    }
    // What came with the heads is not lost, and whatever is said is passed on as it is.
    assert_eq!(server.until("early").await, "early");
    assert_eq!(client.until("greeting").await, "greeting");
    for number in 0..3 {
        client.send(format!("ping {number}\r\n\r\n")).await;
        assert_eq!(
            server.until("\r\n\r\n").await,
            format!("ping {number}\r\n\r\n")
        );
        server.send(format!("pong {number}\r\n\r\n")).await;
        assert_eq!(
            client.until("\r\n\r\n").await,
            format!("pong {number}\r\n\r\n")
        );
    }
    assert!(gateway.access_log().is_empty(), "it has not ended");
    // One side ends, then the other.
    client.finish().await;
    assert_eq!(server.rest().await, b"");
    server.send("last words").await;
    drop(server);
    assert_eq!(client.rest().await, b"last words");
    let log = eventually!(gateway.access_log(), |log| log.len() == 1).remove(0);
    assert_eq!(log["status"], 101, "{log}");
    assert_eq!(
        (&log["bytes_in"], &log["bytes_out"]),
        (&(5 + 3 * 10).into(), &(8 + 3 * 10 + 10).into())
    );
    assert_eq!(
        (&log["route"], &log["aborted"]),
        (&"chat".into(), &serde_json::Value::Null)
    );
}

#[tokio::test]
async fn an_upgrade_is_refused_where_it_is_not_allowed() {
    let upstream = Upstream::says("plain");
    let gateway = Gateway::with(config(&upstream, "")).start().await;
    let mut client = Raw::connect(gateway.address()).await;
    client.send(ASK.replace("/chat", "/plain")).await;
    assert_eq!(client.answer().await.expect("an answer").text(), "plain");
    let request = upstream.last();
    assert_eq!(
        (request.header("upgrade"), request.header("connection")),
        (None, None)
    );
    // What follows is a request, not a tunnel's bytes.
    client.send("GET /plain HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.answer().await.expect("an answer").text(), "plain");
}

#[tokio::test]
async fn what_is_no_websocket_is_not_upgraded() {
    let upstream = Upstream::says("plain");
    let gateway = Gateway::with(config(&upstream, "")).start().await;
    for other in [
        ASK.replace("WebSocket", "h2c"),
        ASK.replace("keep-alive, Upgrade", "keep-alive"),
        ASK.replace("GET", "DELETE"),
        ASK.replace("Sec-WebSocket-Key", "X-Key"),
    ] {
        let mut client = Raw::connect(gateway.address()).await;
        client.send(&other).await;
        assert_eq!(
            client.answer().await.expect("an answer").text(),
            "plain",
            "{other}"
        );
        assert_eq!(upstream.last().header("upgrade"), None, "{other}");
    }
}

#[tokio::test]
async fn an_upstream_may_say_no() {
    let upstream = Upstream::start(|_| postern_tests::reply(403).body("members only").into());
    let gateway = Gateway::with(config(&upstream, "")).start().await;
    let mut client = Raw::connect(gateway.address()).await;
    for _ in 0..2 {
        client.send(ASK).await;
        let answer = client.answer().await.expect("an answer");
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (403, "members only")
        );
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_makes_no_tunnel() {
    let wrong_key = GRANT.replace("s3pP", "xxxx");
    let wrong_protocol = GRANT.replace("websocket", "h2c");
    for (path, grant) in [
        ("/plain", GRANT),
        ("/chat", wrong_key.as_str()),
        ("/chat", wrong_protocol.as_str()),
    ] {
        let grant = grant.to_owned();
        let upstream = Upstream::start(move |_| Script::at_once().send(&grant).until_hung_up());
        let gateway = Gateway::with(config(&upstream, "")).start().await;
        let mut client = Raw::connect(gateway.address()).await;
        client.send(ASK.replace("/chat", path)).await;
        let answer = client.answer().await.expect("an answer");
        assert_eq!(answer.status, 502, "{}", answer.head);
        assert!(answer.text().contains("upstream-protocol-error"));
        eventually!(upstream.hung_up(), |count| *count == 1);
    }
}

#[tokio::test]
async fn plugins_decide_before_there_is_a_tunnel() {
    let upstream = ByHand::listen().await;
    let plugins = r#"plugins = ["correlation-id", "api-key"]"#;
    let fragment = format!(
        r#"{}
        [plugin.correlation-id]
        file = "correlation-id.wasm"
        [plugin.api-key]
        file = "api-key.wasm"
        grants = ["identity"]
        [consumer.alice]
        [[consumer.alice.api-key]]
        key = "env:POSTERN_TEST_KEY"
        "#,
        config(&upstream, plugins)
    );
    let gateway = Gateway::with(fragment)
        .env("POSTERN_TEST_KEY", "open-sesame")
        .process()
        .await;
    let mut client = Raw::connect(gateway.address()).await;
    client.send(ASK).await;
    assert_eq!(client.answer().await.expect("an answer").status, 401);

    client
        .send(ASK.replace("Host: a\r\n", "Host: a\r\nX-API-Key: open-sesame\r\n"))
        .await;
    let mut server = upstream.accept().await;
    let head = server.until("\r\n\r\n").await;
    assert!(head.contains("x-consumer-name: alice\r\n"), "{head}");
    server.send(GRANT).await;
    let head = client.until("\r\n\r\n").await;
    assert!(
        head.starts_with("HTTP/1.1 101 ") && head.contains("x-request-id: "),
        "{head}"
    );
    client.send("hello").await;
    assert_eq!(server.until("hello").await, "hello");
}

#[tokio::test]
async fn a_tunnel_on_which_nothing_is_said_ends() {
    let upstream = ByHand::listen().await;
    let gateway = Gateway::with(config(&upstream, r#"tunnel-idle-timeout = "300ms""#))
        .start()
        .await;
    let (mut client, mut server) = tunnel(&gateway, &upstream).await;
    client.send("hello").await;
    server.until("hello").await;
    assert_eq!((client.rest().await, server.rest().await), (vec![], vec![]));
    let log = eventually!(gateway.access_log(), |log| log.len() == 1).remove(0);
    assert_eq!(log["detail"], "nothing was said for 300ms");
    assert_eq!(
        (&log["bytes_in"], &log["aborted"]),
        (&5.into(), &true.into())
    );
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_the_writer_back() {
    let upstream = ByHand::listen().await;
    let gateway = Gateway::with(config(&upstream, "")).start().await;
    let (client, mut server) = tunnel(&gateway, &upstream).await;
    let mut sent = 0;
    let part = vec![b'x'; 64 << 10];
    let patience = std::time::Duration::from_millis(500);
    // 256 MiB are more than all buffers on the way.
    while sent < 4_096
        && tokio::time::timeout(patience, server.send(&part))
            .await
            .is_ok()
    {
        sent += 1;
    }
    assert!(
        sent < 1_024,
        "{sent} parts of 64 KiB went into a tunnel that nobody empties"
    );
    drop(client);
}

#[tokio::test]
async fn a_drain_waits_for_tunnels_but_not_forever() {
    let upstream = ByHand::listen().await;
    let fragment = format!(
        "{}\n[server]\nworkers = 1\ndrain-timeout = \"1s\"",
        config(&upstream, "")
    );
    let gateway = Gateway::with(fragment).start().await;
    let log = gateway.folder().join("access.log");
    let kept = tempfile::tempdir().expect("there is room");
    std::fs::hard_link(&log, kept.path().join("log")).expect("it is there");
    let (mut client, mut server) = tunnel(&gateway, &upstream).await;
    let draining = tokio::spawn(gateway.drain());
    // It still works while the drain waits.
    client.send("hello").await;
    assert_eq!(server.until("hello").await, "hello");
    draining.await.expect("no panic");
    assert_eq!((client.rest().await, server.rest().await), (vec![], vec![]));
    let log = eventually!(
        std::fs::read_to_string(kept.path().join("log")).unwrap_or_default(),
        |log: &String| log.contains("\"status\":101")
    );
    assert!(
        log.contains("\"bytes_in\":5") && log.contains("\"aborted\":true"),
        "{log}"
    );
}

#[tokio::test]
async fn a_tunnel_keeps_its_place_among_the_connections() {
    let upstream = ByHand::listen().await;
    let fragment = format!(
        "{}\n[listen.public]\naddress = \"127.0.0.1:0\"\nmax-connections = 1",
        config(&upstream, "")
    );
    let gateway = Gateway::with(fragment).start().await;
    let (client, server) = tunnel(&gateway, &upstream).await;
    assert!(
        Raw::connect(gateway.address())
            .await
            .rest()
            .await
            .is_empty()
    );
    drop((client, server));
    eventually!(
        gateway
            .metric("postern_connections{listener=\"public\"}")
            .await,
        |open| *open == Some(0.0)
    );
}

/// An extended `CONNECT` (RFC 8441, 4).
fn extended(path: &str, protocol: &'static str) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = format!("http://a{path}").parse().expect("it is a URI");
    request.headers_mut().insert(
        "sec-websocket-version",
        http::HeaderValue::from_static("13"),
    );
    request
        .extensions_mut()
        .insert(h2::ext::Protocol::from_static(protocol));
    request
}

async fn h2_client(gateway: &Gateway) -> client::SendRequest<Bytes> {
    let stream = TcpStream::connect(gateway.address())
        .await
        .expect("it listens");
    let (mut sender, mut connection) = client::handshake(stream).await.expect("it speaks HTTP/2");
    let mut settled = false;
    let mut ready = Box::pin(async move {
        let _ = (&mut connection).await;
    });
    // Extended CONNECT may be used once the server has said so.
    eventually!(
        {
            settled |= sender.is_extended_connect_protocol_enabled();
            if !settled {
                let _ = tokio::time::timeout(std::time::Duration::from_millis(5), &mut ready).await;
            }
            settled
        },
        |settled| *settled
    );
    tokio::spawn(ready);
    sender = sender.ready().await.expect("it is ready");
    sender
}

#[tokio::test]
async fn a_stream_of_http2_becomes_a_tunnel() {
    let upstream = ByHand::listen().await;
    let gateway = Gateway::with(config(&upstream, "")).start().await;
    let mut sender = h2_client(&gateway).await;
    let (response, mut to) = sender
        .send_request(extended("/chat", "websocket"), false)
        .expect("it is sent");
    let mut server = upstream.accept().await;
    let head = server.until("\r\n\r\n").await.to_ascii_lowercase();
    assert!(head.starts_with("get /chat http/1.1\r\n"), "{head}");
    let original = head;
    assert!(
        original.contains("\r\nupgrade: websocket\r\n"),
        "{original}"
    );
    // The key is the gateway's: its lower case here would not do, so it is asked for once more.
    drop(server);
    let refused = response.await.expect("an answer");
    assert_eq!(refused.status(), 502);
    drop(to.send_data(Bytes::new(), true));

    let (response, mut to) = sender
        .send_request(extended("/chat", "websocket"), false)
        .expect("it is sent");
    let mut server = upstream.accept().await;
    let head = server.until("\r\n\r\n").await;
    let key = head
        .lines()
        .find_map(|line| line.strip_prefix("sec-websocket-key: "))
        .expect("there is a key");
    let accept = accept(key);
    server
        .send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: chat\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        ))
        .await;
    let response = response.await.expect("an answer");
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
    for gone in ["connection", "upgrade", "sec-websocket-accept"] {
        assert!(!response.headers().contains_key(gone), "{gone}");
    }
    let mut from = response.into_body();
    for _ in 0..3 {
        to.send_data(Bytes::from_static(b"ping"), false)
            .expect("it is open");
        assert_eq!(server.until("ping").await, "ping");
        server.send("pong").await;
        let part = from.data().await.expect("a part").expect("it is whole");
        assert_eq!(part, "pong");
    }
    to.send_data(Bytes::new(), true).expect("it is open");
    assert_eq!(server.rest().await, b"");
    drop(server);
    while let Some(part) = from.data().await {
        assert_eq!(part.expect("it is whole"), "", "the stream ends");
    }
    let log = eventually!(gateway.access_log(), |log| log.len() == 2).remove(1);
    assert_eq!(
        (&log["status"], &log["method"]),
        (&200.into(), &"GET".into())
    );
    assert_eq!(
        (&log["bytes_in"], &log["bytes_out"]),
        (&12.into(), &12.into())
    );
}

/// What a server makes of a key (RFC 6455, 4.2.2).
fn accept(key: &str) -> String {
    use base64::Engine;
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
        text.as_bytes(),
    );
    base64::engine::general_purpose::STANDARD.encode(digest)
}

#[tokio::test]
async fn http2_is_told_what_it_may_not_become() {
    let upstream = Upstream::says("plain");
    let gateway = Gateway::with(config(&upstream, "")).start().await;
    let mut sender = h2_client(&gateway).await;
    for (path, protocol) in [("/plain", "websocket"), ("/chat", "connect-udp")] {
        let (response, _to) = sender
            .send_request(extended(path, protocol), false)
            .expect("it is sent");
        assert_eq!(
            response.await.expect("an answer").status(),
            501,
            "{path} {protocol}"
        );
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(gateway.call(&Call::get("/plain")).await.text(), "plain");
}

#[tokio::test]
async fn the_websockets_package_talks_through_the_gateway() {
    let Some(peer) = Peer::find("websocket_peer.py", "websockets") else {
        return;
    };
    let server = peer.serve();
    let gateway = Gateway::with(config(format!("http://{}", server.address()), ""))
        .start()
        .await;
    let url = |path: &str| format!("ws://{}{path}", gateway.address());
    let seen = peer.call(&["talk", &url("/chat")]).await;
    let expected = serde_json::json!({
        "subprotocol": "chat",
        "text": "hello",
        "large": true,
        "in_order": true,
        "pong": true,
        "close": [4001, "as you wish"],
    });
    assert_eq!(seen, expected);
    // Without the upgrade, the server is asked for a page that it does not have.
    let seen = peer.call(&["talk", &url("/plain")]).await;
    assert_eq!(seen["status"], 426, "{seen}");
    let log = eventually!(gateway.access_log(), |log| log.len() == 2).remove(0);
    assert_eq!(
        (&log["status"], &log["aborted"]),
        (&101.into(), &serde_json::Value::Null)
    );
    assert!(log["bytes_in"].as_u64() > Some(4 << 20), "{log}");
}
