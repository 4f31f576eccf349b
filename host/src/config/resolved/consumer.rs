//! Consumers, their credentials, and keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Algorithm, Endpoint, Position};
use crate::config::{KeyDigest, Secret};

/// `[consumer.NAME]`
#[derive(Debug, Clone)]
pub struct ConsumerConfig {
    /// `NAME`
    pub name: Arc<str>,
    /// An existing tier.
    pub tier: Option<Arc<str>>,
    /// Names of groups.
    pub groups: Vec<Arc<str>>,
    /// The operator's own identifier.
    pub custom_id: Option<Arc<str>>,
    /// What else plugins may want to know.
    pub metadata: BTreeMap<Arc<str>, Arc<str>>,
    /// `[[consumer.NAME.jwt]]`; an issuer belongs to one consumer, and has at most four keys.
    pub jwt: Vec<JwtCredentialConfig>,
    /// `[[consumer.NAME.api-key]]`; keys are unique over all consumers.
    pub api_keys: Vec<ApiKeyConfig>,
}

/// `[[consumer.NAME.jwt]]`
#[derive(Debug, Clone)]
pub struct JwtCredentialConfig {
    /// The `iss` claim.
    pub issuer: Arc<str>,
    /// The only algorithm that is accepted.
    pub algorithm: Algorithm,
    /// `kid`, where tokens name one.
    pub id: Option<Arc<str>>,
    /// Shared secret (HS*) or PEM public key.
    pub key: Secret,
    /// From when on it counts no more, in milliseconds since 1970.
    pub expires: Option<u64>,
    /// Where the key is named, for errors about its content.
    pub position: Position,
}

/// `[[consumer.NAME.api-key]]`
#[derive(Debug, Clone)]
pub struct ApiKeyConfig {
    /// Identifies the key in logs and headers. Default: consumer name and number, `mobile-app-1`.
    pub id: Arc<str>,
    /// The SHA-256 digest of the key, which itself is not kept.
    pub digest: KeyDigest,
    /// From when on it counts no more, in milliseconds since 1970.
    pub expires: Option<u64>,
}

/// `[keys.NAME]`
#[derive(Debug, Clone)]
pub struct KeyConfig {
    /// `NAME`
    pub name: Arc<str>,
    /// The only algorithm that is accepted.
    pub algorithm: Algorithm,
    /// `kid`, where tokens name one.
    pub id: Option<Arc<str>>,
    /// Shared secret (HS*) or PEM public key.
    pub key: Secret,
    /// Where the key is named, for errors about its content.
    pub position: Position,
}

/// `[keys.NAME]` with `jwks`: a set of public keys (RFC 7517).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySetConfig {
    /// `NAME`
    pub name: Arc<str>,
    /// Where it comes from.
    pub source: KeySetSource,
    /// The only algorithm that is accepted; otherwise each key says its own.
    pub algorithm: Option<Algorithm>,
    /// Where it is named, for errors about its content.
    pub position: Position,
}

/// Where a set of keys comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySetSource {
    /// A file, which was read.
    Document(Secret),
    /// A server.
    Url {
        /// Which one.
        server: Endpoint,
        /// What it is asked for.
        path: Arc<str>,
        /// After how long it is asked again. Default 10 min.
        refresh: Duration,
    },
}
