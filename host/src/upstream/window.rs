//! Counts of the last while, kept without a lock: a ring of buckets, of which each knows which turn it belongs to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets of a window: what is counted is forgotten in tenths.
const BUCKETS: usize = 10;
/// Of a bucket's word, these bits are the count; the others are the number of the bucket's time span, its tick.
const COUNT_BITS: u32 = 40;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const TICK: u64 = u64::MAX >> COUNT_BITS;

/// How often each of some kinds of things happened in the last while.
#[derive(Debug)]
pub(super) struct Window<const KINDS: usize> {
    /// Of one bucket, in nanoseconds.
    width: u64,
    rings: [[AtomicU64; BUCKETS]; KINDS],
}

impl<const KINDS: usize> Window<KINDS> {
    /// Remembers for `length`.
    pub(super) fn new(length: Duration) -> Self {
        let width = nanos(length) / BUCKETS as u64;
        Self {
            width: width.max(1),
            rings: [const { [const { AtomicU64::new(0) }; BUCKETS] }; KINDS],
        }
    }

    /// It happened once more.
    pub(super) fn add(&self, kind: usize, now: Duration) {
        self.change(kind, now, |count| count + 1);
    }

    /// It did not happen after all: takes back what was added at the same `now`.
    pub(super) fn remove(&self, kind: usize, now: Duration) {
        self.change(kind, now, |count| count.saturating_sub(1));
    }

    /// How often it happened.
    pub(super) fn sum(&self, kind: usize, now: Duration) -> u64 {
        let tick = self.tick(now);
        let past = (0..BUCKETS as u64).map_while(|age| tick.checked_sub(age));
        past.filter_map(|tick| {
            let word = self.bucket(kind, tick)?.load(Ordering::Relaxed);
            (word >> COUNT_BITS == tick & TICK).then_some(word & COUNT)
        })
        .sum()
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        for bucket in self.rings.iter().flatten() {
            bucket.store(0, Ordering::Relaxed);
        }
    }

    fn change(&self, kind: usize, now: Duration, change: impl Fn(u64) -> u64) {
        let tick = self.tick(now);
        let Some(bucket) = self.bucket(kind, tick) else {
            return;
        };
        let mark = tick & TICK;
        // It always changes something.
        let _ = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
            let count = match word >> COUNT_BITS == mark {
                true => word & COUNT,
                false => 0,
            };
            Some(mark << COUNT_BITS | change(count) & COUNT)
        });
    }

    fn tick(&self, now: Duration) -> u64 {
        nanos(now) / self.width
    }

    fn bucket(&self, kind: usize, tick: u64) -> Option<&AtomicU64> {
        let index = usize::try_from(tick % BUCKETS as u64).ok()?;
        self.rings.get(kind)?.get(index)
    }
}

/// Nanoseconds, of which there are enough for 584 years.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a list of all that happened.
        #[test]
        fn it_remembers_nine_to_ten_tenths(steps in prop::collection::vec((0_u64..400, 0_usize..2), 1..200)) {
            let window = Window::<2>::new(Duration::from_millis(1_000));
            let mut all = Vec::new();
            let mut now = 0;
            for (pause, kind) in steps {
                now += pause;
                window.add(kind, Duration::from_millis(now));
                all.push((kind, now / 100));
                for kind in 0..2 {
                    let recent = |entry: &&(usize, u64)| entry.0 == kind && entry.1 + 10 > now / 100;
                    let expected = all.iter().filter(recent).count() as u64;
                    prop_assert_eq!(window.sum(kind, Duration::from_millis(now)), expected);
                }
            }
        }
    }

    #[test]
    fn what_is_taken_back_did_not_happen() {
        let window = Window::<1>::new(Duration::from_secs(1));
        let now = Duration::from_secs(5);
        window.add(0, now);
        window.add(0, now);
        window.remove(0, now);
        assert_eq!(window.sum(0, now), 1);
        window.clear();
        assert_eq!(window.sum(0, now), 0);
        window.remove(0, now);
        assert_eq!(window.sum(0, now), 0, "there is nothing below nothing");
    }
}
