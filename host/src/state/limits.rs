//! Counters of limits: windows, fixed or sliding, and buckets.
//!
//! The tables are split into shards, each behind a mutex that is held for a fraction of a microsecond: all limits of a
//! key are in one entry, so checking and counting all of them is one step that nothing can come between. The number of
//! keys is bounded. A full shard forgets expired keys, or else the one of a small sample whose windows end first: a
//! flood of invented keys costs others their counts (they may do a little more), never their admission.

mod counter;
mod shard;

use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hashbrown::DefaultHashBuilder;
use smallvec::SmallVec;

use crate::config::{LimitAlgorithm, LimitConfig, LimitRule};
use shard::{Key, Shard};

/// Most limits of one call, and counters of one key.
const MAX_LIMITS: usize = 8;
/// Most bytes of a key.
const MAX_KEY_BYTES: usize = 512;
const MAX_AMOUNT: u64 = u32::MAX as u64;
const MAX_WINDOW: Duration = Duration::from_secs(31 * 24 * 60 * 60);
/// Enough that a few dozen workers seldom meet in one.
const MAX_SHARDS: usize = 256;
/// Fewer keys in a shard than this, and chance would fill some shards long before others.
const MIN_SHARD_KEYS: usize = 64;

/// The counters of all keys.
#[derive(Debug)]
pub struct Limits {
    shards: Box<[Mutex<Shard>]>,
    hasher: DefaultHashBuilder,
}

/// The state of one limit after the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether this limit has room for the cost.
    pub allowed: bool,
    /// The limit.
    pub limit: LimitConfig,
    /// What is left in the window.
    pub remaining: u64,
    /// Until the window ends, or nothing that was counted matters any more; where no window has begun, until one that
    /// began now would end.
    pub reset: Duration,
    /// Until the cost can be taken, if nobody else takes anything.
    pub retry: Duration,
}

impl Decision {
    /// `reset` in milliseconds, rounded up, so that whoever waits that long is in a new window.
    #[must_use]
    pub fn reset_ms(&self) -> u64 {
        millis(self.reset)
    }

    /// `retry` in milliseconds, rounded up.
    #[must_use]
    pub fn retry_ms(&self) -> u64 {
        millis(self.retry)
    }
}

/// Decisions in the order of the limits.
pub type Decisions = SmallVec<[Decision; 4]>;

/// A call that cannot be decided.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// The key is too long.
    #[error("a key has at most {MAX_KEY_BYTES} bytes, this has {0}")]
    KeyTooLong(usize),
    /// Too many limits.
    #[error("at most {MAX_LIMITS} limits are checked at once, these are {0}")]
    TooManyLimits(usize),
    /// An amount out of range.
    #[error("limit {number}: the amount is 1 to {MAX_AMOUNT}, this is {amount}")]
    Amount {
        /// Number of the limit, from 1.
        number: usize,
        /// Its amount.
        amount: u64,
    },
    /// A bucket out of range.
    #[error("limit {number}: a bucket holds 1 to {MAX_AMOUNT}, and is full within 31 days")]
    Bucket {
        /// Number of the limit, from 1.
        number: usize,
    },
    /// A window out of range.
    #[error("limit {number}: the window is 1 ms to 31 days, this is {window:?}")]
    Window {
        /// Number of the limit, from 1.
        number: usize,
        /// Its window.
        window: Duration,
    },
}

impl Limits {
    /// Counters for at most `max_keys` keys in all.
    #[must_use]
    pub fn new(max_keys: usize) -> Self {
        let wanted = (max_keys / MIN_SHARD_KEYS).clamp(1, MAX_SHARDS);
        // Rounded down to a power of two, so that a shard is chosen by a mask.
        let count = 1 << wanted.ilog2();
        let capacity = (max_keys / count).max(1);
        let shards = (0..count)
            .map(|_| Mutex::new(Shard::new(capacity)))
            .collect();
        Self {
            shards,
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Checks all rules of a key and counts `cost` on all of them if every one has room for it; otherwise on none, unless
    /// it `is_spent` already. A cost of zero only looks.
    ///
    /// A counter belongs to a key, an algorithm and a window: a rule whose amount was changed goes on with what was counted,
    /// one whose window was changed begins anew, and two rules with one window share it.
    ///
    /// # Errors
    /// When the key or a rule is out of range; nothing is counted then.
    pub fn decide(
        &self,
        (namespace, key): (&str, &str),
        rules: &[LimitRule],
        cost: u64,
        is_spent: bool,
        now: Duration,
    ) -> Result<Decisions, LimitError> {
        check(key, rules)?;
        if rules.is_empty() {
            return Ok(Decisions::new());
        }
        let key = Key { namespace, key };
        let hash = self.hasher.hash_one(key);
        let shard = self.shard(hash).lock();
        // A panic inside cannot leave an entry half counted: counting is the last thing that happens.
        Ok(shard.unwrap_or_else(PoisonError::into_inner).take(
            hash,
            key,
            rules,
            (cost, is_spent),
            nanos(now),
        ))
    }

    /// Forgets keys of which no window is open. To be called every few seconds, off the request threads.
    pub fn sweep(&self, now: Duration) {
        for shard in &self.shards {
            let mut from = usize::MAX;
            // In steps, so that a request never waits for a whole shard.
            while from > 0 {
                from = shard
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .sweep(nanos(now), from);
            }
        }
    }

    /// Keys that are remembered.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len())
            .sum()
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        // Bits that the tables inside use least: those choose by the lowest and tag with the highest.
        let index = (hash >> 40) as usize & (self.shards.len() - 1);
        self.shards
            .get(index)
            .expect("the mask is below the number of shards")
    }
}

pub(super) fn check(key: &str, rules: &[LimitRule]) -> Result<(), LimitError> {
    if key.len() > MAX_KEY_BYTES {
        return Err(LimitError::KeyTooLong(key.len()));
    }
    if rules.len() > MAX_LIMITS {
        return Err(LimitError::TooManyLimits(rules.len()));
    }
    for (number, rule) in (1..).zip(rules) {
        let limit: &LimitConfig = &rule.limit;
        if !(1..=MAX_AMOUNT).contains(&limit.amount) {
            return Err(LimitError::Amount {
                number,
                amount: limit.amount,
            });
        }
        if limit.window < Duration::from_millis(1) || limit.window > MAX_WINDOW {
            return Err(LimitError::Window {
                number,
                window: limit.window,
            });
        }
        if rule.algorithm == LimitAlgorithm::TokenBucket
            && (!(1..=MAX_AMOUNT).contains(&rule.burst)
                || u128::from(counter::step(rule)) * u128::from(rule.burst) > MAX_WINDOW.as_nanos())
        {
            return Err(LimitError::Bucket { number });
        }
    }
    Ok(())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

fn nanos(time: Duration) -> u64 {
    // 584 years of uptime.
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
