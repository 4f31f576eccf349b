//! Which headers go on, which end here, and which begin here.

use postern_tests::setup::one_route;
use postern_tests::{Call, Connection, Gateway, Raw, Script, Upstream, reply};

async fn gateway(upstream: &Upstream, listener: &str) -> Gateway {
    Gateway::with(one_route(upstream, listener)).start().await
}

const TRUSTING: &str = r#"trusted-proxies = ["127.0.0.0/8", "10.0.0.0/8"]"#;

#[tokio::test]
async fn what_belongs_to_the_clients_connection_ends_here() {
    let upstream = Upstream::says("ok");
    let gateway = gateway(&upstream, "").await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.send(
        "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, X-Private, Authorization\r\nX-Private: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: websocket\r\n\
         Authorization: Bearer x\r\nX-Public: 2\r\n\r\n",
    )
    .await;
    assert_eq!(raw.answer().await.expect("an answer").status, 200);
    let request = upstream.last();
    for gone in [
        "connection",
        "x-private",
        "keep-alive",
        "proxy-connection",
        "te",
        "upgrade",
    ] {
        assert_eq!(request.header(gone), None, "{gone}\n{}", request.head);
    }
    assert_eq!(request.header("x-public").as_deref(), Some("2"));
    // Naming it in `Connection` must not be a way to take it off the request.
    assert_eq!(request.header("authorization").as_deref(), Some("Bearer x"));
}

#[tokio::test]
async fn what_belongs_to_the_upstreams_connection_ends_here() {
    let upstream = Upstream::start(|_| {
        reply(200)
            .header("Connection", "x-hop")
            .header("X-Hop", "1")
            .header("Keep-Alive", "timeout=9")
            .header("X-End", "2")
            .body("ok")
            .into()
    });
    let gateway = gateway(&upstream, "").await;
    for mut connection in [
        Connection::h1(gateway.address()).await,
        Connection::h2(gateway.address()).await,
    ] {
        let answer = connection.call(&Call::get("/")).await;
        assert_eq!(answer.text(), "ok");
        for gone in ["connection", "x-hop", "keep-alive"] {
            assert_eq!(answer.header(gone), None, "{gone}");
        }
        assert_eq!(answer.header("x-end").as_deref(), Some("2"));
    }
}

#[tokio::test]
async fn other_headers_go_on_unchanged_and_repeated_ones_stay_repeated() {
    let upstream = Upstream::start(|_| {
        reply(200)
            .header("Set-Cookie", "a=1")
            .header("Set-Cookie", "b=2")
            .header("X-Odd", "\u{e4} \t;,")
            .into()
    });
    let gateway = gateway(&upstream, "").await;
    let call = Call::get("/")
        .header("x-many", "1")
        .header("x-many", "2")
        .header("cookie", "a=b; c=d");
    let answer = gateway.call(&call).await;
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    assert_eq!(answer.header("x-odd").as_deref(), Some("\u{e4} \t;,"));
    let request = upstream.last();
    assert_eq!(
        request
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("x-many"))
            .count(),
        2
    );
    assert_eq!(request.header("cookie").as_deref(), Some("a=b; c=d"));
}

#[tokio::test]
async fn the_host_reaches_the_upstream_as_the_client_named_it() {
    let upstream = Upstream::says("ok");
    let gateway = gateway(&upstream, "").await;
    gateway.call(&Call::get("/").host("shop.test:8443")).await;
    assert_eq!(
        upstream.last().header("host").as_deref(),
        Some("shop.test:8443")
    );
    // In HTTP/2 it is the authority.
    Connection::h2(gateway.address())
        .await
        .call(&Call::get("/").host("two.test"))
        .await;
    assert_eq!(upstream.last().header("host").as_deref(), Some("two.test"));
    // And in the absolute form, it is the target's (RFC 9112, 3.2.2); one that says another host is refused
    // (`raw_http1` has those cases).
    let mut raw = Raw::connect(gateway.address()).await;
    raw.send("GET http://absolute.test/x?y HTTP/1.1\r\nHost: absolute.test\r\n\r\n")
        .await;
    assert_eq!(raw.answer().await.expect("an answer").status, 200);
    let request = upstream.last();
    assert_eq!(
        (request.target.as_str(), request.header("host").as_deref()),
        ("/x?y", Some("absolute.test"))
    );
}

