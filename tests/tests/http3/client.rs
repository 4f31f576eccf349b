//! A client of HTTP/3, made of quinn and h3.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use h3::error::StreamError;
use http::{HeaderMap, Request, Response};
use postern_tests::eventually::within;
use postern_tests::pki::{Authority, Identity};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

pub(crate) const HOST: &str = "a.example";

pub(crate) type Sender = h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>;
pub(crate) type Stream = h3::client::RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

/// A connection, as long as it lives.
pub(crate) struct Client {
    pub(crate) sender: Sender,
    pub(crate) connection: quinn::Connection,
    _endpoint: quinn::Endpoint,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: Response<()>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.head.status().as_u16()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers().get(name)?.to_str().ok()
    }
}

/// Makes a QUIC connection, and nothing else.
pub(crate) async fn dial(
    address: SocketAddr,
    authority: &Authority,
    identity: Option<&Identity>,
) -> Result<(quinn::Endpoint, quinn::Connection), quinn::ConnectionError> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        None => config.with_no_client_auth(),
        Some(identity) => {
            let chain = vec![CertificateDer::from(identity.der.clone())];
            let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h3".to_vec()];
    let config = Arc::new(QuicClientConfig::try_from(config).unwrap());
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(config));
    let connecting = endpoint.connect(address, HOST).unwrap();
    let connection = within("a QUIC handshake", connecting).await?;
    Ok((endpoint, connection))
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr, authority: &Authority) -> Self {
        Self::try_connect(address, authority, None).await.unwrap()
    }

    pub(crate) async fn try_connect(
        address: SocketAddr,
        authority: &Authority,
        identity: Option<&Identity>,
    ) -> Result<Self, quinn::ConnectionError> {
        let (endpoint, connection) = dial(address, authority, identity).await?;
        let quic = h3_quinn::Connection::new(connection.clone());
        let (mut driver, sender) = h3::client::new(quic).await.unwrap();
        tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
        Ok(Self {
            sender,
            connection,
            _endpoint: endpoint,
        })
    }

    /// Makes a request with a body in parts, and reads the whole answer. The error is how the stream ended.
    pub(crate) async fn call(
        &self,
        request: Request<()>,
        parts: &[&[u8]],
    ) -> Result<Answer, StreamError> {
        let mut sender = self.sender.clone();
        within("an answer over HTTP/3", async {
            let mut stream = sender.send_request(request).await?;
            for part in parts {
                stream.send_data(Bytes::copy_from_slice(part)).await?;
            }
            stream.finish().await?;
            answer(&mut stream).await
        })
        .await
    }

    /// `GET`
    pub(crate) async fn get(&self) -> Result<Answer, StreamError> {
        self.call(request("GET").body(()).unwrap(), &[]).await
    }

    /// The first certificate that the server showed.
    pub(crate) fn shown(&self) -> Vec<u8> {
        let chain = self.connection.peer_identity().unwrap();
        let chain = chain.downcast::<Vec<CertificateDer<'static>>>().unwrap();
        chain.first().unwrap().to_vec()
    }

    /// The code that the server closes the connection with.
    pub(crate) async fn closed(&self) -> u64 {
        let closed = within("the end of the connection", self.connection.closed()).await;
        let quinn::ConnectionError::ApplicationClosed(close) = closed else {
            panic!("{closed}");
        };
        close.error_code.into_inner()
    }
}

/// Reads the whole answer.
pub(crate) async fn answer(stream: &mut Stream) -> Result<Answer, StreamError> {
    let head = stream.recv_response().await?;
    let mut body = Vec::new();
    while let Some(mut data) = stream.recv_data().await? {
        body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    let trailers = stream.recv_trailers().await?;
    Ok(Answer {
        head,
        body,
        trailers,
    })
}

pub(crate) fn request(method: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(format!("https://{HOST}/x"))
}
