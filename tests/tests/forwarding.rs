//! Who the client is behind proxies: what trusted ones say is believed, what strangers say is not.

use postern_tests::{Call, Gateway, Upstream, eventually};
use serde_json::Value;

async fn gateway(upstream: &Upstream, trusted: &str) -> Gateway {
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [
            {{ name = "any", path = "/{{*rest}}", upstream = "u" }},
            {{ name = "inner", path = "/{{*rest}}", hosts = ["inner.test"], upstream = "u" }},
        ]
        [listen.public]
        address = "127.0.0.1:0"
        trusted-proxies = [{trusted}]
        "#
    );
    Gateway::with(fragment).start().await
}

/// The client in the access log's only line.
async fn client(gateway: &Gateway) -> Value {
    let log = eventually!(gateway.access_log(), |lines| lines.len() == 1);
    log[0]["client"].clone()
}

/// Everything that a client may say about who it is and how it came.
fn claims() -> Call {
    Call::get("/")
        .host("shop.test")
        .header("forwarded", "for=10.9.9.9;proto=https;host=inner.test")
        .header("x-forwarded-for", "10.9.9.9")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "inner.test")
        .header("x-forwarded-port", "443")
        .header("x-forwarded-prefix", "/admin")
        .header("x-real-ip", "10.9.9.9")
}

#[tokio::test]
async fn nothing_that_a_stranger_says_about_itself_reaches_the_upstream() {
    let upstream = Upstream::says("ok");
    // A network that the peer is not in must not make a difference.
    for trusted in ["", "\"192.0.2.0/24\""] {
        let gateway = gateway(&upstream, trusted).await;
        assert_eq!(gateway.call(&claims()).await.status, 200);
        let request = upstream.last();
        for (name, expected) in [
            ("forwarded", Some("for=127.0.0.1;host=shop.test;proto=http")),
            ("x-forwarded-for", Some("127.0.0.1")),
            ("x-forwarded-proto", Some("http")),
            ("x-forwarded-host", Some("shop.test")),
            ("x-forwarded-port", None),
            ("x-forwarded-prefix", None),
            ("x-real-ip", None),
        ] {
            assert_eq!(request.header(name).as_deref(), expected, "{name}");
        }
        assert!(!request.head.contains("10.9.9.9"), "{}", request.head);
        assert_eq!(client(&gateway).await, "127.0.0.1");
    }
}

#[tokio::test]
async fn a_trusted_proxys_forwarded_names_client_scheme_and_host() {
    let upstream = Upstream::says("ok");
    let gateway = gateway(&upstream, "\"127.0.0.1\", \"10.0.0.0/8\"").await;
    // What the client wrote itself, with a quote left open, stands before what the proxies wrote.
    let call = Call::get("/").host("inner.example").header(
        "forwarded",
        "for=\", for=203.0.113.5;proto=https;host=shop.test, for=10.0.0.7;proto=http;host=inner.example",
    );
    gateway.call(&call).await;
    let request = upstream.last();
    assert_eq!(
        request.header("x-forwarded-proto").as_deref(),
        Some("https")
    );
    assert_eq!(
        request.header("x-forwarded-host").as_deref(),
        Some("shop.test")
    );
    assert_eq!(client(&gateway).await, "203.0.113.5");
}

#[tokio::test]
async fn a_forwarded_host_is_passed_on_and_does_not_choose_the_route() {
    let upstream = Upstream::says("ok");
    let gateway = gateway(&upstream, "\"127.0.0.1\"").await;
    assert_eq!(gateway.call(&claims()).await.status, 200);
    let request = upstream.last();
    assert_eq!(request.header("host").as_deref(), Some("shop.test"));
    assert_eq!(
        request.header("x-forwarded-host").as_deref(),
        Some("inner.test")
    );
    assert_eq!(request.header("x-forwarded-port").as_deref(), Some("443"));
    let log = eventually!(gateway.access_log(), |lines| lines.len() == 1);
    assert_eq!(log[0]["route"], "any");
}

#[tokio::test]
async fn what_a_trusted_proxy_passes_on_malformed_is_replaced() {
    let upstream = Upstream::says("ok");
    let gateway = gateway(&upstream, "\"127.0.0.1\"").await;
    let call = Call::get("/")
        .host("shop.test")
        .header("x-forwarded-for", "203.0.113.5, nobody")
        .header("x-forwarded-proto", "gopher")
        .header("x-forwarded-host", "a b/c")
        .header("x-forwarded-port", "-1");
    gateway.call(&call).await;
    let request = upstream.last();
    for (name, expected) in [
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-host", Some("shop.test")),
        ("x-forwarded-port", None),
    ] {
        assert_eq!(request.header(name).as_deref(), expected, "{name}");
    }
    assert_eq!(client(&gateway).await, "127.0.0.1", "nobody is no address");
}
