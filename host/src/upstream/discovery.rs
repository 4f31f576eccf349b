//! Discovery: who the targets of an upstream are, where others know it. Each source watches one place and tells one sink
//! what is there; all of it on the control runtime.
//!
//! Nobody is worse off when a source fails: targets stay as they were last known.

mod client;
mod consul;
mod dns;
mod file;
mod found;
mod kubernetes;
mod manager;
mod sink;
mod srv;

pub use manager::{Discoveries, Prepared};
pub use sink::DiscoveryReport;

use sink::Sink;

/// Watches where the targets of one upstream are known.
trait Source {
    /// Tells the sink what is there now, and again whenever it changes, until it is dropped.
    fn watch(self, sink: Sink) -> impl Future<Output = ()> + Send;
}
