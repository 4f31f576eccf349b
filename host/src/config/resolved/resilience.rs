//! What is done about services in trouble.

use std::sync::Arc;
use std::time::Duration;

use super::ConditionConfig;
use crate::config::defaults as default;

/// `[upstream.NAME.retry]`, `[route.retry]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryConfig {
    /// How often a request is sent again at most. Default 1.
    pub retries: u32,
    /// After what. Default connect failures and refused streams.
    pub on: RetryConditions,
    /// After answers with these statuses. Default none.
    pub statuses: Vec<u16>,
    /// After answers with these statuses of gRPC. Default none.
    pub grpc_statuses: Vec<u16>,
    /// Methods that may be sent twice although they are not idempotent. Default none.
    pub methods: Vec<http::Method>,
    /// For the head of a response to one attempt. Default what the whole request has.
    pub per_try_timeout: Option<Duration>,
    /// The longest pause before the first repetition; it doubles with each. Default 25 ms.
    pub backoff: Duration,
    /// The longest pause. Default 250 ms.
    pub max_backoff: Duration,
    /// The longest `Retry-After` that is waited for. Default 1 s.
    pub max_retry_after: Duration,
    /// What is kept of a body, to send it again. Default 64 KiB.
    pub max_body: usize,
    /// When a second attempt is made beside one that takes long. Default never.
    pub hedge_after: Option<Duration>,
}

/// After what a request is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryConditions {
    /// Nothing was sent.
    pub connect_failure: bool,
    /// The target did not look at the request.
    pub refused_stream: bool,
    /// The connection ended before the response began.
    pub reset: bool,
    /// No response began within the time of one attempt.
    pub timeout: bool,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            retries: default::DEFAULT_RETRY_RETRIES,
            on: RetryConditions {
                connect_failure: true,
                refused_stream: true,
                reset: false,
                timeout: false,
            },
            statuses: Vec::new(),
            grpc_statuses: Vec::new(),
            methods: Vec::new(),
            per_try_timeout: None,
            backoff: default::DEFAULT_RETRY_BACKOFF,
            max_backoff: default::DEFAULT_RETRY_MAX_BACKOFF,
            max_retry_after: default::DEFAULT_RETRY_MAX_RETRY_AFTER,
            max_body: default::DEFAULT_RETRY_MAX_BODY,
            hedge_after: None,
        }
    }
}

/// `retry-budget` and `retry-budget-min` of `[upstream.NAME]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudgetConfig {
    /// Of a million requests, so many may be sent again. Default 20 %.
    pub per_million: u32,
    /// So many a second at least. Default 3.
    pub least_per_second: u32,
}

/// `[upstream.NAME.breaker]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerConfig {
    /// How far back it looks. Default 10 s.
    pub window: Duration,
    /// Of a million requests, so many that fail open it. Default half.
    pub failure_rate: u32,
    /// What takes so long is slow. Default nothing is.
    pub slow_after: Option<Duration>,
    /// Of a million requests, so many that are slow open it. Default all.
    pub slow_rate: u32,
    /// With fewer requests than this in the window it does not open. Default 20.
    pub min_requests: u32,
    /// How long it stays open. Default 5 s.
    pub open_for: Duration,
    /// Requests that are let through to see whether it may close. Default 3.
    pub probes: u32,
}

/// `[upstream.NAME.concurrency]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConcurrencyConfig {
    /// Most requests at once, over all workers.
    pub max_requests: usize,
    /// Most requests that wait. Default 0.
    pub max_queue: usize,
    /// How long a request waits. Default 1 s.
    pub queue_timeout: Duration,
    /// Whether the limit follows the latency, up to `max_requests`. Default not.
    pub adaptive: bool,
    /// What it does not go below. Default 1.
    pub min_requests: usize,
}

/// `[[route.fallback]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FallbackConfig {
    /// What it takes the place of. Default 500, 502, 503, 504.
    pub statuses: Vec<u16>,
    /// Who answers.
    pub to: FallbackTo,
}

/// Who answers in the place of the origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FallbackTo {
    /// Another upstream.
    Upstream(Arc<str>),
    /// A plugin.
    Responder(Arc<str>),
    /// The gateway.
    Answer {
        /// Status, 200 to 599. Default 200.
        status: u16,
        /// `content-type`
        content_type: http::HeaderValue,
        /// Body.
        body: Arc<[u8]>,
    },
}

/// `[route.fault]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultConfig {
    /// How long requests are held, and how many of a million.
    pub delay: Option<(Duration, u32)>,
    /// With which status requests are answered, 200 to 599, and how many of a million.
    pub abort: Option<(u16, u32)>,
    /// What is wanted of their headers.
    pub headers: Vec<ConditionConfig>,
}
