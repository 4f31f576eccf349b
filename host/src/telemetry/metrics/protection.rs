//! What an upstream's retries, breaker and limit do.

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::Handle;

/// The metrics of what protects an upstream.
#[derive(Debug)]
pub struct ProtectionMetrics {
    retries: IntCounterVec,
    exhausted: IntCounter,
    budget_left: IntGauge,
    ejections: IntCounterVec,
    rejected: IntCounterVec,
    breaker: IntGaugeVec,
    breaker_changes: IntCounterVec,
    concurrency: IntGaugeVec,
}

impl ProtectionMetrics {
    pub(super) fn new(
        retries: IntCounterVec,
        (exhausted, budget_left): (IntCounter, IntGauge),
        ejections: IntCounterVec,
        rejected: IntCounterVec,
        breaker: IntGaugeVec,
        breaker_changes: IntCounterVec,
        concurrency: IntGaugeVec,
    ) -> Self {
        Self {
            retries,
            exhausted,
            budget_left,
            ejections,
            rejected,
            breaker,
            breaker_changes,
            concurrency,
        }
    }

    /// A request was sent once more, for a reason from a fixed list of words.
    pub fn repeated(&self, reason: &'static str) {
        self.retries.with_label_values(&[reason]).inc();
    }

    /// A request was not sent once more because the budget is used up.
    pub fn budget_exhausted(&self) {
        self.exhausted.inc();
    }

    /// How many requests may be sent once more.
    pub fn budget_left_is(&self, left: u64) {
        self.budget_left
            .set(i64::try_from(left).unwrap_or(i64::MAX));
    }

    /// A target was ejected, for a reason from a fixed list of words.
    pub fn ejected(&self, reason: &str) {
        self.ejections.with_label_values(&[reason]).inc();
    }

    /// A request was not sent at all, for a reason from a fixed list of words.
    pub fn rejected(&self, reason: &'static str) {
        self.rejected.with_label_values(&[reason]).inc();
    }

    /// The breaker changed to a state.
    pub fn breaker_changed(&self, state: &'static str) {
        self.breaker_changes.with_label_values(&[state]).inc();
    }

    /// The breaker's state.
    pub fn breaker_is(&self, state: &'static str) {
        for known in ["closed", "open", "half-open"] {
            let value = i64::from(known == state);
            self.breaker.with_label_values(&[known]).set(value);
        }
    }

    /// Most requests at once, those under way, and those that wait.
    pub fn concurrency_is(&self, limit: usize, taken: usize, waiting: usize) {
        for (kind, count) in [("limit", limit), ("taken", taken), ("waiting", waiting)] {
            let value = i64::try_from(count).unwrap_or(i64::MAX);
            self.concurrency.with_label_values(&[kind]).set(value);
        }
    }
}

impl Handle for ProtectionMetrics {
    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.retries.clone()),
            Box::new(self.exhausted.clone()),
            Box::new(self.budget_left.clone()),
            Box::new(self.ejections.clone()),
            Box::new(self.rejected.clone()),
            Box::new(self.breaker.clone()),
            Box::new(self.breaker_changes.clone()),
            Box::new(self.concurrency.clone()),
        ]
    }
}

/// Counters of the answers that were given in the place of a route's origin.
#[derive(Debug)]
pub struct FallbackMetrics(pub(super) IntCounterVec);

impl FallbackMetrics {
    /// An answer was given, by one of a fixed list of words.
    pub fn count(&self, to: &'static str) {
        self.0.with_label_values(&[to]).inc();
    }
}

/// Counters of the faults that were injected into a route.
#[derive(Debug)]
pub struct FaultMetrics(pub(super) IntCounterVec);

impl FaultMetrics {
    /// A request was held.
    pub fn delayed(&self) {
        self.0.with_label_values(&["delay"]).inc();
    }

    /// A request failed.
    pub fn aborted(&self) {
        self.0.with_label_values(&["abort"]).inc();
    }
}
