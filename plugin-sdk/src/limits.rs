//! Counters that all instances, workers and routes share. Grant: `limits`.

use std::time::Duration;

use crate::host::call;

pub use crate::bindings::imports::postern::plugin::limits::{
    Algorithm, Decision, Limit, Outcome, Rule,
};

/// Checks all limits of a key and counts `cost` on all of them, in one atomic step: either every limit allows it and all
/// are counted, or none is. The decisions come in the order of `limits`, at most 8. Keys are private to the plugin, at most
/// 512 bytes. The error names a limit that is out of range, or says that the state is unavailable.
pub fn take(key: &str, limits: &[Limit], cost: u64) -> Result<Vec<Decision>, String> {
    call!(limits::take(key, limits, cost))
}

/// The same as [`take`] with rules, which say how each limit counts. Counters belong to a key, an algorithm and a window:
/// rules that have both in common share one.
pub fn decide(key: &str, rules: &[Rule], cost: u64) -> Result<Vec<Outcome>, String> {
    call!(limits::decide(key, rules, cost))
}

/// Counts a cost that is spent already, whatever is left: what is over the limit is missing later.
pub fn charge(key: &str, rules: &[Rule], cost: u64) -> Result<Vec<Outcome>, String> {
    call!(limits::charge(key, rules, cost))
}

/// Takes one of `most` places of a key, which is free again when the exchange ends; false if there is none. Places are
/// those of one gateway process, wherever its counters are.
pub fn enter(key: &str, most: u64) -> Result<bool, String> {
    call!(limits::enter(key, most))
}

/// The limits of a `[tier.NAME]` table, empty when there is none. Constant while the instance lives.
pub fn of_tier(tier: &str) -> Vec<Limit> {
    call!(limits::of_tier(tier))
}

impl Limit {
    /// At most `amount` in a window, which is at most 31 days.
    pub fn new(amount: u64, window: Duration) -> Self {
        Limit {
            amount,
            window_ms: u64::try_from(window.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// How long the window is.
    pub fn window(&self) -> Duration {
        Duration::from_millis(self.window_ms)
    }
}

impl Rule {
    /// A limit that counts in this way. A bucket holds the limit's amount.
    pub fn new(limit: Limit, algorithm: Algorithm) -> Self {
        Rule {
            limit,
            algorithm,
            burst: 0,
        }
    }
}
