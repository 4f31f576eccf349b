//! Retries, circuit breakers, limits of concurrency.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;

use super::Checker;
use super::quantity::TIMEOUT;
use crate::config::defaults as default;
use crate::config::entry::Place;
use crate::config::file::{BreakerFile, ConcurrencyFile, Field, RetryFile};
use crate::config::resilience::RetryOn;
use crate::config::resolved::{
    BreakerConfig, ConcurrencyConfig, RetryBudgetConfig, RetryConditions, RetryConfig,
};
use crate::config::values::Share;

/// A pause may be none.
const PAUSE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60);
/// Counted in tenths: less would be noise, more is history.
const WINDOW: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);
/// More attempts than that are an attack.
const MAX_RETRIES: u64 = 10;
/// What is kept in memory for each request under way.
const MAX_BODY: u64 = 16 << 20;

impl Checker<'_> {
    /// `[upstream.NAME.retry]` or `[route.retry]`.
    pub(super) fn retry(
        &mut self,
        place: &Place<'_>,
        table: &Field<RetryFile>,
        has_read_timeout: bool,
    ) -> Option<RetryConfig> {
        let file = table.as_ref()?.get_ref();
        let default = RetryConfig::default();
        self.distinct(place, file.on.as_ref(), |word| word.0.as_str().to_owned());
        self.distinct(place, file.statuses.as_ref(), u64::to_string);
        self.distinct(place, file.methods.as_ref(), |method| method.0.to_string());
        let config = RetryConfig {
            retries: self.count(place, &file.retries, default.retries, 0..=MAX_RETRIES),
            on: file.on.as_ref().map_or(default.on, |words| {
                let has = |word| words.iter().any(|found| found.get_ref().0 == word);
                RetryConditions {
                    connect_failure: has(RetryOn::ConnectFailure),
                    refused_stream: has(RetryOn::RefusedStream),
                    reset: has(RetryOn::Reset),
                    timeout: has(RetryOn::Timeout),
                }
            }),
            statuses: self.retry_statuses(place, file),
            grpc_statuses: words(file.grpc_statuses.as_ref(), |word| word.0),
            methods: words(file.methods.as_ref(), |method| method.0.clone()),
            per_try_timeout: self.timeout(place, &file.per_try_timeout),
            backoff: self.duration(place, &file.backoff, default.backoff, PAUSE),
            max_backoff: self.duration(place, &file.max_backoff, default.max_backoff, PAUSE),
            max_retry_after: self.duration(
                place,
                &file.max_retry_after,
                default.max_retry_after,
                PAUSE,
            ),
            max_body: self.memory_size(place, &file.max_body, default.max_body, 0..=MAX_BODY),
            hedge_after: self.timeout(place, &file.hedge_after),
        };
        self.retry_makes_sense(place, file, &config);
        if let Some(words) = &file.on
            && config.per_try_timeout.is_none()
            && !has_read_timeout
            && let Some(word) = words
                .iter()
                .find(|word| word.get_ref().0 == RetryOn::Timeout)
        {
            self.report.at(
                &place.at(word),
                "without `per-try-timeout` or `read-timeout` there is no time left when an attempt has timed out",
                Some("for example `per-try-timeout = \"2s\"`".into()),
            );
        }
        Some(config)
    }

    fn retry_makes_sense(&mut self, place: &Place<'_>, file: &RetryFile, config: &RetryConfig) {
        let post = http::Method::POST;
        if let Some(first) = file.grpc_statuses.iter().flatten().next()
            && !config.methods.contains(&post)
        {
            self.report.at(
                &place.at(first),
                "calls of gRPC are POST requests, which are not sent twice",
                Some("if all calls here may be, add `methods = [\"POST\"]`".into()),
            );
        }
        if let Some(connect) = file
            .methods
            .iter()
            .flatten()
            .find(|method| method.get_ref().0 == http::Method::CONNECT)
        {
            self.report.at(
                &place.at(connect),
                "a tunnel cannot be sent twice",
                Some("remove it".into()),
            );
        }
        if let Some(field) = &file.max_backoff
            && config.max_backoff < config.backoff
        {
            let message = "`max-backoff` is less than `backoff`";
            self.report.at(&place.at(field), message, None);
        }
    }

    fn retry_statuses(&mut self, place: &Place<'_>, file: &RetryFile) -> Vec<u16> {
        let statuses = file.statuses.iter().flatten();
        statuses
            .map(|status| {
                let value = *status.get_ref();
                if !(400..=599).contains(&value) {
                    let message = format!("expected a status from 400 to 599, found {value}");
                    self.report.at(&place.at(status), message, None);
                }
                u16::try_from(value).unwrap_or_default()
            })
            .collect()
    }

    /// `retry-budget` and `retry-budget-min`.
    pub(super) fn retry_budget(
        &mut self,
        place: &Place<'_>,
        share: &Field<Share>,
        least: &Field<u64>,
    ) -> RetryBudgetConfig {
        let default = default::DEFAULT_UPSTREAM_RETRY_BUDGET_MIN;
        RetryBudgetConfig {
            per_million: per_million(share, default::DEFAULT_UPSTREAM_RETRY_BUDGET),
            least_per_second: self.count(place, least, default, 0..=1_000_000),
        }
    }

    /// `[upstream.NAME.breaker]`
    pub(super) fn breaker(
        &mut self,
        place: &Place<'_>,
        table: &Field<BreakerFile>,
    ) -> Option<BreakerConfig> {
        let file = table.as_ref()?.get_ref();
        for share in [&file.failure_rate, &file.slow_rate].into_iter().flatten() {
            if share.get_ref().0 == 0 {
                self.report
                    .at(&place.at(share), "expected more than \"0%\"", None);
            }
        }
        if let (Some(rate), None) = (&file.slow_rate, &file.slow_after) {
            self.report.at(
                &place.at(rate),
                "without `slow-after` nothing is slow",
                Some("for example `slow-after = \"2s\"`".into()),
            );
        }
        Some(BreakerConfig {
            window: self.duration(place, &file.window, default::DEFAULT_BREAKER_WINDOW, WINDOW),
            failure_rate: per_million(&file.failure_rate, default::DEFAULT_BREAKER_FAILURE_RATE),
            slow_after: self.timeout(place, &file.slow_after),
            slow_rate: per_million(&file.slow_rate, default::DEFAULT_BREAKER_SLOW_RATE),
            min_requests: self.count(
                place,
                &file.min_requests,
                default::DEFAULT_BREAKER_MIN_REQUESTS,
                1..=1_000_000,
            ),
            open_for: self.duration(
                place,
                &file.open_for,
                default::DEFAULT_BREAKER_OPEN_FOR,
                TIMEOUT,
            ),
            probes: self.count(
                place,
                &file.probes,
                default::DEFAULT_BREAKER_PROBES,
                1..=1_000,
            ),
        })
    }

    /// `[upstream.NAME.concurrency]`
    pub(super) fn concurrency(
        &mut self,
        place: &Place<'_>,
        table: &Field<ConcurrencyFile>,
    ) -> Option<ConcurrencyConfig> {
        let table = table.as_ref()?;
        let file = table.get_ref();
        let here = place.at(table);
        self.required(place, &here, &file.max_requests, "max-requests", "100");
        let max_requests = self.count(place, &file.max_requests, 1, 1..=1_000_000);
        let default = default::DEFAULT_CONCURRENCY_MIN_REQUESTS;
        let min_requests = self.count(place, &file.min_requests, default, 1..=1_000_000);
        let adaptive = file
            .adaptive
            .unwrap_or(default::DEFAULT_CONCURRENCY_ADAPTIVE);
        if let Some(field) = &file.min_requests {
            let message = match () {
                () if !adaptive => Some("only an adaptive limit has a least value"),
                () if min_requests > max_requests => {
                    Some("`min-requests` is more than `max-requests`")
                }
                () => None,
            };
            if let Some(message) = message {
                self.report.at(&place.at(field), message, None);
            }
        }
        Some(ConcurrencyConfig {
            max_requests,
            max_queue: self.count(
                place,
                &file.max_queue,
                default::DEFAULT_CONCURRENCY_MAX_QUEUE,
                0..=1_000_000,
            ),
            queue_timeout: self.duration(
                place,
                &file.queue_timeout,
                default::DEFAULT_CONCURRENCY_QUEUE_TIMEOUT,
                TIMEOUT,
            ),
            adaptive,
            min_requests,
        })
    }
}

fn words<W, T>(list: Option<&Vec<Spanned<W>>>, value: impl Fn(&W) -> T) -> Vec<T> {
    let list = list.map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|word| value(word.get_ref())).collect()
}

fn per_million(share: &Field<Share>, default: u32) -> u32 {
    share.as_ref().map_or(default, |share| share.get_ref().0)
}
