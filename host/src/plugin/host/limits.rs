//! `limits`: counters that all instances and workers share.

use std::time::Duration;

use smallvec::SmallVec;
use wasmtime::Result;

use crate::config::{LimitAlgorithm, LimitConfig, LimitRule};
use crate::plugin::bindings::postern::plugin::limits::{
    Algorithm, Decision, Host, Limit, Outcome, Rule,
};
use crate::plugin::ports::{self, Cost};
use crate::plugin::state::State;

const MAX_LIMITS: usize = 8;
const MAX_KEY_BYTES: usize = 512;
const MAX_WINDOW_MS: u64 = 31 * 24 * 60 * 60 * 1_000;

/// What a plugin asks for, in the words of the host.
pub(super) type Rules = SmallVec<[LimitRule; 4]>;

impl Host for State {
    fn take(
        &mut self,
        key: String,
        limits: Vec<Limit>,
        cost: u64,
    ) -> Result<Result<Vec<Decision>, String>> {
        let decisions =
            plain(&key, &limits).and_then(|rules| self.count(&key, &rules, asked(cost)));
        Ok(decisions.map(|decisions| decisions.iter().map(export).collect()))
    }

    fn decide(
        &mut self,
        key: String,
        rules: Vec<Rule>,
        cost: u64,
    ) -> Result<Result<Vec<Outcome>, String>> {
        let decisions = check(&key, &rules).and_then(|rules| self.count(&key, &rules, asked(cost)));
        Ok(decisions.map(|decisions| decisions.iter().map(export_outcome).collect()))
    }

    fn charge(
        &mut self,
        key: String,
        rules: Vec<Rule>,
        cost: u64,
    ) -> Result<Result<Vec<Outcome>, String>> {
        let decisions = check(&key, &rules).and_then(|rules| self.count(&key, &rules, spent(cost)));
        Ok(decisions.map(|decisions| decisions.iter().map(export_outcome).collect()))
    }

    fn enter(&mut self, key: String, most: u64) -> Result<Result<bool, String>> {
        if let Err(error) = check_key(&key) {
            return Ok(Err(error));
        }
        let Some(exchange) = self.exchange.as_deref_mut() else {
            return Ok(Err("configure serves no exchange".into()));
        };
        let counters = &self.shared.services.counters;
        let place = counters.enter(&self.shared.name, &key, most);
        let has_entered = place.is_some();
        exchange.held.extend(place);
        Ok(Ok(has_entered))
    }

    fn of_tier(&mut self, tier: String) -> Result<Vec<Limit>> {
        let limits = self.shared.services.tiers.get(tier.as_str());
        Ok(limits
            .map(|limits| limits.iter().map(export_limit).collect())
            .unwrap_or_default())
    }
}

impl State {
    fn count(
        &self,
        key: &str,
        rules: &[LimitRule],
        cost: Cost,
    ) -> Result<Vec<ports::Decision>, String> {
        let counters = &self.shared.services.counters;
        counters.take(&self.shared.name, key, rules, cost)
    }
}

pub(super) fn asked(amount: u64) -> Cost {
    Cost {
        amount,
        is_spent: false,
    }
}

pub(super) fn spent(amount: u64) -> Cost {
    Cost {
        amount,
        is_spent: true,
    }
}

/// Limits that a plugin names, if they are within the limits of the interface.
pub(super) fn plain(key: &str, limits: &[Limit]) -> Result<Rules, String> {
    check_key(key)?;
    check_count(limits.len())?;
    let rules = limits
        .iter()
        .map(|limit| import(limit).map(LimitRule::from));
    rules.collect()
}

/// Rules that a plugin names, if they are within the limits of the interface.
pub(super) fn check(key: &str, rules: &[Rule]) -> Result<Rules, String> {
    check_key(key)?;
    check_count(rules.len())?;
    let rule = |rule: &Rule| {
        let limit = import(&rule.limit)?;
        Ok(LimitRule {
            limit,
            algorithm: match rule.algorithm {
                Algorithm::FixedWindow => LimitAlgorithm::FixedWindow,
                Algorithm::SlidingWindow => LimitAlgorithm::SlidingWindow,
                Algorithm::TokenBucket => LimitAlgorithm::TokenBucket,
            },
            burst: match rule.burst {
                0 => limit.amount,
                burst => burst,
            },
        })
    };
    rules.iter().map(rule).collect()
}

fn check_key(key: &str) -> Result<(), String> {
    if key.len() > MAX_KEY_BYTES {
        return Err(format!(
            "the key has {} bytes, at most {MAX_KEY_BYTES} are allowed",
            key.len()
        ));
    }
    Ok(())
}

fn check_count(count: usize) -> Result<(), String> {
    if count > MAX_LIMITS {
        return Err(format!("{count} limits, at most {MAX_LIMITS} are allowed"));
    }
    Ok(())
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

pub(super) fn export_outcome(decision: &ports::Decision) -> Outcome {
    Outcome {
        allowed: decision.allowed,
        remaining: decision.remaining,
        reset_ms: millis(decision.reset),
        retry_ms: millis(decision.retry),
    }
}

pub(super) fn export(decision: &ports::Decision) -> Decision {
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
