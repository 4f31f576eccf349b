//! The listeners that serve: opened at the start, and replaced by reloads as far as they changed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::inheritance::Inheritance;
use crate::config::{ListenAddress, ListenerConfig};
use crate::listener::{ListenError, Listener};
use crate::telemetry::Metrics;

/// All listeners, and the workers that accept from them.
pub(super) struct Listeners {
    metrics: Arc<Metrics>,
    workers: Vec<mpsc::UnboundedSender<Arc<Listener>>>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    current: Vec<Arc<Listener>>,
    /// In a drain no listener is opened any more.
    draining: bool,
}

/// Listeners of a configuration that is not in force yet. Dropping it closes those that are new.
pub(super) struct Plan(Vec<Step>);

enum Step {
    /// Its socket stays; only its settings may change.
    Keep(Arc<Listener>, Box<ListenerConfig>),
    /// It has a socket of its own.
    New(Arc<Listener>),
    /// It accepts from the socket of a listener that goes.
    Succeed(Arc<Listener>, Arc<Listener>),
}

impl Listeners {
    pub(super) fn new(
        metrics: Arc<Metrics>,
        workers: Vec<mpsc::UnboundedSender<Arc<Listener>>>,
    ) -> Self {
        Self {
            metrics,
            workers,
            inner: Mutex::default(),
        }
    }

    /// Opens what a configuration needs and what is not open yet. Nothing that serves is changed.
    ///
    /// # Errors
    /// Every listener that cannot be opened.
    pub(super) fn prepare(
        &self,
        configs: &[ListenerConfig],
        inheritance: &mut Inheritance,
    ) -> Result<Plan, Vec<ListenError>> {
        let inner = self.lock();
        let (mut steps, mut errors) = (Vec::new(), Vec::new());
        for config in configs {
            match self.step(config, &inner.current, inheritance) {
                Ok(step) => steps.push(step),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            return Ok(Plan(steps));
        }
        for config in configs {
            if inner
                .current
                .iter()
                .all(|listener| *listener.name() != config.name)
            {
                self.metrics.forget_listener(&config.name);
            }
        }
        Err(errors)
    }

    fn step(
        &self,
        config: &ListenerConfig,
        current: &[Arc<Listener>],
        inheritance: &mut Inheritance,
    ) -> Result<Step, ListenError> {
        let same = |listener: &&Arc<Listener>| {
            *listener.name() == config.name && *listener.asked() == config.address
        };
        let before = current.iter().find(same);
        // Its UDP socket lives as long as it does.
        let stays = |listener: &&Arc<Listener>| listener.speaks_http3() == config.http3;
        if let Some(listener) = before.filter(stays) {
            return Ok(Step::Keep(Arc::clone(listener), Box::new(config.clone())));
        }
        let metrics = self.metrics.listener(&config.name);
        let elsewhere = |listener: &&Arc<Listener>| {
            config.address.is_fixed() && *listener.asked() == config.address
        };
        if let Some(before) = before.or_else(|| current.iter().find(elsewhere)) {
            let listener = before.succeed(config.clone(), metrics)?;
            return Ok(Step::Succeed(Arc::clone(before), Arc::new(listener)));
        }
        let listener = match inheritance.take(&config.name, &config.address) {
            Some(passed) => Listener::adopt(config.clone(), passed, metrics)?,
            None => Listener::open(config.clone(), metrics)?,
        };
        Ok(Step::New(Arc::new(listener)))
    }

    /// Puts a plan into force: what is new accepts connections, and what is gone finishes those that it has.
    pub(super) fn apply(&self, Plan(steps): Plan) {
        let mut inner = self.lock();
        if inner.draining {
            return;
        }
        let mut now = Vec::with_capacity(steps.len());
        for step in steps {
            now.push(match step {
                Step::Keep(listener, config) => {
                    listener.update(*config);
                    listener
                }
                Step::New(listener) => self.begin(listener),
                Step::Succeed(before, listener) => {
                    before.hand_over();
                    self.begin(listener)
                }
            });
        }
        let before = std::mem::replace(&mut inner.current, now);
        let stays = |old: &Arc<Listener>| inner.current.iter().any(|new| Arc::ptr_eq(new, old));
        for listener in before.iter().filter(|listener| !stays(listener)) {
            listener.drain();
            let name = listener.name();
            tracing::info!(listener = %name, "no longer listening on {}", listener.address());
            if inner.current.iter().all(|new| new.name() != name) {
                self.metrics.forget_listener(name);
            }
        }
    }

    fn begin(&self, listener: Arc<Listener>) -> Arc<Listener> {
        for worker in &self.workers {
            // A worker that is gone accepts nothing; its own end was reported.
            let _ = worker.send(Arc::clone(&listener));
        }
        tracing::info!(listener = %listener.name(), "listening on {}", listener.address());
        listener
    }

    /// Those that serve now.
    pub(super) fn current(&self) -> Vec<Arc<Listener>> {
        self.lock().current.clone()
    }

    /// Names and addresses of those that serve now.
    pub(super) fn addresses(&self) -> Vec<(Arc<str>, ListenAddress)> {
        let address =
            |listener: &Arc<Listener>| (Arc::clone(listener.name()), listener.address().clone());
        self.lock().current.iter().map(address).collect()
    }

    /// Nothing new is accepted from now on. With `shared`, others go on accepting from the same sockets.
    pub(super) fn drain(&self, shared: bool) {
        let mut inner = self.lock();
        inner.draining = true;
        for listener in &inner.current {
            if shared {
                listener.hand_over();
            }
            listener.drain();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
