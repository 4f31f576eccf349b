//! Targets that others know: DNS, files, Consul, Kubernetes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "discovery/consul.rs"]
mod consul;
#[path = "discovery/dns.rs"]
mod dns;
#[path = "discovery/files.rs"]
mod files;
#[path = "discovery/kubernetes.rs"]
mod kubernetes;
#[path = "discovery/tls.rs"]
mod tls;

use postern_tests::load::{Load, Report};
use postern_tests::{Call, Gateway, Upstream, eventually};
use serde_json::{Value, json};

/// An upstream whose table of discovery says this, behind one route.
fn config(discovery: &str) -> String {
    format!(
        "[upstream.orders]\n[upstream.orders.discovery]\n{discovery}\n\
         [[route]]\nname = \"orders\"\npath = \"/{{*rest}}\"\nupstream = \"orders\"\n"
    )
}

/// What the admin listener says of the upstream's source.
async fn source(gateway: &Gateway) -> Value {
    gateway.status().await["discovery"]["orders"].clone()
}

/// Waits until these are the targets.
async fn targets(gateway: &Gateway, expected: &[&Upstream]) {
    let mut wanted: Vec<String> = expected.iter().map(|it| it.address().to_string()).collect();
    wanted.sort();
    eventually!(source(gateway).await, |source: &Value| source["targets"]
        == json!(wanted));
}

/// Waits until the source is in this state.
async fn state(gateway: &Gateway, state: &str) -> Value {
    eventually!(source(gateway).await, |source: &Value| source["state"]
        == state)
}

fn load(gateway: &Gateway) -> Load {
    Load::start(gateway.address(), 2, vec![Call::get("/")], |answer| {
        answer.status == 200
    })
}

fn unharmed(report: &Report) {
    assert!(report.failures.is_empty(), "{report:?}");
    assert!(report.answered > 0, "{report:?}");
}

/// Calls until everybody has answered, and sees to it that nobody else does.
async fn answering(gateway: &Gateway, expected: &[&str]) {
    let mut seen = std::collections::BTreeSet::new();
    let everybody = eventually!(
        {
            let answer = gateway.get("/").await;
            assert_eq!(answer.status, 200, "{answer:?}");
            seen.insert(answer.text());
            seen.clone()
        },
        |seen: &std::collections::BTreeSet<String>| seen.len() >= expected.len()
    );
    let expected = expected.iter().map(|&text| text.to_owned()).collect();
    assert_eq!(everybody, expected);
}
