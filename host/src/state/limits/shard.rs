//! One part of the keys: a slab of entries with an index by hash.
//!
//! A slab, because forgetting a key looks at a sample of entries, and a hash table has no cheap way to give one.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::{Decision, Decisions, MAX_LIMITS};
use crate::config::LimitConfig;

/// Entries that are looked at to find one to forget.
const SAMPLE: usize = 8;
/// Entries that one step of a sweep looks at: some ten microseconds.
const SWEEP_STEP: usize = 1_024;
/// Below this many places, empty room is not worth giving back.
const SHRINK_FROM: usize = 64;

/// A key as callers have it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key<'a> {
    pub(super) namespace: &'a str,
    pub(super) key: &'a str,
}

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.namespace.hash(state);
        self.key.hash(state);
    }
}

#[derive(Debug)]
pub(super) struct Shard {
    index: HashTable<u32>,
    entries: Vec<Entry>,
    capacity: usize,
    /// Where the next sample begins.
    hand: usize,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    /// Namespace and key in one piece: one allocation instead of two.
    key: Box<str>,
    namespace_length: u32,
    counters: SmallVec<[Counter; 2]>,
}

/// What was counted in one window. All times are nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Counter {
    window: u64,
    begun: u64,
    used: u64,
}

impl Counter {
    fn is_open(&self, now: u64) -> bool {
        // Threads read the clock before they get here, so `now` may lie a little before `begun`.
        self.used > 0 && now.saturating_sub(self.begun) < self.window
    }

    fn ends(&self) -> u64 {
        self.begun.saturating_add(self.window)
    }
}

impl Entry {
    fn new(hash: u64, key: Key<'_>) -> Self {
        let namespace_length = u32::try_from(key.namespace.len()).unwrap_or(u32::MAX);
        let text = [key.namespace, key.key].concat().into();
        Self {
            hash,
            key: text,
            namespace_length,
            counters: SmallVec::new(),
        }
    }

    fn is(&self, hash: u64, key: Key<'_>) -> bool {
        self.hash == hash
            && self.namespace_length as usize == key.namespace.len()
            && self.key.strip_prefix(key.namespace) == Some(key.key)
    }

    fn is_open(&self, now: u64) -> bool {
        self.counters.iter().any(|counter| counter.is_open(now))
    }

    /// When the last window ends.
    fn ends(&self) -> u64 {
        self.counters.iter().map(Counter::ends).max().unwrap_or(0)
    }

    /// The place of the counter of each limit. Limits with one window share one.
    fn places(&mut self, limits: &[LimitConfig], now: u64) -> [usize; MAX_LIMITS] {
        let mut places = [usize::MAX; MAX_LIMITS];
        for (number, limit) in limits.iter().enumerate() {
            let window = super::nanos(limit.window);
            let (taken, rest) = places.split_at_mut(number);
            let known = self
                .counters
                .iter()
                .position(|counter| counter.window == window);
            let place = known.unwrap_or_else(|| self.place_for(window, now, taken));
            if let Some(slot) = rest.first_mut() {
                *slot = place;
            }
        }
        places
    }

    /// A new counter, in the place of a closed one, or of the one that ends first when there are too many.
    fn place_for(&mut self, window: u64, now: u64, taken: &[usize]) -> usize {
        let new = Counter {
            window,
            begun: now,
            used: 0,
        };
        let full = self.counters.len() >= MAX_LIMITS;
        let free = self
            .counters
            .iter_mut()
            .enumerate()
            .filter(|(place, _)| !taken.contains(place));
        let oldest = free.min_by_key(|(_, counter)| {
            if counter.is_open(now) {
                counter.ends()
            } else {
                0
            }
        });
        if let Some((place, counter)) = oldest
            && (full || !counter.is_open(now))
        {
            *counter = new;
            return place;
        }
        self.counters.push(new);
        self.counters.len() - 1
    }

    fn used(&self, place: usize, now: u64) -> u64 {
        self.counters
            .get(place)
            .filter(|counter| counter.is_open(now))
            .map_or(0, |counter| counter.used)
    }

