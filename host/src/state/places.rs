//! Who is inside: how many exchanges of a key are under way at once.

use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::{DefaultHashBuilder, HashMap};

/// Enough that a few dozen workers seldom meet in one.
const SHARDS: usize = 64;

/// The places of all keys. A key of which none is taken is not remembered.
#[derive(Debug)]
pub struct Places {
    shards: Box<[Mutex<Shard>]>,
    hasher: DefaultHashBuilder,
}

type Shard = HashMap<Box<str>, u64, DefaultHashBuilder>;

/// A place that is taken, until it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    shard: usize,
    key: Box<str>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl Places {
    /// Takes one of `most` places of a key of a plugin.
    pub fn enter(self: &Arc<Self>, plugin: &str, key: &str, most: u64) -> Option<Place> {
        // A plugin's name has no colon.
        let key: Box<str> = [plugin, key].join(":").into();
        let shard = self.hasher.hash_one(&key) as usize % SHARDS;
        let mut taken = self.lock(shard)?;
        match taken.get_mut(&key) {
            Some(count) if *count >= most => return None,
            Some(count) => *count += 1,
            None if most == 0 => return None,
            None => {
                taken.insert(key.clone(), 1);
            }
        }
        drop(taken);
        Some(Place {
            places: Arc::clone(self),
            shard,
            key,
        })
    }

    /// Keys of which places are taken.
    #[must_use]
    pub fn keys(&self) -> usize {
        let shards = (0..SHARDS).filter_map(|shard| self.lock(shard));
        shards.map(|shard| shard.len()).sum()
    }

    fn lock(&self, shard: usize) -> Option<MutexGuard<'_, Shard>> {
        let shard = self.shards.get(shard)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(mut taken) = self.places.lock(self.shard) else {
            return;
        };
        if let Some(count) = taken.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_places_as_there_should_be() {
        let places = Arc::new(Places::default());
        let first = places.enter("p", "k", 2).unwrap();
        let second = places.enter("p", "k", 2);
        assert!(second.is_some() && places.enter("p", "k", 2).is_none());
        assert!(places.enter("q", "k", 2).is_some(), "plugins are apart");
        assert!(places.enter("p", "j", 0).is_none());
        drop(first);
        assert!(places.enter("p", "k", 2).is_some());
        drop(second);
        assert_eq!(places.keys(), 0, "nothing is left behind");
    }

    #[test]
    fn many_threads_take_no_more_than_there_are() {
        let places = Arc::new(Places::default());
        let start = std::sync::Barrier::new(16);
        let taken: usize = std::thread::scope(|scope| {
            let enter = || {
                start.wait();
                let taken: Vec<_> = (0..10).map(|_| places.enter("p", "k", 25)).collect();
                start.wait();
                taken.iter().flatten().count()
            };
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(enter)).collect();
            threads.into_iter().map(|it| it.join().unwrap()).sum()
        });
        assert_eq!(taken, 25);
        assert_eq!(places.keys(), 0);
    }
}
