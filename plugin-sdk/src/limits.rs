//! Counters that all instances, workers and routes share. Grant: `limits`.

use std::time::Duration;

use crate::host::call;

pub use crate::bindings::imports::postern::plugin::limits::{Decision, Limit};

/// Checks all limits of a key and counts `cost` on all of them, in one atomic step: either every limit allows it and all
/// are counted, or none is. The decisions come in the order of `limits`, at most 8. Keys are private to the plugin, at most
/// 512 bytes. The error names a limit that is out of range, or says that the state is unavailable.
pub fn take(key: &str, limits: &[Limit], cost: u64) -> Result<Vec<Decision>, String> {
    call!(limits::take(key, limits, cost))
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
