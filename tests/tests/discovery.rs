//! Targets that others know: DNS, files, Consul, Kubernetes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use postern_tests::load::{Load, Report};
use postern_tests::{
    Call, Dialogue, Dnsmasq, Gate, Gateway, Question, Script, Upstream, eventually, reply, tool,
};
use serde_json::{Value, json};

/// An upstream whose table of discovery says this, behind one route.
fn config(discovery: &str) -> String {
    format!(
        "[upstream.orders]\n[upstream.orders.discovery]\n{discovery}\n\
         [[route]]\nname = \"orders\"\npath = \"/{{*rest}}\"\nupstream = \"orders\"\n"
    )
}

/// The same, resolving names at a server of its own and forgetting them fast.
fn dns(server: &Dnsmasq, discovery: &str) -> String {
    let address = server.address();
    let config = config(discovery);
    format!(
        "[dns]\nnameservers = [\"{address}\"]\nmin-ttl = \"100ms\"\ntimeout = \"300ms\"\n{config}"
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

// ---- DNS

#[tokio::test]
async fn addresses_of_a_name_come_and_go_under_load() {
    if !tool::is_there("dnsmasq") {
        return;
    }
    let [one, two, three] = Upstream::on_one_port(["one", "two", "three"]);
    let server = Dnsmasq::start("127.0.0.2 orders.test", &[]).await;
    let port = one.address().port();
    let discovery = format!("kind = \"dns\"\nname = \"orders.test\"\nport = {port}");
    let gateway = Gateway::with(dns(&server, &discovery)).start().await;
    targets(&gateway, &[&one]).await;
    let load = load(&gateway);
    for _ in 0..3 {
        server.hosts("127.0.0.2 orders.test\n127.0.0.3 orders.test\n127.0.0.4 orders.test");
        targets(&gateway, &[&one, &two, &three]).await;
        answering(&gateway, &["one", "two", "three"]).await;
        server.hosts("127.0.0.4 orders.test");
        targets(&gateway, &[&three]).await;
        answering(&gateway, &["three"]).await;
    }
    unharmed(&load.stop().await);
    let series = "postern_discovery_updates_total{upstream=\"orders\"}";
    assert!(gateway.metric(series).await.unwrap() >= 6.0);
    let series = "postern_discovery_targets{upstream=\"orders\"}";
    assert_eq!(gateway.metric(series).await, Some(1.0));
}

#[tokio::test]
async fn what_dns_said_holds_while_it_is_away_or_says_that_there_is_nothing() {
    if !tool::is_there("dnsmasq") {
        return;
    }
    let [one, two] = Upstream::on_one_port(["one", "two"]);
    let mut server = Dnsmasq::start("127.0.0.2 orders.test", &[]).await;
    let port = one.address().port();
    let discovery = format!("kind = \"dns\"\nname = \"orders.test\"\nport = {port}");
    let gateway = Gateway::with(dns(&server, &discovery)).start().await;
    targets(&gateway, &[&one]).await;
    let load = load(&gateway);
    server.hosts("");
    let told = state(&gateway, "stale").await;
    assert!(
        told["problem"]
            .as_str()
            .unwrap()
            .contains("no such records"),
        "{told}"
    );
    answering(&gateway, &["one"]).await;
    server.kill();
    eventually!(source(&gateway).await, |source: &Value| {
        source["problem"]
            .as_str()
            .is_some_and(|it| it.contains("does not answer"))
    });
    answering(&gateway, &["one"]).await;
    server.write("127.0.0.3 orders.test");
    server.restart(&[]).await;
    targets(&gateway, &[&two]).await;
    assert_eq!(state(&gateway, "current").await["problem"], Value::Null);
    answering(&gateway, &["two"]).await;
    unharmed(&load.stop().await);
    let series = "postern_discovery_failures_total{upstream=\"orders\"}";
    assert!(gateway.metric(series).await.unwrap() >= 2.0);
}

#[tokio::test]
async fn where_it_is_configured_no_addresses_are_no_targets() {
    if !tool::is_there("dnsmasq") {
        return;
    }
    let [one] = Upstream::on_one_port(["one"]);
    let server = Dnsmasq::start("127.0.0.2 orders.test", &[]).await;
    let port = one.address().port();
    let discovery =
        format!("kind = \"dns\"\nname = \"orders.test\"\nport = {port}\non-empty = \"clear\"");
    let gateway = Gateway::with(dns(&server, &discovery)).start().await;
    targets(&gateway, &[&one]).await;
    server.hosts("");
    targets(&gateway, &[]).await;
    let answer = gateway.get("/").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["code"], "upstream-no-target");
    assert_eq!(source(&gateway).await["state"], "current");
    server.hosts("127.0.0.2 orders.test");
    targets(&gateway, &[&one]).await;
    answering(&gateway, &["one"]).await;
}

#[tokio::test]
async fn times_to_live_are_kept_within_limits() {
    if !tool::is_there("dnsmasq") {
        return;
    }
    let server = Dnsmasq::start("127.0.0.2 orders.test", &["--local-ttl=1"]).await;
    let begun = std::time::Instant::now();
    let config = dns(&server, "kind = \"dns\"\nname = \"orders.test\"\nport = 1");
    let gateway = Gateway::with(config.clone()).start().await;
    eventually!(server.queries("orders.test"), |count: &usize| *count >= 3);
    assert!(
        begun.elapsed() >= std::time::Duration::from_millis(1_900),
        "{:?}",
        begun.elapsed()
    );
    // At one a second, these would take longer than anybody waits.
    gateway.edit(&config.replace("[dns]", "[dns]\nmax-ttl = \"100ms\""));
    let before = server.queries("orders.test");
    eventually!(server.queries("orders.test"), |count: &usize| *count
        >= before + 40);
}

#[tokio::test]
async fn services_have_ports_weights_and_priorities() {
    if !tool::is_there("dnsmasq") {
        return;
    }
    let (one, two) = (Upstream::says("one"), Upstream::says("two"));
    let backup = Upstream::says("backup");
    let record = |service: &Upstream, priority: u16, weight: u16| {
        let port = service.address().port();
        format!("--srv-host=_http._tcp.orders.test,a.test,{port},{priority},{weight}")
    };
    let records = [
        record(&one, 5, 10),
        record(&two, 5, 30),
        record(&backup, 9, 1),
    ];
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let mut server = Dnsmasq::start("127.0.0.1 a.test", &records).await;
    let discovery = "kind = \"srv\"\nname = \"_http._tcp.orders.test\"";
    let gateway = Gateway::with(dns(&server, discovery)).start().await;
    targets(&gateway, &[&one, &two, &backup]).await;
    for _ in 0..40 {
        assert_eq!(gateway.get("/").await.status, 200);
    }
    let counts = (one.count(), two.count(), backup.count());
    assert_eq!(counts, (10, 30, 0));
    server.restart(&[&record(&backup, 0, 0)]).await;
    targets(&gateway, &[&backup]).await;
    answering(&gateway, &["backup"]).await;
}

#[tokio::test]
async fn a_target_with_a_name_is_at_the_addresses_of_the_name() {
    if !tool::is_there("dnsmasq") {
        return;
    }
    let [one, two] = Upstream::on_one_port(["one", "two"]);
    let port = one.address().port();
    // Nobody is at the first two.
    let hosts = "127.0.0.9 orders.test\n::1 orders.test\n127.0.0.2 orders.test";
    let mut server = Dnsmasq::start(hosts, &[]).await;
    let address = server.address();
    let gateway = Gateway::with(format!(
        "[dns]\nnameservers = [\"{address}\"]\nmin-ttl = \"100ms\"\ntimeout = \"300ms\"\n\
         [upstream.orders]\ntargets = [\"http://orders.test:{port}\"]\nmax-idle = 0\n\
         [[route]]\nname = \"orders\"\npath = \"/{{*rest}}\"\nupstream = \"orders\"\n"
    ))
    .start()
    .await;
    let load = load(&gateway);
    answering(&gateway, &["one"]).await;
    server.hosts("127.0.0.3 orders.test");
    eventually!(gateway.get("/").await.text(), |text: &String| text == "two");
    server.kill();
    answering(&gateway, &["two"]).await;
    unharmed(&load.stop().await);
    assert!(two.count() > 0);
}

#[tokio::test]
async fn a_target_whose_name_is_unknown_cannot_be_reached() {
    if !tool::is_there("dnsmasq") {
        return;
    }
    let server = Dnsmasq::start("", &[]).await;
    let address = server.address();
    let gateway = Gateway::with(format!(
        "[dns]\nnameservers = [\"{address}\"]\nmin-ttl = \"100ms\"\n\
         [upstream.orders]\ntargets = [\"http://late.test:1\"]\n\
         [[route]]\nname = \"orders\"\npath = \"/\"\nupstream = \"orders\"\n"
    ))
    .start()
    .await;
    let answer = gateway.get("/").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(!gateway.log("late.test").is_empty());
}

// ---- Files

#[tokio::test]
async fn a_file_is_rewritten_under_load() {
    let (one, two) = (Upstream::says("one"), Upstream::says("two"));
    let list = |targets: &[&Upstream]| {
        let urls: Vec<String> = targets.iter().map(|target| target.to_string()).collect();
        json!({ "targets": urls }).to_string()
    };
    let setup = Gateway::with(config("kind = \"file\"\npath = \"targets.json\""));
    let gateway = setup.file("targets.json", list(&[&one])).start().await;
    targets(&gateway, &[&one]).await;
    let load = load(&gateway);
    for _ in 0..3 {
        gateway.replace("targets.json", list(&[&one, &two]).as_bytes());
        targets(&gateway, &[&one, &two]).await;
        answering(&gateway, &["one", "two"]).await;
        gateway.overwrite("targets.json", list(&[&two]).as_bytes());
        targets(&gateway, &[&two]).await;
        answering(&gateway, &["two"]).await;
    }
    // Half a list is none.
    let whole = list(&[&one]);
    gateway.overwrite("targets.json", &whole.as_bytes()[..whole.len() - 2]);
    let told = state(&gateway, "stale").await;
    assert!(
        told["problem"].as_str().unwrap().contains("targets.json"),
        "{told}"
    );
    answering(&gateway, &["two"]).await;
    std::fs::remove_file(gateway.folder().join("targets.json")).unwrap();
    eventually!(source(&gateway).await, |source: &Value| {
        source["problem"]
            .as_str()
            .is_some_and(|it| it.contains("cannot be read"))
    });
    answering(&gateway, &["two"]).await;
    unharmed(&load.stop().await);
    gateway.replace("targets.json", br#"{ "targets": [] }"#);
    targets(&gateway, &[]).await;
    assert_eq!(gateway.get("/").await.json()["code"], "upstream-no-target");
}

#[tokio::test]
async fn a_link_to_the_directory_of_a_file_is_replaced() {
    let (one, two) = (Upstream::says("one"), Upstream::says("two"));
    let list = |target: &Upstream| format!("targets = [{{ url = \"{target}\", zone = \"a\" }}]");
    let gateway = Gateway::with(config("kind = \"file\"\npath = \"targets.toml\""))
        .file("..1/targets.toml", list(&one))
        .file("..2/targets.toml", list(&two))
        .link("..1", "..data")
        .link("..data/targets.toml", "targets.toml")
        .start()
        .await;
    targets(&gateway, &[&one]).await;
    let new = gateway.folder().join("..new");
    std::os::unix::fs::symlink("..2", &new).unwrap();
    std::fs::rename(new, gateway.folder().join("..data")).unwrap();
    targets(&gateway, &[&two]).await;
    answering(&gateway, &["two"]).await;
}

#[tokio::test]
async fn a_request_under_way_does_not_notice_that_its_target_is_gone() {
    let gate = Gate::default();
    let held = gate.clone();
    let one = Upstream::start(move |_| {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf";
        Script::after_body().send(head).wait(&held).send("half")
    });
    let two = Upstream::says("two");
    let setup = Gateway::with(config("kind = \"file\"\npath = \"targets.toml\""));
    let list = |target: &Upstream| format!("targets = [\"{target}\"]");
    let gateway = setup.file("targets.toml", list(&one)).start().await;
    targets(&gateway, &[&one]).await;
    let address = gateway.address();
    let under_way =
        tokio::spawn(async move { postern_tests::client::call(address, &Call::get("/")).await });
    eventually!(one.count(), |count: &usize| *count == 1);
    gateway.replace("targets.toml", list(&two).as_bytes());
    targets(&gateway, &[&two]).await;
    answering(&gateway, &["two"]).await;
    gate.open();
    assert_eq!(under_way.await.unwrap().text(), "halfhalf");
    assert_eq!(one.count(), 1);
}

#[tokio::test]
async fn a_reload_keeps_what_it_does_not_change() {
    let one = Upstream::says("one");
    let mut consul = Dialogue::default();
    let text = consul_config(&consul, "");
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

// ---- Consul

fn consul_config(consul: &Dialogue, more: &str) -> String {
    config(&format!(
        "kind = \"consul\"\nserver = \"{consul}\"\nservice = \"orders\"\nwait = \"1s\"\n{more}"
    ))
}

/// An entry of the health endpoint.
fn instance(service: &Upstream) -> Value {
    let address = service.address();
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

fn reply_with(question: Question, index: u64, services: &[&Upstream]) {
    let instances: Vec<Value> = services.iter().map(|service| instance(service)).collect();
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
    let setup = Gateway::with(consul_config(&consul, more)).file("token", "s3cret\n");
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
    let started = Gateway::with(consul_config(&consul, "")).start();
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
    let started = Gateway::with(consul_config(&consul, "")).start();
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
    let gateway = Gateway::with(consul_config(&consul, "")).start().await;
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

// ---- Kubernetes

fn kubernetes_config(server: &Dialogue, more: &str) -> String {
    config(&format!(
        "kind = \"kubernetes\"\nserver = \"{server}\"\nservice = \"orders\"\nnamespace = \"shop\"\n\
         port = \"http\"\nwait = \"1s\"\n{more}"
    ))
}

/// A slice with these services, all of which are ready.
fn slice(name: &str, version: &str, services: &[&Upstream]) -> Value {
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

fn event(kind: &str, object: &Value) -> String {
    json!({ "type": kind, "object": object }).to_string()
}

async fn listed(server: &mut Dialogue, version: &str, slices: &[Value]) {
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
async fn watch(server: &mut Dialogue, version: &str) -> Question {
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
    let setup = Gateway::with(kubernetes_config(&server, "token-file = \"token\""));
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
    let started = Gateway::with(kubernetes_config(&server, "")).start();
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
    let started = Gateway::with(kubernetes_config(&server, "")).start();
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
