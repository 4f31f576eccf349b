//! A small key-value store for each plugin.
//!
//! Split into shards, each behind a mutex: reading, changing and writing an entry is one step under it. Bounded by entries
//! and bytes; what was used least lately goes first. A cache crate was not taken for it, because none of those looked
//! at changes an entry in one step without a lock of its own kind that costs more than this one.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::{DefaultHashBuilder, HashMap};
use hashlink::LinkedHashMap;

/// Most bytes of a key.
const MAX_KEY_BYTES: usize = 512;
/// Most bytes of a value.
const MAX_VALUE_BYTES: usize = 64 * 1024;
/// What an entry takes besides key and value, roughly: it counts, so that empty values are not free.
const ENTRY_BYTES: usize = 128;
const MAX_SHARDS: usize = 16;
/// A shard takes at least a few values of the largest size, and enough entries that shards fill alike.
const MIN_SHARD_BYTES: usize = 1024 * 1024;
const MIN_SHARD_ENTRIES: usize = 64;

/// The stores of all plugins.
#[derive(Debug)]
pub struct Stores {
    stores: Mutex<HashMap<Arc<str>, Arc<Store>>>,
    max_entries: usize,
    max_bytes: usize,
}

/// The keys of one plugin.
#[derive(Debug)]
pub struct Store {
    shards: Box<[Mutex<Shard>]>,
    hasher: DefaultHashBuilder,
    /// One sequence for all keys: a key that was deleted and written again has no version twice.
    versions: AtomicU64,
}

/// A value as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Arc<[u8]>,
    /// Changes with every write of the key.
    pub version: u64,
}

/// Why an entry was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The key or the value is too large.
    #[error("a key has at most {MAX_KEY_BYTES} bytes, a value {MAX_VALUE_BYTES}")]
    TooLarge,
    /// The entry is not at the expected version, or is no number that can be added to.
    #[error("the entry is not what the call expects")]
    Conflict,
}

#[derive(Debug)]
struct Shard {
    /// From least to most lately used.
    entries: LinkedHashMap<Box<str>, Stored, DefaultHashBuilder>,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Stored {
    entry: Entry,
    expires: Option<Duration>,
}

impl Stores {
    /// Stores of at most so many entries and bytes for each plugin.
    #[must_use]
    pub fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self {
            stores: Mutex::default(),
            max_entries,
            max_bytes,
        }
    }

    /// The store of a plugin, made when it is first asked for. To be kept by whoever uses it often.
    #[must_use]
    pub fn of(&self, plugin: &str) -> Arc<Store> {
        let mut stores = lock(&self.stores);
        if let Some(store) = stores.get(plugin) {
            return store.clone();
        }
        let store = Arc::new(Store::new(self.max_entries, self.max_bytes));
        stores.insert(plugin.into(), store.clone());
        store
    }

    /// Forgets the stores of plugins that are no longer configured.
    pub fn retain(&self, is_configured: impl Fn(&str) -> bool) {
        lock(&self.stores).retain(|plugin, _| is_configured(plugin));
    }

    /// Forgets expired entries. To be called every few seconds, off the request threads.
    pub fn sweep(&self, now: Duration) {
        let stores: Vec<_> = lock(&self.stores).values().cloned().collect();
        for store in stores {
            store.sweep(now);
        }
    }
}

impl Store {
    /// A store of at most so many entries and bytes.
    #[must_use]
    pub fn new(max_entries: usize, max_bytes: usize) -> Self {
        let wanted = (max_entries / MIN_SHARD_ENTRIES)
            .min(max_bytes / MIN_SHARD_BYTES)
            .clamp(1, MAX_SHARDS);
        // Rounded down to a power of two, so that a shard is chosen by a mask.
        let count = 1 << wanted.ilog2();
        let shard = || Shard {
            entries: LinkedHashMap::with_hasher(DefaultHashBuilder::default()),
            bytes: 0,
            max_entries: max_entries / count,
            max_bytes: max_bytes / count,
        };
        let shards = (0..count).map(|_| Mutex::new(shard())).collect();
        Self {
            shards,
            hasher: DefaultHashBuilder::default(),
            versions: AtomicU64::new(0),
        }
    }

    /// The entry, unless it is absent or has expired.
    ///
    /// # Errors
    /// `TooLarge`, when the key is.
    pub fn get(&self, key: &str, now: Duration) -> Result<Option<Entry>, StoreError> {
        Ok(self
            .shard(key)?
            .get(key, now)
            .map(|stored| stored.entry.clone()))
    }

    /// Writes a value. A `ttl` of zero keeps it until it is evicted.
    ///
    /// # Errors
    /// `TooLarge`.
    pub fn set(
        &self,
        key: &str,
        value: &[u8],
        ttl: Duration,
        now: Duration,
    ) -> Result<(), StoreError> {
        let entry = self.entry(value)?;
        self.shard(key)?.insert(key, entry, expiry(ttl, now))
    }

