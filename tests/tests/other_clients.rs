//! Clients that we did not write, on listeners: slowhttptest, h2load and testssl.sh.

use std::time::Duration;

use postern_tests::pki::Authority;
use postern_tests::setup::Setup;
use postern_tests::{Call, Connection, Gateway, Upstream, eventually, reply, tool};
use serde_json::Value;

const LARGE: usize = 16 << 20;

/// A gateway with a plain listener whose clients must be fast, and one with TLS. `ca.pem` is the authority's certificate.
fn gateway(upstream: &Upstream, authority: &Authority) -> Setup {
    Gateway::with(format!(
        r#"
        [listen.plain]
        address = "127.0.0.1:0"
        header-timeout = "1s"
        body-timeout = "1s"
        min-body-rate = "1KiB"
        write-timeout = "1s"
        idle-timeout = "2s"

        [listen.public]
        address = "127.0.0.1:0"
        tls = {{ certificates = [{{ cert = "a.pem", key = "file:a.pem" }}] }}

        [upstream.u]
        targets = ["{upstream}"]

        [[route]]
        name = "r"
        path = "/{{*rest}}"
        upstream = "u"
        "#
    ))
    .file("ca.pem", authority.pem())
    .file("a.pem", authority.issue(&["a.example"]).both())
}

fn upstream() -> Upstream {
    Upstream::start(|request| match request.target.as_str() {
        "/large" => reply(200).body(vec![b'x'; LARGE]).into(),
        _ => reply(200).body("ok").into(),
    })
}

/// Attacks the plain listener, for as long as `attack` lets it. It must always serve others meanwhile, and be rid of all
/// these clients before they end by themselves.
async fn attack(path: &str, clients: u32, attack: &[&str]) {
    const SECONDS: &str = "15";
    if !tool::is_there("slowhttptest") {
        return;
    }
    let upstream = upstream();
    let gateway = gateway(&upstream, &Authority::default()).process().await;
    let address = gateway.listener("plain");
    let url = format!("http://{address}{path}");
    let clients = clients.to_string();
    // All at once, for so long, and others must be served within three seconds.
    let common = [
        "-c", &clients, "-r", "1000", "-l", SECONDS, "-p", "3", "-u", &url,
    ];
    let arguments: Vec<String> = [attack, &common]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect();
    let folder = gateway.folder().to_owned();
    let attacker = tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        tool::run(&folder, "slowhttptest", &arguments, "")
    });
    let open = || gateway.metric("postern_connections{listener=\"plain\"}");
    eventually!(open().await, |open| open.is_some_and(|open| open > 10.0));
    let mut neighbour = Connection::h1(address).await;
    assert_eq!(neighbour.call(&Call::get("/")).await.text(), "ok");
    // What is left may be its own probe, and the neighbour.
    eventually!(open().await, |open| open.is_some_and(|open| open <= 2.0));
    let said = attacker.await.expect("no panic").stdout;
    // It says so every few seconds.
    let said_so = said.matches("service available").count();
    assert!(
        said_so > 0 && said.matches("YES").count() == said_so,
        "{said}"
    );
}

#[tokio::test]
async fn slow_heads_do_not_stop_others() {
    attack("/", 200, &["-H", "-i", "1", "-x", "10"]).await;
}

#[tokio::test]
async fn slow_bodies_do_not_stop_others() {
    attack("/", 200, &["-B", "-i", "1", "-s", "8192", "-x", "10"]).await;
}

#[tokio::test]
async fn slow_readers_do_not_stop_others() {
    let slow = ["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32"];
    attack("/large", 20, &slow).await;
}

#[tokio::test]
async fn h2load_gets_all_its_answers_with_and_without_tls() {
    if !tool::is_there("h2load") {
        return;
    }
    let upstream = upstream();
    let gateway = gateway(&upstream, &Authority::default()).start().await;
    for (scheme, listener) in [("http", "plain"), ("https", "public")] {
        let url = format!("{scheme}://{}/x", gateway.listener(listener));
        for (version, flags) in [("h2", ["-m", "20"]), ("h1", ["--h1", "-m1"])] {
            let common = ["-n", "1000", "-c", "5", &url];
            let arguments = [flags.as_slice(), &common].concat();
            let said = tool::run(gateway.folder(), "h2load", &arguments, "").stdout;
            assert!(
                said.contains("1000 succeeded, 0 failed, 0 errored")
                    && said.contains("status codes: 1000 2xx"),
                "{scheme}, {version}: {said}"
            );
        }
    }
    assert_eq!(upstream.count(), 4_000);
}

#[tokio::test]
async fn testssl_finds_nothing() {
    let Some(program) = ["testssl", "testssl.sh"]
        .into_iter()
        .find(|name| tool::is_there(name))
    else {
        return;
    };
    let upstream = upstream();
    let gateway = gateway(&upstream, &Authority::default()).start().await;
    let url = format!("https://{}", gateway.listener("public"));
    // Versions, ciphers, forward secrecy, and all vulnerabilities that it knows.
    let arguments = [
        "-p",
        "-s",
        "-f",
        "-U",
        "--quiet",
        "--warnings",
        "off",
        "--nodns",
        "none",
    ];
    let arguments = [arguments.as_slice(), &["--jsonfile", "found.json", &url]].concat();
    let folder = gateway.folder().to_owned();
    let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
    let ended = tokio::task::spawn_blocking({
        let folder = folder.clone();
        move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            tool::run(&folder, program, &arguments, "")
        }
    });
    let ended = tokio::time::timeout(Duration::from_secs(300), ended).await;
    let ended = ended.expect("it ends").expect("no panic");
    let found = std::fs::read(folder.join("found.json"));
    let found = found.unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    let found: Vec<Value> = serde_json::from_slice(&found).expect("it is JSON");
    assert!(found.len() > 40, "{found:#?}");
    let bad = |finding: &&Value| !matches!(finding["severity"].as_str(), Some("OK" | "INFO"));
    let bad: Vec<&Value> = found.iter().filter(bad).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}
