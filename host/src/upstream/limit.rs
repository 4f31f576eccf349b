//! How many requests an upstream is given at once, and who waits for their turn.
//!
//! While there is room and nobody waits, entering is one atomic addition. Only those who have to wait meet at a lock. The
//! more important go first; when the queue is full, the less important give way.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::adaptive::Adaptive;
use crate::config::ConcurrencyConfig;
use crate::types::Importance;

/// Of one upstream.
#[derive(Debug)]
pub(super) struct Limiter {
    config: ConcurrencyConfig,
    adaptive: Option<Adaptive>,
    taken: AtomicUsize,
    /// How many wait: read without the lock.
    waiting: AtomicUsize,
    queue: Mutex<Queue>,
}

/// Those who wait, the most important last; within one lane, who came first goes first.
#[derive(Debug, Default)]
struct Queue {
    lanes: [VecDeque<oneshot::Sender<Permit>>; Importance::COUNT],
}

/// The right to send a request. It ends when it is dropped.
#[derive(Debug)]
pub(super) struct Permit(Option<Arc<Limiter>>);

/// A place in the queue. It is resolved with the permit; an error is that a more important request took the place.
pub(super) type Turn = oneshot::Receiver<Permit>;

/// What came of asking for a permit.
pub(super) enum Entry {
    /// There was room.
    Permit(Permit),
    /// There is room in the queue.
    Turn(Turn),
    /// There is no room at all.
    Full,
}

impl Limiter {
    pub(super) fn new(config: ConcurrencyConfig) -> Self {
        Self {
            adaptive: config
                .adaptive
                .then(|| Adaptive::new(config.min_requests, config.max_requests)),
            config,
            taken: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            queue: Mutex::default(),
        }
    }

    pub(super) fn config(&self) -> &ConcurrencyConfig {
        &self.config
    }

    /// How many requests are let through at once.
    pub(super) fn limit(&self) -> usize {
        let adaptive = self.adaptive.as_ref();
        adaptive.map_or(self.config.max_requests, Adaptive::limit)
    }

    /// How many requests are under way.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(SeqCst)
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// A request's head came `took` after it was sent, or something went wrong.
    pub(super) fn learn(&self, took: Duration, failed: bool, now: Duration) {
        if let Some(adaptive) = &self.adaptive {
            adaptive.sample(took, failed, self.taken(), now);
        }
    }

    /// Asks for a permit.
    pub(super) fn enter(self: &Arc<Self>, importance: Importance) -> Entry {
        if self.waiting() == 0 && self.take() {
            return Entry::Permit(Permit(Some(Arc::clone(self))));
        }
        let mut queue = self.lock();
        queue.forget_those_who_left();
        if queue.len() >= self.config.max_queue && !queue.make_room(importance) {
            self.waiting.store(queue.len(), SeqCst);
            // Nobody waits where there is no queue.
            return match queue.len() == 0 && self.take() {
                true => Entry::Permit(Permit(Some(Arc::clone(self)))),
                false => Entry::Full,
            };
        }
        let (sender, turn) = oneshot::channel();
        if let Some(lane) = queue.lanes.get_mut(importance as usize) {
            lane.push_back(sender);
        }
        // Told before looking once more: whoever leaves from now on sees that somebody waits.
        self.waiting.store(queue.len(), SeqCst);
        self.call_next(&mut queue);
        Entry::Turn(turn)
    }

    /// Takes a place, if there is one.
    fn take(&self) -> bool {
        let limit = self.limit();
        let taken = self
            .taken
            .fetch_update(SeqCst, SeqCst, |taken| (taken < limit).then_some(taken + 1));
        taken.is_ok()
    }

    fn leave(self: &Arc<Self>) {
        self.taken.fetch_sub(1, SeqCst);
        if self.waiting() > 0 {
            self.call_next(&mut self.lock());
        }
    }

    /// Gives the places that are free to those who wait.
    fn call_next(self: &Arc<Self>, queue: &mut Queue) {
        while queue.len() > 0 && self.take() {
            let mut permit = Permit(Some(Arc::clone(self)));
            let is_used = std::iter::from_fn(|| queue.next()).any(|sender| {
                // Who left in the meantime gives the permit back.
                let sent = sender.send(Permit(permit.0.take()));
                sent.map_err(|mut unused| permit.0 = unused.0.take())
                    .is_ok()
            });
            if !is_used {
                // Nobody is left to be called, and the lock is ours: it is not left through the front door.
                permit.0 = None;
                self.taken.fetch_sub(1, SeqCst);
            }
        }
        self.waiting.store(queue.len(), SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn len(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum()
    }

    fn next(&mut self) -> Option<oneshot::Sender<Permit>> {
        self.lanes.iter_mut().rev().find_map(VecDeque::pop_front)
    }

    fn forget_those_who_left(&mut self) {
        for lane in &mut self.lanes {
            lane.retain(|sender| !sender.is_closed());
        }
    }

    /// Sends away the last of those who are less important, if there is one.
    fn make_room(&mut self, importance: Importance) -> bool {
        let lower = self.lanes.iter_mut().take(importance as usize);
        lower.into_iter().find_map(VecDeque::pop_back).is_some()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(limiter) = self.0.take() {
            limiter.leave();
        }
    }
}

#[cfg(test)]
mod tests;
