//! Which of the targets that can be used get requests.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use postern_tests::upstream::Refusing;
use postern_tests::{Answer, Call, Connection, Gate, Gateway, Script, Upstream, eventually, reply};

use super::{fragment, quoted, report};

fn both(one: &impl Display, two: &impl Display) -> String {
    format!("{}, {}", quoted(one), quoted(two))
}

fn placed(service: &impl Display, place: &str) -> String {
    format!("{{ url = \"{service}\", {place} }}")
}

/// What was said how often in so many answers.
async fn said(gateway: &Gateway, count: usize) -> BTreeMap<String, usize> {
    let mut connection = gateway.connect().await;
    let mut said = BTreeMap::new();
    for _ in 0..count {
        let answer = connection.call(&Call::get("/")).await;
        *said.entry(answer.text()).or_default() += 1;
    }
    said
}

#[tokio::test]
async fn a_new_target_begins_with_a_tenth_of_its_weight() {
    let (old, new) = (Upstream::says("old"), Upstream::says("new"));
    let tables = r#"balance = { slow-start = "1h" }"#;
    let gateway = Gateway::with(fragment(&quoted(&old), tables, ""))
        .start()
        .await;
    gateway.edit(&fragment(&both(&old, &new), tables, ""));
    eventually!(gateway.generation().await, |generation| *generation >= 2);
    // 10 of 11, in smooth turns.
    assert_eq!(said(&gateway, 44).await["new"], 4);
    // Those that are there from the beginning have nothing to wait for.
    let gateway = Gateway::with(fragment(&both(&old, &new), tables, ""))
        .start()
        .await;
    assert_eq!(said(&gateway, 44).await["new"], 22);
}

#[tokio::test]
async fn zones_have_their_parts_however_many_targets_they_have() {
    let services = ["a", "a", "b"].map(Upstream::says);
    let targets = ["a", "a", "b"].iter().zip(&services);
    let targets: Vec<String> = targets
        .map(|(zone, service)| placed(service, &format!("zone = \"{zone}\"")))
        .collect();
    let tables = "balance = { zones = { a = 1, b = 3 } }";
    let fragment = fragment(&targets.join(", "), tables, "");
    let gateway = Gateway::with(fragment).start().await;
    let expected = BTreeMap::from([("a".into(), 10), ("b".into(), 30)]);
    assert_eq!(said(&gateway, 40).await, expected);
}

#[tokio::test]
async fn the_next_priority_gets_what_the_first_cannot_carry() {
    let (gone, first) = (Refusing::default(), Upstream::says("first"));
    let (other, second) = (Upstream::says("first"), Upstream::says("second"));
    let targets = |gone: &dyn Display| {
        let rest = format!("{}, {}", quoted(&first), placed(&second, "priority = 1"));
        format!("\"{gone}\", {rest}")
    };
    let tables = r#"outlier = { consecutive-connect-failures = 1, base-ejection-time = "1h", max-ejection-time = "1h" }"#;
    let well = Gateway::with(fragment(&targets(&other), tables, ""))
        .start()
        .await;
    assert_eq!(said(&well, 20).await, [("first".into(), 20)].into());
    let half = Gateway::with(fragment(&targets(&gone), tables, ""))
        .start()
        .await;
    let ejected = async || {
        half.get("/").await;
        report(&half).await["targets"][0]["state"].clone()
    };
    eventually!(ejected().await, |state| state == "ejected");
    // Half of the targets are trusted with 70 % of the requests.
    let share = said(&half, 300).await["second"];
    assert!((60..=120).contains(&share), "{share} of 300");
}

#[tokio::test]
async fn who_has_less_to_do_gets_more() {
    let gate = Gate::default();
    let (busy, idle) = (Upstream::held(&gate, "busy"), Upstream::says("idle"));
    let tables = "balance = \"least-request\"";
    let gateway = Gateway::with(fragment(&both(&busy, &idle), tables, ""))
        .start()
        .await;
    let address = gateway.address();
    let mut held = Vec::new();
    while busy.count() == 0 {
        let call = async move { postern_tests::client::call(address, &Call::get("/")).await };
        held.push(tokio::spawn(call));
        let seen = busy.count() + idle.count();
        eventually!(busy.count() + idle.count(), |count| *count
            >= held.len().max(seen));
    }
    assert_eq!(said(&gateway, 20).await, [("idle".into(), 20)].into());
    gate.open();
    for call in held {
        call.await.expect("a client does not panic");
    }
}

#[tokio::test]
async fn who_answers_sooner_gets_more() {
    let late = Script::after_body().pause(Duration::from_millis(100));
    let late = late.send(reply(200).body("slow").bytes());
    let slow = Upstream::start(move |_| late.clone());
    let quick = Upstream::says("quick");
    let tables = "balance = \"peak-ewma\"";
    let gateway = Gateway::with(fragment(&both(&slow, &quick), tables, ""))
        .start()
        .await;
    let said = said(&gateway, 40).await;
    // It is asked once, to know it.
    assert!(said["quick"] >= 36, "{said:?}");
    assert!(slow.count() >= 1);
}

