//! Handles that are resolved once and record without a look-up.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{CounterVec, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::vocabulary::{SOURCES, source_index, source_label};
use super::{
    ConnectionRefusal, FallbackMetrics, FaultMetrics, Handle, HandshakeOutcome, MirrorOutcome,
    PluginOutcome, PluginPhase, ReloadOutcome, Seconds,
};
use crate::types::Source;

/// Counters of the codes of one class, such as 200 to 299.
type Class = [OnceLock<IntCounter>; 100];

/// The metrics of a route.
#[derive(Debug)]
pub struct RouteMetrics {
    pub(super) requests: IntCounterVec,
    /// By source and class, made when first needed: most routes see a handful of codes.
    pub(super) codes: Codes,
    pub(super) grpc: IntCounterVec,
    pub(super) duration: Histogram,
    pub(super) request_bytes: IntCounter,
    pub(super) response_bytes: IntCounter,
    pub(super) mirrored: IntCounterVec,
    pub(super) fallbacks: IntCounterVec,
    pub(super) faults: IntCounterVec,
}

type Codes = [[OnceLock<Box<Class>>; 5]; SOURCES];

impl RouteMetrics {
    /// What `codes` is at first.
    pub(super) fn no_codes() -> Codes {
        [const { [const { OnceLock::new() }; 5] }; SOURCES]
    }

    /// Counters of answers in the place of its origin, for a route that has fallbacks.
    #[must_use]
    pub fn fallback(&self) -> FallbackMetrics {
        FallbackMetrics(self.fallbacks.clone())
    }

    /// Counters of faults, for a route that may have some.
    #[must_use]
    pub fn fault(&self) -> FaultMetrics {
        FaultMetrics(self.faults.clone())
    }

    /// Counters of copies, for a route that has a mirror.
    #[must_use]
    pub fn mirror(&self) -> MirrorMetrics {
        let outcomes = [
            MirrorOutcome::Sent,
            MirrorOutcome::Dropped,
            MirrorOutcome::Failed,
        ];
        MirrorMetrics(outcomes.map(|outcome| self.mirrored.with_label_values(&[outcome.as_str()])))
    }

    /// An exchange ended.
    pub fn ended(
        &self,
        status: u16,
        source: Option<Source>,
        duration: Duration,
        received: u64,
        sent: u64,
    ) {
        self.count(status, source);
        self.duration.observe(duration.as_secs_f64());
        // Adding nothing would still take the cache line from other workers.
        if received > 0 {
            self.request_bytes.inc_by(received);
        }
        if sent > 0 {
            self.response_bytes.inc_by(sent);
        }
    }

    /// A call of gRPC ended.
    pub fn ended_with_grpc(&self, status: u16) {
        // There are 17 codes; what else a server sends is one label.
        let code = match status {
            0..=16 => status.to_string(),
            _ => "other".to_owned(),
        };
        self.grpc.with_label_values(&[code.as_str()]).inc();
    }

    fn count(&self, status: u16, source: Option<Source>) {
        let (class, code) = (usize::from(status / 100), usize::from(status % 100));
        let classes = self.codes.get(source_index(source));
        let class = class.checked_sub(1).and_then(|class| classes?.get(class));
        let Some(class) = class else {
            // No status of HTTP (RFC 9110, 15), but some servers send them: one label for all, they are not bounded.
            return self
                .requests
                .with_label_values(&["other", source_label(source)])
                .inc();
        };
        let class = class.get_or_init(|| Box::new([const { OnceLock::new() }; 100]));
        if let Some(slot) = class.get(code) {
            let new = || {
                self.requests
                    .with_label_values(&[status.to_string().as_str(), source_label(source)])
            };
            slot.get_or_init(new).inc();
        }
    }
}

impl Handle for RouteMetrics {
    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.requests.clone()),
            Box::new(self.grpc.clone()),
            Box::new(self.duration.clone()),
            Box::new(self.request_bytes.clone()),
            Box::new(self.response_bytes.clone()),
            Box::new(self.mirrored.clone()),
            Box::new(self.fallbacks.clone()),
            Box::new(self.faults.clone()),
        ]
    }
}

/// Counters of the copies of a route's requests.
#[derive(Debug)]
pub struct MirrorMetrics([IntCounter; 3]);

impl MirrorMetrics {
    /// Counts a copy.
    pub fn count(&self, outcome: MirrorOutcome) {
        let [sent, dropped, failed] = &self.0;
        match outcome {
            MirrorOutcome::Sent => sent.inc(),
            MirrorOutcome::Dropped => dropped.inc(),
            MirrorOutcome::Failed => failed.inc(),
        }
    }
}

/// The metrics of a plugin.
#[derive(Debug)]
pub struct PluginMetrics {
    calls: IntCounterVec,
    duration: CounterVec,
    by_phase: [ByPhase; PluginPhase::COUNT],
    failures: IntCounterVec,
    instances: IntGauge,
    reloads: IntCounterVec,
}

/// Made when first needed: a plugin has few phases.
#[derive(Debug, Default)]
struct ByPhase {
    duration: OnceLock<Seconds>,
    outcomes: [OnceLock<IntCounter>; PluginOutcome::COUNT],
}

