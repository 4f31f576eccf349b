//! Which version of HTTP is spoken to upstreams over TLS (RFC 7301).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use postern_tests::Gateway;
use postern_tests::pki::Authority;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A service behind TLS that chooses from these protocols, and answers with what is spoken to it.
struct Service {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let text = match request.version() {
        Version::HTTP_2 => format!("h2 {}", request.uri().scheme_str().unwrap_or_default()),
        _ => "http1".to_owned(),
    };
    Ok(Response::new(Full::new(Bytes::from(text))))
}

impl Service {
    async fn start(authority: &Authority, protocols: &[&str]) -> Self {
        let identity = authority.issue(&["a.example"]);
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("it is a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(identity.der)], key)
            .expect("the key is the certificate's");
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let connections: Arc<AtomicUsize> = Arc::default();
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    let (io, service) = (TokioIo::new(stream), service_fn(answer));
                    let _ = match is_h2 {
                        true => {
                            let builder = http2::Builder::new(TokioExecutor::new());
                            builder.serve_connection(io, service).await
                        }
                        false => http1::Builder::new().serve_connection(io, service).await,
                    };
                });
            }
        });
        Self {
            address,
            connections,
        }
    }
}

async fn gateway(service: &Service, authority: &Authority, protocol: &str) -> Gateway {
    let fragment = format!(
        r#"
        [upstream.u]
        targets = ["https://{}"]
        protocol = "{protocol}"
        tls = {{ ca = "ca.pem", server-name = "a.example" }}
        [[route]]
        name = "r"
        path = "/"
        upstream = "u"
        "#,
        service.address
    );
    Gateway::with(fragment)
        .file("ca.pem", authority.pem())
        .start()
        .await
}

#[tokio::test]
async fn the_target_chooses_from_what_it_is_offered() {
    let authority = Authority::default();
    for (protocols, configured, spoken) in [
        (["h2", "http/1.1"].as_slice(), "auto", "h2 https"),
        (&["http/1.1"], "auto", "http1"),
        (&[], "auto", "http1"),
        (&["h2", "http/1.1"], "http1", "http1"),
        (&["http/1.1", "h2"], "h2", "h2 https"),
    ] {
        let service = Service::start(&authority, protocols).await;
        let gateway = gateway(&service, &authority, configured).await;
        for _ in 0..3 {
            let answer = gateway.get("/").await;
            assert_eq!(answer.text(), spoken, "{protocols:?} {configured}");
        }
        let connections = service.connections.load(Ordering::SeqCst);
        assert_eq!(connections, 1, "{protocols:?} {configured}");
    }
}

#[tokio::test]
async fn a_target_that_does_not_speak_what_is_configured_is_none() {
    let authority = Authority::default();
    for protocols in [["http/1.1"].as_slice(), &[]] {
        let service = Service::start(&authority, protocols).await;
        let gateway = gateway(&service, &authority, "h2").await;
        let answer = gateway.get("/").await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (502, "upstream-tls-failed")
        );
    }
}
