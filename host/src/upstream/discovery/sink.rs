//! Where sources put what they find, and what is known of each.

use std::collections::HashSet;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use super::found::{Found, Targets, place, targets};
use crate::clock::Clock;
use crate::config::{TargetConfig, UpstreamTls};
use crate::telemetry::DiscoveryMetrics;

/// Takes targets: called with all of them, each time that they change.
pub(super) type Receiver = Box<dyn Fn(&[TargetConfig]) + Send>;

/// Takes what a source finds.
pub(super) struct Sink(pub(super) Arc<Watched>);

/// The targets of one upstream as a source sees them.
pub(super) struct Watched {
    name: Arc<str>,
    kind: &'static str,
    tls: Option<UpstreamTls>,
    clock: Clock,
    metrics: Arc<DiscoveryMetrics>,
    /// Whether the source has said anything, be it that it failed.
    heard: watch::Sender<bool>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Empty until the first answer, unless something was known before.
    targets: Vec<TargetConfig>,
    /// When the source last said what is there.
    answered: Option<Duration>,
    /// What is wrong: with the source, or else with its last answer.
    problem: Option<String>,
    /// What is wrong with its last answer.
    left_out: Option<String>,
    receiver: Option<Receiver>,
}

/// What operators see of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiscoveryReport {
    /// `dns`, `srv`, `file`, `consul`, `kubernetes`
    pub kind: &'static str,
    /// `waiting` for the first answer, `current`, or `stale`: kept as it was, because the source fails.
    pub state: &'static str,
    /// `host:port` of the targets.
    pub targets: Vec<String>,
    /// Seconds since the source last said what is there.
    pub age_seconds: Option<u64>,
    /// What is wrong, if anything is.
    pub problem: Option<String>,
}

impl Sink {
    /// All that is there now.
    pub(super) fn update(&self, found: Vec<Found>) {
        self.0.update(found);
    }

    /// The source was asked, and nothing is new.
    pub(super) fn confirm(&self) {
        let mut inner = self.0.lock();
        let left_out = inner.left_out.clone();
        self.0.answer(&mut inner, left_out);
    }

    /// The source cannot be asked, or what it says cannot be used.
    pub(super) fn fail(&self, error: impl Display) {
        let watched = &self.0;
        watched.metrics.failed();
        let mut inner = watched.lock();
        watched.note(&mut inner, Some(error.to_string()));
        drop(inner);
        watched.heard.send_replace(true);
    }
}

