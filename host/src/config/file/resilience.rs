//! The tables about services in trouble.

use serde::Deserialize;
use toml::Spanned;

use super::{ConditionsFile, Field};
use crate::config::condition::HeaderKey;
use crate::config::resilience::{GrpcStatusWord, RetryOnWord};
use crate::config::units::{DurationText, SizeText};
use crate::config::values::{Method, Share};

/// `[upstream.NAME.retry], [route.retry]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct RetryFile {
    /// How often a request is sent again.
    pub(in crate::config) retries: Field<u64>,
    /// After what.
    pub(in crate::config) on: Option<Vec<Spanned<RetryOnWord>>>,
    /// After which answers.
    pub(in crate::config) statuses: Option<Vec<Spanned<u64>>>,
    /// The same for gRPC.
    pub(in crate::config) grpc_statuses: Option<Vec<Spanned<GrpcStatusWord>>>,
    /// Methods that may be sent twice although they are not idempotent.
    pub(in crate::config) methods: Option<Vec<Spanned<Method>>>,
    /// For the head of a response to one attempt.
    pub(in crate::config) per_try_timeout: Field<DurationText>,
    /// Before the second attempt, at most.
    pub(in crate::config) backoff: Field<DurationText>,
    /// Before any attempt, at most.
    pub(in crate::config) max_backoff: Field<DurationText>,
    /// The longest wish of a service to be left alone that is granted.
    pub(in crate::config) max_retry_after: Field<DurationText>,
    /// What is kept of a body to send it again.
    pub(in crate::config) max_body: Field<SizeText>,
    /// When a second attempt is made beside the first.
    pub(in crate::config) hedge_after: Field<DurationText>,
}

/// `[upstream.NAME.breaker]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct BreakerFile {
    /// How far back it looks.
    pub(in crate::config) window: Field<DurationText>,
    /// Failures that open it.
    pub(in crate::config) failure_rate: Field<Share>,
    /// What is slow.
    pub(in crate::config) slow_after: Field<DurationText>,
    /// Slow answers that open it.
    pub(in crate::config) slow_rate: Field<Share>,
    /// With fewer requests it does not open.
    pub(in crate::config) min_requests: Field<u64>,
    /// How long it stays open.
    pub(in crate::config) open_for: Field<DurationText>,
    /// Requests that are let through to see.
    pub(in crate::config) probes: Field<u64>,
}

/// `[upstream.NAME.concurrency]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct ConcurrencyFile {
    /// Most requests at once.
    pub(in crate::config) max_requests: Field<u64>,
    /// Most that wait.
    pub(in crate::config) max_queue: Field<u64>,
    /// How long they wait.
    pub(in crate::config) queue_timeout: Field<DurationText>,
    /// Whether the limit finds itself.
    pub(in crate::config) adaptive: Option<bool>,
    /// What it does not go below.
    pub(in crate::config) min_requests: Field<u64>,
}

/// `[[route.fallback]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct FallbackFile {
    /// What it takes the place of.
    pub(in crate::config) statuses: Option<Vec<Spanned<u64>>>,
    /// The upstream that answers.
    pub(in crate::config) upstream: Field<String>,
    /// The plugin that answers.
    pub(in crate::config) responder: Field<String>,
    /// Status of the answer.
    pub(in crate::config) status: Field<u64>,
    /// The answer as JSON.
    pub(in crate::config) json: Field<toml::Value>,
    /// The answer as text.
    pub(in crate::config) body: Field<String>,
    /// Where the answer is.
    pub(in crate::config) file: Field<String>,
    /// What the answer is.
    pub(in crate::config) content_type: Field<String>,
}

/// `[route.fault]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct FaultFile {
    /// How long requests are held.
    pub(in crate::config) delay: Field<DurationText>,
    /// How many of them.
    pub(in crate::config) delay_share: Field<Share>,
    /// What requests are answered with.
    pub(in crate::config) abort: Field<u64>,
    /// How many of them.
    pub(in crate::config) abort_share: Field<Share>,
    /// Which headers requests must have.
    pub(in crate::config) headers: ConditionsFile<HeaderKey>,
}
