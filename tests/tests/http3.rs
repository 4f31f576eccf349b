//! HTTP/3, spoken with quinn and h3, by hand, and with `aioquic`, which is not ours.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "http3/client.rs"]
mod client;
#[path = "http3/frames.rs"]
mod frames;
#[path = "http3/life.rs"]
mod life;
#[path = "http3/peer.rs"]
mod peer;

use bytes::Bytes;
use client::{Client, HOST, answer, dial, request};
use h3::error::{Code, StreamError};
use http::HeaderMap;
use postern_tests::eventually::within;
use postern_tests::pki::Authority;
use postern_tests::raw::ByHand;
use postern_tests::setup::Setup;
use postern_tests::upstream::Refusing;
use postern_tests::{Gateway, Script, Upstream, eventually};

/// A listener of this name, with these keys besides.
fn listener(name: &str, more: &str) -> String {
    format!(
        r#"
        [listen.{name}]
        address = "127.0.0.1:0"
        {more}
        tls = {{ certificates = [{{ cert = "a.pem", key = "file:a.pem" }}] }}
        "#
    )
}

fn fragment(upstream: &dyn std::fmt::Display, listeners: &str) -> String {
    format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/{{*rest}}", upstream = "u", max-request-body = "4MiB" }}]
        {listeners}
        "#
    )
}

fn setup(upstream: &dyn std::fmt::Display, authority: &Authority, more: &str) -> Setup {
    let more = format!("http3 = true\n{more}");
    Gateway::with(fragment(upstream, &listener("public", &more)))
        .file("ca.pem", authority.pem())
        .file("a.pem", authority.issue(&[HOST]).both())
        .workers(2)
}

async fn gateway(upstream: &dyn std::fmt::Display, authority: &Authority) -> Gateway {
    setup(upstream, authority, "").start().await
}

#[tokio::test]
async fn requests_over_http3_are_served_like_others() {
    let (upstream, authority) = (Upstream::says("served"), Authority::default());
    let gateway = gateway(&upstream, &authority).await;
    let client = Client::connect(gateway.address(), &authority).await;
    let answer = client.get().await.unwrap();
    assert_eq!((answer.status(), &*answer.body), (200, &b"served"[..]));
    assert_eq!(answer.header("content-length"), Some("6"));
    assert!(answer.header("date").is_some());
    let head = request("HEAD").body(()).unwrap();
    let answer = client.call(head, &[]).await.unwrap();
    assert_eq!((answer.status(), &*answer.body), (200, &b""[..]));
    let post = request("POST").body(()).unwrap();
    let part = vec![b'x'; 300_000];
    let answer = client.call(post, &[&part, &part]).await.unwrap();
    assert_eq!(answer.status(), 200);
    let requests = upstream.requests();
    let [get, head, post] = requests.as_slice() else {
        panic!("{requests:?}");
    };
    assert_eq!(head.method, "HEAD");
    assert_eq!(get.header("host").as_deref(), Some(HOST));
    assert_eq!(get.header("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(get.header("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(get.header("via").as_deref(), Some("3 postern"));
    assert_eq!(get.header("transfer-encoding"), None, "there is no body");
    assert_eq!(post.body.len(), 600_000);
    // Many at once on the same connection.
    let calls = (0..50).map(|_| client.get());
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer.unwrap().status(), 200);
    }
    let log = eventually!(gateway.access_log(), |log| log.len() == 53);
    assert_eq!(log[0]["status"], 200);
}

#[tokio::test]
async fn a_mebibyte_goes_through_both_ways() {
    let authority = Authority::default();
    let upstream = Upstream::start(|_| {
        Script::at_once()
            .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .echo_chunks()
    });
    let gateway = gateway(&upstream, &authority).await;
    let client = Client::connect(gateway.address(), &authority).await;
    let sent: Vec<u8> = (0..1_u32 << 20).map(|at| (at % 251) as u8).collect();
    // Both at once: neither side holds it all.
    let mut sender = client.sender.clone();
    let post = request("POST").body(()).unwrap();
    let stream = sender.send_request(post).await.unwrap();
    let (mut sending, mut receiving) = stream.split();
    let (upload, download) = (sent.clone(), async {
        receiving.recv_response().await.unwrap();
        let mut received = Vec::new();
        while let Some(data) = receiving.recv_data().await.unwrap() {
            received.extend_from_slice(bytes::Buf::chunk(&data));
        }
        received
    });
    let upload = async move {
        for part in upload.chunks(10_000) {
            sending
                .send_data(Bytes::copy_from_slice(part))
                .await
                .unwrap();
        }
        sending.finish().await.unwrap();
    };
    let both = async { tokio::join!(upload, download) };
    let ((), received) = within("a mebibyte", both).await;
    assert!(received == sent, "{} bytes came back", received.len());
    // More than the route takes is refused.
    let post = request("POST").header("content-length", "5000000");
    let answer = client.call(post.body(()).unwrap(), &[]).await.unwrap();
    assert_eq!(answer.status(), 413);
}

