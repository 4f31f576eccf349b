//! Targets that Kubernetes knows.

use postern_tests::{Dialogue, Gateway, Question, Upstream, eventually, reply};
use serde_json::{Value, json};

use super::{answering, config, load, source, state, targets, unharmed};

fn watching(server: &Dialogue, more: &str) -> String {
    config(&format!(
        "kind = \"kubernetes\"\nserver = \"{server}\"\nservice = \"orders\"\nnamespace = \"shop\"\n\
         port = \"http\"\nwait = \"1s\"\n{more}"
    ))
}

/// A slice with these services, all of which are ready.
pub(super) fn slice(name: &str, version: &str, services: &[&Upstream]) -> Value {
    // One slice has one port for all: services on others stand in slices of their own.
    let port = services.first().map(|service| service.address().port());
    let endpoint = |service: &&Upstream| {
        json!({
            "addresses": [service.address().ip().to_string()],
            "conditions": { "ready": true, "serving": true, "terminating": false },
            "zone": "a", "nodeName": "n1", "targetRef": { "kind": "Pod", "name": "p1" },
        })
    };
    let endpoints: Vec<Value> = services.iter().map(endpoint).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": name, "namespace": "shop", "resourceVersion": version },
        "ports": [{ "name": "http", "port": port, "protocol": "TCP" }],
        "endpoints": endpoints,
    })
}

fn list(version: &str, slices: &[Value]) -> String {
    json!({
        "kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1",
        "metadata": { "resourceVersion": version }, "items": slices,
    })
    .to_string()
}

pub(super) fn event(kind: &str, object: &Value) -> String {
    json!({ "type": kind, "object": object }).to_string()
}

pub(super) async fn listed(server: &mut Dialogue, version: &str, slices: &[Value]) {
    let question = server.question().await;
    assert_eq!(
        question.parameter("watch"),
        None,
        "{:?}",
        question.request.target
    );
    question.reply(reply(200).body(list(version, slices)));
}

/// The next question, which must be a watch from this version.
pub(super) async fn watch(server: &mut Dialogue, version: &str) -> Question {
    let question = server.question().await;
    assert_eq!(
        question.parameter("watch").as_deref(),
        Some("1"),
        "{:?}",
        question.request.target
    );
    assert_eq!(
        question.parameter("resourceVersion").as_deref(),
        Some(version)
    );
    question
}

#[tokio::test]
async fn slices_are_listed_and_watched() {
    let [one, two] = Upstream::on_one_port(["one", "two"]);
    let three = Upstream::says("three");
    let mut server = Dialogue::default();
    let setup = Gateway::with(watching(&server, "token-file = \"token\""));
    let setup = setup.file("token", "t1\n");
    let first = async {
        let question = server.question().await;
        let path = question.request.target.clone();
        assert!(
            path.starts_with("/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?"),
            "{path}"
        );
        let label = question.parameter("labelSelector").unwrap();
        assert_eq!(label, "kubernetes.io%2Fservice-name%3Dorders");
        assert_eq!(
            question.request.header("authorization").as_deref(),
            Some("Bearer t1")
        );
        question.reply(reply(200).body(list("10", &[slice("a", "8", &[&one])])));
    };
    let (gateway, ()) = tokio::join!(setup.start(), first);
    targets(&gateway, &[&one]).await;
    let load = load(&gateway);
    gateway.replace("token", b"t2\n");
    let events = watch(&mut server, "10").await;
    let asked = ["allowWatchBookmarks", "timeoutSeconds"].map(|it| events.parameter(it).unwrap());
    assert_eq!(asked, ["true", "1"]);
    events.stream();
    events.line(&event("ADDED", &slice("b", "11", &[&three])));
    targets(&gateway, &[&one, &three]).await;
    events.line(&event("MODIFIED", &slice("a", "12", &[&one, &two])));
    targets(&gateway, &[&one, &two, &three]).await;
    answering(&gateway, &["one", "two", "three"]).await;
    events.line(&event("DELETED", &slice("b", "13", &[&three])));
    targets(&gateway, &[&one, &two]).await;
    let bookmark = json!({ "kind": "EndpointSlice", "metadata": { "resourceVersion": "20" } });
    events.line(&event("BOOKMARK", &bookmark));
    // The server ends the watch in time: it goes on after the bookmark, with the new token.
    events.end();
    let events = watch(&mut server, "20").await;
    assert_eq!(
        events.request.header("authorization").as_deref(),
        Some("Bearer t2")
    );
    events.stream();
    let none = slice("a", "21", &[]);
    unharmed(&load.stop().await);
    events.line(&event("MODIFIED", &none));
    targets(&gateway, &[]).await;
    assert_eq!(gateway.get("/").await.json()["code"], "upstream-no-target");
}

