//! Whether a target gets requests, and why not.

pub(super) mod check;
pub(super) mod link;
pub(super) mod outlier;
pub(super) mod probe;
pub(super) mod streaks;

use std::sync::atomic::{AtomicU8, Ordering};

/// Why a target gets no requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exclusion {
    /// Requests to it failed.
    Ejected = 1,
    /// Its health checks failed.
    CheckFailed = 2,
}

/// What excludes a target. Read before each request, and written when it changes.
#[derive(Default)]
pub(super) struct Exclusions(AtomicU8);

impl Exclusions {
    /// Whether nothing excludes it.
    pub(super) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// Whether this excludes it.
    pub(super) fn has(&self, exclusion: Exclusion) -> bool {
        self.0.load(Ordering::Relaxed) & exclusion as u8 != 0
    }

    /// From here on this excludes it, or does not. Whether that is new.
    pub(super) fn set(&self, exclusion: Exclusion, holds: bool) -> bool {
        let bit = exclusion as u8;
        let before = match holds {
            true => self.0.fetch_or(bit, Ordering::Relaxed),
            false => self.0.fetch_and(!bit, Ordering::Relaxed),
        };
        (before & bit != 0) != holds
    }
}
