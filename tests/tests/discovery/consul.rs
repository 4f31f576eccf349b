//! Targets that Consul knows.

use std::net::SocketAddr;

use postern_tests::{Dialogue, Gateway, Question, Upstream, eventually, reply};
use serde_json::{Value, json};

use super::{answering, config, load, source, targets, unharmed};

fn asking(consul: &Dialogue, more: &str) -> String {
    config(&format!(
        "kind = \"consul\"\nserver = \"{consul}\"\nservice = \"orders\"\nwait = \"1s\"\n{more}"
    ))
}

/// An entry of the health endpoint.
pub(super) fn instance(address: SocketAddr) -> Value {
    json!({
        "Node": { "Node": "n1", "Address": "127.0.0.1", "Datacenter": "dc1" },
        "Service": {
            "ID": address.to_string(), "Service": "orders", "Address": "", "Port": address.port(),
            "Tags": ["v2"], "Meta": { "zone": "a" }, "Weights": { "Passing": 1, "Warning": 1 },
        },
        "Checks": [{ "CheckID": "serfHealth", "Status": "passing" }],
    })
}

/// Answers the next question with these instances.
async fn answer(consul: &mut Dialogue, index: u64, services: &[&Upstream]) {
    reply_with(consul.question().await, index, services);
}

pub(super) fn reply_with(question: Question, index: u64, services: &[&Upstream]) {
    let instances: Vec<Value> = services
        .iter()
        .map(|service| instance(service.address()))
        .collect();
    let index = index.to_string();
    let body = json!(instances).to_string();
    question.reply(reply(200).header("X-Consul-Index", &index).body(body));
}

fn index(question: &Question) -> String {
    question.parameter("index").unwrap()
}

#[tokio::test]
async fn consul_is_asked_what_is_new() {
    let (one, two) = (Upstream::says("one"), Upstream::says("two"));
    let mut consul = Dialogue::default();
    let more = "token = \"file:token\"\ntags = [\"v2\"]\ndatacenter = \"dc1\"";
    let setup = Gateway::with(asking(&consul, more)).file("token", "s3cret\n");
    let first = async {
        let question = consul.question().await;
        let path = question.request.target.clone();
        assert!(path.starts_with("/v1/health/service/orders?"), "{path}");
        let asked =
            ["index", "wait", "passing", "tag", "dc"].map(|it| question.parameter(it).unwrap());
        assert_eq!(asked, ["0", "1s", "1", "v2", "dc1"]);
        assert_eq!(
            question.request.header("x-consul-token").as_deref(),
            Some("s3cret")
        );
        reply_with(question, 10, &[&one]);
    };
    let (gateway, ()) = tokio::join!(setup.start(), first);
    targets(&gateway, &[&one]).await;
    let load = load(&gateway);
    let question = consul.question().await;
    assert_eq!(
        index(&question),
        "10",
        "it waits for what comes after the first answer"
    );
    reply_with(question, 11, &[&one, &two]);
    targets(&gateway, &[&one, &two]).await;
    answering(&gateway, &["one", "two"]).await;
    let question = consul.question().await;
    assert_eq!(index(&question), "11");
    reply_with(question, 12, &[&two]);
    targets(&gateway, &[&two]).await;
    unharmed(&load.stop().await);
    // Nothing passes any more, and Consul knows.
    answer(&mut consul, 13, &[]).await;
    targets(&gateway, &[]).await;
    assert_eq!(gateway.get("/").await.json()["code"], "upstream-no-target");
    assert_eq!(source(&gateway).await["state"], "current");
}

#[tokio::test]
async fn an_index_of_consul_that_goes_backwards_is_forgotten() {
    let (one, two) = (Upstream::says("one"), Upstream::says("two"));
    let mut consul = Dialogue::default();
    let started = Gateway::with(asking(&consul, "")).start();
    let (gateway, ()) = tokio::join!(started, async { answer(&mut consul, 1000, &[&one]).await });
    let question = consul.question().await;
    assert_eq!(index(&question), "1000");
    // A new leader, from a snapshot.
    reply_with(question, 3, &[&two]);
    let question = consul.question().await;
    assert_eq!(
        index(&question),
        "0",
        "waiting for more than 1000 would take for ever"
    );
    reply_with(question, 0, &[&two]);
    let question = consul.question().await;
    assert_eq!(index(&question), "1", "0 would not wait");
    targets(&gateway, &[&two]).await;
}

