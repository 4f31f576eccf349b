//! One address of an upstream, and its connections: each worker has its own.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use super::dial::Peer;
use super::dns::Dns;
use super::error::UpstreamError;
use super::health::{Exclusion, Exclusions};
use super::http2;
use super::load::Load;
use super::outcome::Outcome;
use super::tls::{self, ConnectError, Stream};
use crate::body::Body;
use crate::clock::Clock;
use crate::config::{Endpoint, UpstreamConfig};

/// Most bytes that are read of a response before they are passed on, its head included: what a client that does not read
/// makes us keep, besides what it has been sent.
const MOST_READ: usize = 64 << 10;

/// One address of an upstream. It survives reloads, and its connections with it.
pub struct Target {
    endpoint: Endpoint,
    peer: Peer,
    address: Arc<str>,
    clock: Clock,
    slots: Box<[Slot]>,
    /// What it chose in ALPN.
    agreed: AtomicU8,
    load: Load,
    exclusions: Exclusions,
    /// Attempts that failed.
    failures: AtomicU64,
}

/// The names of ALPN (RFC 7301, 6).
const HTTP1: &[u8] = b"http/1.1";
const H2: &[u8] = b"h2";

/// What is known of a target's choice.
const UNKNOWN: u8 = 0;
const CHOSE_HTTP1: u8 = 1;
const CHOSE_H2: u8 = 2;

/// The connections of one worker. A worker only ever locks its own slot, so the lock is never waited for, but by the
/// sweep.
#[repr(align(128))]
#[derive(Default)]
struct Slot {
    /// Of HTTP/1, and idle, the oldest first.
    idle: Mutex<VecDeque<Idle>>,
    /// Of HTTP/2.
    multiplexed: http2::Pool,
}

struct Idle {
    sender: SendRequest<Body>,
    since: Duration,
}

/// How many idle connections are kept, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keep {
    pub(super) max_idle: usize,
    pub(super) idle_timeout: Duration,
}

/// Sends requests on the streams of a connection of HTTP/2.
pub(super) type SendStream = hyper::client::conn::http2::SendRequest<Body>;

/// A connection in use.
pub(super) struct Connection {
    pub(super) sender: SendRequest<Body>,
    /// How long it had been idle; none for a new one.
    pub(super) idle: Option<Duration>,
}

impl Target {
    pub(super) fn new(endpoint: Endpoint, workers: usize, clock: Clock, dns: &Arc<Dns>) -> Self {
        let Endpoint { host, port, .. } = &endpoint;
        let address = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        Self {
            peer: Peer::new(&endpoint, dns),
            endpoint,
            address: address.into(),
            clock,
            slots: (0..workers).map(|_| Slot::default()).collect(),
            agreed: AtomicU8::new(UNKNOWN),
            load: Load::default(),
            exclusions: Exclusions::default(),
            failures: AtomicU64::new(0),
        }
    }

    /// `host:port`
    #[must_use]
    pub fn address(&self) -> &Arc<str> {
        &self.address
    }

