//! Upstreams as operators see them, what health checks cost their targets, and what counts as a failure.

#[path = "upstreams/balance.rs"]
mod balance;
#[path = "upstreams/outbound.rs"]
mod outbound;
#[path = "upstreams/protection.rs"]
mod protection;

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postern_tests::raw::ByHand;
use postern_tests::{
    Call, Connection, Gate, Gateway, Raw, Script, Upstream, client, eventually, reply,
};
use serde_json::{Value, json};

fn fragment(targets: &str, tables: &str, route: &str) -> String {
    format!(
        r#"
        [upstream.u]
        targets = [{targets}]
        {tables}
        [[route]]
        name = "r"
        path = "/{{*rest}}"
        upstream = "u"
        {route}
        "#
    )
}

fn quoted(target: &impl Display) -> String {
    format!("\"{target}\"")
}

/// What `/api/upstreams` says of the upstream.
async fn report(gateway: &Gateway) -> Value {
    let answer = client::call(gateway.admin(), &Call::get("/api/upstreams")).await;
    answer.json()["u"].clone()
}

/// What it says of the first target.
async fn target(gateway: &Gateway) -> Value {
    report(gateway).await["targets"][0].clone()
}

async fn metric(gateway: &Gateway, name: &str, service: &impl Display) -> Option<f64> {
    let address = service.to_string().replace("http://", "");
    let series = format!("{name}{{target=\"{address}\",upstream=\"u\"}}");
    gateway.metric(&series).await
}

#[tokio::test]
async fn operators_see_places_queues_and_connections() {
    let gate = Gate::default();
    let held = gate.clone();
    let service = Upstream::start(move |_| {
        Script::after_body()
            .wait(&held)
            .send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    });
    let targets = format!(
        "{{ url = \"{service}\", weight = 3, priority = 2, zone = \"a\", backup = false }}"
    );
    let tables = r#"
        concurrency = { max-requests = 1, max-queue = 5, queue-timeout = "30s" }
        breaker = {}
        retry-budget-min = 7
    "#;
    let gateway = Gateway::with(fragment(&targets, tables, "")).start().await;
    let before = report(&gateway).await;
    assert_eq!(before["breaker"], json!({ "state": "closed" }), "{before}");
    assert_eq!(before["retry_budget_left"], 70, "{before}");
    let address = gateway.address();
    let call = || tokio::spawn(async move { client::call(address, &Call::get("/")).await.text() });
    let first = call();
    eventually!(service.count(), |count| *count == 1);
    let second = call();
    let busy = eventually!(
        report(&gateway).await,
        |report| report["concurrency"]["waiting"] == 1
    );
    let expected =
        json!({ "limit": 1, "adaptive": false, "taken": 1, "waiting": 1, "max_queue": 5 });
    assert_eq!(busy["concurrency"], expected);
    assert_eq!(busy["in_flight"], 1);
    let target = &busy["targets"][0];
    assert_eq!(
        target["connections"],
        json!({ "total": 1, "active": 1, "idle": 0, "waiting": 0 })
    );
    assert_eq!(
        [&target["weight"], &target["priority"], &target["zone"]],
        [&json!(3), &json!(2), &json!("a")]
    );
    let active = "postern_target_connections_active";
    assert_eq!(metric(&gateway, active, &service).await, Some(1.0));
    gate.open();
    assert_eq!(first.await.expect("no panic"), "ok");
    assert_eq!(second.await.expect("no panic"), "ok");
    let idle = eventually!(report(&gateway).await, |report| report["in_flight"] == 0);
    let connections = &idle["targets"][0]["connections"];
    assert_eq!([&connections["active"], &connections["idle"]], [0, 1]);
    let idle = "postern_target_connections_idle";
    assert_eq!(metric(&gateway, idle, &service).await, Some(1.0));
}

