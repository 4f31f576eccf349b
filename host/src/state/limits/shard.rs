//! One part of the keys: a slab of entries with an index by hash.
//!
//! A slab, because forgetting a key looks at a sample of entries, and a hash table has no cheap way to give one.

use std::hash::{Hash, Hasher};

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::counter::Counter;
use super::{Decisions, MAX_LIMITS};
use crate::config::LimitRule;

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

    /// The place of the counter of each rule. Rules with one algorithm and window share one.
    fn places(&mut self, rules: &[LimitRule], now: u64) -> [usize; MAX_LIMITS] {
        let mut places = [usize::MAX; MAX_LIMITS];
        for (number, rule) in rules.iter().enumerate() {
            let (taken, rest) = places.split_at_mut(number);
            let known = self.counters.iter().position(|counter| counter.is_of(rule));
            let place = known.unwrap_or_else(|| self.place_for(rule, now, taken));
            if let Some(slot) = rest.first_mut() {
                *slot = place;
            }
        }
        places
    }

    /// A new counter, in the place of a closed one, or of the one that ends first when there are too many.
    fn place_for(&mut self, rule: &LimitRule, now: u64, taken: &[usize]) -> usize {
        let new = Counter::new(rule, now);
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

    fn take(&mut self, rules: &[LimitRule], (cost, is_spent): Cost, now: u64) -> Decisions {
        let places = self.places(rules, now);
        // As they are before anything is counted: rules that share a counter count once.
        let counters = places.map(|place| self.counters.get(place).map(|it| it.advanced(now)));
        let fits = |rule: &LimitRule, counter: &Option<Counter>| {
            counter.is_some_and(|counter| counter.fits(rule, cost, now))
        };
        let mut each = rules.iter().zip(&counters);
        let is_counted = is_spent || each.all(|(rule, counter)| fits(rule, counter));
        let mut decisions = Decisions::new();
        for ((rule, place), counter) in rules.iter().zip(places).zip(counters) {
            let mut counter = counter.expect("every rule was given a counter");
            let allowed = counter.fits(rule, cost, now);
            let retry = if allowed {
                0
            } else {
                counter.retry(rule, cost, now)
            };
            if is_counted && cost > 0 {
                counter.count(rule, cost, now);
                if let Some(slot) = self.counters.get_mut(place) {
                    *slot = counter;
                }
            }
            decisions.push(counter.decision(rule, allowed, retry, now));
        }
        decisions
    }
}

/// How much, and whether it is spent already.
type Cost = (u64, bool);

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
        rules: &[LimitRule],
        cost: Cost,
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
            return entry.take(rules, cost, now);
        }
        let mut entry = Entry::new(hash, key);
        let decisions = entry.take(rules, cost, now);
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
