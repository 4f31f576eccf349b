//! The end of a gateway: as the real program, told by signals.

use std::time::{Duration, Instant};

use postern_tests::{
    Call, Connection, Gate, Gateway, Raw, Script, Upstream, client, eventually, reply,
};
use rustix::process::Signal;
use tokio::net::TcpStream;

/// An upstream whose `/slow` waits for a gate.
fn held(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::start(move |request| match request.target.as_str() {
        "/slow" => Script::after_body()
            .send("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nfirst")
            .wait(&gate)
            .send("end"),
        _ => reply(200).body("fast").into(),
    })
}

async fn gateway(upstream: &Upstream, drain_timeout: &str) -> Gateway {
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/{{*rest}}", upstream = "u" }}]
        [server]
        workers = 2
        drain-timeout = "{drain_timeout}"
        "#
    );
    Gateway::with(fragment).process().await
}

async fn readiness(gateway: &Gateway) -> u16 {
    client::call(gateway.admin(), &Call::get("/readyz"))
        .await
        .status
}

#[tokio::test]
async fn a_drain_finishes_what_has_begun_and_begins_nothing_new() {
    for signal in [Signal::TERM, Signal::INT] {
        let gate = Gate::default();
        let upstream = held(&gate);
        let mut gateway = gateway(&upstream, "30s").await;
        assert_eq!(readiness(&gateway).await, 200);
        let address = gateway.address();
        let mut idle = gateway.connect().await;
        assert_eq!(idle.call(&Call::get("/")).await.text(), "fast");
        let slow: Vec<_> = [Connection::h1(address).await, Connection::h2(address).await]
            .into_iter()
            .map(|mut connection| {
                tokio::spawn(async move { connection.try_call(&Call::get("/slow")).await })
            })
            .collect();
        eventually!(upstream.count(), |count| *count == 3);

        gateway.signal(signal);
        eventually!(readiness(&gateway).await, |status| *status == 503);
        eventually!(TcpStream::connect(address).await.is_err(), |refused| {
            *refused
        });
        eventually!(idle.is_closed(), |closed| *closed);
        assert_eq!(
            client::call(gateway.admin(), &Call::get("/healthz"))
                .await
                .status,
            200,
            "it lives"
        );

        gate.open();
        for call in slow {
            let answer = call
                .await
                .expect("no panic")
                .expect("what had begun is finished");
            assert_eq!((answer.status, answer.text().as_str()), (200, "firstend"));
        }
        assert_eq!(gateway.ended().await.code(), Some(0));
        assert_eq!(gateway.access_log().len(), 3, "every line was written");
        assert!(!gateway.log("drained").is_empty());
    }
}

#[tokio::test]
async fn an_idle_gateway_ends_at_once() {
    let upstream = Upstream::says("ok");
    let mut gateway = gateway(&upstream, "30s").await;
    let mut kept = gateway.connect().await;
    assert_eq!(kept.call(&Call::get("/")).await.status, 200);
    // Connected, and silent: it has begun nothing.
    let _silent = Raw::connect(gateway.address()).await;
    let begun = Instant::now();
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.ended().await.code(), Some(0));
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_kept_connection_is_told_that_it_ends() {
    let gate = Gate::default();
    let upstream = held(&gate);
    let mut gateway = gateway(&upstream, "30s").await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    eventually!(upstream.count(), |count| *count == 1);
    gateway.signal(Signal::TERM);
    eventually!(readiness(&gateway).await, |status| *status == 503);
    gate.open();
    assert_eq!(raw.answer().await.expect("an answer").text(), "firstend");
    assert_eq!(raw.rest().await, b"", "and closed after it");
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn what_takes_longer_than_the_drain_timeout_is_cut_off() {
    let gate = Gate::default();
    let upstream = held(&gate);
    let mut gateway = gateway(&upstream, "500ms").await;
    let mut connection = gateway.connect().await;
    let slow = tokio::spawn(async move { connection.try_call(&Call::get("/slow")).await });
    eventually!(upstream.count(), |count| *count == 1);
    let begun = Instant::now();
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.ended().await.code(), Some(0));
    assert!(
        begun.elapsed() >= Duration::from_millis(450),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    slow.await
        .expect("no panic")
        .expect_err("its answer has no end");
    assert!(
        !gateway.log("drain timeout").is_empty(),
        "{:#?}",
        gateway.log("")
    );
    let log = gateway.access_log();
    assert_eq!(
        (log.len(), log[0]["aborted"].as_bool()),
        (1, Some(true)),
        "{log:#?}"
    );
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let gate = Gate::default();
    let upstream = held(&gate);
    let mut gateway = gateway(&upstream, "1h").await;
    let mut connection = gateway.connect().await;
    let slow = tokio::spawn(async move { connection.try_call(&Call::get("/slow")).await });
    eventually!(upstream.count(), |count| *count == 1);
    gateway.signal(Signal::TERM);
    eventually!(gateway.log("draining"), |lines| !lines.is_empty());
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.ended().await.code(), Some(1));
    slow.await.expect("no panic").expect_err("it was cut off");
}

#[tokio::test]
async fn a_gateway_in_a_program_drains_when_asked() {
    let gate = Gate::default();
    let upstream = held(&gate);
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/{{*rest}}", upstream = "u" }}]
        "#
    );
    let gateway = Gateway::with(fragment).start().await;
    let mut connection = gateway.connect().await;
    let slow = tokio::spawn(async move { connection.try_call(&Call::get("/slow")).await });
    eventually!(upstream.count(), |count| *count == 1);
    let drained = tokio::spawn(gateway.drain());
    gate.open();
    assert_eq!(
        slow.await
            .expect("no panic")
            .expect("it is finished")
            .text(),
        "firstend"
    );
    drained.await.expect("no panic");
}
