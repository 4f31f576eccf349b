//! Sources that are asked over TLS, and targets that speak it.

use postern_tests::front::TlsFront;
use postern_tests::pki::Authority;
use postern_tests::setup::Setup;
use postern_tests::{Call, Dialogue, Gateway, Upstream, client, eventually, reply};
use serde_json::{Value, json};

use super::consul::{instance, reply_with};
use super::kubernetes::{event, listed, slice, watch};
use super::{answering, config, source, targets};

/// A server's TLS, and the files with which it is believed, and is not.
async fn front(server: &Dialogue, authority: &Authority) -> TlsFront {
    TlsFront::before(server.address(), authority.issue(&["127.0.0.1"])).await
}

fn with_authorities(text: String, authority: &Authority) -> Setup {
    Gateway::with(text)
        .file("ca.pem", authority.pem())
        .file("other.pem", Authority::new("Other").pem())
}

/// Waits until the source is not believed.
async fn mistrusted(gateway: &Gateway) {
    let told = eventually!(source(gateway).await, |source: &Value| {
        source["problem"].is_string()
    });
    let problem = told["problem"].as_str().unwrap();
    assert!(problem.contains("no TLS"), "{problem}");
    assert_eq!(told["state"], "waiting");
}

#[tokio::test]
async fn consul_is_believed_with_a_certificate_of_its_own_authority() {
    let (authority, one) = (Authority::default(), Upstream::says("one"));
    let mut consul = Dialogue::default();
    let server = front(&consul, &authority).await;
    let asking = |ca: &str| {
        config(&format!(
            "kind = \"consul\"\nserver = \"{server}\"\nservice = \"orders\"\nca = \"{ca}\"\ntoken = \"file:token\""
        ))
    };
    let setup = with_authorities(asking("other.pem"), &authority).file("token", "s3cret");
    let gateway = setup.start().await;
    mistrusted(&gateway).await;
    assert_eq!(consul.asked(), 0, "the token is told to nobody else");
    gateway.edit(&asking("ca.pem"));
    let question = consul.question().await;
    let token = question.request.header("x-consul-token");
    assert_eq!(token.as_deref(), Some("s3cret"));
    reply_with(question, 10, &[&one]);
    targets(&gateway, &[&one]).await;
    answering(&gateway, &["one"]).await;
}

#[tokio::test]
async fn kubernetes_is_believed_with_a_certificate_of_its_own_authority() {
    let (authority, [one, two]) = (Authority::default(), Upstream::on_one_port(["one", "two"]));
    let mut api = Dialogue::default();
    let server = front(&api, &authority).await;
    let watching = |ca: &str| {
        config(&format!(
            "kind = \"kubernetes\"\nserver = \"{server}\"\nservice = \"orders\"\nnamespace = \"shop\"\n\
             port = \"http\"\nwait = \"1s\"\nca = \"{ca}\"\ntoken-file = \"token\""
        ))
    };
    let setup = with_authorities(watching("other.pem"), &authority).file("token", "t1");
    let gateway = setup.start().await;
    mistrusted(&gateway).await;
    assert_eq!(api.asked(), 0, "the token is told to nobody else");
    gateway.edit(&watching("ca.pem"));
    listed(&mut api, "10", &[slice("a", "8", &[&one])]).await;
    targets(&gateway, &[&one]).await;
    let events = watch(&mut api, "10").await;
    let token = |question: &postern_tests::Question| question.request.header("authorization");
    assert_eq!(token(&events).as_deref(), Some("Bearer t1"));
    events.stream();
    events.line(&event("MODIFIED", &slice("a", "11", &[&one, &two])));
    targets(&gateway, &[&one, &two]).await;
    // As the kubelet does before a token expires.
    gateway.replace("token", b"t2");
    events.end();
    let events = watch(&mut api, "11").await;
    assert_eq!(token(&events).as_deref(), Some("Bearer t2"));
    answering(&gateway, &["one", "two"]).await;
}

#[tokio::test]
async fn targets_that_are_found_may_speak_tls() {
    let (authority, one) = (Authority::default(), Upstream::says("one"));
    let target = TlsFront::before(one.address(), authority.issue(&["orders.internal"])).await;
    let mut consul = Dialogue::default();
    let text = config(&format!(
        "kind = \"consul\"\nserver = \"{consul}\"\nservice = \"orders\"\nscheme = \"https\"\n\
         [upstream.orders.tls]\nca = \"ca.pem\"\nserver-name = \"orders.internal\""
    ));
    let started = with_authorities(text, &authority).start();
    let answer = async {
        let body = json!([instance(target.address())]).to_string();
        let reply = reply(200).header("X-Consul-Index", "7").body(body);
        consul.question().await.reply(reply);
    };
    let (gateway, ()) = tokio::join!(started, answer);
    answering(&gateway, &["one"]).await;
}

#[tokio::test]
async fn instances_with_warnings_have_the_weight_that_is_left_to_them() {
    let (well, warned) = (Upstream::says("well"), Upstream::says("warned"));
    let mut consul = Dialogue::default();
    let text = config(&format!(
        "kind = \"consul\"\nserver = \"{consul}\"\nservice = \"orders\"\ninclude-warning = true"
    ));
    let mut all = [&well, &warned].map(|service| instance(service.address()));
    for one in &mut all {
        one["Service"]["Weights"] = json!({ "Passing": 9, "Warning": 2 });
    }
    all[1]["Checks"][0]["Status"] = json!("warning");
    let answer = async {
        let question = consul.question().await;
        assert_eq!(question.parameter("passing"), None);
        let reply = reply(200).header("X-Consul-Index", "7");
        question.reply(reply.body(json!(all).to_string()));
    };
    let (gateway, ()) = tokio::join!(Gateway::with(text).start(), answer);
    targets(&gateway, &[&well, &warned]).await;
    let page = client::call(gateway.admin(), &Call::get("/api/upstreams")).await;
    let page = page.json();
    let seen = page["orders"]["targets"].as_array().unwrap().iter();
    let weights = seen.map(|target| {
        let name = target["target"].as_str().unwrap().to_owned();
        (name, target["weight"].as_u64().unwrap())
    });
    let expected = [
        (well.address().to_string(), 9),
        (warned.address().to_string(), 2),
    ];
    let sorted = |mut list: Vec<(String, u64)>| {
        list.sort();
        list
    };
    assert_eq!(sorted(weights.collect()), sorted(expected.to_vec()));
}
