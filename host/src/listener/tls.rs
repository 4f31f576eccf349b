//! TLS of a listener: handshakes, bounded in number and time, and what they find out about the client.

mod certificates;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quinn::VarInt;
use quinn::crypto::rustls::QuicServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{ProtocolVersion, ServerConfig};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::http3::H3;
use super::stream::Rewound;
use crate::certificate::Certificate;
use crate::config::tls::provider;
use crate::config::{ClientAuth, ListenTlsConfig, ListenerConfig, TlsVersion};
use crate::telemetry::{HandshakeOutcome, ListenerMetrics};
use crate::types::{ClientCertificate, TlsPeer};
use certificates::Certificates;

/// HTTP/2 over TLS (RFC 9113, 3.2).
pub(super) const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// Bytes that a client may send of one HTTP/3 request before we read them.
const STREAM_WINDOW: u32 = 256 << 10;
/// The same for all requests of a connection, and what we keep of responses until the client has them.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Streams that a client may have besides its requests: one that controls, two of QPACK (RFC 9114, 6.2), and a few of kinds
/// that we do not know.
const ONE_DIRECTION_STREAMS: u8 = 8;
/// A peer from which nothing comes for so long is gone, in milliseconds.
const QUIC_SILENCE: VarInt = VarInt::from_u32(60_000);
/// Many clients take a peer for gone after 30 seconds, also one that works on an answer.
const QUIC_PING_INTERVAL: Duration = Duration::from_secs(20);

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
        let _place = self.begin_handshake(metrics)?;
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
        let connection = stream.get_ref().1;
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        };
        let certificate = connection
            .peer_certificates()
            .and_then(|chain| chain.first());
        let peer = self.peer(version, connection.server_name(), certificate);
        Some((stream, peer))
    }

    /// A place among the handshakes that are under way, to be dropped when it has ended.
    pub(super) fn begin_handshake(&self, metrics: &ListenerMetrics) -> Option<Handshake> {
        let place = Handshake::begin(&self.handshakes, self.settings.max_handshakes);
        if place.is_none() {
            metrics.handshake(HandshakeOutcome::Refused);
        }
        place
    }

    pub(super) fn handshakes_under_way(&self) -> usize {
        self.handshakes.load(Ordering::Relaxed)
    }

    pub(super) fn handshake_timeout(&self) -> Duration {
        self.settings.handshake_timeout
    }

    /// The same over QUIC (RFC 9001), with what a listener allows there.
    pub(super) fn quic(&self, listener: &ListenerConfig) -> quinn::ServerConfig {
        let mut tls = ServerConfig::clone(self.acceptor.config());
        tls.alpn_protocols = vec![H3.to_vec()];
        let crypto = QuicServerConfig::try_from(tls).expect("the provider has QUIC's cipher suite");
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let mut transport = quinn::TransportConfig::default();
        transport
            .max_concurrent_bidi_streams(listener.max_streams.into())
            .max_concurrent_uni_streams(ONE_DIRECTION_STREAMS.into())
            .stream_receive_window(STREAM_WINDOW.into())
            .receive_window(CONNECTION_WINDOW.into())
            .send_window(u64::from(CONNECTION_WINDOW))
            .max_idle_timeout(Some(QUIC_SILENCE.into()))
            .keep_alive_interval(Some(QUIC_PING_INTERVAL));
        config.transport_config(Arc::new(transport));
        config
    }

    /// What a handshake found out.
    pub(super) fn peer(
        &self,
        version: &'static str,
        server_name: Option<&str>,
        certificate: Option<&CertificateDer<'_>>,
    ) -> TlsPeer {
        let client = certificate.and_then(|certificate| Certificate::read(certificate));
        TlsPeer {
            version,
            server_name: server_name.map(str::to_ascii_lowercase),
            client: client.map(|certificate| ClientCertificate {
                subject: certificate.subject(),
                alternative_names: certificate.alternative_names_text(),
            }),
            sites: Arc::clone(&self.certificates) as _,
        }
    }
}

/// One of `max-handshakes`.
pub(super) struct Handshake(Arc<AtomicUsize>);

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
