//! What was counted of one rule of one key, and what is left of it.

use std::time::Duration;

use super::Decision;
use crate::config::{LimitAlgorithm, LimitRule};

/// All times are nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counter {
    /// When the window began. Of a bucket: when it is full again.
    at: u64,
    window_ms: u32,
    used: u32,
    /// What the window before counted.
    before: u32,
    algorithm: LimitAlgorithm,
}

impl Counter {
    pub(super) fn new(rule: &LimitRule, now: u64) -> Self {
        Self {
            at: now,
            window_ms: window_ms(rule),
            used: 0,
            before: 0,
            algorithm: rule.algorithm,
        }
    }

    /// Whether it counts for this rule.
    pub(super) fn is_of(&self, rule: &LimitRule) -> bool {
        self.algorithm == rule.algorithm && self.window_ms == window_ms(rule)
    }

    /// Whether something that was counted still matters.
    pub(super) fn is_open(&self, now: u64) -> bool {
        let counted = match self.algorithm {
            LimitAlgorithm::TokenBucket => true,
            LimitAlgorithm::FixedWindow | LimitAlgorithm::SlidingWindow => {
                self.used > 0 || self.before > 0
            }
        };
        counted && now < self.ends()
    }

    /// When nothing of it matters any more.
    pub(super) fn ends(&self) -> u64 {
        match self.algorithm {
            LimitAlgorithm::TokenBucket => self.at,
            LimitAlgorithm::SlidingWindow if self.used > 0 => {
                self.at.saturating_add(self.window().saturating_mul(2))
            }
            LimitAlgorithm::FixedWindow | LimitAlgorithm::SlidingWindow => {
                self.at.saturating_add(self.window())
            }
        }
    }

    /// As it is now: what has ended is left out.
    pub(super) fn advanced(mut self, now: u64) -> Self {
        // Threads read the clock before they get here, so `now` may lie a little before `at`.
        let elapsed = now.saturating_sub(self.at);
        match self.algorithm {
            LimitAlgorithm::TokenBucket => self.at = self.at.max(now),
            _ if !self.is_open(now) => (self.at, self.used, self.before) = (now, 0, 0),
            LimitAlgorithm::SlidingWindow if elapsed >= self.window() => {
                self.at += self.window();
                (self.before, self.used) = (self.used, 0);
            }
            LimitAlgorithm::SlidingWindow | LimitAlgorithm::FixedWindow => {}
        }
        self
    }

    /// Whether there is room for a cost.
    pub(super) fn fits(&self, rule: &LimitRule, cost: u64, now: u64) -> bool {
        match self.algorithm {
            LimitAlgorithm::TokenBucket => {
                let step = u128::from(step(rule));
                let missing = u128::from(self.at.saturating_sub(now));
                missing + step * u128::from(cost) <= step * u128::from(rule.burst)
            }
            _ => self.spent(now).saturating_add(cost) <= rule.limit.amount,
        }
    }

    /// Counts a cost, whatever is left.
    pub(super) fn count(&mut self, rule: &LimitRule, cost: u64, now: u64) {
        if self.algorithm == LimitAlgorithm::TokenBucket {
            let (step, size) = (step(rule), size(rule));
            let latest = now.saturating_add(size).saturating_add(self.window());
            let counted = self.at.saturating_add(step.saturating_mul(cost));
            self.at = counted.min(latest.max(self.at));
        } else {
            let used = u64::from(self.used).saturating_add(cost);
            self.used = u32::try_from(used).unwrap_or(u32::MAX);
        }
    }

    /// What clients are told. `retry` is for a cost that does not fit.
    pub(super) fn decision(
        &self,
        rule: &LimitRule,
        allowed: bool,
        retry: u64,
        now: u64,
    ) -> Decision {
        let remaining = match self.algorithm {
            LimitAlgorithm::TokenBucket => {
                size(rule).saturating_sub(self.at.saturating_sub(now)) / step(rule)
            }
            _ => rule.limit.amount.saturating_sub(self.spent(now)),
        };
        Decision {
            allowed,
            limit: rule.limit,
            remaining,
            reset: Duration::from_nanos(self.reset(now)),
            retry: Duration::from_nanos(retry),
        }
    }

    /// How long until a cost fits that does not fit now.
    pub(super) fn retry(&self, rule: &LimitRule, cost: u64, now: u64) -> u64 {
        let window = self.window();
        let Some(room) = self.size_of(rule).checked_sub(cost) else {
            return self.reset(now);
        };
        let left = self.at.saturating_add(window).saturating_sub(now);
        match self.algorithm {
            LimitAlgorithm::FixedWindow => self.reset(now),
            LimitAlgorithm::TokenBucket => {
                let missing = self.at.saturating_sub(now);
                missing.saturating_sub(step(rule).saturating_mul(room))
            }
            LimitAlgorithm::SlidingWindow if u64::from(self.used) <= room => {
                let room = room - u64::from(self.used);
                left.saturating_sub(part(room, window, self.before))
            }
            LimitAlgorithm::SlidingWindow => {
                let next = window.saturating_sub(part(room, window, self.used));
                left.saturating_add(next)
            }
        }
    }

    fn size_of(&self, rule: &LimitRule) -> u64 {
        match self.algorithm {
            LimitAlgorithm::TokenBucket => rule.burst,
            LimitAlgorithm::FixedWindow | LimitAlgorithm::SlidingWindow => rule.limit.amount,
        }
    }

    /// What counts against the limit of a window now.
    fn spent(&self, now: u64) -> u64 {
        if self.before == 0 {
            return self.used.into();
        }
        let window = self.window();
        let left = self
            .at
            .saturating_add(window)
            .saturating_sub(now)
            .min(window);
        let before = u128::from(self.before) * u128::from(left);
        // No more than `before`, which has 32 bits.
        let before = before.div_ceil(u128::from(window.max(1))) as u64;
        u64::from(self.used) + before
    }

    fn reset(&self, now: u64) -> u64 {
        let most = match self.algorithm {
            LimitAlgorithm::FixedWindow => self.window(),
            LimitAlgorithm::SlidingWindow => self.window().saturating_mul(2),
            LimitAlgorithm::TokenBucket => u64::MAX,
        };
        self.ends().saturating_sub(now).min(most)
    }

    fn window(&self) -> u64 {
        u64::from(self.window_ms) * 1_000_000
    }
}

fn window_ms(rule: &LimitRule) -> u32 {
    let millis = rule.limit.window.as_nanos().div_ceil(1_000_000);
    u32::try_from(millis).unwrap_or(u32::MAX)
}

/// In which time a bucket gets one token. Whole nanoseconds, so that a full bucket has exactly as many tokens as it should.
pub(super) fn step(rule: &LimitRule) -> u64 {
    (super::nanos(rule.limit.window) / rule.limit.amount.max(1)).max(1)
}

/// In which time an empty bucket becomes full.
fn size(rule: &LimitRule) -> u64 {
    step(rule).saturating_mul(rule.burst)
}

/// The time in which `share` of `whole` passes, of a window in which `whole` does.
fn part(share: u64, window: u64, whole: u32) -> u64 {
    let time = u128::from(share) * u128::from(window) / u128::from(whole.max(1));
    u64::try_from(time).unwrap_or(u64::MAX)
}
