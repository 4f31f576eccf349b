//! Looking after the targets of an upstream: who is ejected, who is checked, who is used again.
//!
//! All decisions are made here, on one thread of the background runtime; workers only count, read, and call.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::health::check::Checked;
use super::health::link::Link;
use super::health::outlier::{self, Change, Counts, Reason, Record};
use super::target::Target;
use super::target_set::TargetSet;
use super::{Exclusion, Upstream};

/// How often the weights of targets that warm up are set anew, within the time that it takes.
const STEPS_OF_WARMTH: u32 = 20;

/// When an upstream is to be looked after next, and how to say that this is now.
pub(super) struct Attention {
    /// In nanoseconds of the clock.
    due: AtomicU64,
    /// Wakes the keeper of all upstreams.
    wake: Arc<Notify>,
}

impl Attention {
    pub(super) fn new(wake: Arc<Notify>) -> Self {
        let due = AtomicU64::new(0);
        Self { due, wake }
    }

    /// It is to be looked after now.
    pub(super) fn call(&self) {
        self.due.store(0, Ordering::Relaxed);
        self.wake.notify_one();
    }

    pub(super) fn due(&self) -> Duration {
        Duration::from_nanos(self.due.load(Ordering::Relaxed))
    }

    /// From here on, calls are for the next time.
    fn begin(&self) {
        self.due.store(u64::MAX, Ordering::Relaxed);
    }

    fn at_latest(&self, due: Duration) {
        let nanos = u64::try_from(due.as_nanos()).unwrap_or(u64::MAX);
        self.due.fetch_min(nanos, Ordering::Relaxed);
    }
}

/// What is remembered of a target, by whoever looks after it.
#[derive(Default)]
pub(super) struct Care {
    record: Record,
    checked: Checked,
    /// When its next check begins.
    check_due: Option<Duration>,
    /// Whether a check is under way.
    checking: bool,
    /// Why the last check failed, if it did.
    failure: Option<String>,
    /// What the last check was made on, for the next one.
    link: Option<Link>,
    /// When it began to warm up, unless it is warm.
    warm_since: Option<Duration>,
}

impl Care {
    /// When it began to warm up, unless it is warm.
    pub(super) fn warm_since(&self) -> Option<Duration> {
        self.warm_since
    }

    /// Until when it is ejected, and why, if it is.
    pub(super) fn ejection(&self) -> Option<(Duration, Reason)> {
        self.record.ejection()
    }

    /// What the last check was made on, if that can be used again.
    pub(super) fn link(&mut self) -> &mut Option<Link> {
        &mut self.link
    }

    /// Why the last check failed, if it did.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// From here on it warms up.
    pub(super) fn warm_up(&mut self, now: Duration) {
        self.warm_since = Some(now);
    }
}

