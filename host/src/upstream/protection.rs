//! What protects a service from its clients, and them from it: the budget of retries, the breaker, and the limit of
//! requests at once. It outlives reloads that leave its settings as they are.

use std::sync::Arc;
use std::time::Duration;

use super::UpstreamError;
use super::breaker::{Breaker, BreakerState, Change};
use super::budget::Budget;
use super::limit::{Entry, Limiter, Permit};
use super::outcome::Outcome;
use crate::clock::Clock;
use crate::config::UpstreamConfig;
use crate::telemetry::ProtectionMetrics;
use crate::types::Importance;

/// Why a request was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// The breaker is open.
    BreakerOpen,
    /// As many requests as may be are under way, and no more may wait.
    QueueFull,
    /// It waited for too long.
    QueueTimeout,
    /// A more important request took its place.
    Displaced,
}

impl Rejection {
    /// The word for metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BreakerOpen => "breaker-open",
            Self::QueueFull => "queue-full",
            Self::QueueTimeout => "queue-timeout",
            Self::Displaced => "displaced",
        }
    }
}

/// The protection of one upstream.
pub(super) struct Protection {
    upstream: Arc<str>,
    budget: Budget,
    breaker: Option<Breaker>,
    limiter: Option<Arc<Limiter>>,
    metrics: Arc<ProtectionMetrics>,
}

impl Protection {
    pub(super) fn new(config: &UpstreamConfig, metrics: Arc<ProtectionMetrics>) -> Self {
        let budget = config.retry_budget;
        Self {
            upstream: Arc::clone(&config.name),
            budget: Budget::new(budget.per_million, budget.least_per_second),
            breaker: config.breaker.clone().map(Breaker::new),
            limiter: config
                .concurrency
                .clone()
                .map(|config| Arc::new(Limiter::new(config))),
            metrics,
        }
    }

    /// Whether it is what these two configurations ask for.
    pub(super) fn fits(before: &UpstreamConfig, now: &UpstreamConfig) -> bool {
        before.retry_budget == now.retry_budget
            && before.breaker == now.breaker
            && before.concurrency == now.concurrency
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    pub(super) fn breaker(&self) -> Option<&Breaker> {
        self.breaker.as_ref()
    }

    pub(super) fn limiter(&self) -> Option<&Limiter> {
        self.limiter.as_deref()
    }

    pub(super) fn metrics(&self) -> &ProtectionMetrics {
        &self.metrics
    }

    /// The right to send a request, as soon as there is room for it; none is needed where there is no limit.
    pub(super) async fn enter(
        &self,
        importance: Importance,
        deadline: Option<Duration>,
        clock: &Clock,
    ) -> Result<Option<Permit>, UpstreamError> {
        let Some(limiter) = &self.limiter else {
            return Ok(None);
        };
        let turn = match limiter.enter(importance) {
            Entry::Permit(permit) => return Ok(Some(permit)),
            Entry::Turn(turn) => turn,
            Entry::Full => return Err(self.reject(Rejection::QueueFull)),
        };
        // Whoever cannot be answered in time any more does not have to be.
        let left = deadline.map(|deadline| deadline.saturating_sub(clock.now()));
        let patience = left
            .into_iter()
            .fold(limiter.config().queue_timeout, Duration::min);
        match tokio::time::timeout(patience, turn).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            Ok(Err(_)) => Err(self.reject(Rejection::Displaced)),
            Err(_) => Err(self.reject(Rejection::QueueTimeout)),
        }
    }

    /// Learns what came of an attempt.
    pub(super) fn learn(&self, outcome: Outcome, took: Duration, now: impl FnOnce() -> Duration) {
        if let Some(limiter) = &self.limiter
            && outcome != Outcome::Unrelated
        {
            limiter.learn(took, outcome.is_failure(), now());
        }
    }

    /// That the breaker is open.
    pub(super) fn broken(&self) -> UpstreamError {
        self.reject(Rejection::BreakerOpen)
    }

    fn reject(&self, reason: Rejection) -> UpstreamError {
        self.metrics.rejected(reason.as_str());
        UpstreamError::Rejected {
            upstream: Arc::clone(&self.upstream),
            reason,
        }
    }

    /// Says that the breaker has changed its state, and why.
    pub(super) fn breaker_changed(&self, change: Change) {
        let (upstream, metrics) = (&*self.upstream, &self.metrics);
        match change {
            Change::Opened {
                calls,
                failed,
                slow,
            } => {
                metrics.breaker_changed("open");
                tracing::warn!(
                    upstream,
                    calls,
                    failed,
                    slow,
                    "circuit breaker opened: too many requests failed or were slow"
                );
            }
            Change::Reopened => {
                metrics.breaker_changed("open");
                tracing::warn!(
                    upstream,
                    "circuit breaker opened again: a request to see failed or was slow"
                );
            }
            Change::HalfOpened => {
                metrics.breaker_changed("half-open");
                tracing::info!(
                    upstream,
                    "circuit breaker half-open: a few requests are sent to see"
                );
            }
            Change::Closed => {
                metrics.breaker_changed("closed");
                tracing::info!(
                    upstream,
                    "circuit breaker closed: the requests to see went well"
                );
            }
        }
    }

    /// Brings gauges up to date.
    pub(super) fn observe(&self, now: Duration) {
        self.metrics.budget_left_is(self.budget.left(now));
        if let Some(breaker) = &self.breaker {
            self.metrics.breaker_is(breaker.state().as_str());
        }
        if let Some(limiter) = &self.limiter {
            self.metrics
                .concurrency_is(limiter.limit(), limiter.taken(), limiter.waiting());
        }
    }
}

impl BreakerState {
    /// The word for metrics and reports.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}