#[tokio::test]
async fn a_version_that_is_gone_is_listed_again() {
    let (one, two) = (Upstream::says("one"), Upstream::says("two"));
    let mut server = Dialogue::default();
    let started = Gateway::with(watching(&server, "")).start();
    let first = async { listed(&mut server, "10", &[slice("a", "8", &[&one])]).await };
    let (gateway, ()) = tokio::join!(started, first);
    let load = load(&gateway);
    // As an event of the watch.
    let events = watch(&mut server, "10").await;
    events.stream();
    let gone = json!({ "kind": "Status", "code": 410, "reason": "Expired", "message": "too old" });
    events.line(&event("ERROR", &gone));
    listed(&mut server, "50", &[slice("a", "40", &[&two])]).await;
    targets(&gateway, &[&two]).await;
    // As the status of the answer.
    watch(&mut server, "50")
        .await
        .reply(reply(410).body(gone.to_string()));
    listed(&mut server, "60", &[slice("a", "55", &[&one])]).await;
    targets(&gateway, &[&one]).await;
    let events = watch(&mut server, "60").await;
    events.stream();
    assert_eq!(
        source(&gateway).await["problem"],
        Value::Null,
        "that is no failure"
    );
    unharmed(&load.stop().await);
}

#[tokio::test]
async fn what_kubernetes_does_not_say_well_changes_nothing() {
    let (one, two) = (Upstream::says("one"), Upstream::says("two"));
    let mut server = Dialogue::default();
    let started = Gateway::with(watching(&server, "")).start();
    let first = async { listed(&mut server, "10", &[slice("a", "8", &[&one])]).await };
    let (gateway, ()) = tokio::join!(started, first);
    targets(&gateway, &[&one]).await;
    let load = load(&gateway);
    // Half a line.
    let events = watch(&mut server, "10").await;
    events.stream();
    let half = event("MODIFIED", &slice("a", "11", &[&two]));
    let half = &half[..half.len() / 2];
    events.send(format!("{:x}\r\n{half}\r\n", half.len()));
    events.end();
    let told = state(&gateway, "stale").await;
    assert!(
        told["problem"]
            .as_str()
            .unwrap()
            .contains("in the middle of a line"),
        "{told}"
    );
    // Half a list.
    let question = server.question().await;
    let whole = list("12", &[slice("a", "11", &[&two])]);
    question.reply(reply(200).body(&whole.as_bytes()[..whole.len() / 2]));
    eventually!(source(&gateway).await, |source: &Value| {
        source["problem"]
            .as_str()
            .is_some_and(|it| it.contains("not as documented"))
    });
    server
        .question()
        .await
        .reply(reply(403).body("endpointslices is forbidden"));
    eventually!(source(&gateway).await, |source: &Value| {
        source["problem"]
            .as_str()
            .is_some_and(|it| it.contains("is forbidden"))
    });
    answering(&gateway, &["one"]).await;
    listed(&mut server, "13", &[slice("a", "11", &[&one])]).await;
    // A watch that is silent for longer than it was asked to last.
    let silent = watch(&mut server, "13").await;
    silent.stream();
    let events = watch(&mut server, "13").await;
    events.stream();
    events.line(&event("MODIFIED", &slice("a", "14", &[&two])));
    targets(&gateway, &[&two]).await;
    assert_eq!(source(&gateway).await["state"], "current");
    unharmed(&load.stop().await);
}