#[tokio::test]
async fn what_consul_does_not_say_well_changes_nothing() {
    let (one, two) = (Upstream::says("one"), Upstream::says("two"));
    let mut consul = Dialogue::default();
    let started = Gateway::with(asking(&consul, "")).start();
    let (gateway, ()) = tokio::join!(started, async { answer(&mut consul, 10, &[&one]).await });
    targets(&gateway, &[&one]).await;
    let load = load(&gateway);
    let told = async |consul: &mut Dialogue, what: &str| {
        let told = eventually!(source(&gateway).await, |source: &Value| {
            source["problem"]
                .as_str()
                .is_some_and(|it| it.contains(what))
        });
        assert_eq!(
            (&told["state"], told["targets"].as_array().unwrap().len()),
            (&json!("stale"), 1)
        );
        let next = consul.question().await;
        assert_eq!(index(&next), "0", "the whole is asked for, at once");
        next
    };
    let question = consul.question().await;
    question.reply(reply(500).body("rpc error: no cluster leader"));
    let question = told(&mut consul, "no cluster leader").await;
    // Half an answer, by its length.
    question.send("HTTP/1.1 200 OK\r\nx-consul-index: 11\r\ncontent-length: 1000\r\n\r\n[]");
    drop(question);
    let question = told(&mut consul, "broke off").await;
    // Half an answer, by its syntax.
    question.reply(
        reply(200)
            .header("x-consul-index", "11")
            .body("[{\"Node\":"),
    );
    let question = told(&mut consul, "not as documented").await;
    question.reply(reply(403).body("Permission denied"));
    let question = told(&mut consul, "Permission denied").await;
    // Silence.
    let silent = question;
    let question = told(&mut consul, "says nothing").await;
    eventually!(silent.is_over(), |over: &bool| *over);
    answering(&gateway, &["one"]).await;
    reply_with(question, 12, &[&one, &two]);
    targets(&gateway, &[&one, &two]).await;
    assert_eq!(source(&gateway).await["state"], "current");
    unharmed(&load.stop().await);
}

#[tokio::test]
async fn a_gateway_serves_before_its_sources_answer() {
    let one = Upstream::says("one");
    let mut consul = Dialogue::default();
    let gateway = Gateway::with(asking(&consul, "")).start().await;
    assert_eq!(source(&gateway).await["state"], "waiting");
    let answered = gateway.get("/").await;
    assert_eq!(
        (answered.status, answered.json()["code"].as_str()),
        (503, Some("upstream-no-target"))
    );
    answer(&mut consul, 1, &[&one]).await;
    targets(&gateway, &[&one]).await;
    answering(&gateway, &["one"]).await;
}

#[tokio::test]
async fn a_reload_keeps_what_it_does_not_change() {
    let one = Upstream::says("one");
    let mut consul = Dialogue::default();
    let text = asking(&consul, "");
    let started = Gateway::with(text.clone()).start();
    let (gateway, ()) = tokio::join!(started, async { answer(&mut consul, 7, &[&one]).await });
    let waiting = consul.question().await;
    assert_eq!(waiting.parameter("index").as_deref(), Some("7"));
    let generation = gateway.generation().await;
    gateway.edit(&format!("{text}\n[tier.free]\nlimits = [\"1/second\"]\n"));
    eventually!(gateway.generation().await, |now: &u64| *now > generation);
    answering(&gateway, &["one"]).await;
    assert!(!waiting.is_over(), "the question still waits");
    assert_eq!(consul.asked(), 2);
    // Another question is another source. Until it has an answer, targets are as they were.
    gateway.edit(&text.replace("wait = \"1s\"", "wait = \"2s\""));
    let new = consul.question().await;
    assert_eq!(new.parameter("wait").as_deref(), Some("2s"));
    eventually!(gateway.generation().await, |now: &u64| *now
        > generation + 1);
    eventually!(waiting.is_over(), |over: &bool| *over);
    answering(&gateway, &["one"]).await;
    // And without one, there is none.
    gateway.edit(&format!(
        "[upstream.orders]\ntargets = [\"{one}\"]\n\
         [[route]]\nname = \"orders\"\npath = \"/\"\nupstream = \"orders\"\n"
    ));
    eventually!(source(&gateway).await, Value::is_null);
    eventually!(new.is_over(), |over: &bool| *over);
    answering(&gateway, &["one"]).await;
    assert!(
        !gateway
            .metrics()
            .await
            .contains("postern_discovery_targets")
    );
}
