//! What plugins need of the rest of the host, as traits: identity, state and upstreams stand on the same floor, so
//! `app` implements these over them and hands them in.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::config::{Algorithm, LimitConfig, LimitRule};
use crate::types::{Consumer, Identity};

/// The consumers of the configuration.
pub trait Identities: Send + Sync {
    /// The consumer with this API key. Takes the same time however much of the key is right.
    fn find_api_key(&self, key: &str) -> Option<Identity>;
    /// The consumer with a JWT credential of this issuer.
    fn find_issuer(&self, issuer: &str) -> Option<Identity>;
    /// The consumer of this name.
    fn by_name(&self, name: &str) -> Option<Arc<Consumer>>;
}

/// Which key to verify with.
#[derive(Debug, Clone, Copy)]
pub enum KeyName<'a> {
    /// A `[keys.NAME]` table.
    Set(&'a str),
    /// The JWT credential of this issuer.
    Issuer(&'a str),
}

/// The outcome of a verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// The signature is right.
    Valid,
    /// It is not.
    BadSignature,
    /// There is no such key.
    UnknownKey,
    /// The key is bound to another algorithm.
    AlgorithmNotAllowed,
}

/// Keys that never leave the host.
pub trait KeyRing: Send + Sync {
    /// Verifies a signature.
    fn verify(
        &self,
        key: KeyName<'_>,
        id: Option<&str>,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Verified;
    /// SHA-256.
    fn sha256(&self, data: &[u8]) -> [u8; 32];
}

/// The state of one limit after a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether this limit allows it.
    pub allowed: bool,
    /// The limit.
    pub limit: LimitConfig,
    /// What is left in the window.
    pub remaining: u64,
    /// Until the window ends.
    pub reset: Duration,
    /// Until the cost can be taken.
    pub retry: Duration,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// How much.
    pub amount: u64,
    /// Whether it is spent already, and counts whatever is left.
    pub is_spent: bool,
}

/// Something that is held until it is dropped.
pub type Held = Arc<dyn Send + Sync>;

/// Counters for limits.
pub trait Counters: Send + Sync {
    /// Checks all rules and counts on all or none.
    ///
    /// # Errors
    /// A sentence, for a rule out of range, or when the state is unavailable.
    fn take(
        &self,
        namespace: &str,
        key: &str,
        rules: &[LimitRule],
        cost: Cost,
    ) -> Result<Vec<Decision>, String>;
    /// Takes one of `most` places of a key, if one is free.
    fn enter(&self, namespace: &str, key: &str, most: u64) -> Option<Held>;
}

/// Why the store did not do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreFailure {
    /// Key or value over the limit.
    TooLarge,
    /// Not at the expected version, or not a number.
    Conflict,
    /// The backend does not answer.
    Unavailable(String),
}

/// The key-value store. `ttl` none: until evicted.
pub trait Stores: Send + Sync {
    /// The value and its version.
    ///
    /// # Errors
    /// When the backend does not answer.
    fn get(&self, namespace: &str, key: &str) -> Result<Option<(Bytes, u64)>, StoreFailure>;
    /// Writes.
    ///
    /// # Errors
    /// Key or value too large; the backend does not answer.
    fn set(
        &self,
        namespace: &str,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<(), StoreFailure>;
    /// Writes if the entry is at the version; returns the new version.
    ///
    /// # Errors
    /// It is not; key or value too large; the backend does not answer.
    fn compare_and_set(
        &self,
        namespace: &str,
        key: &str,
        expected: Option<u64>,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<u64, StoreFailure>;
    /// Removes.
    ///
    /// # Errors
    /// When the backend does not answer.
    fn delete(&self, namespace: &str, key: &str) -> Result<(), StoreFailure>;
    /// Adds to a number; returns the sum.
    ///
    /// # Errors
    /// The value is not a number; the backend does not answer.
    fn add(
        &self,
        namespace: &str,
        key: &str,
        delta: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, StoreFailure>;
}

/// What a server answers some time later.
pub type RemoteFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Counters and the key-value store on a server: what [`Counters`] and [`Stores`] do, but whoever asks waits. `worker` is
/// the number of the worker that asks; connections belong to workers.
pub trait RemoteState: Send + Sync {
    /// As [`Counters::take`]; of a server that is away, whatever the configuration says that limits do then.
    fn take<'a>(
        &'a self,
        worker: usize,
        namespace: &'a str,
        key: &'a str,
        rules: &'a [LimitRule],
        cost: Cost,
    ) -> RemoteFuture<'a, Result<Vec<Decision>, String>>;
    /// As [`Stores::get`].
    fn get<'a>(
        &'a self,
        worker: usize,
        namespace: &'a str,
        key: &'a str,
    ) -> RemoteFuture<'a, Result<Option<(Bytes, u64)>, StoreFailure>>;
    /// As [`Stores::set`].
    fn set<'a>(
        &'a self,
        worker: usize,
        namespace: &'a str,
        key: &'a str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> RemoteFuture<'a, Result<(), StoreFailure>>;
    /// As [`Stores::compare_and_set`].
    fn compare_and_set<'a>(
        &'a self,
        worker: usize,
        namespace: &'a str,
        key: &'a str,
        expected: Option<u64>,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> RemoteFuture<'a, Result<u64, StoreFailure>>;
    /// As [`Stores::delete`].
    fn delete<'a>(
        &'a self,
        worker: usize,
        namespace: &'a str,
        key: &'a str,
    ) -> RemoteFuture<'a, Result<(), StoreFailure>>;
    /// As [`Stores::add`].
    fn add<'a>(
        &'a self,
        worker: usize,
        namespace: &'a str,
        key: &'a str,
        delta: i64,
        ttl: Option<Duration>,
    ) -> RemoteFuture<'a, Result<i64, StoreFailure>>;
}

/// An HTTP request of a plugin; the upstream has been granted, sizes and names have been checked.
#[derive(Debug)]
pub struct OutboundRequest {
    /// The upstream.
    pub upstream: Arc<str>,
    /// Method, path and headers.
    pub request: http::Request<Bytes>,
    /// For the whole call.
    pub timeout: Duration,
    /// Most bytes of the response's body.
    pub max_body: usize,
}

/// Why an outbound request has no response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutboundFailure {
    /// It took too long.
    Timeout,
    /// No target could be reached.
    Unavailable(String),
    /// The target did not speak HTTP, or broke off.
    Protocol(String),
    /// The body is too large.
    TooLarge,
}

/// A response on its way.
pub type OutboundFuture =
    Pin<Box<dyn Future<Output = Result<http::Response<Bytes>, OutboundFailure>> + Send>>;

/// HTTP requests through the host's upstreams. One for each worker: connections belong to workers.
pub trait Outbound: Send + Sync {
    /// Sends a request; dropping the future gives it up.
    fn send(&self, request: OutboundRequest) -> OutboundFuture;
}

/// Everything that plugins need, shared by all plugins of one configuration.
#[derive(Clone)]
pub struct Services {
    /// Consumers.
    pub identities: Arc<dyn Identities>,
    /// Keys.
    pub keys: Arc<dyn KeyRing>,
    /// Limits.
    pub counters: Arc<dyn Counters>,
    /// The store.
    pub stores: Arc<dyn Stores>,
    /// Limits and the store in the place of these two, where they are on a server.
    pub remote: Option<Arc<dyn RemoteState>>,
    /// `[tier.NAME]` limits.
    pub tiers: Arc<std::collections::BTreeMap<Arc<str>, Vec<LimitConfig>>>,
    /// Time.
    pub clock: crate::clock::Clock,
}
