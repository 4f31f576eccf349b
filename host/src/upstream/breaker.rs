//! The circuit breaker of an upstream: while too many of its requests fail or are slow, none is sent.
//!
//! Closed, it counts. Open, it lets nothing through for a while. Then it is half-open: a few requests are let through to
//! see how they fare. The state is one word that is swapped as a whole, so that no request waits for another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::window::{Window, nanos};
use crate::config::BreakerConfig;

const CALLS: usize = 0;
const FAILED: usize = 1;
const SLOW: usize = 2;

/// The breaker of one upstream.
#[derive(Debug)]
pub(super) struct Breaker {
    config: BreakerConfig,
    window: Window<3>,
    word: AtomicU64,
    /// When it is open no longer, in nanoseconds of the clock.
    open_until: AtomicU64,
    /// When its state changed last, in nanoseconds of the clock; 0 is never.
    changed: AtomicU64,
}

/// What a breaker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BreakerState {
    /// Lets everything through.
    Closed,
    /// Lets nothing through.
    Open,
    /// Lets a few through.
    HalfOpen,
}

/// A change of its state, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// So many of the last calls failed, so many were slow.
    Opened { calls: u64, failed: u64, slow: u64 },
    /// One of the calls that were let through to see was no good.
    Reopened,
    /// It was open for long enough.
    HalfOpened,
    /// The calls that were let through to see were good.
    Closed,
}

/// The state as it stands in the word.
#[derive(Clone, Copy)]
struct Word {
    /// Counts the changes of the state: what was let through before one says nothing about what came after it.
    generation: u32,
    state: BreakerState,
    /// Half-open: how many were let through, and how many of them were good.
    admitted: u32,
    good: u32,
}

/// Half of the lower half of a word.
const PART: u64 = 0x7fff;

impl Word {
    fn pack(self) -> u64 {
        let state = match self.state {
            BreakerState::Closed => 0,
            BreakerState::Open => 1,
            BreakerState::HalfOpen => 2,
        };
        u64::from(self.generation) << 32
            | state << 30
            | (u64::from(self.admitted) & PART) << 15
            | u64::from(self.good) & PART
    }

    fn unpack(word: u64) -> Self {
        let part = |word: u64| u32::try_from(word & PART).unwrap_or_default();
        Self {
            generation: u32::try_from(word >> 32).unwrap_or_default(),
            state: match word >> 30 & 3 {
                0 => BreakerState::Closed,
                1 => BreakerState::Open,
                _ => BreakerState::HalfOpen,
            },
            admitted: part(word >> 15),
            good: part(word),
        }
    }

    fn next(self, state: BreakerState) -> Self {
        Self {
            generation: self.generation.wrapping_add(1),
            state,
            admitted: 0,
            good: 0,
        }
    }
}

/// One call that was let through. It is to be told how the call ended; when it is dropped untold, nobody waited for the end.
#[derive(Debug)]
pub(super) struct Pass<'b> {
    breaker: &'b Breaker,
    generation: u32,
    is_told: bool,
}

impl Breaker {
    pub(super) fn new(config: BreakerConfig) -> Self {
        Self {
            window: Window::new(config.window),
            config,
            word: AtomicU64::default(),
            open_until: AtomicU64::default(),
            changed: AtomicU64::default(),
        }
    }

    pub(super) fn state(&self) -> BreakerState {
        self.load().state
    }

