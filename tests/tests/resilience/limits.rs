//! Breakers, and limits of requests at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use postern_tests::{Call, Gate, Gateway, Script, Upstream, eventually, reply};

use super::{fragment, gateway, problem};

#[tokio::test]
async fn a_breaker_opens_looks_again_and_closes() {
    let failing = Arc::new(AtomicUsize::new(1));
    let fails = Arc::clone(&failing);
    let service = Upstream::start(move |_| match fails.load(Ordering::SeqCst) {
        0 => reply(200).body("ok").into(),
        _ => reply(500).into(),
    });
    let tables = "breaker = { min-requests = 5, open-for = \"300ms\", probes = 2 }";
    let gateway = gateway(&[&service], tables).await;
    let state =
        |state: &str| format!("postern_upstream_breaker{{state=\"{state}\",upstream=\"u\"}}");
    for _ in 0..5 {
        assert_eq!(gateway.get("/").await.status, 500);
    }
    let answer = gateway.get("/").await;
    assert_eq!(problem(&answer), (503, "upstream-breaker-open".into()));
    assert_eq!(
        answer.header("proxy-status").as_deref(),
        Some("postern; error=destination_unavailable")
    );
    assert_eq!(service.count(), 5, "an open breaker lets nothing through");
    assert_eq!(gateway.metric(&state("open")).await, Some(1.0));
    assert!(!gateway.log("circuit breaker opened").is_empty());
    failing.store(0, Ordering::SeqCst);
    eventually!(gateway.get("/").await.status, |status| *status == 200);
    assert_eq!(gateway.get("/").await.text(), "ok");
    assert_eq!(gateway.metric(&state("closed")).await, Some(1.0));
    // What it knows outlives a reload that does not touch it.
    failing.store(1, Ordering::SeqCst);
    for _ in 0..5 {
        gateway.get("/").await;
    }
    gateway.edit(&(fragment(&[&service], tables) + "timeout = \"10s\"\n"));
    eventually!(gateway.generation().await, |generation| *generation >= 2);
    assert_eq!(gateway.get("/").await.code(), "upstream-breaker-open");
}

#[tokio::test]
async fn no_more_than_so_many_are_sent_at_once_and_some_may_wait() {
    let gate = Gate::default();
    let service = Upstream::held(&gate, "ok");
    let tables = "concurrency = { max-requests = 2, max-queue = 3, queue-timeout = \"10s\" }";
    let gateway = gateway(&[&service], tables).await;
    let address = gateway.address();
    let call = move || {
        tokio::spawn(async move { postern_tests::client::call(address, &Call::get("/")).await })
    };
    let first: Vec<_> = (0..5).map(|_| call()).collect();
    let waiting = "postern_upstream_concurrency{of=\"waiting\",upstream=\"u\"}";
    eventually!(gateway.metric(waiting).await, |count| *count == Some(3.0));
    eventually!(service.count(), |count| *count == 2);
    let answer = gateway.get("/").await;
    assert_eq!(problem(&answer), (503, "upstream-overloaded".into()));
    assert_eq!(
        answer.header("proxy-status").as_deref(),
        Some("postern; error=connection_limit_reached")
    );
    assert!(answer.header("retry-after").is_some());
    gate.open();
    for answer in first {
        assert_eq!(answer.await.expect("no panic").text(), "ok");
    }
    assert_eq!(service.count(), 5);
    let taken = "postern_upstream_concurrency{of=\"taken\",upstream=\"u\"}";
    eventually!(gateway.metric(taken).await, |count| *count == Some(0.0));
}

#[tokio::test]
async fn whoever_cannot_be_answered_in_time_does_not_wait_any_longer() {
    let service = Upstream::start(|_| Script::after_body().until_hung_up());
    let tables = "concurrency = { max-requests = 1, max-queue = 10, queue-timeout = \"150ms\" }";
    let gateway = gateway(&[&service], tables).await;
    let mut first = gateway.connect().await;
    let held = tokio::spawn(async move { first.try_call(&Call::get("/")).await.map(|_| ()) });
    eventually!(service.count(), |count| *count == 1);
    assert_eq!(gateway.get("/").await.code(), "upstream-overloaded");
    let series = "postern_upstream_rejected_total{reason=\"queue-timeout\",upstream=\"u\"}";
    assert_eq!(gateway.metric(series).await, Some(1.0));
    assert_eq!(service.count(), 1);
    // When the client goes away, its place is free.
    held.abort();
    let _ = held.await;
    eventually!(service.hung_up(), |count| *count == 1);
    let mut next = gateway.connect().await;
    let next = tokio::spawn(async move { next.try_call(&Call::get("/")).await.map(|_| ()) });
    eventually!(service.count(), |count| *count == 2);
    next.abort();
}

#[tokio::test]
async fn the_less_important_give_way() {
    let gate = Gate::default();
    let service = Upstream::held(&gate, "ok");
    let tables = "concurrency = { max-requests = 1, max-queue = 1, queue-timeout = \"10s\" }";
    let routes = r#"
        [[route]]
        name = "low"
        path = "/low"
        upstream = "u"
        importance = "low"
        [[route]]
        name = "high"
        path = "/high"
        upstream = "u"
        importance = "high"
    "#;
    let gateway = Gateway::with(fragment(&[&service], tables) + routes)
        .start()
        .await;
    let address = gateway.address();
    let call = |path: &'static str| {
        tokio::spawn(async move { postern_tests::client::call(address, &Call::get(path)).await })
    };
    let first = call("/low");
    eventually!(service.count(), |count| *count == 1);
    let second = call("/low");
    let waiting = "postern_upstream_concurrency{of=\"waiting\",upstream=\"u\"}";
    eventually!(gateway.metric(waiting).await, |count| *count == Some(1.0));
    let third = call("/high");
    let displaced = second.await.expect("no panic");
    assert_eq!(problem(&displaced), (503, "upstream-overloaded".into()));
    assert_eq!(
        gateway.get("/low").await.status,
        503,
        "the queue is full of the more important"
    );
    gate.open();
    assert_eq!(first.await.expect("no panic").text(), "ok");
    assert_eq!(third.await.expect("no panic").text(), "ok");
    let series = "postern_upstream_rejected_total{reason=\"displaced\",upstream=\"u\"}";
    assert_eq!(gateway.metric(series).await, Some(1.0));
}