#[tokio::test]
async fn trailers_go_through_both_ways() {
    let (origin, authority) = (ByHand::listen().await, Authority::default());
    let gateway = gateway(&format!("http://{}", origin.address()), &authority).await;
    let client = Client::connect(gateway.address(), &authority).await;
    let mut sender = client.sender.clone();
    let post = request("POST")
        .header("te", "trailers")
        .header("trailer", "x-sum")
        .body(())
        .unwrap();
    let mut stream = sender.send_request(post).await.unwrap();
    stream.send_data(Bytes::from_static(b"data")).await.unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    stream.send_trailers(trailers).await.unwrap();
    stream.finish().await.unwrap();
    let mut connection = origin.accept().await;
    let sent = connection.until("x-sum: 7\r\n\r\n").await;
    assert!(
        sent.ends_with("4\r\ndata\r\n0\r\nx-sum: 7\r\n\r\n"),
        "{sent}"
    );
    connection
        .send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 8\r\n\r\n",
        )
        .await;
    let answer = within("an answer", answer(&mut stream)).await.unwrap();
    assert_eq!(answer.body, b"ok");
    assert_eq!(answer.trailers.unwrap()["x-sum"], "8");
}

#[tokio::test]
async fn errors_of_the_gateway_are_ones_of_grpc() {
    let (refusing, authority) = (Refusing::default(), Authority::default());
    let gateway = gateway(&refusing, &authority).await;
    let client = Client::connect(gateway.address(), &authority).await;
    let call = request("POST")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let answer = client.call(call, &[&[0, 0, 0, 0, 0]]).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("content-type"), Some("application/grpc"));
    assert_eq!(answer.header("grpc-status"), Some("14"), "UNAVAILABLE");
}

#[tokio::test]
async fn what_contradicts_itself_is_refused() {
    let (upstream, authority) = (Upstream::says("served"), Authority::default());
    let gateway = gateway(&upstream, &authority).await;
    let client = Client::connect(gateway.address(), &authority).await;
    for (length, body) in [("5", "123"), ("2", "123")] {
        let post = request("POST").header("content-length", length);
        let post = post.body(()).unwrap();
        let answer = client.call(post, &[body.as_bytes()]).await;
        let refused = answer.as_ref().map_or(true, |it| it.status() == 400);
        assert!(refused, "{length}: {answer:?}");
    }
    let fields = [
        &[("content-length", "+3")][..],
        &[("content-length", "3"), ("content-length", "3")],
        &[("connection", "close")],
        &[("transfer-encoding", "chunked")],
        &[("te", "gzip")],
        &[("host", "b.example")],
    ];
    for fields in fields {
        let add =
            |post: http::request::Builder, (name, value): &(&str, &str)| post.header(*name, *value);
        let mut post = fields.iter().fold(request("POST"), add).body(()).unwrap();
        if fields[0].0 == "host" {
            // The library's own client would not send two that differ.
            let same = post.headers_mut().get_mut("host").unwrap();
            *same = HOST.parse().unwrap();
            post.headers_mut().append("host", HOST.parse().unwrap());
        }
        let answer = client.call(post, &[b"123"]).await.unwrap();
        assert_eq!(answer.status(), 400, "{fields:?}");
    }
    assert!(upstream.requests().iter().all(|request| !request.complete));
    assert_eq!(
        client.get().await.unwrap().status(),
        200,
        "it is still open"
    );
}

