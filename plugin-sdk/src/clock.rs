//! Time.

use std::time::Duration;

use crate::host::call;

/// Milliseconds since 1970-01-01T00:00:00Z.
pub fn unix_ms() -> u64 {
    call!(clock::unix_ms())
}

/// Whole seconds since 1970-01-01T00:00:00Z, as in the claims of a token.
pub fn unix_seconds() -> u64 {
    unix_ms() / 1000
}

/// Time since some fixed moment; never goes back. For measuring how long something takes.
pub fn monotonic() -> Duration {
    Duration::from_nanos(call!(clock::monotonic_ns()))
}