impl Watched {
    pub(super) fn new(
        (name, kind): (&Arc<str>, &'static str),
        tls: Option<UpstreamTls>,
        clock: &Clock,
        metrics: Arc<DiscoveryMetrics>,
    ) -> Self {
        Self {
            name: Arc::clone(name),
            kind,
            tls,
            clock: clock.clone(),
            metrics,
            heard: watch::Sender::new(false),
            inner: Mutex::default(),
        }
    }

    /// Begins with the targets of another one, which are better than none.
    pub(super) fn inherit(&self, other: &Self) {
        if self.tls == other.tls {
            self.lock().targets = other.targets();
        }
    }

    /// Who gets the targets from here on: at once, and at each change.
    pub(super) fn connect(&self, receiver: Receiver) {
        let mut inner = self.lock();
        receiver(&inner.targets);
        inner.receiver = Some(receiver);
    }

    /// Ends when the source has said something.
    pub(super) async fn heard(&self) {
        // The sender lives as long as we do.
        let _ = self.heard.subscribe().wait_for(|heard| *heard).await;
    }

    /// As they are known.
    pub(super) fn targets(&self) -> Vec<TargetConfig> {
        self.lock().targets.clone()
    }

    fn update(&self, found: Vec<Found>) {
        let Targets { targets, problem } = targets(found, self.tls.as_ref());
        let mut inner = self.lock();
        let is_first = inner.answered.is_none();
        self.answer(&mut inner, problem);
        if inner.targets != targets {
            self.metrics.updated();
            let added = missing(&targets, &inner.targets);
            let removed = missing(&inner.targets, &targets);
            tracing::info!(
                upstream = %self.name, source = self.kind, targets = targets.len(), added, removed,
                "targets changed"
            );
            inner.targets = targets;
            if let Some(receiver) = &inner.receiver {
                receiver(&inner.targets);
            }
        } else if is_first && targets.is_empty() {
            tracing::warn!(upstream = %self.name, source = self.kind, "there are no targets");
        }
        self.metrics.targets(inner.targets.len());
        drop(inner);
        self.heard.send_replace(true);
    }

    fn answer(&self, inner: &mut Inner, left_out: Option<String>) {
        self.note(inner, left_out.clone());
        inner.left_out = left_out;
        inner.answered = Some(self.clock.now());
        self.metrics.answered(self.clock.unix_ms());
    }

    /// Takes note of a problem, or that there is none any more: each is logged once.
    fn note(&self, inner: &mut Inner, problem: Option<String>) {
        if inner.problem == problem {
            return;
        }
        let (upstream, source) = (&self.name, self.kind);
        match &problem {
            Some(problem) => {
                let targets = inner.targets.len();
                tracing::warn!(%upstream, source, targets, "discovery: {problem}");
            }
            None => tracing::info!(%upstream, source, "discovery works again"),
        }
        inner.problem = problem;
    }

    pub(super) fn report(&self) -> DiscoveryReport {
        let inner = self.lock();
        let state = match inner.answered {
            None => "waiting",
            Some(_) if inner.problem == inner.left_out => "current",
            Some(_) => "stale",
        };
        let shown = |target: &TargetConfig| target.endpoint.authority();
        let age = |answered| self.clock.now().saturating_sub(answered).as_secs();
        DiscoveryReport {
            kind: self.kind,
            state,
            targets: inner.targets.iter().map(shown).collect(),
            age_seconds: inner.answered.map(age),
            problem: inner.problem.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many of `these` are not among `those`.
fn missing(these: &[TargetConfig], those: &[TargetConfig]) -> usize {
    let those: HashSet<_> = those.iter().map(|target| place(&target.endpoint)).collect();
    let is_missing = |target: &&TargetConfig| !those.contains(&place(&target.endpoint));
    these.iter().filter(is_missing).count()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::config::Placement;
    use crate::telemetry::Metrics;

    fn found(host: &str) -> Found {
        Found {
            host: host.into(),
            port: 80,
            name: None,
            secure: None,
            placement: Placement::default(),
        }
    }

    /// A sink, what is known of it, and what its receiver gets.
    fn sink() -> (Sink, Arc<Watched>, mpsc::Receiver<usize>) {
        let metrics = Metrics::new().discovery("a");
        let watched = Watched::new((&"a".into(), "file"), None, &Clock::manual(), metrics);
        let (sender, received) = mpsc::channel();
        watched.connect(Box::new(move |targets| {
            // Not every test looks.
            let _ = sender.send(targets.len());
        }));
        assert_eq!(received.recv(), Ok(0), "what is known is told at once");
        let watched = Arc::new(watched);
        (Sink(Arc::clone(&watched)), watched, received)
    }

    #[test]
    fn receivers_hear_of_changes_only() {
        let (sink, _, received) = sink();
        sink.update(vec![found("a"), found("b")]);
        sink.update(vec![found("b"), found("a")]);
        sink.confirm();
        sink.fail("away");
        sink.update(vec![found("a")]);
        sink.update(Vec::new());
        drop(sink);
        let told: Vec<usize> = received.try_iter().collect();
        assert_eq!(told, [2, 1, 0]);
    }

    #[test]
    fn a_source_that_fails_leaves_its_targets_as_they_were() {
        let (sink, watched, _) = sink();
        assert_eq!(watched.report().state, "waiting");
        sink.update(vec![found("a")]);
        assert_eq!(watched.report().state, "current");
        watched.clock.advance(Duration::from_secs(7));
        sink.fail("away");
        let report = watched.report();
        assert_eq!(
            (report.state, report.targets.as_slice()),
            ("stale", &["a:80".to_owned()][..])
        );
        assert_eq!(
            (report.age_seconds, report.problem.as_deref()),
            (Some(7), Some("away"))
        );
        sink.confirm();
        let report = watched.report();
        assert_eq!(
            (report.state, report.age_seconds, report.problem),
            ("current", Some(0), None)
        );
    }

    #[test]
    fn what_is_left_out_is_told_as_long_as_it_is() {
        let (sink, watched, _) = sink();
        let secure = Found {
            secure: Some(true),
            ..found("b")
        };
        sink.update(vec![found("a"), secure]);
        sink.confirm();
        let report = watched.report();
        assert_eq!((report.state, report.problem.is_some()), ("current", true));
        sink.update(vec![found("a")]);
        assert_eq!(watched.report().problem, None);
    }
}
