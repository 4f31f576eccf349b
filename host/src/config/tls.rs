//! TLS as the rest of the host sees it: certificates that were read and fit their keys, and whom to believe.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;

/// The cryptography of all TLS here.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// `[listen.NAME.tls]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenTlsConfig {
    /// At least one; the first is for clients that name no host, or one that no certificate is for.
    pub certificates: Vec<CertificateConfig>,
    /// The oldest version that is spoken. Default TLS 1.2.
    pub min_version: TlsVersion,
    /// Whether clients show certificates. Default off.
    pub client_auth: ClientAuth,
    /// Whether clients may resume sessions. Default true.
    pub session_tickets: bool,
    /// For a handshake. Default 10 s.
    pub handshake_timeout: Duration,
    /// Most handshakes at once. Default 1,000.
    pub max_handshakes: usize,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246
    Tls12,
    /// RFC 8446
    Tls13,
}

/// A certificate chain with its key.
#[derive(Clone)]
pub struct CertificateConfig {
    /// Where the chain is.
    pub file: PathBuf,
    /// Chain, key and OCSP response.
    pub key: Arc<CertifiedKey>,
    /// The hosts it is for, lower case, wildcards included.
    pub hosts: Vec<String>,
    /// When it ends, in seconds since 1970.
    pub not_after: i64,
    /// Of all that was read for it.
    pub digest: blake3::Hash,
}

/// Whether clients show certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    Off,
    /// They are asked. One that shows a certificate must show a good one.
    Optional(ClientCa),
    /// Without a good one there is no connection.
    Required(ClientCa),
}

/// Whose client certificates are believed.
#[derive(Clone)]
pub struct ClientCa {
    /// Judges them.
    pub verifier: Arc<dyn ClientCertVerifier>,
    /// Of the authorities' certificates.
    pub digest: blake3::Hash,
}

/// `[upstream.NAME.tls]`: what all targets of an upstream share.
#[derive(Clone)]
pub struct UpstreamTls {
    /// How connections are made.
    pub client: Arc<ClientConfig>,
    /// Whose certificate every target must show. Default: its host's.
    pub server_name: Option<ServerName<'static>>,
    /// Of all settings.
    pub digest: blake3::Hash,
}

impl UpstreamTls {
    /// The same, made ready for a target. None if no certificate can be for this host.
    #[must_use]
    pub fn of_target(&self, host: &str) -> Option<TargetTls> {
        let own = || ServerName::try_from(host.to_owned()).ok();
        Some(TargetTls {
            client: Arc::clone(&self.client),
            server_name: self.server_name.clone().or_else(own)?,
            digest: self.digest,
        })
    }
}

/// `[upstream.NAME.tls]`, made ready for one target.
#[derive(Clone)]
pub struct TargetTls {
    /// How connections are made.
    pub client: Arc<ClientConfig>,
    /// Whose certificate the target must show, and the name in SNI.
    pub server_name: ServerName<'static>,
    /// Of all settings.
    pub digest: blake3::Hash,
}

impl PartialEq for CertificateConfig {
    fn eq(&self, other: &Self) -> bool {
        self.file == other.file && self.digest == other.digest
    }
}

impl Eq for CertificateConfig {}

impl PartialEq for ClientCa {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for ClientCa {}

impl PartialEq for UpstreamTls {
    fn eq(&self, other: &Self) -> bool {
        self.server_name == other.server_name && self.digest == other.digest
    }
}

impl Eq for UpstreamTls {}

impl PartialEq for TargetTls {
    fn eq(&self, other: &Self) -> bool {
        self.server_name == other.server_name && self.digest == other.digest
    }
}

impl Eq for TargetTls {}

impl std::hash::Hash for TargetTls {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.server_name.hash(state);
        self.digest.hash(state);
    }
}

// Keys are not printed.
impl fmt::Debug for CertificateConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateConfig")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCa")
    }
}

impl fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamTls")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TargetTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TargetTls")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}
