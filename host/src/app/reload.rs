//! Hot reload: files that changed become a new snapshot, or an error in the log while the old one serves on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::build::{Builder, Generation};
use super::status::Status;
use super::worker::Views;
use crate::config::{self, Problems};
use crate::telemetry::ReloadOutcome;

/// After the last change: writers seldom write once.
const SETTLE: Duration = Duration::from_millis(200);
/// A directory that is never quiet must not starve reloads.
const SETTLE_CAP: Duration = Duration::from_secs(1);
/// For file systems that do not notify, and directories that came back.
const POLL: Duration = Duration::from_secs(5);

/// Replaces generations.
pub(super) struct Reloader {
    builder: Arc<Builder>,
    views: Views,
    status: Arc<Status>,
    current: Generation,
    /// The files as they were when they were last looked at.
    seen: BTreeMap<PathBuf, Option<blake3::Hash>>,
    watching: BTreeSet<PathBuf>,
}

impl Reloader {
    pub(super) fn new(
        builder: Arc<Builder>,
        views: Views,
        status: Arc<Status>,
        current: Generation,
    ) -> Self {
        let mut reloader = Self {
            builder,
            views,
            status,
            current,
            seen: BTreeMap::new(),
            watching: BTreeSet::new(),
        };
        reloader.seen = reloader.look();
        reloader
    }

    /// Watches the files until the process ends. `demands` are reloads that somebody asked for (SIGHUP).
    pub(super) async fn run(mut self, mut demands: mpsc::Receiver<()>) {
        let (events, mut changes) = mpsc::channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !matches!(event.kind, notify::EventKind::Access(_))) {
                // A full channel means that a look is due already.
                let _ = events.try_send(());
            }
        })
        .inspect_err(|error| tracing::warn!(%error, "files cannot be watched; they are looked at every {POLL:?}"))
        .ok();
        loop {
            self.watch(watcher.as_mut());
            let mut forced = false;
            tokio::select! {
                Some(()) = changes.recv() => settle(&mut changes).await,
                demand = demands.recv() => match demand {
                    Some(()) => forced = true,
                    None => return,
                },
                () = tokio::time::sleep(POLL) => {}
            }
            self.reload(forced).await;
        }
    }

    /// Watches the directories, not the files: renaming a file over another replaces what a watch would hold on to.
    fn watch(&mut self, watcher: Option<&mut RecommendedWatcher>) {
        let Some(watcher) = watcher else { return };
        let wanted: BTreeSet<PathBuf> = self
            .files()
            .iter()
            .filter_map(|file| directory(file))
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

    fn files(&self) -> Vec<PathBuf> {
        let config = &self.current.config;
        let plugins = config
            .plugins
            .iter()
            .filter(|_| config.engine.watch)
            .map(|plugin| &plugin.file);
        config.sources.iter().chain(plugins).cloned().collect()
    }

    fn look(&self) -> BTreeMap<PathBuf, Option<blake3::Hash>> {
        let digest = |file: &PathBuf| std::fs::read(file).ok().map(|bytes| blake3::hash(&bytes));
        self.files()
            .into_iter()
            .map(|file| (file.clone(), digest(&file)))
            .collect()
    }

    async fn reload(&mut self, forced: bool) {
        let now = self.look();
        let changed: Vec<PathBuf> = now
            .iter()
            .filter(|(file, digest)| self.seen.get(*file) != Some(*digest))
            .map(|(file, _)| file.clone())
            .collect();
        self.seen = now;
        if changed.is_empty() && !forced {
            return;
        }
        if forced
            || changed
                .iter()
                .any(|file| self.current.config.sources.contains(file))
        {
            self.reload_config().await;
        } else {
            self.reload_plugins(&changed).await;
        }
    }

    async fn reload_config(&mut self) {
        let Some(path) = self.current.config.sources.first() else {
            return;
        };
        let built = match config::load(path) {
            Ok(config) => {
                super::warn_of_fixed(&self.current.config, &config);
                self.builder.build(config, Some(&self.current)).await
            }
            Err(problems) => Err(problems),
        };
        match built {
            Ok(generation) => {
                self.publish(generation);
                self.seen = self.look();
                tracing::info!(
                    generation = self.current.snapshot.generation,
                    "configuration reloaded"
                );
                self.status.config_reloaded(None);
                self.builder.metrics.config_reloaded(ReloadOutcome::Applied);
            }
            Err(problems) => self.refuse_config(&problems),
        }
    }

    fn refuse_config(&self, problems: &Problems) {
        let count = problems.len();
        tracing::error!(
            "configuration not reloaded, the old one serves on; {count} problem(s):\n{problems}"
        );
        self.status.config_reloaded(Some(problems.to_string()));
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
                Ok(new) if new.digest() == slot.digest() => {}
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