#[tokio::test]
async fn a_head_has_limits() {
    let (upstream, authority) = (Upstream::says("served"), Authority::default());
    let setup = setup(
        &upstream,
        &authority,
        "max-header-bytes = \"8KiB\"\nmax-uri-bytes = \"1KiB\"",
    );
    let gateway = setup.start().await;
    let client = Client::connect(gateway.address(), &authority).await;
    let large = request("GET").header("x-large", "x".repeat(9_000));
    let mut sender = client.sender.clone();
    let answer = sender.send_request(large.body(()).unwrap());
    match answer.await {
        // The server has said in its settings how much it takes.
        Err(StreamError::HeaderTooBig { max_size, .. }) => assert_eq!(max_size, 8 << 10),
        other => {
            let mut stream = other.unwrap();
            let head = within("an answer", stream.recv_response()).await.unwrap();
            assert_eq!(head.status(), 431);
        }
    }
    let count = |many, index| http::request::Builder::header(many, format!("x-{index}"), "1");
    let many = (0..101).fold(request("GET"), count).body(()).unwrap();
    let answer = client.call(many, &[]).await.unwrap();
    assert_eq!(answer.status(), 431);
    let long = format!("https://{HOST}/{}", "x".repeat(2_000));
    let long = request("GET").uri(long).body(()).unwrap();
    let answer = client.call(long, &[]).await.unwrap();
    assert_eq!(answer.status(), 414);
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_request_that_is_taken_back_ends_at_the_upstream_and_only_some_may_be() {
    let authority = Authority::default();
    let upstream = Upstream::start(|_| Script::after_body().until_hung_up());
    let setup = setup(&upstream, &authority, "max-resets = 3");
    let gateway = setup.start().await;
    let client = Client::connect(gateway.address(), &authority).await;
    for round in 1..=4 {
        let mut sender = client.sender.clone();
        let get = request("GET").body(()).unwrap();
        let mut stream = sender.send_request(get).await.unwrap();
        stream.finish().await.unwrap();
        eventually!(upstream.count(), |count| *count == round);
        stream.stop_sending(Code::H3_REQUEST_CANCELLED);
        eventually!(upstream.hung_up(), |hung_up| *hung_up == round);
    }
    assert_eq!(client.closed().await, Code::H3_EXCESSIVE_LOAD.value());
    let again = Client::connect(gateway.address(), &authority).await;
    assert!(again.connection.close_reason().is_none());
}

#[tokio::test]
async fn connections_are_counted() {
    let (upstream, authority) = (Upstream::says("served"), Authority::default());
    let one = setup(&upstream, &authority, "max-connections = 1")
        .start()
        .await;
    let of_address = "max-connections-per-address = 1";
    let each = setup(&upstream, &authority, of_address).start().await;
    for gateway in [&one, &each] {
        let first = Client::connect(gateway.address(), &authority).await;
        assert_eq!(first.get().await.unwrap().status(), 200);
        let second = dial(gateway.address(), &authority, None).await;
        if let Ok((_endpoint, connection)) = second {
            let closed = within("a refusal", connection.closed()).await;
            let code = Code::H3_EXCESSIVE_LOAD.value();
            assert!(
                matches!(&closed, quinn::ConnectionError::ApplicationClosed(close) if close.error_code.into_inner() == code),
                "{closed}"
            );
        }
        assert_eq!(first.get().await.unwrap().status(), 200);
        drop(first);
        // Its place is free again.
        let next = || async {
            let client = Client::try_connect(gateway.address(), &authority, None).await;
            match client {
                Ok(client) => client.get().await.is_ok(),
                Err(_) => false,
            }
        };
        eventually!(next().await, |served| *served);
    }
}

#[tokio::test]
async fn a_client_that_says_nothing_is_sent_away() {
    let (upstream, authority) = (Upstream::says("served"), Authority::default());
    let timeouts = "header-timeout = \"200ms\"\nidle-timeout = \"300ms\"";
    let gateway = setup(&upstream, &authority, timeouts).start().await;
    let silent = Client::connect(gateway.address(), &authority).await;
    assert_eq!(silent.closed().await, Code::H3_NO_ERROR.value());
    let idle = Client::connect(gateway.address(), &authority).await;
    assert_eq!(idle.get().await.unwrap().status(), 200);
    assert_eq!(idle.closed().await, Code::H3_NO_ERROR.value());
}

#[tokio::test]
async fn a_client_certificate_is_known_over_http3() {
    let (upstream, authority) = (Upstream::says("served"), Authority::default());
    let (client, stranger) = (
        authority.issue(&["client.example"]),
        Authority::new("Other").issue(&["client.example"]),
    );
    let gateway = Gateway::with(format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        plugin.header-transform = {{ file = "header-transform.wasm", config = {{ request.add = {{ x-client = "{{tls.client.subject}} {{tls.sni}} {{tls.version}}" }} }} }}
        route = [{{ name = "r", path = "/{{*rest}}", plugins = ["header-transform"], upstream = "u" }}]
        [listen.public]
        address = "127.0.0.1:0"
        http3 = true
        tls = {{ certificates = [{{ cert = "a.pem", key = "file:a.pem" }}], client-auth = "required", client-ca = "ca.pem" }}
        "#
    ))
    .file("ca.pem", authority.pem())
    .file("a.pem", authority.issue(&[HOST]).both())
    .start()
    .await;
    let address = gateway.address();
    let known = Client::try_connect(address, &authority, Some(&client))
        .await
        .unwrap();
    assert_eq!(known.get().await.unwrap().status(), 200);
    let seen = upstream.last().header("x-client");
    assert_eq!(seen.as_deref(), Some("CN=client.example a.example TLSv1.3"));
    for identity in [None, Some(&stranger)] {
        // The server's refusal may come after the client's part of the handshake.
        if let Ok((_endpoint, connection)) = dial(address, &authority, identity).await {
            let closed = within("a refusal", connection.closed()).await;
            assert!(
                matches!(closed, quinn::ConnectionError::ConnectionClosed(_)),
                "{closed}"
            );
        }
    }
    assert_eq!(upstream.count(), 1);
}
