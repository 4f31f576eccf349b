//! `limits`: counters that all instances and workers share.

use std::time::Duration;

use wasmtime::Result;

use crate::config::LimitConfig;
use crate::plugin::bindings::postern::plugin::limits::{Decision, Host, Limit};
use crate::plugin::state::State;

const MAX_LIMITS: usize = 8;
const MAX_KEY_BYTES: usize = 512;
const MAX_WINDOW_MS: u64 = 31 * 24 * 60 * 60 * 1_000;

impl Host for State {
    fn take(
        &mut self,
        key: String,
        limits: Vec<Limit>,
        cost: u64,
    ) -> Result<Result<Vec<Decision>, String>> {
        let decisions = check(&key, &limits)
            .and_then(|limits| {
                self.shared
                    .services
                    .counters
                    .take(&self.shared.name, &key, &limits, cost)
            })
            .map(|decisions| decisions.iter().map(export).collect());
        Ok(decisions)
    }

    fn of_tier(&mut self, tier: String) -> Result<Vec<Limit>> {
        let limits = self.shared.services.tiers.get(tier.as_str());
        Ok(limits
            .map(|limits| limits.iter().map(export_limit).collect())
            .unwrap_or_default())
    }
}

/// What a plugin asks for, if it is within the limits of the interface.
pub(super) fn check(key: &str, limits: &[Limit]) -> Result<Vec<LimitConfig>, String> {
    if key.len() > MAX_KEY_BYTES {
        return Err(format!(
            "the key has {} bytes, at most {MAX_KEY_BYTES} are allowed",
            key.len()
        ));
    }
    if limits.len() > MAX_LIMITS {
        return Err(format!(
            "{} limits, at most {MAX_LIMITS} are allowed",
            limits.len()
        ));
    }
    limits.iter().map(import).collect()
}

fn import(limit: &Limit) -> Result<LimitConfig, String> {
    if limit.amount == 0 || limit.amount > u64::from(u32::MAX) {
        return Err(format!(
            "an amount of {} is not between 1 and {}",
            limit.amount,
            u32::MAX
        ));
    }
    if limit.window_ms == 0 || limit.window_ms > MAX_WINDOW_MS {
        return Err(format!(
            "a window of {} ms is not between 1 ms and 31 days",
            limit.window_ms
        ));
    }
    Ok(LimitConfig {
        amount: limit.amount,
        window: Duration::from_millis(limit.window_ms),
    })
}

pub(super) fn export(decision: &super::super::ports::Decision) -> Decision {
    Decision {
        allowed: decision.allowed,
        limit: export_limit(&decision.limit),
        remaining: decision.remaining,
        reset_ms: millis(decision.reset),
    }
}

fn export_limit(limit: &LimitConfig) -> Limit {
    Limit {
        amount: limit.amount,
        window_ms: millis(limit.window),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
