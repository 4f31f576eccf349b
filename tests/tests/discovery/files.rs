//! Targets that a file lists.

use postern_tests::{Call, Gate, Gateway, Script, Upstream, eventually};
use serde_json::{Value, json};

use super::{answering, config, load, source, state, targets, unharmed};

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
