//! The program `postern`: what it prints, and how it ends.

use std::net::TcpListener;

use postern_tests::setup::{Finished, program};
use postern_tests::{Gateway, Upstream};

fn run(arguments: &[&str]) -> Finished {
    Finished::of(&program().args(arguments).output().expect("it starts"))
}

const FRAGMENT: &str = r#"
    upstream.u.targets = ["http://127.0.0.1:9"]
    route = [{ name = "r", path = "/", upstream = "u" }]
"#;

#[test]
fn it_tells_its_version() {
    let finished = run(&["--version"]);
    assert_eq!(finished.code, Some(0));
    assert_eq!(
        finished.stdout,
        format!("postern {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn it_explains_itself() {
    let finished = run(&["--help"]);
    assert_eq!(finished.code, Some(0));
    for word in ["run", "check", "SIGHUP"] {
        assert!(
            finished.stdout.contains(word),
            "{word}: {}",
            finished.stdout
        );
    }
    let nothing = run(&[]);
    assert_eq!(nothing.code, Some(2));
    assert!(nothing.stderr.contains("Usage"), "{nothing:?}");
}

#[test]
fn it_refuses_what_it_does_not_know() {
    for arguments in [
        &["serve"][..],
        &["check", "--confg", "x"],
        &["run", "a", "b"],
    ] {
        let finished = run(arguments);
        assert_eq!(finished.code, Some(2), "{arguments:?}");
        assert!(finished.stderr.contains("error:"), "{finished:?}");
    }
}

#[test]
fn a_port_that_is_taken_is_named_with_its_listener() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = taken.local_addr().expect("it is bound");
    let listener = format!("{FRAGMENT}[listen.front]\naddress = \"{address}\"\n");
    let admin = format!("{FRAGMENT}[admin]\naddress = \"{address}\"\n");
    for (fragment, name) in [(listener, "\"front\""), (admin, "[admin]")] {
        let finished = Gateway::with(&fragment).run();
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(
            finished.stderr.contains(&address.to_string()) && finished.stderr.contains(name),
            "{finished:?}"
        );
        assert!(
            finished.stderr.to_lowercase().contains("in use"),
            "{finished:?}"
        );
        // To check is not to open sockets.
        assert_eq!(Gateway::with(&fragment).check().code, Some(0));
    }
}

#[test]
fn an_address_that_is_not_ours_is_named() {
    let finished = Gateway::with(format!(
        "{FRAGMENT}[listen.front]\naddress = \"192.0.2.1:8080\"\n"
    ))
    .run();
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(
        finished.stderr.contains("192.0.2.1:8080") && finished.stderr.contains("does not have"),
        "{finished:?}"
    );
}

#[test]
fn a_cache_folder_that_cannot_be_made_is_named() {
    let fragment = format!("{FRAGMENT}[plugins]\ncache = \"/dev/null/cache\"\n");
    let finished = Gateway::with(fragment).run();
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(
        finished.stderr.contains("/dev/null/cache") && finished.stderr.contains("[plugins] cache"),
        "{finished:?}"
    );
}

#[test]
fn an_access_log_that_cannot_be_written_is_named() {
    let fragment =
        format!("{FRAGMENT}[access-log]\nformat = \"json\"\nfile = \"/dev/null/access.log\"\n");
    let finished = Gateway::with(fragment).run();
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(
        finished.stderr.contains("/dev/null/access.log"),
        "{finished:?}"
    );
}

#[tokio::test]
async fn the_configuration_may_be_named_without_a_command() {
    let upstream = Upstream::says("served");
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/", upstream = "u" }}]
        "#
    );
    let gateway = Gateway::with(fragment).without_command().process().await;
    assert_eq!(gateway.get("/").await.text(), "served");
}

#[tokio::test]
async fn secrets_come_from_the_environment() {
    let upstream = Upstream::says("served");
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        plugin.key = {{ file = "api-key.wasm", grants = ["identity"] }}
        route = [{{ name = "r", path = "/", plugins = ["key"], upstream = "u" }}]
        consumer.app.api-key = [{{ key = "env:TEST_API_KEY" }}]
        "#
    );
    let gateway = Gateway::with(fragment)
        .env("TEST_API_KEY", "key-from-the-environment")
        .process()
        .await;
    let call = postern_tests::Call::get("/").header("x-api-key", "key-from-the-environment");
    assert_eq!(gateway.call(&call).await.text(), "served");
    assert_eq!(
        upstream.last().header("x-credential-identifier").as_deref(),
        Some("app-1")
    );
}
