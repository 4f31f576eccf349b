//! The state of several nodes: counters and keys on a server, and what limits do while it is away.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::services::{State, export};
use crate::config::{LimitConfig, LimitRule, OnStateFailure};
use crate::plugin::{Cost, Counters, Decision, RemoteFuture, RemoteState, StoreFailure};
use crate::state::{Expected, Redis, RedisError, StoreError};

/// A server, and this node's own counters for when it is away.
pub(super) struct SharedState {
    redis: Redis,
    own: Arc<State>,
}

impl SharedState {
    pub(super) fn new(redis: Redis, own: Arc<State>) -> Self {
        Self { redis, own }
    }

    /// A decision without the server.
    fn alone(
        &self,
        namespace: &str,
        key: &str,
        rules: &[LimitRule],
        cost: Cost,
        reason: &str,
    ) -> Result<Vec<Decision>, String> {
        match self.redis.config().on_failure {
            OnStateFailure::Closed => Err(reason.into()),
            OnStateFailure::Open => Ok(rules.iter().map(untouched).collect()),
            OnStateFailure::Local => {
                let nodes = self.redis.config().nodes;
                let share = |rule: &LimitRule| share(rule, nodes, cost.amount);
                let shares: Vec<_> = rules.iter().map(share).collect();
                let mut decisions = self.own.take(namespace, key, &shares, cost)?;
                for (decision, rule) in decisions.iter_mut().zip(rules) {
                    decision.limit = rule.limit;
                }
                Ok(decisions)
            }
        }
    }
}

fn untouched(rule: &LimitRule) -> Decision {
    Decision {
        allowed: true,
        limit: rule.limit,
        remaining: rule.limit.amount,
        reset: rule.limit.window,
        retry: Duration::ZERO,
    }
}

/// What one of `nodes` may allow by itself: its part, rounded up, but enough for one request of this cost.
fn share(rule: &LimitRule, nodes: u32, cost: u64) -> LimitRule {
    let part = |amount: u64| amount.div_ceil(nodes.max(1).into()).max(cost.min(amount));
    LimitRule {
        limit: LimitConfig {
            amount: part(rule.limit.amount),
            ..rule.limit
        },
        burst: part(rule.burst),
        ..*rule
    }
}

impl RemoteState for SharedState {
    fn take<'a>(
        &'a self,
        worker: usize,
        namespace: &'a str,
        key: &'a str,
        rules: &'a [LimitRule],
        cost: Cost,
    ) -> RemoteFuture<'a, Result<Vec<Decision>, String>> {
        Box::pin(async move {
            let (place, Cost { amount, is_spent }) = ((namespace, key), cost);
            let decisions = self.redis.take(worker, place, rules, amount, is_spent);
            match decisions.await {
                Ok(decisions) => Ok(decisions.iter().map(export).collect()),
                Err(error @ RedisError::Away(_)) => {
                    self.alone(namespace, key, rules, cost, &error.to_string())
                }
                Err(error) => Err(error.to_string()),
            }
        })
    }

    fn get<'a>(
        &'a self,
        worker: usize,
        namespace: &'a str,
        key: &'a str,
    ) -> RemoteFuture<'a, Result<Option<(Bytes, u64)>, StoreFailure>> {
        Box::pin(async move {
            let entry = self.redis.get(worker, (namespace, key)).await;
            let entry = entry.map_err(failure)?;
            Ok(entry.map(|entry| (Bytes::from_owner(entry.value), entry.version)))
        })
    }

    fn set<'a>(
        &'a self,
        worker: usize,
        namespace: &'a str,
        key: &'a str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> RemoteFuture<'a, Result<(), StoreFailure>> {
        Box::pin(async move {
            let (place, ttl) = ((namespace, key), ttl.unwrap_or_default());
            let written = self.redis.set(worker, place, &value, ttl, Expected::Any);
            written.await.map(|_| ()).map_err(failure)
        })
    }

    fn compare_and_set<'a>(
        &'a self,
        worker: usize,
        namespace: &'a str,
        key: &'a str,
        expected: Option<u64>,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> RemoteFuture<'a, Result<u64, StoreFailure>> {
        Box::pin(async move {
            let (place, ttl) = ((namespace, key), ttl.unwrap_or_default());
            let expected = expected.map_or(Expected::Absent, Expected::Version);
            let written = self.redis.set(worker, place, &value, ttl, expected);
            written.await.map_err(failure)
        })
    }

    fn delete<'a>(
        &'a self,
        worker: usize,
        namespace: &'a str,
        key: &'a str,
    ) -> RemoteFuture<'a, Result<(), StoreFailure>> {
        Box::pin(async move {
            let deleted = self.redis.delete(worker, (namespace, key)).await;
            deleted.map_err(failure)
        })
    }

    fn add<'a>(
        &'a self,
        worker: usize,
        namespace: &'a str,
        key: &'a str,
        delta: i64,
        ttl: Option<Duration>,
    ) -> RemoteFuture<'a, Result<i64, StoreFailure>> {
        Box::pin(async move {
            let (place, ttl) = ((namespace, key), ttl.unwrap_or_default());
            let sum = self.redis.add(worker, place, delta, ttl).await;
            sum.map_err(failure)
        })
    }
}

fn failure(error: RedisError) -> StoreFailure {
    match error {
        RedisError::Store(StoreError::TooLarge) => StoreFailure::TooLarge,
        RedisError::Store(StoreError::Conflict) => StoreFailure::Conflict,
        RedisError::Limit(_) | RedisError::Away(_) => StoreFailure::Unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LimitAlgorithm;

    #[test]
    fn nodes_share_a_limit_so_that_none_is_lost() {
        let rule = |amount, burst| LimitRule {
            limit: LimitConfig {
                amount,
                window: Duration::from_secs(1),
            },
            algorithm: LimitAlgorithm::TokenBucket,
            burst,
        };
        let cases = [
            ((10, 20), 1, 1, (10, 20)),
            ((10, 20), 3, 1, (4, 7)),
            ((2, 1), 3, 1, (1, 1)),
            ((10, 10), 3, 5, (5, 5)),
            ((10, 10), 3, 50, (10, 10)),
        ];
        for ((amount, burst), nodes, cost, expected) in cases {
            let share = share(&rule(amount, burst), nodes, cost);
            let expected = rule(expected.0, expected.1);
            assert_eq!(share, expected, "{amount} over {nodes} at {cost}");
        }
    }
}