    /// Writes only if the entry is at the expected version (none: absent). Returns the new version.
    ///
    /// # Errors
    /// `Conflict`, when it is not; `TooLarge`.
    pub fn compare_and_set(
        &self,
        key: &str,
        expected: Option<u64>,
        value: &[u8],
        ttl: Duration,
        now: Duration,
    ) -> Result<u64, StoreError> {
        let entry = self.entry(value)?;
        let version = entry.version;
        let mut shard = self.shard(key)?;
        if shard.get(key, now).map(|stored| stored.entry.version) != expected {
            return Err(StoreError::Conflict);
        }
        shard.insert(key, entry, expiry(ttl, now))?;
        Ok(version)
    }

    /// Removes the entry, if there is one.
    ///
    /// # Errors
    /// `TooLarge`, when the key is.
    pub fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.shard(key)?.remove(key);
        Ok(())
    }

    /// Adds to a decimal number, absent counting as 0, and returns the sum. `ttl` counts from the first `add`.
    ///
    /// # Errors
    /// `Conflict`, when the value is not a number, or the sum is none that fits 64 bits; `TooLarge`.
    pub fn add(
        &self,
        key: &str,
        delta: i64,
        ttl: Duration,
        now: Duration,
    ) -> Result<i64, StoreError> {
        let mut shard = self.shard(key)?;
        let (sum, expires) = match shard.get(key, now) {
            Some(stored) => {
                let number = std::str::from_utf8(&stored.entry.value)
                    .ok()
                    .and_then(|text| text.parse::<i64>().ok());
                let sum = number
                    .and_then(|number| number.checked_add(delta))
                    .ok_or(StoreError::Conflict)?;
                (sum, stored.expires)
            }
            None => (delta, expiry(ttl, now)),
        };
        shard.insert(key, self.entry(sum.to_string().as_bytes())?, expires)?;
        Ok(sum)
    }

    /// Forgets expired entries.
    pub fn sweep(&self, now: Duration) {
        for shard in &self.shards {
            lock(shard).sweep(now);
        }
    }

    /// Entries that are held, expired ones included.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| lock(shard).entries.len())
            .sum()
    }

    /// Bytes that are held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).bytes).sum()
    }

    fn entry(&self, value: &[u8]) -> Result<Entry, StoreError> {
        if value.len() > MAX_VALUE_BYTES {
            return Err(StoreError::TooLarge);
        }
        let version = self.versions.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Entry {
            value: value.into(),
            version,
        })
    }

    fn shard(&self, key: &str) -> Result<MutexGuard<'_, Shard>, StoreError> {
        if key.len() > MAX_KEY_BYTES {
            return Err(StoreError::TooLarge);
        }
        let index = self.hasher.hash_one(key) as usize & (self.shards.len() - 1);
        Ok(lock(
            self.shards
                .get(index)
                .expect("the mask is below the number of shards"),
        ))
    }
}

impl Shard {
    /// The entry, which is now the most lately used.
    fn get(&mut self, key: &str, now: Duration) -> Option<&Stored> {
        if self.entries.get(key)?.is_expired(now) {
            self.remove(key);
            return None;
        }
        self.entries.to_back(key).map(|stored| &*stored)
    }

    fn insert(
        &mut self,
        key: &str,
        entry: Entry,
        expires: Option<Duration>,
    ) -> Result<(), StoreError> {
        let bytes = size(key, &entry);
        if bytes > self.max_bytes || self.max_entries == 0 {
            return Err(StoreError::TooLarge);
        }
        self.remove(key);
        while self.entries.len() >= self.max_entries || self.bytes + bytes > self.max_bytes {
            let Some((key, stored)) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= size(&key, &stored.entry);
        }
        self.bytes += bytes;
        self.entries.insert(key.into(), Stored { entry, expires });
        Ok(())
    }

    fn remove(&mut self, key: &str) {
        if let Some(stored) = self.entries.remove(key) {
            self.bytes -= size(key, &stored.entry);
        }
    }

    fn sweep(&mut self, now: Duration) {
        let bytes = &mut self.bytes;
        self.entries.retain(|key, stored| {
            let keep = !stored.is_expired(now);
            *bytes -= if keep { 0 } else { size(key, &stored.entry) };
            keep
        });
    }
}

impl Stored {
    fn is_expired(&self, now: Duration) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

fn size(key: &str, entry: &Entry) -> usize {
    key.len() + entry.value.len() + ENTRY_BYTES
}

fn expiry(ttl: Duration, now: Duration) -> Option<Duration> {
    // A moment that cannot be represented is never reached.
    if ttl.is_zero() {
        None
    } else {
        now.checked_add(ttl)
    }
}

/// Refuses a key or a value that is too large.
pub(super) fn check(key: &str, value: &[u8]) -> Result<(), StoreError> {
    if key.len() > MAX_KEY_BYTES || value.len() > MAX_VALUE_BYTES {
        return Err(StoreError::TooLarge);
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds one of these locks can panic half way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
