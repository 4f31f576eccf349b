//! The PROXY protocol: raw bytes against a listener, and HAProxy as a sender that we did not write.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use postern_tests::setup::one_route;
use postern_tests::{Call, Connection, Gateway, Raw, Upstream, client, eventually};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
const REFUSED: &str =
    "postern_connections_refused_total{listener=\"public\",reason=\"proxy-protocol\"}";

async fn gateway(upstream: &Upstream, listener: &str) -> Gateway {
    let listener = format!("proxy-protocol = \"required\"\n{listener}");
    Gateway::with(one_route(upstream, &listener)).start().await
}

fn binary(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("it is short");
    [
        SIGNATURE,
        &[command, family],
        &length.to_be_bytes(),
        content,
    ]
    .concat()
}

const V4: &[u8] = &[192, 0, 2, 1, 10, 0, 0, 1, 0x12, 0x67, 0x01, 0xbb];

#[tokio::test]
async fn the_header_names_the_client() {
    let upstream = Upstream::says("ok");
    let gateway = gateway(&upstream, "").await;
    let v6 = [
        &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        [0; 16].as_slice(),
        &[0, 80, 1, 0xbb],
    ]
    .concat();
    let tlvs = [V4, &[0x02, 0, 6], b"a.test", &[0x04, 0, 1, 0]].concat();
    for (header, client) in [
        (
            b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\n".to_vec(),
            "192.0.2.1",
        ),
        (
            b"PROXY TCP6 2001:db8::1 ::1 4711 443\r\n".to_vec(),
            "2001:db8::1",
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (binary(0x21, 0x11, V4), "192.0.2.1"),
        (binary(0x21, 0x11, &tlvs), "192.0.2.1"),
        (binary(0x21, 0x12, V4), "192.0.2.1"),
        (binary(0x21, 0x21, &v6), "2001:db8::1"),
        (binary(0x20, 0x00, b""), "127.0.0.1"),
    ] {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.send([header.as_slice(), GET].concat()).await;
        let answer = raw.answer().await;
        assert_eq!(
            answer.expect("an answer").status,
            200,
            "{}",
            header.escape_ascii()
        );
        let request = upstream.last();
        assert_eq!(request.header("x-forwarded-for").as_deref(), Some(client));
    }
    assert_eq!(gateway.metric(REFUSED).await, None);
}

#[tokio::test]
async fn http_2_may_follow_the_header() {
    let upstream = Upstream::says("ok");
    let gateway = gateway(&upstream, "").await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.send(b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await;
    // An empty SETTINGS frame of ours is answered with theirs.
    let frame = raw.bytes(9).await;
    assert_eq!(frame.get(3), Some(&0x04), "{frame:?}");
}

#[tokio::test]
async fn a_connection_without_a_valid_header_is_closed_without_a_word() {
    let upstream = Upstream::says("ok");
    let gateway = gateway(&upstream, "header-timeout = \"300ms\"").await;
    let mut refused = 0.0;
    for bytes in [
        GET.to_vec(),
        b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 99999\r\n".to_vec(),
        [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat(),
        [SIGNATURE, &[0x21, 0x11, 0xff, 0xff], V4].concat(),
        [binary(0x21, 0x11, &V4[..8]).as_slice(), GET].concat(),
        [binary(0x31, 0x11, V4).as_slice(), GET].concat(),
        // These never come to their end.
        b"PROXY TCP4 192.0.2.1".to_vec(),
        SIGNATURE.to_vec(),
        binary(0x21, 0x11, V4).split_at(20).0.to_vec(),
    ] {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.send(&bytes).await;
        assert_eq!(raw.rest().await, b"", "{}", bytes.escape_ascii());
        refused += 1.0;
        eventually!(gateway.metric(REFUSED).await, |count| *count
            == Some(refused));
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn only_trusted_proxies_may_send_the_header_where_there_are_any() {
    let upstream = Upstream::says("ok");
    let header = b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\n".as_slice();
    for (trusted, welcome) in [("192.0.2.0/24", false), ("127.0.0.1", true)] {
        let gateway = gateway(&upstream, &format!("trusted-proxies = [\"{trusted}\"]")).await;
        let mut raw = Raw::connect(gateway.address()).await;
        let forged =
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Forwarded-For: 10.9.9.9\r\n\r\n";
        raw.send([header, forged].concat()).await;
        assert_eq!(raw.answer().await.is_some(), welcome, "{trusted}");
    }
    // The client that the header names is no trusted proxy.
    let request = upstream.last();
    assert_eq!(
        request.header("x-forwarded-for").as_deref(),
        Some("192.0.2.1")
    );
}

/// HAProxy in front of a gateway. It ends when it is dropped.
struct Haproxy {
    child: Child,
    address: std::net::SocketAddr,
    _folder: tempfile::TempDir,
}

impl Haproxy {
    /// None where it is not installed. `server` are the options of its only server.
    fn start(gateway: &Gateway, server: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("there is room");
        let config = folder.path().join("haproxy.cfg");
        let text = format!(
            "global\n maxconn 100\ndefaults\n mode http\n timeout connect 5s\n timeout client 10s\n timeout server 10s\n \
             option httpchk GET /alive\n\
             listen front\n bind fd@0\n server gateway {} {server}\n",
            gateway.address()
        );
        fs::write(&config, text).expect("there is room");
        // It takes the socket over as its standard input: then its port need not be known before.
        let socket = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let address = socket.local_addr().expect("it is bound");
        let command = Command::new("haproxy")
            .arg("-db")
            .arg("-f")
            .arg(&config)
            .stdin(Stdio::from(OwnedFd::from(socket)))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn();
        match command {
            Ok(child) => Some(Self {
                child,
                address,
                _folder: folder,
            }),
            Err(error) => {
                println!(
                    "skipped: haproxy cannot be started ({error}); Debian has it in the package haproxy"
                );
                None
            }
        }
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn haproxy_names_its_clients_in_both_versions() {
    for option in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options ssl,unique-id,crc32c",
    ] {
        let upstream = Upstream::says("ok");
        let gateway = gateway(&upstream, "trusted-proxies = [\"127.0.0.1\"]").await;
        let Some(haproxy) = Haproxy::start(&gateway, option) else {
            return;
        };
        for client in ["127.0.0.2", "127.0.0.3"] {
            let mut connection = Connection::h1_from(client, haproxy.address).await;
            let answer = connection.call(&Call::get("/")).await;
            assert_eq!(answer.text(), "ok", "{option}");
            let request = upstream.last();
            assert_eq!(
                request.header("x-forwarded-for").as_deref(),
                Some(client),
                "{option}"
            );
        }
    }
}

#[tokio::test]
async fn haproxy_checks_the_gateway_on_its_own_behalf() {
    let upstream = Upstream::says("ok");
    let gateway = gateway(&upstream, "").await;
    let server = "send-proxy-v2 check check-send-proxy inter 100ms";
    let Some(_haproxy) = Haproxy::start(&gateway, server) else {
        return;
    };
    let checks = eventually!(upstream.requests(), |requests| requests.len() >= 2);
    for check in checks {
        assert_eq!(check.target, "/alive");
        assert_eq!(
            check.header("x-forwarded-for").as_deref(),
            Some("127.0.0.1")
        );
    }
    assert_eq!(
        client::call(gateway.admin(), &Call::get("/healthz"))
            .await
            .status,
        200
    );
}
