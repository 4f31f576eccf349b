//! Files that others write: noticed when they change, however that is done.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::ModifyKind;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// After the last change: writers seldom write once.
const SETTLE: Duration = Duration::from_millis(200);
/// A directory that is never quiet must not starve those who wait.
const SETTLE_CAP: Duration = Duration::from_secs(1);
/// For file systems that do not notify, and directories that came back: how often files are to be looked at anyway.
pub const POLL: Duration = Duration::from_secs(5);

/// Names of files whose content matters. Others may be written beside them all the time, such as an access log.
type Names = Arc<Mutex<BTreeSet<OsString>>>;

/// Watches the directories of files, not the files: renaming a file over another replaces what a watch would hold on to.
pub struct FileWatch {
    watcher: Option<RecommendedWatcher>,
    watching: BTreeSet<PathBuf>,
    names: Names,
    changes: mpsc::Receiver<()>,
}

impl FileWatch {
    /// Watches nothing yet.
    #[must_use]
    pub fn new() -> Self {
        let (events, changes) = mpsc::channel(1);
        let names = Names::default();
        let known = Arc::clone(&names);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| is_relevant(&event, &known)) {
                // A full channel means that a look is due already.
                let _ = events.try_send(());
            }
        })
        .inspect_err(|error| tracing::warn!(%error, "files cannot be watched; they are looked at every {POLL:?}"))
        .ok();
        Self {
            watcher,
            watching: BTreeSet::new(),
            names,
            changes,
        }
    }

    /// Watches these files from here on, and no others.
    pub fn follow<'f>(&mut self, files: impl Iterator<Item = &'f Path> + Clone) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let wanted: BTreeSet<PathBuf> = files.clone().filter_map(directory).collect();
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = files
            .filter_map(Path::file_name)
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

    /// Waits until something may have changed; for ever if nothing can be watched.
    pub async fn changed(&mut self) {
        if self.changes.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until nothing has changed for a while, but not for ever.
    pub async fn settle(&mut self) {
        let cap = Instant::now() + SETTLE_CAP;
        loop {
            let quiet = (Instant::now() + SETTLE).min(cap);
            tokio::select! {
                change = self.changes.recv() => if change.is_none() || Instant::now() >= cap { return },
                () = tokio::time::sleep_until(quiet) => return,
            }
        }
    }
}

impl Default for FileWatch {
    fn default() -> Self {
        Self::new()
    }
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
