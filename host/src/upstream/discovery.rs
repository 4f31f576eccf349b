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

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use client::Client;
use sink::Sink;

use super::dns::Dns;
use crate::config::Endpoint;

/// Asks a server once, on a connection of its own, for what others than targets are found by.
///
/// # Errors
/// A sentence.
pub async fn fetch(server: &Endpoint, path: &str, dns: &Arc<Dns>) -> Result<Bytes, String> {
    let answer = Client::new(server, dns)
        .get(path, None, Duration::ZERO)
        .await;
    let body = match answer {
        Ok(answer) => answer.body().await,
        Err(error) => Err(error),
    };
    body.map_err(|error| error.to_string())
}

/// Watches where the targets of one upstream are known.
trait Source {
    /// Tells the sink what is there now, and again whenever it changes, until it is dropped.
    fn watch(self, sink: Sink) -> impl Future<Output = ()> + Send;
}
