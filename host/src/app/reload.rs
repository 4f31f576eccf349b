//! Hot reload: files that changed become a new snapshot, or an error in the log while the old one serves on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::build::{Builder, Generation};
use super::inheritance::Inheritance;
use super::listeners::{Listeners, Plan};
use super::service_manager;
use super::status::Status;
use super::worker::Views;
use crate::config::{self, Config, Problem, Problems};
use crate::listener::ListenError;
use crate::telemetry::ReloadOutcome;
use crate::watch::{FileWatch, POLL};

/// Files, and the hashes of what is in them; none where there is nothing to read.
pub(super) type Seen = BTreeMap<PathBuf, Option<blake3::Hash>>;

/// Why files are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Somebody asked.
    Demand,
    /// Something changed in one of the directories.
    Change,
    /// It is time.
    Poll,
}

/// Replaces generations.
pub(super) struct Reloader {
    builder: Arc<Builder>,
    views: Views,
    status: Arc<Status>,
    listeners: Arc<Listeners>,
    current: Generation,
    /// The files as they were when they were last looked at.
    seen: Seen,
    /// Why the configuration on disk does not serve, if it does not.
    refused: Option<String>,
}

impl Reloader {
    /// `seen` are the files as they were before `current` was made of them.
    pub(super) fn new(
        builder: Arc<Builder>,
        views: Views,
        status: Arc<Status>,
        listeners: Arc<Listeners>,
        current: Generation,
        seen: Seen,
    ) -> Self {
        Self {
            builder,
            views,
            status,
            listeners,
            current,
            seen,
            refused: None,
        }
    }

    /// Watches the files until the process ends. `demands` are reloads that somebody asked for (SIGHUP).
    pub(super) async fn run(mut self, mut demands: mpsc::Receiver<()>) {
        let mut watch = FileWatch::new();
        self.follow(&mut watch);
        // What changed before there was a watch.
        self.reload(Cause::Change).await;
        loop {
            self.follow(&mut watch);
            let cause = tokio::select! {
                () = watch.changed() => {
                    watch.settle().await;
                    Cause::Change
                }
                demand = demands.recv() => match demand {
                    Some(()) => Cause::Demand,
                    None => return,
                },
                () = tokio::time::sleep(POLL) => Cause::Poll,
            };
            self.reload(cause).await;
        }
    }

    fn follow(&self, watch: &mut FileWatch) {
        let files = files(&self.current.config);
        watch.follow(files.iter().map(PathBuf::as_path));
    }

    async fn reload(&mut self, cause: Cause) {
        let now = look(&self.current.config);
        let changed: Vec<PathBuf> = now
            .iter()
            .filter(|(file, digest)| self.seen.get(*file) != Some(*digest))
            .map(|(file, _)| file.clone())
            .collect();
        self.seen = now;
        let of_config = |file| self.current.config.sources.contains(file);
        if cause == Cause::Demand || changed.iter().any(of_config) {
            self.reload_config(None).await;
        } else if !changed.is_empty() {
            self.reload_plugins(&changed).await;
        } else if cause == Cause::Change && self.is_outdated() {
            self.reload_config(self.refused.clone()).await;
        }
    }

    /// Whether the configuration may be another one though none of its files changed: what a refused one lacked came, or
    /// a file that `include` finds came or went.
    fn is_outdated(&self) -> bool {
        let Some(path) = self.current.config.sources.first() else {
            return false;
        };
        self.refused.is_some()
            || match config::load(path) {
                Ok(config) => config.sources != self.current.config.sources,
                Err(_) => true,
            }
    }

    /// `told` is what the operator knows already: it is not said again.
    async fn reload_config(&mut self, told: Option<String>) {
        let Some(path) = self.current.config.sources.first() else {
            return;
        };
        service_manager::reloading();
        let built = match config::load(path) {
            Ok(config) => {
                super::warn_of_fixed(&self.current.config, &config);
                self.build(config).await
            }
            Err(problems) => Err(problems),
        };
        match built {
            Ok((generation, listeners)) => {
                self.builder.dns.configure(&generation.config.dns);
                self.publish(generation);
                self.listeners.apply(listeners);
                self.remember();
                self.refused = None;
                tracing::info!(
                    generation = self.current.snapshot.generation,
                    "configuration reloaded"
                );
                self.status.config_reloaded(None);
                self.builder.metrics.config_reloaded(ReloadOutcome::Applied);
            }
            Err(problems) if told.is_some_and(|told| told == problems.to_string()) => {}
            Err(problems) => self.refuse_config(&problems),
        }
        service_manager::ready();
    }

