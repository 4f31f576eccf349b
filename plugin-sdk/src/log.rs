//! Lines in the gateway's log; the host adds plugin, route and request id.
//!
//! Pass [`format_args!`] for a message with values: nothing is formatted when the level is off.
//!
//! ```
//! # let _host = postern_plugin::testing::Host::new();
//! # let key = "k1";
//! postern_plugin::log::debug(format_args!("key {key} is not known"));
//! postern_plugin::log::warn("falling back");
//! ```

use std::fmt::Display;

use crate::host::call;

pub use crate::bindings::imports::postern::plugin::log::Level;

/// Whether lines of this level are recorded. Constant while the instance lives.
#[inline]
pub fn is_enabled(level: Level) -> bool {
    level >= lowest()
}

/// Writes a line of this level, cut at 4 KiB.
#[inline]
pub fn write(level: Level, message: impl Display) {
    if is_enabled(level) {
        write_formatted(level, &message);
    }
}

/// Writes a line for people who follow single steps.
#[inline]
pub fn trace(message: impl Display) {
    write(Level::Trace, message);
}

/// Writes a line for people who look for a fault.
#[inline]
pub fn debug(message: impl Display) {
    write(Level::Debug, message);
}

/// Writes a line about something worth knowing.
#[inline]
pub fn info(message: impl Display) {
    write(Level::Info, message);
}

/// Writes a line about something that may need a look.
#[inline]
pub fn warn(message: impl Display) {
    write(Level::Warn, message);
}

/// Writes a line about something that failed.
#[inline]
pub fn error(message: impl Display) {
    write(Level::Error, message);
}

fn write_formatted(level: Level, message: &dyn Display) {
    call!(log::write(level, &message.to_string()));
}

/// Asked once: the host keeps it constant, and a call costs more than all that a silent log line may.
#[cfg(target_arch = "wasm32")]
fn lowest() -> Level {
    use std::cell::Cell;
    thread_local! {
        static LOWEST: Cell<Option<Level>> = const { Cell::new(None) };
    }
    LOWEST.get().unwrap_or_else(|| {
        let level = call!(log::enabled());
        LOWEST.set(Some(level));
        level
    })
}

#[cfg(not(target_arch = "wasm32"))]
fn lowest() -> Level {
    call!(log::enabled())
}