    /// When its state changed last, if it ever did.
    pub(super) fn changed(&self) -> Option<Duration> {
        let nanos = self.changed.load(Ordering::Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    /// Which state it is in, counted; for [`Self::broke`].
    pub(super) fn generation(&self) -> u32 {
        self.load().generation
    }

    /// Lets a call through, or does not. Also whether the state has changed by that.
    pub(super) fn admit(&self, now: Duration) -> (Option<Pass<'_>>, Option<Change>) {
        loop {
            let word = self.load();
            let (next, change) = match word.state {
                BreakerState::Closed => return (Some(self.pass(word)), None),
                BreakerState::Open if nanos(now) < self.open_until.load(Ordering::Relaxed) => {
                    return (None, None);
                }
                BreakerState::Open => (word.next(BreakerState::HalfOpen), Some(Change::HalfOpened)),
                BreakerState::HalfOpen if word.admitted < self.config.probes => (word, None),
                BreakerState::HalfOpen => return (None, None),
            };
            let admitted = next.admitted + 1;
            let next = Word { admitted, ..next };
            if self.swap(word, next) {
                if change.is_some() {
                    self.changed.store(nanos(now), Ordering::Relaxed);
                }
                return (Some(self.pass(next)), change);
            }
        }
    }

    fn pass(&self, word: Word) -> Pass<'_> {
        Pass {
            breaker: self,
            generation: word.generation,
            is_told: false,
        }
    }

    fn ended(
        &self,
        generation: u32,
        failed: bool,
        took: Duration,
        now: Duration,
    ) -> Option<Change> {
        let slow = self.config.slow_after.is_some_and(|limit| took >= limit);
        loop {
            let word = self.load();
            if word.generation != generation {
                return None;
            }
            let (next, change) = match word.state {
                BreakerState::Open => return None,
                BreakerState::Closed => {
                    let change = self.count(failed, slow, now)?;
                    (word.next(BreakerState::Open), change)
                }
                BreakerState::HalfOpen if failed || slow => {
                    (word.next(BreakerState::Open), Change::Reopened)
                }
                BreakerState::HalfOpen if word.good + 1 >= self.config.probes => {
                    self.window.clear();
                    (word.next(BreakerState::Closed), Change::Closed)
                }
                BreakerState::HalfOpen => {
                    let good = word.good + 1;
                    if self.swap(word, Word { good, ..word }) {
                        return None;
                    }
                    continue;
                }
            };
            if self.turn(word, next, now) {
                return Some(change);
            }
            if word.state == BreakerState::Closed {
                // Another call has opened it; this one is counted.
                return None;
            }
        }
    }

    /// The body of a response broke off whose head had passed for a success. `generation` is from when the head came.
    pub(super) fn broke(&self, generation: u32, now: Duration) -> Option<Change> {
        let mut counted = false;
        loop {
            let word = self.load();
            if word.generation != generation {
                return None;
            }
            let change = match word.state {
                BreakerState::Open => return None,
                BreakerState::Closed => {
                    if !std::mem::replace(&mut counted, true) {
                        self.window.add(FAILED, now);
                    }
                    self.verdict(now)?
                }
                BreakerState::HalfOpen => Change::Reopened,
            };
            if self.turn(word, word.next(BreakerState::Open), now) {
                return Some(change);
            }
        }
    }

    /// Takes on another state, unless somebody else was faster.
    fn turn(&self, from: Word, to: Word, now: Duration) -> bool {
        if to.state == BreakerState::Open {
            let until = nanos(now.saturating_add(self.config.open_for));
            self.open_until.store(until, Ordering::Relaxed);
        }
        let turned = self.swap(from, to);
        if turned {
            self.changed.store(nanos(now), Ordering::Relaxed);
        }
        turned
    }

    /// Counts a call, and says whether it is the last straw.
    fn count(&self, failed: bool, slow: bool, now: Duration) -> Option<Change> {
        self.window.add(CALLS, now);
        if failed {
            self.window.add(FAILED, now);
        }
        if slow {
            self.window.add(SLOW, now);
        }
        match failed || slow {
            true => self.verdict(now),
            false => None,
        }
    }

    /// Whether what was counted is too much.
    fn verdict(&self, now: Duration) -> Option<Change> {
        let calls = self.window.sum(CALLS, now);
        let (failed, slow) = (self.window.sum(FAILED, now), self.window.sum(SLOW, now));
        let exceeds =
            |count: u64, per_million: u32| count * 1_000_000 >= calls * u64::from(per_million);
        let is_too_much = failed > 0 && exceeds(failed, self.config.failure_rate)
            || slow > 0 && exceeds(slow, self.config.slow_rate);
        (calls >= u64::from(self.config.min_requests) && is_too_much).then_some(Change::Opened {
            calls,
            failed,
            slow,
        })
    }

    /// Nobody waited for the end of a call: another may be let through in its place.
    fn abandoned(&self, generation: u32) {
        loop {
            let word = self.load();
            if word.generation != generation || word.state != BreakerState::HalfOpen {
                return;
            }
            let admitted = word.admitted.saturating_sub(1);
            if self.swap(word, Word { admitted, ..word }) {
                return;
            }
        }
    }

    fn load(&self) -> Word {
        Word::unpack(self.word.load(Ordering::Acquire))
    }

    fn swap(&self, from: Word, to: Word) -> bool {
        self.word
            .compare_exchange(from.pack(), to.pack(), Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

impl Pass<'_> {
    /// The call ended after `took`.
    pub(super) fn ended(mut self, failed: bool, took: Duration, now: Duration) -> Option<Change> {
        self.is_told = true;
        self.breaker.ended(self.generation, failed, took, now)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.is_told {
            self.breaker.abandoned(self.generation);
        }
    }
}

#[cfg(test)]
mod tests;
