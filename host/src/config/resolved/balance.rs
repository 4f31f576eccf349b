//! How targets are chosen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::config::secret::Secret;

/// `[upstream.NAME.balance]`: how the targets share the requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BalanceConfig {
    /// Who gets a request. Default `round-robin`.
    pub policy: BalancePolicy,
    /// A priority of which less than this can be used, uses all its targets. In parts of a million. Default 25 %.
    pub panic_threshold: u32,
    /// How long a target that is new, or used again, takes to come to its full weight. Default none.
    pub slow_start: Option<Duration>,
    /// Parts of the requests that zones get; one that is not named has 1. Empty: zones do not count. Default empty.
    pub zones: BTreeMap<Arc<str>, u32>,
    /// Which part of the targets a request is for. Default all.
    pub subset: Option<SubsetConfig>,
}

impl Default for BalanceConfig {
    fn default() -> Self {
        Self {
            policy: BalancePolicy::RoundRobin,
            panic_threshold: crate::config::defaults::DEFAULT_BALANCE_PANIC_THRESHOLD,
            slow_start: None,
            zones: BTreeMap::new(),
            subset: None,
        }
    }
}

/// Who gets a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BalancePolicy {
    /// Each in its turn, by weight.
    RoundRobin,
    /// Of two at random, the one with fewer requests under way for its weight.
    LeastRequest,
    /// Of two at random, the one that answers sooner, measured by peaks and averages, for what it has under way.
    PeakEwma,
    /// Always the same for the same value.
    Hash(HashOn),
}

/// What a request is bound by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashOn {
    /// The first value of a header.
    Header(HeaderName),
    /// The first value of a cookie.
    Cookie(Arc<str>),
    /// The first value of a query parameter, as it is sent.
    Query(Arc<str>),
    /// The client's address.
    Address,
    /// The consumer's name.
    Consumer,
}

/// Requests whose header has a value go to targets whose tag has the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubsetConfig {
    /// The request's header.
    pub header: HeaderName,
    /// The targets' tag.
    pub tag: Arc<str>,
    /// Whether requests without the header, or with a value that no target has, go to any target. Default true.
    pub otherwise_any: bool,
}

/// `[upstream.NAME.sticky]`: a cookie that binds a client to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StickyConfig {
    /// Name of the cookie.
    pub cookie: Arc<str>,
    /// What its value is signed with, at least 32 bytes.
    pub secret: Secret,
    /// How long clients keep it. Default until they are closed.
    pub max_age: Option<Duration>,
    /// `Path`. Default `/`.
    pub path: Arc<str>,
    /// `Secure`. Default true.
    pub secure: bool,
    /// `HttpOnly`. Default true.
    pub http_only: bool,
    /// `SameSite`. Default lax.
    pub same_site: SameSite,
}

/// With which requests from other sites a cookie is sent (RFC 6265bis, 5.6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// None.
    Strict,
    /// With links that are followed.
    Lax,
    /// With all.
    None,
}