impl PluginMetrics {
    pub(super) fn new(
        calls: IntCounterVec,
        duration: CounterVec,
        failures: IntCounterVec,
        instances: IntGauge,
        reloads: IntCounterVec,
    ) -> Self {
        Self {
            calls,
            duration,
            by_phase: Default::default(),
            failures,
            instances,
            reloads,
        }
    }

    /// A phase was called and took so many nanoseconds.
    pub fn called(&self, phase: PluginPhase, outcome: PluginOutcome, nanos: u64) {
        let Some(slots) = self.by_phase.get(phase as usize) else {
            return;
        };
        if let Some(slot) = slots.outcomes.get(outcome as usize) {
            slot.get_or_init(|| {
                self.calls
                    .with_label_values(&[phase.as_str(), outcome.as_str()])
            })
            .inc();
        }
        let duration = slots
            .duration
            .get_or_init(|| self.duration.with_label_values(&[phase.as_str()]));
        duration.inc_by(Duration::from_nanos(nanos).as_secs_f64());
    }

    /// A call failed, for a reason from a fixed list of words.
    pub fn failed(&self, reason: &'static str) {
        self.failures.with_label_values(&[reason]).inc();
    }

    /// An instance was made.
    pub fn instance_made(&self) {
        self.instances.inc();
    }

    /// An instance is gone.
    pub fn instance_gone(&self) {
        self.instances.dec();
    }

    /// The plugin was loaded, or could not be.
    pub fn reloaded(&self, outcome: ReloadOutcome) {
        self.reloads.with_label_values(&[outcome.as_str()]).inc();
    }
}

impl Handle for PluginMetrics {
    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.calls.clone()),
            Box::new(self.duration.clone()),
            Box::new(self.failures.clone()),
            Box::new(self.instances.clone()),
            Box::new(self.reloads.clone()),
        ]
    }
}

/// The metrics of an upstream.
#[derive(Debug)]
pub struct UpstreamMetrics {
    duration: Histogram,
}

impl UpstreamMetrics {
    pub(super) fn new(duration: Histogram) -> Self {
        Self { duration }
    }

    /// The head of a response arrived.
    pub fn answered(&self, after: Duration) {
        self.duration.observe(after.as_secs_f64());
    }
}

impl Handle for UpstreamMetrics {
    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![Box::new(self.duration.clone())]
    }
}

/// The metrics of an upstream's discovery.
#[derive(Debug)]
pub struct DiscoveryMetrics {
    updates: IntCounter,
    failures: IntCounter,
    answered: IntGauge,
    targets: IntGauge,
}

impl DiscoveryMetrics {
    pub(super) fn new(
        updates: IntCounter,
        failures: IntCounter,
        answered: IntGauge,
        targets: IntGauge,
    ) -> Self {
        Self {
            updates,
            failures,
            answered,
            targets,
        }
    }

    /// Targets changed.
    pub fn updated(&self) {
        self.updates.inc();
    }

    /// The source could not be asked or understood.
    pub fn failed(&self) {
        self.failures.inc();
    }

    /// The source said what is there, at this time in milliseconds since 1970.
    pub fn answered(&self, unix_ms: u64) {
        self.answered
            .set(i64::try_from(unix_ms / 1_000).unwrap_or(i64::MAX));
    }

    /// There are so many targets.
    pub fn targets(&self, count: usize) {
        self.targets.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

impl Handle for DiscoveryMetrics {
    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.updates.clone()),
            Box::new(self.failures.clone()),
            Box::new(self.answered.clone()),
            Box::new(self.targets.clone()),
        ]
    }
}

/// The metrics of a listener.
#[derive(Debug)]
pub struct ListenerMetrics {
    open: IntGauge,
    accepted: IntCounter,
    handshakes: IntCounterVec,
    certificates: IntGaugeVec,
    refused: IntCounterVec,
}

impl ListenerMetrics {
    pub(super) fn new(
        open: IntGauge,
        accepted: IntCounter,
        handshakes: IntCounterVec,
        certificates: IntGaugeVec,
        refused: IntCounterVec,
    ) -> Self {
        Self {
            open,
            accepted,
            handshakes,
            certificates,
            refused,
        }
    }

    /// A connection was closed before anything was served on it.
    pub fn refused(&self, refusal: ConnectionRefusal) {
        self.refused.with_label_values(&[refusal.as_str()]).inc();
    }

    /// A TLS handshake ended.
    pub fn handshake(&self, outcome: HandshakeOutcome) {
        self.handshakes.with_label_values(&[outcome.as_str()]).inc();
    }

    /// The certificates in use: their files, and when they end, in seconds since 1970.
    pub fn certificates<'c>(&self, certificates: impl Iterator<Item = (&'c str, i64)>) {
        self.certificates.reset();
        for (file, not_after) in certificates {
            self.certificates.with_label_values(&[file]).set(not_after);
        }
    }

    /// A connection was accepted.
    pub fn opened(&self) {
        self.open.inc();
        self.accepted.inc();
    }

    /// A connection was closed.
    pub fn closed(&self) {
        self.open.dec();
    }
}

impl Handle for ListenerMetrics {
    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.open.clone()),
            Box::new(self.accepted.clone()),
            Box::new(self.handshakes.clone()),
            Box::new(self.certificates.clone()),
            Box::new(self.refused.clone()),
        ]
    }
}