#[tokio::test]
async fn operators_see_why_nothing_is_sent() {
    let fails = Upstream::start(|_| reply(500).into());
    let well = Upstream::says("well");
    let targets = format!("{}, {}", quoted(&fails), quoted(&well));
    let tables = r#"
        outlier = { consecutive-5xx = 2, base-ejection-time = "1h", max-ejection-time = "1h" }
        breaker = { min-requests = 3, failure-rate = "50%", open-for = "1h" }
        retry-budget-min = 0
        retry-budget = "0%"
    "#;
    let gateway = Gateway::with(fragment(&targets, tables, "")).start().await;
    let mut connection = gateway.connect().await;
    for _ in 0..4 {
        connection.call(&Call::get("/")).await;
    }
    let seen = eventually!(
        report(&gateway).await,
        |report| report["targets"][0]["state"] == "ejected"
    );
    let ejected = &seen["targets"][0];
    assert_eq!(ejected["ejected_by"], "consecutive-5xx");
    let left = ejected["ejected_for_ms"].as_u64().unwrap_or_default();
    assert!((3_500_000..=3_600_000).contains(&left), "{left}");
    assert_eq!(seen["targets"][1]["state"], "usable");
    assert_eq!(seen["breaker"]["state"], "open", "{seen}");
    let since = seen["breaker"]["for_ms"].as_u64();
    assert!(since.is_some_and(|since| since < 60_000), "{since:?}");
    assert_eq!(seen["retry_budget_left"], 0);
    let series = "postern_upstream_ejections_total{reason=\"consecutive-5xx\",upstream=\"u\"}";
    assert_eq!(gateway.metric(series).await, Some(1.0));
    let series = "postern_upstream_retry_budget_left{upstream=\"u\"}";
    assert_eq!(gateway.metric(series).await, Some(0.0));
}

#[tokio::test]
async fn checks_share_a_connection_and_renew_it() {
    for (more, most) in [("", 4), (", reuse-connection = false", usize::MAX)] {
        let service = Upstream::says("ok");
        let health = format!("health = {{ interval = \"100ms\"{more} }}");
        let gateway = Gateway::with(fragment(&quoted(&service), &health, ""))
            .start()
            .await;
        eventually!(service.count(), |checks| *checks >= 21);
        let (checks, connections) = (service.count(), service.connections());
        match most {
            // Every tenth makes a new one, and the last may be under way.
            4 => assert!((3..=4).contains(&connections), "{connections} of {checks}"),
            _ => assert!(connections + 1 >= checks, "{connections} of {checks}"),
        }
        assert_eq!(target(&gateway).await["state"], "usable");
    }
}

#[tokio::test]
async fn a_check_on_a_connection_that_is_gone_says_nothing_about_the_target() {
    // It promises to keep the connection, and does not.
    let service = Upstream::start(|_| {
        Script::after_body()
            .send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .close()
    });
    let health = "health = { interval = \"100ms\", fall = 1 }";
    let gateway = Gateway::with(fragment(&quoted(&service), health, ""))
        .start()
        .await;
    eventually!(service.count(), |checks| *checks >= 5);
    let seen = target(&gateway).await;
    assert_eq!(seen["state"], "usable", "{seen}");
    assert_eq!(seen["check_failure"], Value::Null);
    let address = service.to_string().replace("http://", "");
    let told = gateway.log(&address);
    assert!(
        !told.iter().any(|line| line.contains("health check")),
        "{told:?}"
    );
}

/// Good heads, and bodies that break off while `breaks` says so.
fn breaks_off(breaks: &Arc<AtomicBool>) -> Upstream {
    let breaks = Arc::clone(breaks);
    Upstream::start(move |_| match breaks.load(Ordering::SeqCst) {
        true => Script::after_body()
            .send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart")
            .close(),
        false => reply(200).body("whole").into(),
    })
}

async fn ask(gateway: &Gateway, times: usize) {
    for _ in 0..times {
        let mut client = Raw::connect(gateway.address()).await;
        client
            .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await;
        client.rest().await;
    }
}

#[tokio::test]
async fn a_target_whose_bodies_break_off_is_ejected() {
    let breaks = Arc::new(AtomicBool::new(true));
    let (bad, well) = (breaks_off(&breaks), Upstream::says("well"));
    let targets = format!("{}, {}", quoted(&bad), quoted(&well));
    let tables = "outlier = { consecutive-gateway-errors = 3, consecutive-5xx = 0 }";
    let gateway = Gateway::with(fragment(&targets, tables, "")).start().await;
    ask(&gateway, 6).await;
    let seen = eventually!(target(&gateway).await, |target| target["state"]
        == "ejected");
    assert_eq!(seen["ejected_by"], "consecutive-gateway-errors");
    assert_eq!(seen["failures"], 3, "{seen}");
    assert_eq!(bad.count(), 3);
}

