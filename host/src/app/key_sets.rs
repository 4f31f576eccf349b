//! Sets of keys that servers publish: fetched when a configuration begins to serve, again from time to time, and when a
//! token names a key that is not there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::config::{Endpoint, KeySetConfig, KeySetSource};
use crate::identity::FetchedKeys;
use crate::upstream::Dns;
use crate::upstream::discovery::fetch;

/// How long a configuration waits for its keys, before it serves without.
const FIRST_KEYS: Duration = Duration::from_secs(2);
/// When a server does not answer, it is asked again after so long, and then each time after twice as long.
const RETRY: Duration = Duration::from_secs(5);
/// Tokens that name unknown keys make a server be asked no more often than this: strangers choose the names.
const UNKNOWN_KEY_PAUSE: Duration = Duration::from_secs(5 * 60);

/// Fetches the sets of the configuration that serves.
pub(super) struct KeySets {
    dns: Arc<Dns>,
    running: Mutex<FetchedSets>,
}

/// The sets of a configuration. They are fetched until nobody holds them any more.
#[derive(Clone, Default)]
pub(super) struct FetchedSets(BTreeMap<Arc<str>, Arc<Running>>);

struct Running {
    config: KeySetConfig,
    keys: Arc<FetchedKeys>,
    /// Whether there was an answer, or a failure.
    heard: watch::Receiver<bool>,
    task: AbortHandle,
}

impl KeySets {
    pub(super) fn new(dns: Arc<Dns>) -> Self {
        Self {
            dns,
            running: Mutex::default(),
        }
    }

    /// The sets of a configuration that is about to serve: those of now where nothing changes for them. Waits a little for
    /// the others.
    pub(super) async fn prepare(&self, configs: &[KeySetConfig]) -> FetchedSets {
        let running = self.lock().clone();
        let mut sets = FetchedSets::default();
        for config in configs {
            let before = running.0.get(&config.name);
            let same = before.filter(|before| before.fetches_as(config));
            let Some(set) = same.cloned().or_else(|| self.begin(config)) else {
                continue;
            };
            sets.0.insert(Arc::clone(&config.name), set);
        }
        let heard = sets.0.values().map(|set| set.heard());
        let _ = tokio::time::timeout(FIRST_KEYS, join_all(heard)).await;
        sets
    }

    /// These sets serve from here on.
    pub(super) fn publish(&self, sets: &FetchedSets) {
        *self.lock() = sets.clone();
    }

    /// None where there is nothing to fetch.
    fn begin(&self, config: &KeySetConfig) -> Option<Arc<Running>> {
        let KeySetSource::Url {
            server,
            path,
            refresh,
        } = &config.source
        else {
            return None;
        };
        let keys = Arc::new(FetchedKeys::new(config.algorithm));
        let (told, heard) = watch::channel(false);
        let set = Set {
            name: Arc::clone(&config.name),
            server: server.clone(),
            path: Arc::clone(path),
            refresh: *refresh,
            keys: Arc::clone(&keys),
            dns: Arc::clone(&self.dns),
        };
        let task = tokio::spawn(set.keep(told)).abort_handle();
        Some(Arc::new(Running {
            config: config.clone(),
            keys,
            heard,
            task,
        }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, FetchedSets> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FetchedSets {
    /// The keys, by the names of their tables.
    pub(super) fn keys(&self) -> impl Iterator<Item = (Arc<str>, Arc<FetchedKeys>)> {
        self.0
            .iter()
            .map(|(name, set)| (Arc::clone(name), Arc::clone(&set.keys)))
    }
}

impl Running {
    /// Whether the tables say the same, wherever they stand.
    fn fetches_as(&self, config: &KeySetConfig) -> bool {
        self.config.source == config.source && self.config.algorithm == config.algorithm
    }

    async fn heard(&self) {
        let mut heard = self.heard.clone();
        let _ = heard.wait_for(|heard| *heard).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One set, while it is fetched.
struct Set {
    name: Arc<str>,
    server: Endpoint,
    path: Arc<str>,
    refresh: Duration,
    keys: Arc<FetchedKeys>,
    dns: Arc<Dns>,
}

impl Set {
    async fn keep(self, told: watch::Sender<bool>) {
        let mut retry = RETRY;
        let mut asked_for: Option<Instant> = None;
        loop {
            let pause = match self.fetch().await {
                Ok(()) => {
                    retry = RETRY;
                    self.refresh
                }
                Err(reason) => {
                    tracing::warn!(keys = &*self.name, "keys are not renewed: {reason}");
                    let pause = retry.min(self.refresh);
                    retry = (retry * 2).min(self.refresh);
                    pause
                }
            };
            told.send_replace(true);
            let next = Instant::now() + pause;
            let unknown = async {
                self.keys.asked_for().await;
                let earliest = asked_for.map(|last| last + UNKNOWN_KEY_PAUSE);
                if let Some(earliest) = earliest {
                    tokio::time::sleep_until(earliest).await;
                }
            };
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = unknown => asked_for = Some(Instant::now()),
            }
        }
    }

    async fn fetch(&self) -> Result<(), String> {
        let document = fetch(&self.server, &self.path, &self.dns).await?;
        let (count, left_out) = self.keys.renew(&document)?;
        for reason in left_out {
            tracing::debug!(keys = &*self.name, "left out: {reason}");
        }
        tracing::debug!(keys = &*self.name, "{count} keys");
        Ok(())
    }
}
