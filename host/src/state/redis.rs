//! Counters and keys on a server that several nodes share: Redis, Valkey, or what else speaks their protocol.
//!
//! Each decision is one round trip: a script looks and counts, so that nothing comes between the two, on this node or
//! another. Time is the server's, so that nodes need not agree about it. Each worker has one connection, over which all its
//! requests go at once. What the server does not answer in time is an error, at once while it is known to be away.

mod connect;
mod link;
mod script;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, FromRedisValue, Value};

use super::limits::{self, Decision, Decisions, LimitError};
use super::store::{self, Entry, StoreError};
use crate::config::{LimitAlgorithm, LimitRule, RedisConfig};
use crate::telemetry::StateMetrics;
use link::{Away, Link};
use script::Script;

/// Counters and keys on a server.
pub struct Redis {
    config: Arc<RedisConfig>,
    links: Box<[Link]>,
}

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisError {
    /// The call is wrong.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The entry was not written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server does not answer, or not as it should.
    #[error("the state is away: {0}")]
    Away(Arc<str>),
}

impl From<Away> for RedisError {
    fn from(away: Away) -> Self {
        Self::Away(away.to_string().into())
    }
}

type Result<T> = std::result::Result<T, RedisError>;

impl Redis {
    /// The server of a configuration. It is connected to when a worker first asks for something.
    #[must_use]
    pub fn new(config: &RedisConfig, workers: usize, metrics: &StateMetrics) -> Self {
        let config = Arc::new(config.clone());
        let links = (0..workers).map(|_| Link::new(&config, metrics)).collect();
        Self { config, links }
    }

    /// What the configuration says of it.
    #[must_use]
    pub fn config(&self) -> &RedisConfig {
        &self.config
    }

    /// As [`limits::Limits::decide`], for all nodes together. To be called on the worker's own runtime, as all calls here.
    ///
    /// # Errors
    /// When the key or a limit is out of range, and when the server does not answer.
    pub async fn take(
        &self,
        worker: usize,
        (namespace, key): (&str, &str),
        rules: &[LimitRule],
        cost: u64,
        is_spent: bool,
    ) -> Result<Decisions> {
        limits::check(key, rules)?;
        if rules.is_empty() {
            return Ok(Decisions::new());
        }
        let key = self.key("l", namespace, key);
        let fill = |command: &mut Cmd| {
            command.arg(cost).arg(u8::from(is_spent));
            for rule in rules {
                command.arg(letter(rule.algorithm));
                command.arg(millis(rule.limit.window));
                command.arg(rule.limit.amount).arg(rule.burst);
            }
        };
        let answer = self.link(worker)?.run(Script::Take, &key, &fill).await?;
        decisions(rules, &numbers(answer)?)
    }

    /// As [`store::Store::get`].
    ///
    /// # Errors
    /// When the key is too large, and when the server does not answer.
    pub async fn get(&self, worker: usize, (plugin, key): (&str, &str)) -> Result<Option<Entry>> {
        store::check(key, &[])?;
        let mut command = redis::cmd("HMGET");
        command.arg(self.key("s", plugin, key)).arg("v").arg("n");
        let answer = self.link(worker)?.send(&command).await?;
        let (value, version): (Option<Vec<u8>>, Option<u64>) = read(answer)?;
        let entry = value.zip(version).map(|(value, version)| Entry {
            value: value.into(),
            version,
        });
        Ok(entry)
    }

    /// As [`store::Store::set`], and with `expected` as [`store::Store::compare_and_set`]. Returns the new version.
    ///
    /// # Errors
    /// `Conflict`, when another version is there; `TooLarge`; when the server does not answer.
    pub async fn set(
        &self,
        worker: usize,
        (plugin, key): (&str, &str),
        value: &[u8],
        ttl: Duration,
        expected: Expected,
    ) -> Result<u64> {
        store::check(key, value)?;
        let version = new_version();
        let fill = |command: &mut Cmd| {
            command.arg(value).arg(version).arg(millis(ttl));
            match expected {
                Expected::Any => command.arg("*"),
                Expected::Absent => command.arg(""),
                Expected::Version(version) => command.arg(version),
            };
        };
        let key = self.key("s", plugin, key);
        let answer = self.link(worker)?.run(Script::Write, &key, &fill).await?;
        match read(answer)? {
            1 => Ok(version),
            _ => Err(StoreError::Conflict.into()),
        }
    }

    /// As [`store::Store::delete`].
    ///
    /// # Errors
    /// When the key is too large, and when the server does not answer.
    pub async fn delete(&self, worker: usize, (plugin, key): (&str, &str)) -> Result<()> {
        store::check(key, &[])?;
        let mut command = redis::cmd("DEL");
        command.arg(self.key("s", plugin, key));
        self.link(worker)?.send(&command).await?;
        Ok(())
    }

    /// As [`store::Store::add`].
    ///
    /// # Errors
    /// `Conflict`, when the value is not a number, or the sum is none that fits 64 bits; `TooLarge`; when the server
    /// does not answer.
    pub async fn add(
        &self,
        worker: usize,
        (plugin, key): (&str, &str),
        delta: i64,
        ttl: Duration,
    ) -> Result<i64> {
        store::check(key, &[])?;
        let version = new_version();
        let fill = |command: &mut Cmd| {
            command.arg(delta).arg(version).arg(millis(ttl));
        };
        let key = self.key("s", plugin, key);
        let answer = self.link(worker)?.run(Script::Add, &key, &fill).await?;
        let sum: Option<String> = read(answer)?;
        let sum = sum.and_then(|sum| sum.parse().ok());
        sum.ok_or(StoreError::Conflict.into())
    }

    fn link(&self, worker: usize) -> Result<&Link> {
        let nobody = || RedisError::Away("no worker asks".into());
        self.links.get(worker).ok_or_else(nobody)
    }

    /// `PREFIX:KIND:NAMESPACE:KEY`. A namespace is a plugin's name, and has no colon.
    fn key(&self, kind: &str, namespace: &str, key: &str) -> Vec<u8> {
        [&self.config.prefix, kind, namespace, key]
            .join(":")
            .into_bytes()
    }
}

/// What must be there for an entry to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Whatever there is.
    Any,
    /// Nothing.
    Absent,
    /// This version.
    Version(u64),
}

/// Random, because nodes do not ask each other; below 2^63, which every Lua and Redis can count to.
fn new_version() -> u64 {
    rand::random::<u64>() >> 1
}

/// As `take.lua` calls it.
fn letter(algorithm: LimitAlgorithm) -> &'static str {
    match algorithm {
        LimitAlgorithm::FixedWindow => "f",
        LimitAlgorithm::SlidingWindow => "s",
        LimitAlgorithm::TokenBucket => "b",
    }
}

fn decisions(rules: &[LimitRule], answer: &[u64]) -> Result<Decisions> {
    if answer.len() != 4 * rules.len() {
        return Err(unexpected());
    }
    let parts = rules.iter().zip(answer.chunks_exact(4));
    parts
        .map(|(rule, part)| match *part {
            [allowed, remaining, reset, retry] => Ok(Decision {
                allowed: allowed == 1,
                limit: rule.limit,
                remaining,
                reset: Duration::from_millis(reset),
                retry: Duration::from_millis(retry),
            }),
            _ => Err(unexpected()),
        })
        .collect()
}

fn numbers(answer: Value) -> Result<Vec<u64>> {
    read(answer)
}

fn read<T: FromRedisValue>(answer: Value) -> Result<T> {
    T::from_redis_value(answer).map_err(|_| unexpected())
}

fn unexpected() -> RedisError {
    RedisError::Away("the server answers something else".into())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