#[tokio::test]
async fn via_names_the_gateway_in_both_directions() {
    let upstream = Upstream::start(|_| reply(200).header("Via", "1.1 cache").into());
    let gateway = gateway(&upstream, "").await;
    let answer = gateway
        .call(&Call::get("/").header("via", "1.0 front"))
        .await;
    assert_eq!(
        answer.header("via").as_deref(),
        Some("1.1 cache, 1.1 postern")
    );
    assert_eq!(
        upstream.last().header("via").as_deref(),
        Some("1.0 front, 1.1 postern")
    );
    Connection::h2(gateway.address())
        .await
        .call(&Call::get("/"))
        .await;
    assert_eq!(upstream.last().header("via").as_deref(), Some("2 postern"));
}

#[tokio::test]
async fn a_stranger_cannot_say_for_whom_it_forwards() {
    let upstream = Upstream::says("ok");
    let gateway = gateway(&upstream, "").await;
    let call = Call::get("/")
        .host("a.test")
        .header("x-forwarded-for", "10.9.9.9")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "evil.test")
        .header("forwarded", "for=10.9.9.9;proto=https");
    gateway.call(&call).await;
    let request = upstream.last();
    assert_eq!(
        request.header("x-forwarded-for").as_deref(),
        Some("127.0.0.1")
    );
    assert_eq!(request.header("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(
        request.header("x-forwarded-host").as_deref(),
        Some("a.test")
    );
    assert_eq!(
        request.header("forwarded").as_deref(),
        Some("for=127.0.0.1;host=a.test;proto=http")
    );
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_and_added_to_the_list() {
    let upstream = Upstream::says("ok");
    let gateway = gateway(&upstream, TRUSTING).await;
    let call = Call::get("/")
        .host("a.test")
        .header("x-forwarded-for", "198.51.100.7, 203.0.113.5, 10.1.2.3")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "shop.test")
        .header("forwarded", "for=203.0.113.5;proto=https");
    gateway.call(&call).await;
    let request = upstream.last();
    assert_eq!(
        request.header("x-forwarded-for").as_deref(),
        Some("198.51.100.7, 203.0.113.5, 10.1.2.3, 127.0.0.1")
    );
    assert_eq!(
        request.header("x-forwarded-proto").as_deref(),
        Some("https")
    );
    assert_eq!(
        request.header("x-forwarded-host").as_deref(),
        Some("shop.test")
    );
    let forwarded = request.header("forwarded").expect("it is forwarded");
    assert!(
        forwarded.starts_with("for=203.0.113.5;proto=https, for=127.0.0.1;host=a.test"),
        "{forwarded}"
    );
    // The client is the last address that is not a trusted proxy's: what stands before it is hearsay.
    let log = postern_tests::eventually!(gateway.access_log(), |lines| lines.len() == 1);
    assert_eq!(log[0]["client"], "203.0.113.5");
}

#[tokio::test]
async fn what_only_the_gateway_may_say_about_consumers_is_never_taken_from_clients() {
    let upstream = Upstream::says("ok");
    let gateway = gateway(&upstream, TRUSTING).await;
    let claims = [
        "X-Consumer-Username",
        "x-consumer-id",
        "X-Consumer-Custom-Id",
        "X-Credential-Identifier",
        "X-Anonymous-Consumer",
    ];
    let call = claims
        .iter()
        .fold(Call::get("/"), |call, name| call.header(name, "admin"));
    for mut connection in [
        Connection::h1(gateway.address()).await,
        Connection::h2(gateway.address()).await,
    ] {
        assert_eq!(connection.call(&call).await.status, 200);
        for name in claims {
            assert_eq!(upstream.last().header(name), None, "{name}");
        }
    }
}

#[tokio::test]
async fn an_answer_in_http_1_0_is_passed_on_with_its_end() {
    let upstream = Upstream::start(|_| {
        Script::after_body()
            .send("HTTP/1.0 200 OK\r\nX-Old: yes\r\n\r\nuntil the connection ends")
            .close()
    });
    let gateway = gateway(&upstream, "").await;
    for mut connection in [
        Connection::h1(gateway.address()).await,
        Connection::h2(gateway.address()).await,
    ] {
        for _ in 0..2 {
            let answer = connection.call(&Call::get("/")).await;
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (200, "until the connection ends")
            );
            assert_eq!(answer.header("via").as_deref(), Some("1.0 postern"));
        }
    }
    // The client's connection is its own: it is kept, whatever the upstream speaks.
    let mut raw = Raw::connect(gateway.address()).await;
    for _ in 0..2 {
        raw.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        let answer = raw.answer().await.expect("an answer");
        assert!(answer.head.starts_with("HTTP/1.1 200"), "{}", answer.head);
        assert_eq!(answer.text(), "until the connection ends");
    }
}
