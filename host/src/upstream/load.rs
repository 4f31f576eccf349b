//! How busy a target is, counted for the whole process.

use std::sync::atomic::{AtomicU64, Ordering};

/// Requests under way and requests so far in one word, so that one step counts both: the lower bits are those under way.
/// On a cache line of its own, because all workers write to it.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Load(AtomicU64);

/// 16 million requests under way at once are more than sockets can carry.
const UNDER_WAY: u64 = (1 << 24) - 1;

impl Load {
    /// A request begins.
    pub(super) fn enter(&self) {
        self.0.fetch_add(UNDER_WAY + 2, Ordering::Relaxed);
    }

    /// It has ended.
    pub(super) fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Requests under way.
    pub(super) fn in_flight(&self) -> u64 {
        self.0.load(Ordering::Relaxed) & UNDER_WAY
    }

    /// Requests since the beginning; after 2^40 it begins anew.
    pub(super) fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed) >> UNDER_WAY.count_ones()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_under_way_and_so_far_are_counted_apart() {
        let load = Load::default();
        for _ in 0..1_000 {
            load.enter();
        }
        for _ in 0..999 {
            load.leave();
        }
        assert_eq!((load.in_flight(), load.total()), (1, 1_000));
    }
}
