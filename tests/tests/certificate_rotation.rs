//! New certificates while requests are made: nobody notices but by the certificate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use postern_tests::pki::Authority;
use postern_tests::{Gateway, Upstream, eventually};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const HOST: &str = "a.example";
const ROTATIONS: usize = 100;
const CLIENTS: usize = 4;
/// Requests on a connection before the client makes a new one.
const KEPT: usize = 20;

fn connector(authority: &Authority, resumption: Resumption) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("is PEM");
    roots.add(certificate).expect("is a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = resumption;
    TlsConnector::from(Arc::new(config))
}

async fn connect(address: SocketAddr, connector: &TlsConnector) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(address).await.expect("somebody listens");
    let host = ServerName::try_from(HOST).expect("is a name");
    connector
        .connect(host, stream)
        .await
        .expect("the certificate is good")
}

/// The certificate that a new connection is shown. One that resumes a session is shown none.
async fn shown(address: SocketAddr, connector: &TlsConnector) -> Vec<u8> {
    let stream = connect(address, connector).await;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    chain.first().expect("there is a certificate").to_vec()
}

/// Makes a request and reads the answer, whose body is `served`.
async fn request(stream: &mut TlsStream<TcpStream>) {
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("the connection is open");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nserved") {
        let read = stream
            .read_buf(&mut answer)
            .await
            .expect("the connection is open");
        assert!(
            read > 0,
            "cut off after {:?}",
            String::from_utf8_lossy(&answer)
        );
    }
    assert!(
        answer.starts_with(b"HTTP/1.1 200 "),
        "{:?}",
        String::from_utf8_lossy(&answer)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_new_certificates_under_load_lose_no_request() {
    let (upstream, authority) = (Upstream::says("served"), Authority::default());
    let gateway = Gateway::with(format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/{{*rest}}", upstream = "u" }}]
        [listen.public]
        address = "127.0.0.1:0"
        tls = {{ certificates = [{{ cert = "a.pem", key = "file:a.pem" }}] }}
        "#
    ))
    .file("a.pem", authority.issue(&[HOST]).both())
    .workers(2)
    .start()
    .await;
    let address = gateway.address();
    let looker = connector(&authority, Resumption::disabled());
    let connector = connector(&authority, Resumption::default());
    let (stop, answered) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let client = |_| {
        let (connector, stop, answered) =
            (connector.clone(), Arc::clone(&stop), Arc::clone(&answered));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let mut stream = connect(address, &connector).await;
                for _ in 0..KEPT {
                    request(&mut stream).await;
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(client).collect();
    // One that stays open all the time.
    let mut kept = connect(address, &connector).await;
    request(&mut kept).await;
    for _ in 0..ROTATIONS {
        let identity = authority.issue(&[HOST]);
        let before = answered.load(Ordering::Relaxed);
        gateway.replace("a.pem", identity.both().as_bytes());
        eventually!(shown(address, &looker).await, |der| *der == identity.der);
        request(&mut kept).await;
        assert!(
            answered.load(Ordering::Relaxed) > before,
            "there was load meanwhile"
        );
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("every request was answered");
    }
    println!("{} requests", answered.load(Ordering::Relaxed));
}
