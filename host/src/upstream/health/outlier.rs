//! Which targets are ejected because requests to them fail, and for how long: a pure state machine over the records of one
//! upstream's targets, after Envoy's outlier detection.
//!
//! It knows no clocks and no sockets. Whoever drives it says what time it is and what came of requests, and does what comes
//! back. At every moment at most the configured share of the targets is ejected, or one where the share is less than one.

use std::fmt;
use std::time::Duration;

use crate::config::OutlierConfig;

/// What is remembered of a target.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::upstream) struct Record {
    /// When its ejection ends, if it is ejected.
    until: Option<Duration>,
    /// Why it was ejected last.
    reason: Option<Reason>,
    /// Ejections that are not forgotten yet: they make the next one longer.
    ejections: u32,
    /// Requests and failures when they were looked at last.
    seen: Counts,
}

/// Requests that have ended, and failures among them, since the target is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::upstream) struct Counts {
    pub(in crate::upstream) requests: u64,
    pub(in crate::upstream) failures: u64,
}

/// Why a target is ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::upstream) enum Reason {
    Consecutive5xx,
    ConsecutiveGatewayErrors,
    ConsecutiveConnectFailures,
    SuccessRate,
    FailurePercentage,
}

impl Reason {
    /// The word for metrics, reports and logs.
    pub(in crate::upstream) fn as_str(self) -> &'static str {
        match self {
            Self::Consecutive5xx => "consecutive-5xx",
            Self::ConsecutiveGatewayErrors => "consecutive-gateway-errors",
            Self::ConsecutiveConnectFailures => "consecutive-connect-failures",
            Self::SuccessRate => "success-rate",
            Self::FailurePercentage => "failure-percentage",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something that happened to the target at `index`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::upstream) enum Change {
    /// It gets no requests for this long.
    Ejected {
        index: usize,
        reason: Reason,
        period: Duration,
    },
    /// It gets requests again.
    Returned { index: usize },
}

impl Record {
    /// When its ejection ends, if it is ejected.
    pub(in crate::upstream) fn until(&self) -> Option<Duration> {
        self.until
    }

    /// When its ejection ends, and why it is ejected, if it is.
    pub(in crate::upstream) fn ejection(&self) -> Option<(Duration, Reason)> {
        self.until.zip(self.reason)
    }

    fn returns(&mut self) -> bool {
        self.until.take().is_some()
    }
}

/// A target failed too often in a row.
pub(in crate::upstream) fn strike(
    config: &OutlierConfig,
    records: &mut [Record],
    index: usize,
    reason: Reason,
    now: Duration,
) -> Option<Change> {
    // The only one is better than none.
    let may = records.len() > 1 && ejected(records) < allowed(config, records.len());
    let record = records
        .get_mut(index)
        .filter(|record| may && record.until.is_none())?;
    let times = record.ejections.saturating_add(1);
    let period = config
        .base_ejection_time
        .saturating_mul(times)
        .min(config.max_ejection_time.max(config.base_ejection_time));
    record.until = Some(now.saturating_add(period));
    record.reason = Some(reason);
    record.ejections = times;
    Some(Change::Ejected {
        index,
        reason,
        period,
    })
}

/// Ejections that are over, and those of which there are too many because other targets are gone: the oldest first.
pub(in crate::upstream) fn expire(
    config: &OutlierConfig,
    records: &mut [Record],
    now: Duration,
) -> Vec<Change> {
    let mut changes = Vec::new();
    for (index, record) in records.iter_mut().enumerate() {
        if record.until.is_some_and(|until| until <= now) {
            record.until = None;
            changes.push(Change::Returned { index });
        }
    }
    let allowed = match records.len() {
        0 | 1 => 0,
        length => allowed(config, length),
    };
    for _ in allowed..ejected(records) {
        let first = records
            .iter_mut()
            .enumerate()
            .filter(|(_, record)| record.until.is_some());
        let Some((index, record)) = first.min_by_key(|(_, record)| record.until) else {
            break;
        };
        record.until = None;
        changes.push(Change::Returned { index });
    }
    changes
}

/// A target proved that it works.
pub(in crate::upstream) fn absolve(records: &mut [Record], index: usize) -> Option<Change> {
    records
        .get_mut(index)?
        .returns()
        .then_some(Change::Returned { index })
}

/// An interval has passed: targets are compared by what came of their requests in it. `counts` are those of each target.
pub(in crate::upstream) fn compare(
    config: &OutlierConfig,
    records: &mut [Record],
    counts: &[Counts],
    now: Duration,
) -> Vec<Change> {
    let mut samples = Vec::new();
    for (index, (record, counts)) in records.iter_mut().zip(counts).enumerate() {
        if record.until.is_none() {
            record.ejections = record.ejections.saturating_sub(1);
            samples.push((index, since(record.seen, *counts)));
        }
        record.seen = *counts;
    }
    let mut outliers = below_the_others(config, &samples);
    outliers.extend(failing(config, &samples));
    let strike = |(index, reason)| strike(config, records, index, reason, now);
    outliers.into_iter().filter_map(strike).collect()
}

fn since(before: Counts, now: Counts) -> Counts {
    let requests = now.requests.saturating_sub(before.requests);
    let failures = now.failures.saturating_sub(before.failures);
    // Both are read one after the other, while requests end.
    Counts {
        requests: requests.max(failures),
        failures,
    }
}

fn below_the_others(config: &OutlierConfig, samples: &[(usize, Counts)]) -> Vec<(usize, Reason)> {
    let factor = f64::from(config.success_rate_stdev_factor) / 1_000.0;
    let rates: Vec<(usize, f64)> = samples
        .iter()
        .filter(|(_, counts)| counts.requests >= config.success_rate_request_volume.max(1))
        .map(|(index, counts)| {
            (
                *index,
                1.0 - counts.failures as f64 / counts.requests as f64,
            )
        })
        .collect();
    if factor <= 0.0 || rates.len() < config.success_rate_minimum_hosts.max(2) {
        return Vec::new();
    }
    let count = rates.len() as f64;
    let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
    let variance = rates
        .iter()
        .map(|(_, rate)| (rate - mean).powi(2))
        .sum::<f64>()
        / count;
    let least = mean - factor * variance.sqrt();
    let mut below: Vec<(usize, f64)> = rates
        .into_iter()
        .filter(|(_, rate)| *rate < least)
        .collect();
    // The worst go first: there may be no room for all.
    below.sort_by(|(_, one), (_, two)| one.total_cmp(two));
    below
        .into_iter()
        .map(|(index, _)| (index, Reason::SuccessRate))
        .collect()
}

fn failing(config: &OutlierConfig, samples: &[(usize, Counts)]) -> Vec<(usize, Reason)> {
    let fails = |counts: &Counts| {
        counts.requests >= config.failure_percentage_request_volume.max(1)
            && counts.failures.saturating_mul(1_000_000)
                >= counts
                    .requests
                    .saturating_mul(u64::from(config.failure_percentage))
    };
    let failing = samples
        .iter()
        .filter(|(_, counts)| config.failure_percentage > 0 && fails(counts));
    failing
        .map(|(index, _)| (*index, Reason::FailurePercentage))
        .collect()
}

fn ejected(records: &[Record]) -> usize {
    records
        .iter()
        .filter(|record| record.until.is_some())
        .count()
}

/// How many of so many targets may be ejected at once.
pub(in crate::upstream) fn allowed(config: &OutlierConfig, targets: usize) -> usize {
    let share = targets as u64 * u64::from(config.max_ejected) / 1_000_000;
    usize::try_from(share).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests;