    fn take(&mut self, limits: &[LimitConfig], cost: u64, now: u64) -> Decisions {
        let places = self.places(limits, now);
        let before = places.map(|place| self.used(place, now));
        let fits = |used: u64, limit: &LimitConfig| used.saturating_add(cost) <= limit.amount;
        let all = limits
            .iter()
            .zip(before)
            .all(|(limit, used)| fits(used, limit));
        let mut decisions = Decisions::new();
        for ((limit, place), used) in limits.iter().zip(places).zip(before) {
            let counter = self
                .counters
                .get_mut(place)
                .expect("every limit was given a counter");
            let after = if all { used.saturating_add(cost) } else { used };
            if used == 0 {
                counter.begun = now;
            }
            // Set, not added to: limits that share the counter count once.
            counter.used = after;
            decisions.push(Decision {
                allowed: fits(used, limit),
                limit: *limit,
                remaining: limit.amount.saturating_sub(after),
                reset: Duration::from_nanos(counter.ends().saturating_sub(now).min(counter.window)),
            });
        }
        decisions
    }
}

impl Shard {
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.min(u32::MAX as usize);
        Self {
            index: HashTable::new(),
            entries: Vec::new(),
            capacity,
            hand: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Entries that the memory held could take.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.entries.capacity() + self.index.capacity()
    }

    pub(super) fn take(
        &mut self,
        hash: u64,
        key: Key<'_>,
        limits: &[LimitConfig],
        cost: u64,
        now: u64,
    ) -> Decisions {
        let Self { index, entries, .. } = self;
        let is = |place: &u32| {
            entries
                .get(*place as usize)
                .is_some_and(|entry| entry.is(hash, key))
        };
        if let Some(place) = index.find(hash, is) {
            let entry = entries
                .get_mut(*place as usize)
                .expect("the index holds places of entries");
            return entry.take(limits, cost, now);
        }
        let mut entry = Entry::new(hash, key);
        let decisions = entry.take(limits, cost, now);
        // A key of which nothing was counted need not be remembered.
        if entry.is_open(now) {
            self.insert(entry, now);
        }
        decisions
    }

    fn insert(&mut self, entry: Entry, now: u64) {
        if self.entries.len() >= self.capacity {
            self.make_room(now);
        }
        let place =
            u32::try_from(self.entries.len()).expect("a shard holds at most u32::MAX entries");
        let entries = &self.entries;
        self.index
            .insert_unique(entry.hash, place, |place| hash_at(entries, *place));
        self.entries.push(entry);
    }

    /// Forgets the closed entries of a sample, or the one that ends first.
    fn make_room(&mut self, now: u64) {
        let mut first: Option<(u64, usize)> = None;
        let mut closed: SmallVec<[usize; SAMPLE]> = SmallVec::new();
        for step in 0..SAMPLE.min(self.entries.len()) {
            let place = (self.hand + step) % self.entries.len();
            let Some(entry) = self.entries.get(place) else {
                continue;
            };
            if !entry.is_open(now) {
                closed.push(place);
            } else if first.is_none_or(|(ends, _)| entry.ends() < ends) {
                first = Some((entry.ends(), place));
            }
        }
        self.hand = (self.hand + SAMPLE) % self.entries.len().max(1);
        if closed.is_empty() {
            closed.extend(first.map(|(_, place)| place));
        }
        // From behind: the last entry moves into the gap, and it must not be one that is yet to go.
        closed.sort_unstable();
        for place in closed.into_iter().rev() {
            self.remove(place);
        }
    }

    fn remove(&mut self, place: usize) {
        let last = self.entries.len() - 1;
        let (Ok(old), Ok(moved)) = (u32::try_from(place), u32::try_from(last)) else {
            return;
        };
        if let Ok(slot) = self
            .index
            .find_entry(hash_at(&self.entries, old), |other| *other == old)
        {
            slot.remove();
        }
        if place != last
            && let Some(slot) = self
                .index
                .find_mut(hash_at(&self.entries, moved), |other| *other == moved)
        {
            *slot = old;
        }
        self.entries.swap_remove(place);
    }

    /// Forgets closed entries below `from`, some at a time. Returns where to go on, 0 at the end.
    pub(super) fn sweep(&mut self, now: u64, from: usize) -> usize {
        let from = from.min(self.entries.len());
        let until = from.saturating_sub(SWEEP_STEP);
        // Downwards: what moves into a gap has been looked at.
        for place in (until..from).rev() {
            if self
                .entries
                .get(place)
                .is_some_and(|entry| !entry.is_open(now))
            {
                self.remove(place);
            }
        }
        if until == 0 && self.entries.capacity() > 4 * self.entries.len() + SHRINK_FROM {
            // After a flood, the memory goes back.
            self.entries.shrink_to(2 * self.entries.len());
            let entries = &self.entries;
            self.index
                .shrink_to(2 * entries.len(), |place| hash_at(entries, *place));
        }
        until
    }
}

fn hash_at(entries: &[Entry], place: u32) -> u64 {
    entries.get(place as usize).map_or(0, |entry| entry.hash)
}
