//! One address of an upstream, and its idle connections: one stack for each worker.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use super::error::UpstreamError;
use super::tls::{self, ConnectError};
use crate::body::{Body, Lease};
use crate::clock::Clock;
use crate::config::TargetConfig;

/// One address of an upstream. It survives reloads, and its connections with it.
pub struct Target {
    config: TargetConfig,
    address: Arc<str>,
    clock: Clock,
    idle: Box<[Slot]>,
}

/// The idle connections of one worker, the oldest first. A worker only ever locks its own slot, so the lock is never
/// waited for, but by the sweep.
#[repr(align(128))]
#[derive(Default)]
struct Slot(Mutex<VecDeque<Idle>>);

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

/// A connection in use.
pub(super) struct Connection {
    pub(super) sender: SendRequest<Body>,
    /// How long it had been idle; none for a new one.
    pub(super) idle: Option<Duration>,
}

impl Target {
    pub(super) fn new(config: TargetConfig, workers: usize, clock: Clock) -> Self {
        let address = match config.host.contains(':') {
            true => format!("[{}]:{}", config.host, config.port),
            false => format!("{}:{}", config.host, config.port),
        };
        Self {
            config,
            address: address.into(),
            clock,
            idle: (0..workers).map(|_| Slot::default()).collect(),
        }
    }

    /// `host:port`
    #[must_use]
    pub fn address(&self) -> &Arc<str> {
        &self.address
    }

    pub(super) fn is(&self, config: &TargetConfig) -> bool {
        self.config == *config
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

    /// A new connection. Its task ends when the connection does.
    pub(super) async fn connect(&self, limit: Duration) -> Result<Connection, UpstreamError> {
        let failed = |error| {
            let target = Arc::clone(&self.address);
            match error {
                ConnectError::Tcp(source) => UpstreamError::Connect { target, source },
                ConnectError::Tls(source) => UpstreamError::Tls { target, source },
            }
        };
        let connecting = tls::connect(&self.config, &[b"http/1.1"]);
        let stream = match tokio::time::timeout(limit, connecting).await {
            Ok(connected) => connected.map_err(failed)?,
            Err(_) => {
                return Err(UpstreamError::ConnectTimeout {
                    target: Arc::clone(&self.address),
                    limit,
                });
            }
        };
        let (sender, connection) = http1::Builder::new()
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|source| UpstreamError::of(source, &self.address))?;
        let address = Arc::clone(&self.address);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(target = %address, %error, "connection to upstream ended");
            }
        });
        Ok(Connection { sender, idle: None })
    }

    fn keep(&self, worker: usize, sender: SendRequest<Body>, keep: Keep) {
        let Some(mut idle) = self.slot(worker) else {
            return;
        };
        if sender.is_closed() {
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
        for slot in &self.idle {
            let mut idle = slot.0.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(|entry| {
                !entry.sender.is_closed() && now.saturating_sub(entry.since) <= keep.idle_timeout
            });
        }
    }

    /// Idle connections of all workers.
    #[must_use]
    pub fn idle_connections(&self) -> usize {
        self.idle
            .iter()
            .map(|slot| slot.0.lock().unwrap_or_else(PoisonError::into_inner).len())
            .sum()
    }

    fn slot(&self, worker: usize) -> Option<MutexGuard<'_, VecDeque<Idle>>> {
        Some(
            self.idle
                .get(worker)?
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

/// The connection that a response comes from: idle again when the body has come to its end.
pub(super) struct ConnectionLease {
    pub(super) target: Arc<Target>,
    pub(super) sender: SendRequest<Body>,
    pub(super) worker: usize,
    pub(super) keep: Keep,
}

impl Lease for ConnectionLease {
    fn release(self: Box<Self>) {
        let Self {
            target,
            sender,
            worker,
            keep,
        } = *self;
        target.keep(worker, sender, keep);
    }
}
