//! `[upstream.NAME]`

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::Checker;
use super::quantity::TIMEOUT;
use crate::config::defaults as default;
use crate::config::entry::Entry;
use crate::config::file::UpstreamFile;
use crate::config::resolved::{PoolConfig, UpstreamConfig, UpstreamProtocol};

/// More pings than that are an attack to some servers.
const PING_INTERVAL: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);

impl Checker<'_> {
    pub(super) fn upstreams(&mut self, tables: &[Entry<'_, UpstreamFile>]) -> Vec<UpstreamConfig> {
        tables.iter().map(|table| self.upstream(table)).collect()
    }

    fn upstream(&mut self, table: &Entry<'_, UpstreamFile>) -> UpstreamConfig {
        let Entry { file, place, .. } = table;
        let total_timeout = self.timeout(place, &file.total_timeout);
        let tls = self.upstream_tls(table);
        UpstreamConfig {
            name: Arc::clone(&table.name),
            targets: self.targets(table, tls.as_ref()),
            discovery: self.discovery(table, tls.as_ref()),
            balance: self.balance(table),
            sticky: self.sticky(table),
            health: self.health(table),
            outlier: self.outlier(table),
            connect_timeout: self.duration(
                place,
                &file.connect_timeout,
                default::DEFAULT_UPSTREAM_CONNECT_TIMEOUT,
                TIMEOUT,
            ),
            read_timeout: self.duration(
                place,
                &file.read_timeout,
                default::DEFAULT_UPSTREAM_READ_TIMEOUT,
                TIMEOUT,
            ),
            total_timeout,
            protocol: file.protocol.map_or(UpstreamProtocol::Auto, |word| word.0),
            max_streams: self.count(
                place,
                &file.max_streams,
                default::DEFAULT_UPSTREAM_MAX_STREAMS,
                1..=10_000,
            ),
            ping_interval: self.duration(
                place,
                &file.ping_interval,
                default::DEFAULT_UPSTREAM_PING_INTERVAL,
                PING_INTERVAL,
            ),
            // None is meant: every request has a connection of its own.
            max_idle: self.count(
                place,
                &file.max_idle,
                default::DEFAULT_UPSTREAM_MAX_IDLE,
                0..=100_000,
            ),
            idle_timeout: self.duration(
                place,
                &file.idle_timeout,
                default::DEFAULT_UPSTREAM_IDLE_TIMEOUT,
                TIMEOUT,
            ),
            pool: self.pool(table),
            retry: self
                .retry(place, &file.retry, file.read_timeout.is_some())
                .unwrap_or_default(),
            retry_budget: self.retry_budget(place, &file.retry_budget, &file.retry_budget_min),
            breaker: self.breaker(place, &file.breaker),
            concurrency: self.concurrency(place, &file.concurrency),
        }
    }

    fn pool(&mut self, table: &Entry<'_, UpstreamFile>) -> PoolConfig {
        let Entry { file, place, .. } = table;
        PoolConfig {
            max_connections: self.limit(place, &file.max_connections, 1..=1_000_000),
            max_waiting: self.count(
                place,
                &file.max_waiting,
                default::DEFAULT_UPSTREAM_MAX_WAITING,
                0..=1_000_000,
            ),
            max_requests_per_connection: self.limit(
                place,
                &file.max_requests_per_connection,
                1..=1_000_000_000,
            ),
            max_connection_age: self.timeout(place, &file.max_connection_age),
            warm_connections: self.count(place, &file.warm_connections, 0, 0..=1_000),
        }
    }
}
