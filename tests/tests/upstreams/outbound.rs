//! What plugins send to upstreams on their own account goes the same way as requests of clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use postern_tests::upstream::Refusing;
use postern_tests::{Gateway, Script, Upstream, reply};

use super::{quoted, report};

/// A gateway whose plugin asks `u`, which has these targets and tables, as often as this in each request, and answers with
/// what it was told.
async fn asking(count: &str, targets: &str, tables: &str) -> Gateway {
    Gateway::with(format!(
        r#"
        [upstream.u]
        targets = [{targets}]
        {tables}
        [[route]]
        name = "r"
        path = "/"
        plugins = ["greedy"]
        upstream = "u"
        [plugin.greedy]
        file = "greedy.wasm"
        upstreams = ["u"]
        grants = ["identity", "keys", "limits", "store", "metrics"]
        config = {{ do = "outbound", upstream = "u", {count} }}
        budget = {{ cpu = "1s" }}
        "#
    ))
    .start()
    .await
}

async fn told(gateway: &Gateway) -> Vec<String> {
    let answer = gateway.get("/").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.text().lines().map(str::to_owned).collect()
}

async fn retries(gateway: &Gateway, reason: &str) -> Option<f64> {
    let series = format!("postern_upstream_retries_total{{reason=\"{reason}\",upstream=\"u\"}}");
    gateway.metric(&series).await
}

#[tokio::test]
async fn plugins_get_another_target_when_one_is_gone() {
    let (gone, well) = (Refusing::default(), Upstream::says("well"));
    let targets = format!("{}, {}", quoted(&gone), quoted(&well));
    let gateway = asking("count = 6", &targets, "").await;
    assert_eq!(told(&gateway).await, vec!["200 4 bytes"; 6]);
    assert_eq!(well.count(), 6);
    // After some it is left alone.
    let repeated = retries(&gateway, "connect-failure").await;
    assert!(repeated >= Some(3.0), "{repeated:?}");
}

#[tokio::test]
async fn plugins_share_the_budget() {
    let service = Upstream::start(|_| reply(503).into());
    let tables = r#"
        retry-budget = "50%"
        retry-budget-min = 0
        retry = { statuses = [503], backoff = "0ms", max-backoff = "0ms" }
    "#;
    let gateway = asking("count = 10", &quoted(&service), tables).await;
    assert_eq!(told(&gateway).await, vec!["503 0 bytes"; 10]);
    assert_eq!(service.count(), 15);
    assert_eq!(retries(&gateway, "status").await, Some(5.0));
    let series = "postern_upstream_retry_budget_exhausted_total{upstream=\"u\"}";
    assert_eq!(gateway.metric(series).await, Some(5.0));
}

#[tokio::test]
async fn what_a_service_fails_at_once_is_asked_again_for_a_plugin() {
    let failing = Arc::new(AtomicUsize::new(1));
    let service = Upstream::start(move |_| {
        let fails = failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        });
        match fails {
            Ok(_) => Script::after_body().close(),
            Err(_) => reply(200).body("ok").into(),
        }
    });
    let tables = "retry = { on = [\"reset\"] }";
    let gateway = asking("count = 1", &quoted(&service), tables).await;
    assert_eq!(told(&gateway).await, ["200 2 bytes"]);
    assert_eq!(service.count(), 2);
}

#[tokio::test]
async fn a_breaker_that_is_open_is_open_for_plugins() {
    let service = Upstream::start(|_| reply(500).into());
    let tables = r#"breaker = { min-requests = 5, open-for = "1h" }"#;
    let gateway = asking("count = 8", &quoted(&service), tables).await;
    let told = told(&gateway).await;
    assert_eq!(told[..5], ["500 0 bytes"; 5]);
    let is_refused = |line: &String| line.starts_with("unavailable: ");
    assert!(told[5..].iter().all(is_refused), "{told:?}");
    assert_eq!(service.count(), 5);
    assert_eq!(report(&gateway).await["breaker"]["state"], "open");
}

#[tokio::test]
async fn plugins_take_their_turn() {
    let pause = std::time::Duration::from_millis(200);
    let script = Script::after_body().pause(pause);
    let script = script.send(reply(200).body("ok").bytes());
    let service = Upstream::start(move |_| script.clone());
    let ask = "count = 3, parallel = true";
    let tables = "concurrency = { max-requests = 1, max-queue = 1, queue-timeout = \"10s\" }";
    let gateway = asking(ask, &quoted(&service), tables).await;
    let mut told = told(&gateway).await;
    told.sort_unstable();
    assert_eq!(told[..2], ["200 2 bytes"; 2]);
    assert!(told[2].starts_with("unavailable: "), "{told:?}");
    assert_eq!(service.count(), 2);
}
