//! A small key-value store that outlives instances. Keys are private to the plugin. Grant: `store`.

use std::time::Duration;

use crate::host::call;

pub use crate::bindings::imports::postern::plugin::store::{Entry, StoreError};

/// The entry, unless it is absent or has expired.
pub fn get(key: &str) -> Result<Option<Entry>, StoreError> {
    call!(store::get(key))
}

/// Writes a value. Without a time to live it stays until it is evicted: the store forgets what was used least lately.
pub fn set(key: &str, value: &[u8], time_to_live: Option<Duration>) -> Result<(), StoreError> {
    call!(store::set(key, value, milliseconds(time_to_live)))
}

/// Writes only if the entry is at the expected version (none: absent). Returns the new version; [`StoreError::Conflict`] if
/// somebody was faster.
pub fn compare_and_set(
    key: &str,
    expected: Option<u64>,
    value: &[u8],
    time_to_live: Option<Duration>,
) -> Result<u64, StoreError> {
    call!(store::compare_and_set(
        key,
        expected,
        value,
        milliseconds(time_to_live)
    ))
}

/// Removes the entry, if there is one.
pub fn delete(key: &str) -> Result<(), StoreError> {
    call!(store::delete(key))
}

/// Adds to a decimal number, absent counting as 0, and returns the sum. The time to live counts from the first `add`.
/// [`StoreError::Conflict`] if the value is not a number.
pub fn add(key: &str, delta: i64, time_to_live: Option<Duration>) -> Result<i64, StoreError> {
    call!(store::add(key, delta, milliseconds(time_to_live)))
}

/// 0 is the host's word for no limit, so a shorter time than a millisecond becomes one.
fn milliseconds(time: Option<Duration>) -> u64 {
    time.map_or(0, |time| {
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
    })
}
