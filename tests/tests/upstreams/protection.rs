//! What is found out about targets that are slow, lie or fail now and then, and what protects them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use postern_tests::front::TlsFront;
use postern_tests::load::Load;
use postern_tests::pki::Authority;
use postern_tests::{Call, Gateway, Script, Upstream, eventually, reply};

use super::{fragment, quoted, report, target};

/// One service that always fails, and as many others that do not, whose upstream has these settings.
async fn among(others: usize, outlier: &str) -> Gateway {
    let fails = Upstream::start(|_| reply(500).into());
    let well: Vec<Upstream> = (0..others).map(|_| Upstream::says("ok")).collect();
    let targets = well.iter().map(quoted);
    let targets: Vec<String> = std::iter::once(quoted(&fails)).chain(targets).collect();
    let tables = format!(
        "outlier = {{ consecutive-5xx = 0, interval = \"200ms\", base-ejection-time = \"1h\", max-ejection-time = \"1h\", {outlier} }}"
    );
    let gateway = Gateway::with(fragment(&targets.join(", "), &tables, ""))
        .start()
        .await;
    let load = Load::start(gateway.address(), 4, vec![Call::get("/")], |_| true);
    eventually!(target(&gateway).await, |target| target["state"]
        == "ejected");
    load.stop().await;
    // Its services end here.
    gateway
}

#[tokio::test]
async fn a_target_that_is_worse_than_the_others_is_ejected() {
    let settings = "success-rate-minimum-hosts = 4, success-rate-request-volume = 5, success-rate-stdev-factor = 1500";
    let gateway = among(4, settings).await;
    assert_eq!(target(&gateway).await["ejected_by"], "success-rate");
    let seen = report(&gateway).await;
    let others = seen["targets"]
        .as_array()
        .expect("it is a list")
        .iter()
        .skip(1);
    assert!(
        others.clone().all(|other| other["state"] == "usable"),
        "{seen}"
    );
}

#[tokio::test]
async fn a_target_that_fails_too_often_is_ejected() {
    let settings = "success-rate-stdev-factor = 0, failure-percentage = \"60%\", failure-percentage-request-volume = 5";
    let gateway = among(1, settings).await;
    assert_eq!(target(&gateway).await["ejected_by"], "failure-percentage");
}

#[tokio::test]
async fn a_check_of_tls_wants_a_good_certificate() {
    let (authority, service) = (Authority::default(), Upstream::says("ok"));
    let good = TlsFront::before(service.address(), authority.issue(&["127.0.0.1"])).await;
    let other = TlsFront::before(service.address(), authority.issue(&["127.0.0.9"])).await;
    let targets = format!("{}, {}", quoted(&other), quoted(&good));
    let tables = r#"
        health = { kind = "tls", interval = "100ms", fall = 1 }
        tls = { ca = "ca.pem" }
    "#;
    let gateway = Gateway::with(fragment(&targets, tables, ""))
        .file("ca.pem", authority.pem())
        .start()
        .await;
    let seen = eventually!(report(&gateway).await, |report| {
        report["targets"][0]["state"] == "failing"
    });
    assert_eq!(seen["targets"][1]["state"], "usable", "{seen}");
    assert_eq!(service.count(), 0, "nothing is asked");
    assert_eq!(gateway.get("/").await.text(), "ok");
}

#[tokio::test]
async fn a_check_knows_what_it_expects() {
    let service = Upstream::start(|request| match request.header("host").as_deref() {
        Some("orders.internal") => reply(404).into(),
        _ => reply(200).into(),
    });
    let health = |expected: &str| {
        format!(
            "health = {{ host = \"orders.internal\", interval = \"100ms\", fall = 1, expected-status = [{expected}] }}"
        )
    };
    let start = async |expected: &str| {
        let fragment = fragment(&quoted(&service), &health(expected), "");
        Gateway::with(fragment).start().await
    };
    let gateway = start("\"200-299\", \"404\"").await;
    let before = service.count();
    eventually!(service.count(), |count| *count >= before + 3);
    assert_eq!(target(&gateway).await["state"], "usable");
    let gateway = start("\"200-299\"").await;
    let seen = eventually!(target(&gateway).await, |target| target["state"]
        == "failing");
    assert_eq!(seen["check_failure"], "status 404 is not expected");
}

#[tokio::test]
async fn slow_answers_open_the_breaker() {
    let late = Script::after_body().pause(Duration::from_millis(30));
    let late = late.send(reply(200).body("ok").bytes());
    let service = Upstream::start(move |_| late.clone());
    let tables = r#"breaker = { slow-after = "20ms", slow-rate = "80%", min-requests = 5, open-for = "1h" }"#;
    let gateway = Gateway::with(fragment(&quoted(&service), tables, ""))
        .start()
        .await;
    for _ in 0..5 {
        assert_eq!(gateway.get("/").await.text(), "ok");
    }
    assert_eq!(gateway.get("/").await.code(), "upstream-breaker-open");
    assert_eq!(service.count(), 5);
}

#[tokio::test]
async fn a_limit_that_finds_itself_shrinks_under_a_crowd_and_grows_back() {
    let millis = Arc::new(AtomicU64::new(2));
    let pause = Arc::clone(&millis);
    let service = Upstream::start(move |_| {
        let pause = Duration::from_millis(pause.load(Ordering::SeqCst));
        let script = Script::after_body().pause(pause);
        script.send(reply(200).body("ok").bytes())
    });
    let tables = r#"concurrency = { max-requests = 60, min-requests = 2, adaptive = true, max-queue = 100, queue-timeout = "10s" }"#;
    let gateway = Gateway::with(fragment(&quoted(&service), tables, ""))
        .start()
        .await;
    let load = Load::start(gateway.address(), 30, vec![Call::get("/")], |answer| {
        answer.status == 200
    });
    eventually!(service.count(), |count| *count > 300);
    let limit = async || {
        let limit = report(&gateway).await["concurrency"]["limit"].clone();
        limit.as_u64().expect("it is a number")
    };
    millis.store(100, Ordering::SeqCst);
    let least = eventually!(limit().await, |limit| *limit <= 12);
    millis.store(1, Ordering::SeqCst);
    eventually!(limit().await, |limit| *limit > least + 3);
    let report = load.stop().await;
    assert_eq!(report.failures, Vec::<String>::new());
}