/// Whoever answered each of these calls: the same one for each, time and again, but not the same for all.
async fn assert_bound(gateway: &Gateway, calls: impl Iterator<Item = Call>) {
    let mut all = BTreeMap::new();
    for call in calls {
        let first = gateway.call(&call).await.text();
        for _ in 0..3 {
            assert_eq!(gateway.call(&call).await.text(), first, "{call:?}");
        }
        *all.entry(first).or_insert(0) += 1;
    }
    assert_eq!(all.len(), 2, "{all:?}");
}

async fn hashing(on: &str, targets: &str, more: &str) -> Gateway {
    let tables = format!("balance = {{ policy = \"hash\", hash-on = \"{on}\" }}");
    let keys = (0..10).map(|number| (format!("key-{number}"), key(number)));
    let setup = Gateway::with(fragment(targets, &tables, more));
    let setup = keys.fold(setup, |setup, (file, key)| setup.file(&file, key));
    setup.start().await
}

fn key(number: usize) -> String {
    format!("a-key-that-nobody-else-would-have-{number}")
}

#[tokio::test]
async fn equal_cookies_parameters_and_consumers_meet_the_same_target() {
    let (one, two) = (Upstream::says("one"), Upstream::says("two"));
    let targets = both(&one, &two);
    let gateway = hashing("cookie:place", &targets, "").await;
    let calls = (0..10).map(|number| {
        let cookie = format!("theme=dark; place=p{number}");
        Call::get("/").header("cookie", &cookie)
    });
    assert_bound(&gateway, calls).await;
    let gateway = hashing("query:user", &targets, "").await;
    let calls = (0..10).map(|number| Call::get(&format!("/?page=1&user=u{number}")));
    assert_bound(&gateway, calls).await;
    let consumers: String = (0..10)
        .map(|number| format!("consumer.c{number}.api-key = [{{ key = \"file:key-{number}\" }}]\n"))
        .collect();
    let more = format!(
        "plugins = [\"api-key\"]\n[plugin.api-key]\nfile = \"api-key.wasm\"\ngrants = [\"identity\"]\n[consumer]\n{}",
        consumers.replace("consumer.", "")
    );
    let gateway = hashing("consumer", &targets, &more).await;
    let calls = (0..10).map(|number| Call::get("/").header("x-api-key", &key(number)));
    assert_bound(&gateway, calls).await;
}

#[tokio::test]
async fn equal_addresses_meet_the_same_target() {
    let (one, two) = (Upstream::says("one"), Upstream::says("two"));
    let gateway = hashing("address", &both(&one, &two), "").await;
    let mut all = BTreeMap::new();
    for last in 2..12 {
        let client = format!("127.0.0.{last}");
        let mut texts = Vec::new();
        for _ in 0..3 {
            let mut connection = Connection::h1_from(&client, gateway.address()).await;
            texts.push(connection.call(&Call::get("/")).await.text());
        }
        texts.dedup();
        assert_eq!(texts.len(), 1, "{client}: {texts:?}");
        *all.entry(texts.remove(0)).or_insert(0) += 1;
    }
    assert_eq!(all.len(), 2, "{all:?}");
}

#[tokio::test]
async fn a_few_do_not_go_down_under_the_load_of_all() {
    let ill = Upstream::start(|request| match request.target.as_str() {
        "/healthz" => reply(500).into(),
        _ => reply(200).body("ill").into(),
    });
    let well = Upstream::says("well");
    let health = r#"health = { path = "/healthz", interval = "100ms", fall = 1 }"#;
    for (threshold, panics) in [("60%", true), ("50%", false)] {
        let tables = format!("balance = {{ panic-threshold = \"{threshold}\" }}\n{health}");
        let gateway = Gateway::with(fragment(&both(&ill, &well), &tables, ""))
            .start()
            .await;
        let failing = |report: &serde_json::Value| report["targets"][0]["state"] == "failing";
        eventually!(report(&gateway).await, failing);
        let said = said(&gateway, 20).await;
        assert_eq!(said.contains_key("ill"), panics, "{threshold}: {said:?}");
    }
}

#[tokio::test]
async fn a_cookie_binds_for_as_long_and_where_it_was_configured() {
    let service = Upstream::says("ok");
    let tables = r#"sticky = { secret = "file:secret", path = "/shop", http-only = false, same-site = "none" }"#;
    let gateway = Gateway::with(fragment(&quoted(&service), tables, ""))
        .file("secret", "correct-horse-battery-staple-123")
        .start()
        .await;
    let answer: Answer = gateway.get("/").await;
    let cookie = answer.header("set-cookie").expect("a cookie is set");
    let (value, attributes) = cookie.split_once("; ").expect("it has attributes");
    assert!(value.starts_with("postern-target="), "{value}");
    assert_eq!(attributes, "Path=/shop; Secure; SameSite=None");
}
