//! What the process is doing, for the admin listener.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::admin::Report;
use crate::proxy::Snapshot;

/// Shared by whoever changes the state and whoever shows it.
#[derive(Default)]
pub(super) struct Status {
    draining: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    generation: u64,
    plugins: BTreeMap<String, String>,
    config_problem: Option<String>,
    plugin_problems: BTreeMap<String, String>,
}

impl Status {
    pub(super) fn published(&self, snapshot: &Snapshot) {
        let mut inner = self.lock();
        inner.generation = snapshot.generation;
        let digest = |plugin: &std::sync::Arc<crate::plugin::Plugin>| {
            (
                plugin.name().to_string(),
                plugin.digest().to_hex().to_string(),
            )
        };
        inner.plugins = snapshot.plugins.iter().map(digest).collect();
    }

    /// A reload ended, with the problems as they are in the log if it was refused.
    pub(super) fn config_reloaded(&self, problem: Option<String>) {
        let mut inner = self.lock();
        inner.config_problem = problem;
        if inner.config_problem.is_none() {
            inner.plugin_problems.clear();
        }
    }

    /// The same for one plugin.
    pub(super) fn plugin_reloaded(&self, plugin: &str, problem: Option<String>) {
        let mut inner = self.lock();
        match problem {
            Some(problem) => inner.plugin_problems.insert(plugin.into(), problem),
            None => inner.plugin_problems.remove(plugin),
        };
    }

    pub(super) fn draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn report(&self) -> Report {
        let inner = self.lock();
        Report {
            ready: !self.draining.load(Ordering::Relaxed) && inner.generation > 0,
            generation: inner.generation,
            listeners: BTreeMap::new(),
            plugins: inner.plugins.clone(),
            config_problem: inner.config_problem.clone(),
            plugin_problems: inner.plugin_problems.clone(),
            discovery: BTreeMap::new(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