    /// Everything of a configuration that may fail: when it is there, it can be put into force.
    async fn build(&self, config: Config) -> Result<(Generation, Plan), Problems> {
        let generation = self.builder.begin(config, Some(&self.current)).await?;
        let config = &generation.config;
        // Whatever was inherited was taken at the start.
        let listeners = self
            .listeners
            .prepare(&config.listeners, &mut Inheritance::default());
        match listeners {
            Ok(listeners) => Ok((generation, listeners)),
            Err(errors) => {
                let main = config.sources.first().cloned().unwrap_or_default();
                let problem = |error: ListenError| Problem::of_file(&main, error.to_string(), None);
                let problems = errors.into_iter().map(problem).collect();
                Err(Problems::new(problems, &config.texts))
            }
        }
    }

    /// The files of a new generation as they were before it was made: what changed meanwhile is yet to be noticed.
    fn remember(&mut self) {
        let mut now = look(&self.current.config);
        for plugin in &self.current.config.plugins {
            let loaded = self
                .current
                .snapshot
                .plugins
                .iter()
                .find(|loaded| *loaded.name() == plugin.name);
            if let (Some(loaded), Some(digest)) = (loaded, now.get_mut(&plugin.file)) {
                *digest = Some(loaded.digest());
            }
        }
        for source in &self.current.config.sources {
            if let (Some(before), Some(digest)) = (self.seen.get(source), now.get_mut(source)) {
                *digest = *before;
            }
        }
        self.seen = now;
    }

    fn refuse_config(&mut self, problems: &Problems) {
        let count = problems.len();
        tracing::error!(
            "configuration not reloaded, the old one serves on; {count} problem(s):\n{problems}"
        );
        self.refused = Some(problems.to_string());
        self.status.config_reloaded(self.refused.clone());
        self.builder.metrics.config_reloaded(ReloadOutcome::Failed);
    }

    /// Replaces the plugins of changed files. One that cannot be loaded keeps its old code and vetoes no other.
    async fn reload_plugins(&mut self, changed: &[PathBuf]) {
        let config = Arc::clone(&self.current.config);
        let mut plugins = self.current.snapshot.plugins.clone();
        let mut replaced = Vec::new();
        for (plugin, slot) in config
            .plugins
            .iter()
            .zip(&mut plugins)
            .filter(|(plugin, _)| changed.contains(&plugin.file))
        {
            match self.builder.plugin(plugin, &self.current.services).await {
                Ok(new) if new.digest() == slot.digest() => {
                    self.status.plugin_reloaded(&plugin.name, None);
                    self.builder
                        .metrics
                        .plugin(&plugin.name)
                        .reloaded(ReloadOutcome::Unchanged);
                }
                Ok(new) => {
                    *slot = Arc::new(new);
                    replaced.push(Arc::clone(&plugin.name));
                }
                Err(error) => {
                    let problem =
                        Problems::new(vec![self.builder.problem(plugin, &error)], &config.texts);
                    tracing::error!(plugin = %plugin.name, "plugin not reloaded, the old one serves on: {problem}");
                    self.status
                        .plugin_reloaded(&plugin.name, Some(problem.to_string()));
                    self.builder
                        .metrics
                        .plugin(&plugin.name)
                        .reloaded(ReloadOutcome::Failed);
                }
            }
        }
        if replaced.is_empty() {
            return;
        }
        match self.builder.replace(&self.current, plugins) {
            Ok(generation) => {
                self.publish(generation);
                for plugin in replaced {
                    tracing::info!(%plugin, generation = self.current.snapshot.generation, "plugin reloaded");
                    self.status.plugin_reloaded(&plugin, None);
                    self.builder
                        .metrics
                        .plugin(&plugin)
                        .reloaded(ReloadOutcome::Applied);
                }
            }
            Err(problems) => self.refuse_config(&problems),
        }
    }

    fn publish(&mut self, generation: Generation) {
        self.views.publish(&generation.snapshot);
        self.builder.published(&generation, Some(&self.current));
        self.status.published(&generation.snapshot);
        self.current = generation;
    }
}

/// The files that a configuration is made of.
fn files(config: &Config) -> Vec<PathBuf> {
    let plugins = config
        .plugins
        .iter()
        .filter(|_| config.engine.watch)
        .map(|plugin| &plugin.file);
    config.sources.iter().chain(plugins).cloned().collect()
}

/// The files of a configuration as they are now.
pub(super) fn look(config: &Config) -> Seen {
    let digest = |file: &PathBuf| std::fs::read(file).ok().map(|bytes| blake3::hash(&bytes));
    files(config)
        .into_iter()
        .map(|file| (file.clone(), digest(&file)))
        .collect()
}