impl Target {
    pub(super) fn care(&self) -> MutexGuard<'_, Care> {
        self.care_lock()
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upstream {
    /// Does what is due. Returns the targets that are to be checked now; `checked` is to be told what comes of it.
    pub(super) fn tend(&self, now: Duration) -> Vec<Arc<Target>> {
        self.attention.begin();
        let set = self.current();
        let mut changes = self.judge(set.targets(), now);
        for target in set.targets() {
            if self.config.health.is_some() {
                continue;
            }
            // Without checks, what they said last does not count.
            let mut care = target.care();
            care.link = None;
            if target.exclude(Exclusion::CheckFailed, false) {
                care.checked = Checked::default();
                changes = true;
            }
        }
        let warming = self.warm(&set, now);
        if changes || warming {
            self.replan();
        }
        self.due_checks(&set, now)
    }

    /// Ejects and takes back. Whether anything changed.
    fn judge(&self, targets: &[Arc<Target>], now: Duration) -> bool {
        let config = &self.config.outlier;
        let records = targets.iter().map(|target| target.care().record.clone());
        let mut records: Vec<Record> = records.collect();
        let mut changes = outlier::expire(config, &mut records, now);
        for (index, target) in targets.iter().enumerate() {
            let reason = target.streaks().take();
            changes.extend(
                reason.and_then(|reason| outlier::strike(config, &mut records, index, reason, now)),
            );
        }
        let mut compare_at = Duration::from_nanos(self.compare_at.load(Ordering::Relaxed));
        if now >= compare_at {
            compare_at = now + config.interval;
            let nanos = u64::try_from(compare_at.as_nanos()).unwrap_or(u64::MAX);
            self.compare_at.store(nanos, Ordering::Relaxed);
            let counts: Vec<Counts> = targets.iter().map(|target| target.counts()).collect();
            changes.extend(outlier::compare(config, &mut records, &counts, now));
        }
        self.attention.at_latest(compare_at);
        for (target, record) in targets.iter().zip(records) {
            if let Some(until) = record.until() {
                self.attention.at_latest(until);
            }
            target.care().record = record;
        }
        for change in &changes {
            self.apply(targets, change, now);
        }
        !changes.is_empty()
    }

    fn apply(&self, targets: &[Arc<Target>], change: &Change, now: Duration) {
        let upstream = self.name();
        match change {
            Change::Ejected {
                index,
                reason,
                period,
            } => {
                let Some(target) = targets.get(*index) else {
                    return;
                };
                target.exclude(Exclusion::Ejected, true);
                let address = target.address();
                self.protection.metrics().ejected(reason.as_str());
                tracing::warn!(%upstream, target = %address, %reason, ?period, "target ejected");
            }
            Change::Returned { index } => {
                let Some(target) = targets.get(*index) else {
                    return;
                };
                target.exclude(Exclusion::Ejected, false);
                target.care().warm_up(now);
                let address = target.address();
                tracing::info!(%upstream, target = %address, "ejection ended");
            }
        }
    }

    /// Whether weights are to be set anew because targets warm up.
    fn warm(&self, set: &TargetSet, now: Duration) -> bool {
        let Some(window) = self.config.balance.slow_start else {
            return false;
        };
        let mut warming = false;
        for target in set.targets() {
            let mut care = target.care();
            if let Some(since) = care.warm_since {
                warming = true;
                if now >= since + window {
                    care.warm_since = None;
                }
            }
        }
        if warming {
            self.attention.at_latest(now + window / STEPS_OF_WARMTH);
        }
        warming
    }

    fn due_checks(&self, set: &TargetSet, now: Duration) -> Vec<Arc<Target>> {
        let Some(config) = &self.config.health else {
            return Vec::new();
        };
        let mut due = Vec::new();
        for target in set.targets() {
            let mut care = target.care();
            // The first ones are spread, too: thousands of targets are not all checked in the same moment.
            let jitter = config.interval.mul_f64(f64::from(config.jitter) / 1e6);
            let first = now + jitter.mul_f64(rand::random());
            let at = *care.check_due.get_or_insert(first);
            if care.checking {
                continue; // `checked` says when the next one is due.
            }
            if at > now {
                self.attention.at_latest(at);
                continue;
            }
            care.checking = true;
            let shift = jitter.mul_f64(rand::random::<f64>() * 2.0);
            care.check_due = Some(now + (config.interval + shift).saturating_sub(jitter));
            due.push(Arc::clone(target));
        }
        due
    }

    /// A check that was due could not be made for want of room: it is due again.
    pub(super) fn postpone(&self, target: &Target, now: Duration) {
        let mut care = target.care();
        care.checking = false;
        care.check_due = Some(now);
        self.attention.at_latest(now);
    }

    /// A check of a target has come to its end.
    pub(super) fn checked(&self, target: &Arc<Target>, result: Result<(), String>, now: Duration) {
        let mut care = target.care();
        care.checking = false;
        self.attention.at_latest(care.check_due.unwrap_or(now));
        let Some(config) = &self.config.health else {
            return;
        };
        let passed = result.is_ok();
        let change = care.checked.observe(passed, config.rise, config.fall);
        care.failure = result.err();
        let mut changed = false;
        if passed {
            let absolved = outlier::absolve(std::slice::from_mut(&mut care.record), 0);
            if absolved.is_some() {
                changed |= target.exclude(Exclusion::Ejected, false);
                tracing::info!(upstream = %self.name(), target = %target.address(), "ejection ended by a health check");
            }
        }
        if let Some(failing) = change {
            changed |= target.exclude(Exclusion::CheckFailed, failing);
            self.log(target, failing, care.failure.as_deref());
        }
        if changed && target.is_usable() {
            care.warm_up(now);
        }
        drop(care);
        if changed {
            self.replan();
            self.attention.call();
        }
    }

    fn log(&self, target: &Target, failing: bool, reason: Option<&str>) {
        let (upstream, target) = (self.name(), target.address());
        match failing {
            true => {
                let reason = reason.unwrap_or_default();
                tracing::warn!(%upstream, %target, reason, "target fails its health checks");
            }
            false => tracing::info!(%upstream, %target, "target passes its health checks again"),
        }
    }
}

#[cfg(test)]
mod tests;
