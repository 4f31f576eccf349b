//! TLS to upstreams, with OpenSSL as the upstream.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use postern_tests::pki::Authority;
use postern_tests::{Answer, Gateway, tool};

/// `openssl s_server`, which answers every request with a page about the connection. It ends when it is dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let common = ["s_server", "-accept", "127.0.0.1:0", "-www"];
        let mut child = Command::new("openssl")
            .current_dir(folder)
            .args(common.iter().chain(arguments))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .stdin(Stdio::null())
            .spawn()
            .expect("OpenSSL is installed");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let port = output.lines().map_while(Result::ok).find_map(|line| {
            line.strip_prefix("ACCEPT ")?
                .rsplit(':')
                .next()?
                .parse()
                .ok()
        });
        let port = port.expect("it says where it listens");
        Self { child, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder with `ca.pem`, a server's `a.pem` and a client's `client.pem`.
fn folder(authority: &Authority) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("there is room");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("the folder is ours");
    };
    write("ca.pem", authority.pem());
    write("a.pem", &authority.issue(&["a.example"]).both());
    write("client.pem", &authority.issue(&["gateway.example"]).both());
    folder
}

/// What a gateway with this `tls` table of its upstream answers.
async fn through_gateway(server: &Server, authority: &Authority, tls: &str) -> Answer {
    let gateway = Gateway::with(format!(
        r#"
        upstream.u = {{ targets = ["https://127.0.0.1:{}"], tls = {{ {tls} }} }}
        route = [{{ name = "r", path = "/{{*rest}}", upstream = "u" }}]
        "#,
        server.port
    ))
    .file("ca.pem", authority.pem())
    .file("other.pem", Authority::new("Other").pem())
    .file("client.pem", authority.issue(&["gateway.example"]).both())
    .start()
    .await;
    gateway.get("/").await
}

#[tokio::test]
async fn a_target_is_believed_only_with_a_good_certificate_for_its_name() {
    if !tool::is_there("openssl") {
        return;
    }
    let authority = Authority::default();
    let folder = folder(&authority);
    let server = Server::start(folder.path(), &["-cert", "a.pem", "-key", "a.pem"]);
    let good = r#"ca = "ca.pem", server-name = "a.example""#;
    for (tls, is_good) in [
        (good, true),
        (r#"ca = "other.pem", server-name = "a.example""#, false),
        (r#"ca = "ca.pem", server-name = "b.example""#, false),
        // The name is the target's own, and the authorities are those of this machine.
        (r#"ca = "ca.pem""#, false),
        (r#"server-name = "a.example""#, false),
        ("verify = false", true),
    ] {
        let answer = through_gateway(&server, &authority, tls).await;
        assert_eq!(
            answer.status,
            if is_good { 200 } else { 502 },
            "{tls}: {answer:?}"
        );
        if !is_good {
            assert_eq!(answer.code(), "upstream-tls-failed");
            let status = answer.header("proxy-status");
            assert_eq!(
                status.as_deref(),
                Some("postern; error=tls_certificate_error"),
                "{tls}"
            );
        }
    }
}

#[tokio::test]
async fn a_target_that_wants_a_certificate_gets_ours() {
    if !tool::is_there("openssl") {
        return;
    }
    let authority = Authority::default();
    let folder = folder(&authority);
    let arguments = [
        "-cert",
        "a.pem",
        "-key",
        "a.pem",
        "-CAfile",
        "ca.pem",
        "-Verify",
        "1",
        "-verify_return_error",
    ];
    let server = Server::start(folder.path(), &arguments);
    let ours = r#"client-cert = "client.pem", client-key = "file:client.pem""#;
    let good = format!(r#"ca = "ca.pem", server-name = "a.example", {ours}"#);
    let answer = through_gateway(&server, &authority, &good).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(
        answer.text().contains("CN = gateway.example")
            || answer.text().contains("CN=gateway.example"),
        "{}",
        answer.text()
    );
    let none = r#"ca = "ca.pem", server-name = "a.example""#;
    let answer = through_gateway(&server, &authority, none).await;
    assert_eq!(answer.status, 502, "{answer:?}");
}

#[tokio::test]
async fn a_target_that_does_not_speak_tls_is_no_danger() {
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = plain.local_addr().unwrap();
    std::thread::spawn(move || {
        // More than one: a handshake that failed is tried again.
        for stream in plain.incoming() {
            let mut stream = stream.unwrap();
            // Read first: what is sent to a socket with unread bytes is lost when it is closed.
            let mut first = [0; 4_096];
            let _ = stream.read(&mut first);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let gateway = Gateway::with(format!(
        r#"
        upstream.u = {{ targets = ["https://{address}"], tls = {{ verify = false }} }}
        route = [{{ name = "r", path = "/{{*rest}}", upstream = "u" }}]
        "#
    ))
    .start()
    .await;
    let answer = gateway.get("/").await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (502, "upstream-tls-failed")
    );
    let status = answer.header("proxy-status");
    assert_eq!(status.as_deref(), Some("postern; error=tls_protocol_error"));
}