    /// Where it is: targets with the same endpoint are the same target.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether requests may be sent to it.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.exclusions.is_empty()
    }

    /// Whether this keeps requests from it.
    #[must_use]
    pub fn is_excluded(&self, exclusion: Exclusion) -> bool {
        self.exclusions.has(exclusion)
    }

    /// From here on this keeps requests from it, or does not any more. Whether that is new: the set is to be planned anew then.
    pub(super) fn exclude(&self, exclusion: Exclusion, holds: bool) -> bool {
        self.exclusions.set(exclusion, holds)
    }

    /// Requests under way.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.load.in_flight()
    }

    /// Requests so far.
    #[must_use]
    pub fn picks(&self) -> u64 {
        self.load.total()
    }

    /// Requests so far that gave no response, or one with status 5xx.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(super) fn load(&self) -> &Load {
        &self.load
    }

    /// Learns what came of an attempt.
    pub(super) fn judge(&self, outcome: Outcome, _elapsed: Duration) {
        if outcome.is_failure() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The connection that was used last, or none that is usable.
    pub(super) async fn reuse(&self, worker: usize, keep: Keep) -> Option<Connection> {
        loop {
            let Idle { mut sender, since } = self.slot(worker)?.pop_back()?;
            let idle = self.clock.now().saturating_sub(since);
            if idle > keep.idle_timeout || sender.is_closed() {
                continue;
            }
            // Usually it is ready; if not, the connection's task has yet to see the end of the last body.
            if sender.is_ready() || sender.ready().await.is_ok() {
                return Some(Connection {
                    sender,
                    idle: Some(idle),
                });
            }
        }
    }

    /// A new connection of HTTP/1. Its task ends when the connection does.
    pub(super) async fn connect(&self, limit: Duration) -> Result<Connection, UpstreamError> {
        let stream = self.dial(limit, &[HTTP1]).await?;
        self.speak_http1(stream).await
    }

    async fn speak_http1(&self, stream: Stream) -> Result<Connection, UpstreamError> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MOST_READ)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|source| UpstreamError::of(source, &self.address))?;
        let address = Arc::clone(&self.address);
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(target = %address, %error, "connection to upstream ended");
            }
        });
        Ok(Connection { sender, idle: None })
    }

    /// A stream of HTTP/2, on a connection that has room for it or on a new one.
    pub(super) async fn stream(
        &self,
        worker: usize,
        config: &UpstreamConfig,
    ) -> Result<(SendStream, http2::Place), UpstreamError> {
        let limit = config.connect_timeout;
        let timeout = || self.timed_out(limit);
        let pool = &self.slots.get(worker).ok_or_else(timeout)?.multiplexed;
        let pick = || pool.pick(config.max_streams, &self.clock);
        if let Some(found) = pick() {
            return Ok(found);
        }
        let opening = async {
            let _turn = pool.connecting().await;
            loop {
                if let Some(found) = pick() {
                    return Ok(found);
                }
                let stream = self.dial(limit, &[H2]).await?;
                if self.is_secure() && stream.protocol() != Some(H2) {
                    self.agreed.store(UNKNOWN, Ordering::Relaxed);
                    return Err(self.no_http2());
                }
                pool.open(TokioIo::new(stream), config, &self.address)
                    .await?;
            }
        };
        tokio::time::timeout(limit, opening)
            .await
            .unwrap_or_else(|_| Err(timeout()))
    }

    /// Whether a target that speaks TLS chose HTTP/2 when it was asked (RFC 7301). It is asked with the first connection.
    pub(super) async fn chose_http2(
        &self,
        worker: usize,
        config: &UpstreamConfig,
        keep: Keep,
    ) -> Result<bool, UpstreamError> {
        let limit = config.connect_timeout;
        let Some(slot) = self.slots.get(worker) else {
            return Ok(false);
        };
        if let known @ (CHOSE_HTTP1 | CHOSE_H2) = self.agreed.load(Ordering::Relaxed) {
            return Ok(known == CHOSE_H2);
        }
        let stream = self.dial(limit, &[H2, HTTP1]).await?;
        let is_h2 = stream.protocol() == Some(H2);
        if is_h2 {
            let opening = slot
                .multiplexed
                .open(TokioIo::new(stream), config, &self.address);
            let opened = tokio::time::timeout(limit, opening).await;
            opened.unwrap_or_else(|_| Err(self.timed_out(limit)))?;
        } else {
            let connection = self.speak_http1(stream).await?;
            self.keep(worker, connection.sender, keep);
        }
        let chosen = if is_h2 { CHOSE_H2 } else { CHOSE_HTTP1 };
        self.agreed.store(chosen, Ordering::Relaxed);
        Ok(is_h2)
    }

    pub(super) fn is_secure(&self) -> bool {
        self.endpoint.tls.is_some()
    }

    fn no_http2(&self) -> UpstreamError {
        UpstreamError::Tls {
            target: Arc::clone(&self.address),
            source: std::io::Error::other("it does not speak HTTP/2"),
        }
    }

    fn timed_out(&self, limit: Duration) -> UpstreamError {
        UpstreamError::ConnectTimeout {
            target: Arc::clone(&self.address),
            limit,
        }
    }

    /// A connection, which offers these protocols if it speaks TLS.
    async fn dial(&self, limit: Duration, offered: &[&[u8]]) -> Result<Stream, UpstreamError> {
        let failed = |error| {
            let target = Arc::clone(&self.address);
            match error {
                ConnectError::Tcp(source) => UpstreamError::Connect { target, source },
                ConnectError::Tls(source) => UpstreamError::Tls { target, source },
            }
        };
        let connecting = tls::connect(&self.peer, self.endpoint.tls.as_ref(), offered);
        match tokio::time::timeout(limit, connecting).await {
            Ok(connected) => connected.map_err(failed),
            Err(_) => Err(self.timed_out(limit)),
        }
    }

    pub(super) fn keep(&self, worker: usize, sender: SendRequest<Body>, keep: Keep) {
        let Some(mut idle) = self.slot(worker) else {
            return;
        };
        if sender.is_closed() || keep.max_idle == 0 {
            return;
        }
        if idle.len() >= keep.max_idle {
            idle.pop_front();
        }
        idle.push_back(Idle {
            sender,
            since: self.clock.now(),
        });
    }

    /// Closes connections that have been idle for too long, of all workers.
    pub(super) fn sweep(&self, keep: Keep) {
        let now = self.clock.now();
        for slot in &self.slots {
            slot.multiplexed.sweep(now, keep.idle_timeout);
            let mut idle = slot.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(|entry| {
                !entry.sender.is_closed() && now.saturating_sub(entry.since) <= keep.idle_timeout
            });
        }
    }

    /// Idle connections of all workers.
    #[must_use]
    pub fn idle_connections(&self) -> usize {
        let idle = |slot: &Slot| {
            let idle = slot.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.len() + slot.multiplexed.idle()
        };
        self.slots.iter().map(idle).sum()
    }

    fn slot(&self, worker: usize) -> Option<MutexGuard<'_, VecDeque<Idle>>> {
        Some(
            self.slots
                .get(worker)?
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}
