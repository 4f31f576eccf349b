//! The state of several nodes: counters and keys on a server, and what limits do while it is away.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::services::{State, export};
use crate::config::{LimitConfig, OnStateFailure};
use crate::plugin::{Counters, Decision, RemoteFuture, RemoteState, StoreFailure};
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
        limits: &[LimitConfig],
        cost: u64,
        reason: &str,
    ) -> Result<Vec<Decision>, String> {
        match self.redis.config().on_failure {
            OnStateFailure::Closed => Err(reason.into()),
            OnStateFailure::Open => Ok(limits.iter().map(untouched).collect()),
            OnStateFailure::Local => {
                let nodes = self.redis.config().nodes;
                let shares: Vec<_> = limits
                    .iter()
                    .map(|limit| share(limit, nodes, cost))
                    .collect();
                let decisions = self.own.take(namespace, key, &shares, cost)?;
                let of_all = decisions.into_iter().zip(limits);
                Ok(of_all
                    .map(|(decision, limit)| Decision {
                        limit: *limit,
                        ..decision
                    })
                    .collect())
            }
        }
    }
}

fn untouched(limit: &LimitConfig) -> Decision {
    Decision {
        allowed: true,
        limit: *limit,
        remaining: limit.amount,
        reset: limit.window,
    }
}

/// What one of `nodes` may allow by itself: its part, rounded up, but enough for one request of this cost.
fn share(limit: &LimitConfig, nodes: u32, cost: u64) -> LimitConfig {
    let part = limit.amount.div_ceil(nodes.max(1).into());
    LimitConfig {
        amount: part.max(cost.min(limit.amount)),
        window: limit.window,
    }
}

impl RemoteState for SharedState {
    fn take<'a>(
        &'a self,
        worker: usize,
        namespace: &'a str,
        key: &'a str,
        limits: &'a [LimitConfig],
        cost: u64,
    ) -> RemoteFuture<'a, Result<Vec<Decision>, String>> {
        Box::pin(async move {
            let decisions = self.redis.take(worker, (namespace, key), limits, cost);
            match decisions.await {
                Ok(decisions) => Ok(decisions.iter().map(export).collect()),
                Err(error @ RedisError::Away(_)) => {
                    self.alone(namespace, key, limits, cost, &error.to_string())
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

    #[test]
    fn nodes_share_a_limit_so_that_none_is_lost() {
        let limit = |amount| LimitConfig {
            amount,
            window: Duration::from_secs(1),
        };
        let cases = [
            (10, 1, 1, 10),
            (10, 3, 1, 4),
            (2, 3, 1, 1),
            (10, 3, 5, 5),
            (10, 3, 50, 10),
        ];
        for (amount, nodes, cost, expected) in cases {
            let share = share(&limit(amount), nodes, cost);
            assert_eq!(share, limit(expected), "{amount} over {nodes} at {cost}");
        }
    }
}
