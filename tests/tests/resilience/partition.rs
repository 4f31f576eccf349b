//! A wire that is cut while requests are under way: nobody refuses anything, nobody resets anything, there is only silence.

use std::net::SocketAddr;

use postern_tests::load::Load;
use postern_tests::network::{self, FarNetwork};
use postern_tests::{Call, Gateway, Upstream, client, eventually, reply};
use serde_json::Value;

use super::gateway;

/// A process that passes requests on to a service.
fn process(service: &Upstream, address: impl Into<SocketAddr>) -> postern_tests::setup::Setup {
    let address: SocketAddr = address.into();
    Gateway::with(format!(
        r#"
        listen.own.address = "{address}"
        upstream.u.targets = ["{service}"]
        route = [{{ name = "r", path = "/{{*rest}}", upstream = "u" }}]
        "#
    ))
}

/// Of the target that was named last: what it is, and how many requests it got.
async fn last(gateway: &Gateway) -> (String, u64) {
    let answer = client::call(gateway.admin(), &Call::get("/api/upstreams")).await;
    let target = answer.json()["u"]["targets"][2].clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (
        text(&target["state"]),
        target["requests"].as_u64().unwrap_or_default(),
    )
}

#[tokio::test]
async fn a_wire_that_is_cut_costs_no_request() {
    if !network::is_own("partition::a_wire_that_is_cut_costs_no_request") {
        return;
    }
    let network = FarNetwork::connected();
    let service = Upstream::at((network.near(), 0).into(), |_| reply(200).body("ok").into());
    let near = [
        process(&service, ([127, 0, 0, 1], 0)).process().await,
        process(&service, ([127, 0, 0, 1], 0)).process().await,
    ];
    let far = process(&service, (network.far(), 0)).started_by(network.starter());
    let far = far.process().await;
    let urls = [&near[0], &near[1], &far].map(|process| format!("http://{}", process.address()));
    let tables = r#"
        connect-timeout = "200ms"
        retry-budget = "100%"
        retry = { retries = 2, on = ["connect-failure", "reset", "timeout"], per-try-timeout = "500ms" }
        health = { interval = "200ms", timeout = "200ms", fall = 2, rise = 1 }
    "#;
    let gateway = gateway(&[&urls[0], &urls[1], &urls[2]], tables).await;
    let load = Load::start(gateway.address(), 8, vec![Call::get("/")], |answer| {
        answer.text() == "ok"
    });
    eventually!(last(&gateway).await, |(_, requests)| *requests > 50);
    network.cut();
    eventually!(last(&gateway).await, |(state, _)| state != "usable");
    let (before, (_, sent)) = (service.count(), last(&gateway).await);
    eventually!(service.count(), |count| *count > before + 500);
    assert_eq!(
        last(&gateway).await.1,
        sent,
        "while it is known to be gone, nobody is sent there"
    );
    network.mend();
    eventually!(last(&gateway).await, |(state, requests)| {
        state == "usable" && *requests > sent + 50
    });
    let report = load.stop().await;
    assert_eq!(
        report.failures,
        Vec::<String>::new(),
        "of {}",
        report.answered
    );
}
