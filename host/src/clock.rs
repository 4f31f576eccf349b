//! Time, so that tests can move it.
//!
//! The only place that reads the clocks of the machine; everything that decides by time takes a `Clock` or an instant.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of time. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The machine's clocks; the instant is when the clock was made.
    System(Instant),
    /// Stands still until moved: nanoseconds since its start, which is also its Unix time.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's clocks.
    #[must_use]
    pub fn system() -> Self {
        Self::System(Instant::now())
    }

    /// A clock for tests.
    #[must_use]
    pub fn manual() -> Self {
        Self::Manual(Arc::default())
    }

    /// Time since this clock's start; never goes back.
    #[must_use]
    pub fn now(&self) -> Duration {
        match self {
            Self::System(start) => start.elapsed(),
            Self::Manual(nanos) => Duration::from_nanos(nanos.load(Ordering::Relaxed)),
        }
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        match self {
            Self::System(_) => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| {
                    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
                }),
            Self::Manual(_) => u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Moves a manual clock; the machine's clocks cannot be moved.
    pub fn advance(&self, by: Duration) {
        if let Self::Manual(nanos) = self {
            nanos.fetch_add(
                u64::try_from(by.as_nanos()).unwrap_or(u64::MAX),
                Ordering::Relaxed,
            );
        }
    }
}
