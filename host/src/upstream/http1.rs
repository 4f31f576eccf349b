//! HTTP/1 to a target: each worker keeps the connections that are idle, and hands them to whoever comes next.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use tokio::sync::Notify;

use crate::body::Body;
use crate::config::UpstreamConfig;

/// How many idle connections are kept, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keep {
    pub(super) max_idle: usize,
    pub(super) idle_timeout: Duration,
}

impl Keep {
    pub(super) fn of(config: &UpstreamConfig) -> Self {
        Self {
            max_idle: config.max_idle,
            idle_timeout: config.idle_timeout,
        }
    }
}

/// How much longer a connection may be used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life {
    /// Until when, by the target's clock.
    pub(super) until: Duration,
    /// For how many requests.
    pub(super) requests: u64,
}

/// Sends requests on a connection.
pub(super) struct Sender {
    inner: SendRequest<Body>,
    life: Life,
}

/// A connection in use.
pub(super) struct Connection {
    pub(super) sender: Sender,
    /// How long it had been idle; none for a new one.
    pub(super) idle: Option<Duration>,
}

/// The idle connections of one worker, the oldest first. Nobody else asks for its lock but the sweep, and workers for which
/// there is no room.
#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<VecDeque<Idle>>,
    waiting: AtomicUsize,
    returned: Notify,
}

struct Idle {
    sender: Sender,
    since: Duration,
}

/// One that waits for a connection to come back.
pub(super) struct Waiting<'p>(&'p Pool);

impl Life {
    /// Whether nothing more is to be sent.
    fn is_over(&self, now: Duration) -> bool {
        self.requests == 0 || now >= self.until
    }
}

impl Sender {
    pub(super) fn new(inner: SendRequest<Body>, life: Life) -> Self {
        Self { inner, life }
    }

    fn is_usable(&self, now: Duration) -> bool {
        !self.inner.is_closed() && !self.life.is_over(now)
    }
}

impl Deref for Sender {
    type Target = SendRequest<Body>;

    fn deref(&self) -> &SendRequest<Body> {
        &self.inner
    }
}

impl DerefMut for Sender {
    fn deref_mut(&mut self) -> &mut SendRequest<Body> {
        &mut self.inner
    }
}

impl Pool {
    /// The connection that was used last, or none that is usable.
    pub(super) async fn take(&self, keep: Keep, now: Duration) -> Option<Connection> {
        loop {
            // Whoever looks at it just now is done before a connection could be made, but is not waited for.
            let Idle { mut sender, since } = self.idle.try_lock().ok()?.pop_back()?;
            let idle = now.saturating_sub(since);
            if idle > keep.idle_timeout || !sender.is_usable(now) {
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

    /// Keeps a connection that nobody has used yet.
    pub(super) fn put_unused(&self, sender: Sender, now: Duration) {
        self.lock().push_back(Idle { sender, since: now });
    }

    /// Keeps a connection that has done its work, unless it has done enough.
    pub(super) fn put(&self, mut sender: Sender, keep: Keep, now: Duration) {
        sender.life.requests = sender.life.requests.saturating_sub(1);
        if !sender.is_usable(now) || keep.max_idle == 0 {
            return;
        }
        let mut idle = self.lock();
        let oldest = match idle.len() >= keep.max_idle {
            true => idle.pop_front(),
            false => None,
        };
        idle.push_back(Idle { sender, since: now });
        drop(idle);
        drop(oldest);
        if self.waiting() > 0 {
            self.returned.notify_one();
        }
    }

    /// Waits for connections that come back.
    pub(super) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        Waiting(self)
    }

    /// How many wait for connections that come back.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Closes the connection that has been idle for longest. Whether there was one.
    pub(super) fn evict(&self) -> bool {
        let oldest = self.lock().pop_front();
        oldest.is_some()
    }

    /// Closes connections that have been idle for too long, or are too old.
    pub(super) fn sweep(&self, keep: Keep, now: Duration) {
        let is_good = |idle: &Idle| {
            idle.sender.is_usable(now) && now.saturating_sub(idle.since) <= keep.idle_timeout
        };
        self.lock().retain(is_good);
    }

    /// Idle connections.
    pub(super) fn idle(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting<'_> {
    /// Ends when a connection has come back; to be asked for before looking whether there is one.
    pub(super) fn returned(&self) -> tokio::sync::futures::Notified<'_> {
        self.0.returned.notified()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use hyper::client::conn::http1::handshake;
    use hyper_util::rt::TokioIo;

    use super::*;

    const KEEP: Keep = Keep {
        max_idle: 2,
        idle_timeout: Duration::from_secs(10),
    };

    /// A connection to nobody, which stays open as long as the second part is held.
    async fn sender(life: Life) -> (Sender, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(64);
        let (inner, connection) = handshake(TokioIo::new(ours)).await.unwrap();
        tokio::spawn(connection);
        (Sender::new(inner, life), theirs)
    }

    fn life(until: u64, requests: u64) -> Life {
        let until = Duration::from_secs(until);
        Life { until, requests }
    }

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    #[tokio::test]
    async fn the_last_that_was_used_is_used_next_and_the_oldest_gives_way() {
        let pool = Pool::default();
        let mut held = Vec::new();
        for second in 0..3 {
            let (sender, theirs) = sender(life(100, 9)).await;
            pool.put(sender, KEEP, at(second));
            held.push(theirs);
        }
        assert_eq!(pool.idle(), 2);
        let next = pool.take(KEEP, at(5)).await.unwrap();
        assert_eq!(next.idle, Some(at(3)));
        let next = pool.take(KEEP, at(5)).await.unwrap();
        assert_eq!(next.idle, Some(at(4)));
        assert!(pool.take(KEEP, at(5)).await.is_none());
    }

    #[tokio::test]
    async fn a_connection_ends_with_its_requests_its_age_or_its_idleness() {
        let pool = Pool::default();
        let (last, _theirs) = sender(life(100, 1)).await;
        pool.put(last, KEEP, at(0));
        assert_eq!(pool.idle(), 0, "that was its last request");
        let (old, _theirs) = sender(life(5, 9)).await;
        pool.put(old, KEEP, at(0));
        assert_eq!(pool.idle(), 1);
        pool.sweep(KEEP, at(4));
        assert_eq!(pool.idle(), 1);
        assert!(pool.take(KEEP, at(5)).await.is_none(), "it is too old");
        let (idle, _theirs) = sender(life(100, 9)).await;
        pool.put(idle, KEEP, at(0));
        pool.sweep(KEEP, at(11));
        assert_eq!(pool.idle(), 0);
    }

    #[tokio::test]
    async fn whoever_waits_hears_of_a_connection_that_comes_back() {
        let pool = Pool::default();
        let waiting = pool.wait();
        let returned = waiting.returned();
        let (sender, _theirs) = sender(life(100, 9)).await;
        pool.put(sender, KEEP, at(0));
        tokio::time::timeout(at(5), returned).await.unwrap();
        assert!(pool.take(KEEP, at(0)).await.is_some());
        drop(waiting);
        assert_eq!(pool.waiting(), 0);
        assert!(!pool.evict(), "there is none");
    }
}
