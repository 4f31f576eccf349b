//! Hot reload: files that changed become a new snapshot, or an error in the log while the old one serves on.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::ModifyKind;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::build::{Builder, Generation};
use super::inheritance::Inheritance;
use super::listeners::{Listeners, Plan};
use super::service_manager;
use super::status::Status;
use super::worker::Views;
use crate::config::{self, Config, Problem, Problems};
use crate::listener::ListenError;
use crate::telemetry::ReloadOutcome;

/// After the last change: writers seldom write once.
const SETTLE: Duration = Duration::from_millis(200);
/// A directory that is never quiet must not starve reloads.
const SETTLE_CAP: Duration = Duration::from_secs(1);
/// For file systems that do not notify, and directories that came back.
const POLL: Duration = Duration::from_secs(5);

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

/// Names of files whose content matters. Others may be written beside them all the time, such as an access log.
type Names = Arc<Mutex<BTreeSet<OsString>>>;

/// Replaces generations.
pub(super) struct Reloader {
    builder: Arc<Builder>,
    views: Views,
    status: Arc<Status>,
    listeners: Arc<Listeners>,
    current: Generation,
    /// The files as they were when they were last looked at.
    seen: Seen,
    watching: BTreeSet<PathBuf>,
    names: Names,
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
            watching: BTreeSet::new(),
            names: Names::default(),
            refused: None,
        }
    }

    /// Watches the files until the process ends. `demands` are reloads that somebody asked for (SIGHUP).
    pub(super) async fn run(mut self, mut demands: mpsc::Receiver<()>) {
        let (events, mut changes) = mpsc::channel(1);
        let names = Arc::clone(&self.names);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| is_relevant(&event, &names)) {
                // A full channel means that a look is due already.
                let _ = events.try_send(());
            }
        })
        .inspect_err(|error| tracing::warn!(%error, "files cannot be watched; they are looked at every {POLL:?}"))
        .ok();
        self.watch(watcher.as_mut());
        // What changed before there was a watch.
        self.reload(Cause::Change).await;
        loop {
            self.watch(watcher.as_mut());
            let cause = tokio::select! {
                Some(()) = changes.recv() => {
                    settle(&mut changes).await;
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

    /// Watches the directories, not the files: renaming a file over another replaces what a watch would hold on to.
    fn watch(&mut self, watcher: Option<&mut RecommendedWatcher>) {
        let Some(watcher) = watcher else { return };
        let files = files(&self.current.config);
        let wanted: BTreeSet<PathBuf> = files.iter().filter_map(|file| directory(file)).collect();
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = files
            .iter()
            .filter_map(|file| file.file_name())
            .map(OsString::from)
            .collect();
        for directory in &wanted {
            // Again each time: a directory that was deleted and made anew is another one.
            let _ = watcher.watch(directory, RecursiveMode::NonRecursive);
        }
        for directory in self.watching.difference(&wanted) {
            let _ = watcher.unwatch(directory);
        }
        self.watching = wanted;
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
        let generation = self.builder.build(config, Some(&self.current)).await?;
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

/// Whether an event may be about our files. What is created, renamed or removed may be: a link may lead to it.
fn is_relevant(event: &notify::Event, names: &Names) -> bool {
    match event.kind {
        EventKind::Access(_) => false,
        EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => {
            let names = names.lock().unwrap_or_else(PoisonError::into_inner);
            let known = |path: &PathBuf| path.file_name().is_some_and(|name| names.contains(name));
            event.paths.iter().any(known)
        }
        _ => true,
    }
}

fn directory(file: &Path) -> Option<PathBuf> {
    match file.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Some(PathBuf::from(".")),
        parent => parent.map(Path::to_path_buf),
    }
}

/// Waits until nothing has changed for a while, but not for ever.
async fn settle(changes: &mut mpsc::Receiver<()>) {
    let cap = Instant::now() + SETTLE_CAP;
    loop {
        let quiet = (Instant::now() + SETTLE).min(cap);
        tokio::select! {
            change = changes.recv() => if change.is_none() || Instant::now() >= cap { return },
            () = tokio::time::sleep_until(quiet) => return,
        }
    }
}
