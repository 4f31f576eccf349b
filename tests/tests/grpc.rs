//! gRPC, with the client and the server of PyPI's `grpcio`: calls of all kinds, and errors that callers understand.

use postern_tests::peers::{Peer, Server};
use postern_tests::upstream::Refusing;
use postern_tests::{Call, Connection, Gateway, eventually};
use serde_json::{Value, json};

const PACKAGE: &str = "grpc";

fn find() -> Option<Peer> {
    Peer::find("grpc_peer.py", PACKAGE)
}

fn config(target: impl std::fmt::Display, route: &str) -> String {
    format!(
        r#"
        [upstream.u]
        targets = ["{target}"]
        protocol = "h2"
        [[route]]
        name = "echo"
        path = "/test.Echo/{{method}}"
        upstream = "u"
        {route}
        "#
    )
}

async fn through(server: &Server, route: &str) -> Gateway {
    let target = format!("http://{}", server.address());
    Gateway::with(config(target, route)).start().await
}

async fn call(peer: &Peer, gateway: &Gateway, scenario: &str) -> Value {
    let address = gateway.address().to_string();
    peer.call(&["call", &address, scenario]).await
}

#[tokio::test]
async fn all_four_kinds_of_calls_go_through() {
    let Some(peer) = find() else { return };
    let server = peer.serve();
    let gateway = through(&server, "").await;
    let seen = call(&peer, &gateway, "kinds").await;
    let expected = json!({
        "unary": "cba",
        "trailer": "3",
        "via": "2 postern",
        "joined": "a+b+c",
        "listed": 300,
        "talked": ["ONE", "TWO", "THREE"],
    });
    assert_eq!(seen, expected);
    let log = eventually!(gateway.access_log(), |log| log.len() == 4);
    for line in &log {
        assert_eq!(
            (&line["status"], &line["grpc_status"]),
            (&200.into(), &0.into()),
            "{line}"
        );
    }
    let series = "postern_grpc_calls_total{grpc_status=\"0\",route=\"echo\"}";
    assert_eq!(gateway.metric(series).await, Some(4.0));
}

#[tokio::test]
async fn large_messages_and_many_calls_go_through() {
    let Some(peer) = find() else { return };
    let server = peer.serve();
    let gateway = through(&server, "").await;
    assert_eq!(call(&peer, &gateway, "large").await, json!({"same": true}));
    assert_eq!(
        call(&peer, &gateway, "parallel").await,
        json!({"answers": 200})
    );
}

#[tokio::test]
async fn errors_of_the_service_are_passed_on() {
    let Some(peer) = find() else { return };
    let server = peer.serve();
    let gateway = through(&server, "").await;
    let seen = call(&peer, &gateway, "fail").await;
    assert_eq!(
        (&seen["code"], &seen["details"]),
        (&"FAILED_PRECONDITION".into(), &"not now: \u{fc}%".into())
    );
    let log = eventually!(gateway.access_log(), |log| log.len() == 1).remove(0);
    assert_eq!(log["grpc_status"], 9, "{log}");
}

#[tokio::test]
async fn deadlines_end_calls() {
    let Some(peer) = find() else { return };
    let server = peer.serve();
    // The caller's deadline is shorter than the route's timeout, and the other way round.
    let gateway = through(&server, "").await;
    assert_eq!(
        call(&peer, &gateway, "slow").await["code"],
        "DEADLINE_EXCEEDED"
    );
    let gateway = through(&server, "timeout = \"500ms\"").await;
    let seen = call(&peer, &gateway, "slow-without-deadline").await;
    assert_eq!(
        (&seen["code"], &seen["details"]),
        (
            &"DEADLINE_EXCEEDED".into(),
            &"The service did not answer in time".into()
        )
    );
    let log = eventually!(gateway.access_log(), |log| log.len() == 1).remove(0);
    assert_eq!(
        (&log["code"], &log["grpc_status"]),
        (&"upstream-timeout".into(), &4.into())
    );
}

#[tokio::test]
async fn a_cancelled_call_is_cancelled_at_the_service() {
    let Some(peer) = find() else { return };
    let server = peer.serve();
    let gateway = through(&server, "").await;
    assert_eq!(
        call(&peer, &gateway, "cancel").await,
        json!({"cancelled": "yes"})
    );
}

#[tokio::test]
async fn errors_of_the_gateway_are_ones_of_grpc() {
    let Some(peer) = find() else { return };
    let refusing = Refusing::default();
    let gateway = Gateway::with(config(&refusing, "")).start().await;
    let seen = call(&peer, &gateway, "unary").await;
    assert_eq!(
        (&seen["code"], &seen["details"]),
        (
            &"UNAVAILABLE".into(),
            &"The service cannot be reached".into()
        )
    );
    let fragment = config(&refusing, "").replace("/test.Echo/{method}", "/other");
    let gateway = Gateway::with(fragment).start().await;
    assert_eq!(
        call(&peer, &gateway, "unary").await["code"],
        "UNIMPLEMENTED"
    );
    let server = peer.serve();
    let gateway = through(&server, "max-request-body = \"5B\"").await;
    assert_eq!(
        call(&peer, &gateway, "unary").await["code"],
        "RESOURCE_EXHAUSTED"
    );
}

#[tokio::test]
async fn refusals_of_plugins_are_ones_of_grpc() {
    let Some(peer) = find() else { return };
    let server = peer.serve();
    let plugins = r#"
        [plugin.api-key]
        file = "api-key.wasm"
        grants = ["identity"]
        [plugin.rate-limit]
        file = "rate-limit.wasm"
        grants = ["limits"]
        config = { by = "address", limits = ["1/hour"] }
    "#;
    let target = format!("http://{}", server.address());
    for (plugin, codes) in [
        ("api-key", ["UNAUTHENTICATED", "UNAUTHENTICATED"]),
        ("rate-limit", ["", "RESOURCE_EXHAUSTED"]),
    ] {
        let route = format!("plugins = [\"{plugin}\"]");
        let gateway = Gateway::with(config(&target, &route) + plugins)
            .start()
            .await;
        for code in codes {
            let seen = call(&peer, &gateway, "unary").await;
            assert_eq!(
                seen["code"].as_str().unwrap_or_default(),
                code,
                "{plugin} {seen}"
            );
        }
    }
}

#[tokio::test]
async fn an_answer_that_has_only_a_head_is_what_callers_expect() {
    let refusing = Refusing::default();
    let gateway = Gateway::with(config(&refusing, "")).start().await;
    let grpc = Call::post("/test.Echo/Unary", "x").header("content-type", "application/grpc+proto");
    let answer = Connection::h2(gateway.address()).await.call(&grpc).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(
        answer.header("content-type").as_deref(),
        Some("application/grpc")
    );
    assert_eq!(answer.header("grpc-status").as_deref(), Some("14"));
    assert_eq!(answer.header("content-length"), None);
    // Others, and calls over HTTP/1.1, are answered as ever.
    for (mut connection, call) in [
        (Connection::h1(gateway.address()).await, grpc),
        (
            Connection::h2(gateway.address()).await,
            Call::post("/test.Echo/Unary", "x"),
        ),
    ] {
        let answer = connection.call(&call).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "upstream-unreachable")
        );
    }
}
