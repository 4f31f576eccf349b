//! TLS of a listener: handshakes, bounded in number and time, and what they find out about the client.

mod certificates;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{ProtocolVersion, ServerConfig, ServerConnection};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::stream::Rewound;
use crate::certificate::Certificate;
use crate::config::tls::provider;
use crate::config::{ClientAuth, ListenTlsConfig, TlsVersion};
use crate::telemetry::{HandshakeOutcome, ListenerMetrics};
use crate::types::{ClientCertificate, TlsPeer};
use certificates::Certificates;

/// HTTP/2 over TLS (RFC 9113, 3.2).
pub(super) const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// How a listener speaks TLS, as one generation of the configuration has it.
pub(super) struct Tls {
    settings: ListenTlsConfig,
    acceptor: TlsAcceptor,
    certificates: Arc<Certificates>,
    ticketer: Option<Arc<dyn ProducesTickets>>,
    /// Handshakes under way.
    handshakes: Arc<AtomicUsize>,
}

impl Tls {
    /// Clients may resume what they began with `previous`, as long as they would be let in the same way.
    pub(super) fn new(settings: &ListenTlsConfig, previous: Option<&Self>) -> Self {
        let (verifier, strict) = match &settings.client_auth {
            ClientAuth::Off => (WebPkiClientVerifier::no_client_auth(), false),
            ClientAuth::Optional(ca) | ClientAuth::Required(ca) => (Arc::clone(&ca.verifier), true),
        };
        let versions = match settings.min_version {
            TlsVersion::Tls12 => &[&TLS13, &TLS12][..],
            TlsVersion::Tls13 => &[&TLS13][..],
        };
        let certificates = Arc::new(Certificates::new(&settings.certificates, strict));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .expect("the provider has cipher suites for both versions")
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&certificates) as _);
        config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
        // A store of sessions would be a lock that all workers share; tickets are kept by the clients.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let ticketer = settings.session_tickets.then(|| {
            let kept =
                previous.filter(|previous| previous.settings.client_auth == settings.client_auth);
            kept.and_then(|previous| previous.ticketer.clone())
                .unwrap_or_else(|| Ticketer::new().expect("the system has randomness"))
        });
        if let Some(ticketer) = &ticketer {
            config.ticketer = Arc::clone(ticketer);
        }
        Self {
            settings: settings.clone(),
            acceptor: TlsAcceptor::from(Arc::new(config)),
            certificates,
            ticketer,
            handshakes: previous
                .map_or_else(Arc::default, |previous| Arc::clone(&previous.handshakes)),
        }
    }

    pub(super) fn is(&self, settings: &ListenTlsConfig) -> bool {
        self.settings == *settings
    }

    /// Makes a handshake. Nothing when it fails, which only the metrics and the debug log tell.
    pub(super) async fn accept(
        &self,
        stream: Rewound,
        metrics: &ListenerMetrics,
    ) -> Option<(TlsStream<Rewound>, TlsPeer)> {
        let _place =
            Handshake::begin(&self.handshakes, self.settings.max_handshakes).or_else(|| {
                metrics.handshake(HandshakeOutcome::Refused);
                None
            })?;
        let limit = self.settings.handshake_timeout;
        let stream = match tokio::time::timeout(limit, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS handshake failed");
                metrics.handshake(HandshakeOutcome::Failed);
                return None;
            }
            Err(_) => {
                metrics.handshake(HandshakeOutcome::Timeout);
                return None;
            }
        };
        metrics.handshake(HandshakeOutcome::Done);
        let peer = self.peer(stream.get_ref().1);
        Some((stream, peer))
    }

    fn peer(&self, connection: &ServerConnection) -> TlsPeer {
        let client = connection
            .peer_certificates()
            .and_then(|chain| chain.first());
        let client = client.and_then(|certificate| Certificate::read(certificate));
        TlsPeer {
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            server_name: connection.server_name().map(str::to_ascii_lowercase),
            client: client.map(|certificate| ClientCertificate {
                subject: certificate.subject(),
                alternative_names: certificate.alternative_names_text(),
            }),
            sites: Arc::clone(&self.certificates) as _,
        }
    }
}

/// One of `max-handshakes`.
struct Handshake(Arc<AtomicUsize>);

impl Handshake {
    fn begin(under_way: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let place = Self(Arc::clone(under_way));
        (under_way.fetch_add(1, Ordering::Relaxed) < most).then_some(place)
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
