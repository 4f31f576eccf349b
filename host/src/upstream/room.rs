//! How many connections a target may have, over all workers, and how many may wait for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The connections of one target. What its limit is, those who come say: it may change while connections are open.
#[derive(Default)]
pub(super) struct Room {
    open: AtomicUsize,
    waiting: AtomicUsize,
    freed: Notify,
}

/// A connection that is open, or is about to be.
pub(super) struct Permit(Arc<Room>);

/// A place among those who wait.
pub(super) struct Place<'r>(&'r Room);

impl Room {
    /// A connection more, unless there are as many as there may be.
    pub(super) fn enter(self: &Arc<Self>, most: Option<usize>) -> Option<Permit> {
        let most = most.unwrap_or(usize::MAX);
        let more = |open: usize| (open < most).then(|| open + 1);
        let entered = self
            .open
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        entered.is_ok().then(|| Permit(Arc::clone(self)))
    }

    /// A place to wait at, unless too many wait already.
    pub(super) fn queue(&self, most: usize) -> Option<Place<'_>> {
        let more = |waiting: usize| (waiting < most).then(|| waiting + 1);
        let queued = self
            .waiting
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        queued.is_ok().then(|| Place(self))
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// How many connections there are.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Ends when a connection has ended; to be asked for before looking whether there is room.
    pub(super) fn freed(&self) -> tokio::sync::futures::Notified<'_> {
        self.freed.notified()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
        if self.0.waiting() > 0 {
            self.0.freed.notify_one();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_enter_than_there_is_room_for() {
        let room = Arc::new(Room::default());
        let entered: Vec<Permit> = (0..3).filter_map(|_| room.enter(Some(2))).collect();
        assert_eq!((entered.len(), room.open()), (2, 2));
        assert!(room.enter(Some(3)).is_some(), "limits may change");
        drop(entered);
        assert_eq!(room.open(), 0);
        assert!(room.enter(None).is_some());
    }

    #[tokio::test]
    async fn who_waits_hears_of_the_first_that_leaves() {
        let room = Arc::new(Room::default());
        let permit = room.enter(Some(1)).unwrap();
        let place = room.queue(1).unwrap();
        assert!(room.queue(1).is_none(), "the queue has an end");
        let freed = room.freed();
        drop(permit);
        tokio::time::timeout(std::time::Duration::from_secs(5), freed)
            .await
            .unwrap();
        assert!(room.enter(Some(1)).is_some());
        drop(place);
        assert_eq!(room.waiting(), 0);
    }
}
