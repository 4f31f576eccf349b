//! Targets that DNS knows, by address and by service.

use postern_tests::{Dnsmasq, Gateway, Upstream, eventually, tool};
use serde_json::Value;

use super::{answering, config, load, source, state, targets, unharmed};

/// An upstream like that, resolving names at a server of its own and forgetting them fast.
fn on(server: &Dnsmasq, discovery: &str) -> String {
    let address = server.address();
    let config = config(discovery);
    format!(
        "[dns]\nnameservers = [\"{address}\"]\nmin-ttl = \"100ms\"\ntimeout = \"300ms\"\n{config}"
    )
}

#[tokio::test]
async fn addresses_of_a_name_come_and_go_under_load() {
    if !tool::is_there("dnsmasq") {
        return;
    }
    let [one, two, three] = Upstream::on_one_port(["one", "two", "three"]);
    let server = Dnsmasq::start("127.0.0.2 orders.test", &[]).await;
    let port = one.address().port();
    let discovery = format!("kind = \"dns\"\nname = \"orders.test\"\nport = {port}");
    let gateway = Gateway::with(on(&server, &discovery)).start().await;
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
    let gateway = Gateway::with(on(&server, &discovery)).start().await;
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
    let gateway = Gateway::with(on(&server, &discovery)).start().await;
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
    let config = on(&server, "kind = \"dns\"\nname = \"orders.test\"\nport = 1");
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
    let gateway = Gateway::with(on(&server, discovery)).start().await;
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

#[tokio::test]
async fn the_operator_chooses_which_addresses_are_targets() {
    if !tool::is_there("dnsmasq") {
        return;
    }
    let server = Dnsmasq::start("127.0.0.2 orders.test\n::1 orders.test", &[]).await;
    let discovery = "kind = \"dns\"\nname = \"orders.test\"\nport = 7001\nfamily = ";
    for (family, expected) in [
        ("auto", vec!["127.0.0.2:7001"]),
        ("ipv4", vec!["127.0.0.2:7001"]),
        ("ipv6", vec!["[::1]:7001"]),
        ("both", vec!["127.0.0.2:7001", "[::1]:7001"]),
    ] {
        let config = on(&server, &format!("{discovery}\"{family}\""));
        let gateway = Gateway::with(config).start().await;
        eventually!(source(&gateway).await, |source: &Value| source["targets"]
            == serde_json::json!(expected));
    }
}
