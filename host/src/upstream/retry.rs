//! Whether a request is sent once more: a state machine of one request, without I/O.
//!
//! What a service may have seen is never sent twice, unless the method is idempotent (RFC 9110, 9.2.2) or the operator
//! says that it may be. What nobody has seen may always go elsewhere.

use std::time::Duration;

use super::budget::Budget;
use super::outcome::Outcome;
use crate::config::RetryConfig;

/// Why a request is not sent once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denial {
    /// It is not worth it, or not allowed.
    Final,
    /// It would be, but the budget is used up.
    Budget,
}

/// What is known when an attempt has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) now: Duration,
    /// How long the service wants to be left alone.
    pub(super) retry_after: Option<Duration>,
    /// Whether there is a target that has not been tried.
    pub(super) elsewhere: bool,
    /// Between 0 and 1.
    pub(super) random: f64,
}

/// The attempts of one request.
#[derive(Debug)]
pub(super) struct Course<'a> {
    policy: &'a RetryConfig,
    budget: Option<&'a Budget>,
    /// Whether what a service may have seen may be sent again.
    is_repeatable: bool,
    /// When the answer must be there.
    deadline: Option<Duration>,
    repeated: u32,
}

impl<'a> Course<'a> {
    pub(super) fn new(
        policy: &'a RetryConfig,
        budget: Option<&'a Budget>,
        method: &http::Method,
        deadline: Option<Duration>,
    ) -> Self {
        Self {
            is_repeatable: policy.allows(method),
            policy,
            budget,
            deadline,
            repeated: 0,
        }
    }

    pub(super) fn policy(&self) -> &'a RetryConfig {
        self.policy
    }

    /// When the answer must be there.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// When a second attempt is made beside one that takes long.
    pub(super) fn hedge_after(&self) -> Option<Duration> {
        let may = self.is_repeatable && self.repeated < self.policy.retries;
        self.policy.hedge_after.filter(|_| may)
    }

    /// Whether a copy of the request is needed, in case that it is to be sent again after it was sent.
    pub(super) fn wants_copy(&self) -> bool {
        self.is_repeatable && self.repeated < self.policy.retries && self.policy.repeats_seen()
    }

    /// Whether one more attempt is made after one that ended like this, and after which pause.
    pub(super) fn again(&mut self, end: Outcome, facts: Facts) -> Result<Duration, Denial> {
        if self.repeated >= self.policy.retries || !self.wants(end) {
            return Err(Denial::Final);
        }
        if !is_unseen(end) && !self.is_repeatable {
            return Err(Denial::Final);
        }
        let pause = self.pause(end, facts).ok_or(Denial::Final)?;
        let is_late = |deadline| facts.now.saturating_add(pause) >= deadline;
        if self.deadline.is_some_and(is_late) {
            return Err(Denial::Final);
        }
        // Going on from a target that was not reached burdens nobody.
        if end != Outcome::ConnectFailure && !self.pay(facts.now) {
            return Err(Denial::Budget);
        }
        self.repeated += 1;
        Ok(pause)
    }

    /// Whether a second attempt may be made beside one that takes long.
    pub(super) fn hedge(&mut self, now: Duration) -> bool {
        let may = self.hedge_after().is_some() && self.pay(now);
        self.repeated += u32::from(may);
        may
    }

    fn pay(&self, now: Duration) -> bool {
        self.budget.is_none_or(|budget| budget.take(now))
    }

    /// Whether the policy sees any sense in one more attempt after one that ended like this.
    pub(super) fn wants(&self, end: Outcome) -> bool {
        let policy = self.policy;
        match end {
            Outcome::ConnectFailure => policy.on.connect_failure,
            Outcome::Refused => policy.on.refused_stream,
            Outcome::Reset => policy.on.reset,
            Outcome::Timeout => policy.on.timeout,
            Outcome::Answered { status, grpc } => {
                policy.statuses.contains(&status.as_u16())
                    || grpc.is_some_and(|code| policy.grpc_statuses.contains(&code))
            }
            Outcome::Unrelated => false,
        }
    }

    /// How long to wait before the next attempt; none where the service wants more than there is patience for.
    fn pause(&self, end: Outcome, facts: Facts) -> Option<Duration> {
        let is_answer = matches!(end, Outcome::Answered { .. });
        if let Some(wish) = facts.retry_after.filter(|_| is_answer) {
            return (wish <= self.policy.max_retry_after)
                .then(|| wish.max(self.backoff(facts.random)));
        }
        // A target that failed says nothing about the others: the next one is asked at once.
        let is_first = self.repeated == 0 && !is_answer;
        match is_first && facts.elsewhere {
            true => Some(Duration::ZERO),
            false => Some(self.backoff(facts.random)),
        }
    }

    /// Anything up to a time that doubles with each attempt, so that those who failed together do not come back together.
    fn backoff(&self, random: f64) -> Duration {
        let doubled = self
            .policy
            .backoff
            .saturating_mul(1 << self.repeated.min(16));
        doubled
            .min(self.policy.max_backoff)
            .mul_f64(random.clamp(0.0, 1.0))
    }
}

/// Whether the service cannot have seen the request.
pub(super) fn is_unseen(end: Outcome) -> bool {
    matches!(end, Outcome::ConnectFailure | Outcome::Refused)
}

impl RetryConfig {
    /// Whether requests with this method may be sent again after a service may have seen them.
    pub(super) fn allows(&self, method: &http::Method) -> bool {
        // A tunnel is no request.
        *method != http::Method::CONNECT
            && (method.is_idempotent() || self.methods.contains(method))
    }

    /// Whether anything is sent again that a service may have seen.
    fn repeats_seen(&self) -> bool {
        self.on.reset
            || self.on.timeout
            || !self.statuses.is_empty()
            || !self.grpc_statuses.is_empty()
    }
}

#[cfg(test)]
mod tests;