#[tokio::test]
async fn bodies_that_break_off_open_the_breaker() {
    let breaks = Arc::new(AtomicBool::new(false));
    let service = breaks_off(&breaks);
    let tables = r#"breaker = { min-requests = 4, failure-rate = "50%", open-for = "1h" }"#;
    let gateway = Gateway::with(fragment(&quoted(&service), tables, ""))
        .start()
        .await;
    ask(&gateway, 4).await;
    assert_eq!(report(&gateway).await["breaker"]["state"], "closed");
    breaks.store(true, Ordering::SeqCst);
    ask(&gateway, 4).await;
    eventually!(report(&gateway).await, |report| report["breaker"]["state"]
        == "open");
    assert_eq!(gateway.get("/").await.code(), "upstream-breaker-open");
}

#[tokio::test]
async fn a_tunnel_is_under_way_until_it_ends() {
    const ASK: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    const GRANT: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let service = ByHand::listen().await;
    let targets = format!("\"http://{}\"", service.address());
    let gateway = Gateway::with(fragment(&targets, "", "upgrade = [\"websocket\"]"))
        .start()
        .await;
    let mut client = Raw::connect(gateway.address()).await;
    client.send(ASK).await;
    let mut server = service.accept().await;
    server.until("\r\n\r\n").await;
    server.send(GRANT).await;
    client.until("\r\n\r\n").await;
    client.send("hello").await;
    assert_eq!(server.until("hello").await, "hello");
    assert_eq!(target(&gateway).await["in_flight"], 1);
    drop((client, server));
    eventually!(target(&gateway).await, |target| target["in_flight"] == 0);
}

#[tokio::test]
async fn each_attempt_is_told_that_less_time_is_left() {
    let late = Duration::from_millis(300);
    let bad = Upstream::start(move |_| Script::after_body().pause(late).close());
    let well = Upstream::says("ok");
    let targets = format!("{}, {}", quoted(&bad), quoted(&well));
    let tables = r#"retry = { on = ["reset"], methods = ["POST"] }"#;
    let route = "timeout = \"20s\"\ndeadline-header = \"x-timeout-ms\"";
    let gateway = Gateway::with(fragment(&targets, tables, route))
        .start()
        .await;
    let call = Call::post("/", "message")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "9S");
    // Of two in turn, one meets the bad target first.
    let mut connection = Connection::h2(gateway.address()).await;
    for _ in 0..2 {
        assert_eq!(connection.call(&call).await.text(), "ok");
    }
    let told = |service: &Upstream, name: &str| -> u64 {
        let text = service.last().header(name).unwrap_or_default();
        let number = text.trim_end_matches('m').parse();
        number.unwrap_or_else(|_| panic!("{name}: {text:?}"))
    };
    let repeated = well.requests().into_iter().map(|request| {
        let text = request.header("grpc-timeout").unwrap_or_default();
        text.trim_end_matches('m')
            .parse::<u64>()
            .unwrap_or(u64::MAX)
    });
    let least = repeated.min().unwrap_or(u64::MAX);
    let first = told(&bad, "grpc-timeout");
    assert!((1..=9_000).contains(&first), "{first}");
    assert!(least + 300 <= first, "{least} after {first}");
    let left = |request: &postern_tests::upstream::Received| -> u64 {
        let text = request.header("x-timeout-ms").unwrap_or_default();
        text.parse().unwrap_or(u64::MAX)
    };
    let least = well.requests().iter().map(left).min().unwrap_or(u64::MAX);
    let first = told(&bad, "x-timeout-ms");
    assert!(least + 300 <= first, "{least} after {first}");
}

#[tokio::test]
async fn calls_are_repeated_by_the_status_of_grpc() {
    let trailers_only = |code: &'static str| {
        Upstream::start(move |_| {
            let head = reply(200).header("content-type", "application/grpc");
            head.header("grpc-status", code).into()
        })
    };
    for (code, repeated) in [("14", true), ("5", false)] {
        let (bad, well) = (trailers_only(code), Upstream::says("ok"));
        let targets = format!("{}, {}", quoted(&bad), quoted(&well));
        let tables = r#"retry = { grpc-statuses = ["unavailable"], methods = ["POST"] }"#;
        let gateway = Gateway::with(fragment(&targets, tables, "")).start().await;
        let call = Call::post("/", "message").header("content-type", "application/grpc");
        let mut well_answered = 0;
        for _ in 0..4 {
            well_answered += usize::from(gateway.call(&call).await.text() == "ok");
        }
        assert!(bad.count() > 0);
        assert_eq!(well_answered == 4, repeated, "status {code}");
    }
}
