//! HTTP/2 to a target (RFC 9113): each worker has a few connections of its own, each with many streams.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{Request, Uri, Version, header};
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Notify;

use super::error::UpstreamError;
use super::http1::Life;
use super::room::Permit;
use crate::body::Body;
use crate::clock::Clock;
use crate::config::UpstreamConfig;

/// What a target may send on one stream before its client has taken any of it.
const STREAM_WINDOW: u32 = 256 << 10;
/// Most bytes of a response's head.
const MAX_RESPONSE_HEAD: u32 = 64 << 10;
/// How long a ping may go unanswered.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// What hyper shows as the peer's limit of streams before the peer has said it; nothing is sent until then, so that no
/// stream is refused for being one too many.
const UNKNOWN: usize = 0;
/// Between looks for the peer's first words, which nothing else announces.
const SETTINGS_PAUSE: Duration = Duration::from_millis(1);

/// The connections of one worker to one target. Nobody else but the sweep asks for its locks.
#[derive(Default)]
pub(super) struct Pool {
    connections: Mutex<Vec<Multiplexed>>,
    /// Held while a connection is made: those who come meanwhile wait for it, and make none of their own.
    connecting: tokio::sync::Mutex<()>,
    /// A stream has ended, or a connection.
    ended: Arc<Notify>,
}

struct Multiplexed {
    sender: SendRequest<Body>,
    streams: Arc<Streams>,
}

/// What is known of a connection's streams.
struct Streams {
    open: AtomicUsize,
    /// As many as the peer allows.
    most: AtomicUsize,
    /// No more are to be opened: the peer says that it goes away.
    retired: AtomicBool,
    /// When the last one ended, in nanoseconds of the target's clock.
    idle_since: AtomicU64,
    /// How many more may be opened.
    left: AtomicU64,
    /// Until when, by the target's clock.
    until: Duration,
    ended: Arc<Notify>,
}

/// A place for one more stream on a connection.
pub(super) struct Place {
    streams: Arc<Streams>,
    clock: Clock,
}

impl Pool {
    /// A connection with room for one more stream.
    pub(super) fn pick(&self, most: usize, clock: &Clock) -> Option<(SendRequest<Body>, Place)> {
        let mut connections = self.lock();
        let now = clock.now();
        connections.retain(|connection| connection.is_usable() && connection.streams.until > now);
        let connection = connections
            .iter()
            .find(|connection| connection.streams.has_room(most))?;
        connection.streams.open.fetch_add(1, Ordering::Relaxed);
        if connection.streams.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            connection.streams.retired.store(true, Ordering::Relaxed);
        }
        let place = Place {
            streams: Arc::clone(&connection.streams),
            clock: clock.clone(),
        };
        Some((connection.sender.clone(), place))
    }

    /// The right to make a connection.
    pub(super) async fn connecting(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.connecting.lock().await
    }

    /// Begins to speak HTTP/2, and waits until the peer has said what it allows.
    pub(super) async fn open<I>(
        &self,
        io: I,
        config: &UpstreamConfig,
        address: &Arc<str>,
        (permit, life, now): (Permit, Life, Duration),
    ) -> Result<(), UpstreamError>
    where
        I: Read + Write + Unpin + Send + 'static,
    {
        let failed = |source| UpstreamError::of(source, address);
        let (sender, connection) = builder(config).handshake(io).await.map_err(failed)?;
        let mut connection = Box::pin(connection);
        while connection.current_max_send_streams() == UNKNOWN {
            tokio::select! {
                ended = &mut connection => {
                    let closed = UpstreamError::Closed { target: Arc::clone(address) };
                    return Err(ended.err().map_or(closed, failed));
                }
                () = tokio::time::sleep(SETTINGS_PAUSE) => {}
            }
        }
        let streams = Arc::new(Streams {
            open: AtomicUsize::new(0),
            most: AtomicUsize::new(connection.current_max_send_streams()),
            retired: AtomicBool::new(false),
            idle_since: AtomicU64::new(nanos(now)),
            left: AtomicU64::new(life.requests),
            until: life.until,
            ended: Arc::clone(&self.ended),
        });
        let running = run(connection, Arc::clone(&streams), Arc::clone(address));
        tokio::spawn(async move {
            running.await;
            drop(permit);
        });
        self.lock().push(Multiplexed { sender, streams });
        Ok(())
    }

    /// Closes connections on which no stream has been open for too long.
    pub(super) fn sweep(&self, now: Duration, idle_timeout: Duration) {
        self.lock().retain(|connection| {
            let streams = &connection.streams;
            let since = Duration::from_nanos(streams.idle_since.load(Ordering::Relaxed));
            let is_idle = streams.open.load(Ordering::Relaxed) == 0;
            connection.is_usable() && !(is_idle && now.saturating_sub(since) > idle_timeout)
        });
    }

    /// Whether some connection has room for one more stream.
    pub(super) fn has_room(&self, most: usize) -> bool {
        let connections = self.lock();
        let mut usable = connections
            .iter()
            .filter(|connection| connection.is_usable());
        usable.any(|connection| connection.streams.has_room(most))
    }

    /// Ends when a stream has ended; to be asked for before looking whether there is room.
    pub(super) fn ended(&self) -> tokio::sync::futures::Notified<'_> {
        self.ended.notified()
    }

    /// Closes a connection on which no stream is open. Whether there was one.
    pub(super) fn evict(&self) -> bool {
        let mut connections = self.lock();
        let idle = |connection: &Multiplexed| connection.streams.open.load(Ordering::Relaxed) == 0;
        let found = connections.iter().position(idle);
        found.map(|index| connections.remove(index)).is_some()
    }

    /// Opens no more streams on one of its connections, which ends with those that it has. Whether there was one.
    pub(super) fn give_up(&self) -> bool {
        self.lock().pop().is_some()
    }

    /// Connections on which no stream is open.
    pub(super) fn idle(&self) -> usize {
        let connections = self.lock();
        let idle = |connection: &&Multiplexed| connection.streams.open.load(Ordering::Relaxed) == 0;
        connections.iter().filter(idle).count()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Multiplexed>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Multiplexed {
    fn is_usable(&self) -> bool {
        !self.sender.is_closed() && !self.streams.retired.load(Ordering::Relaxed)
    }
}

impl Streams {
    fn has_room(&self, most: usize) -> bool {
        self.open.load(Ordering::Relaxed) < most.min(self.most.load(Ordering::Relaxed))
    }
}

impl Place {
    /// No more streams are to be opened on this connection.
    pub(super) fn retire(&self) {
        self.streams.retired.store(true, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let now = self.clock.now();
        self.streams.idle_since.store(nanos(now), Ordering::Relaxed);
        self.streams.open.fetch_sub(1, Ordering::Relaxed);
        self.streams.ended.notify_one();
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn builder(config: &UpstreamConfig) -> Builder<TokioExecutor> {
    // Room for the windows of all streams: one client that reads slowly does not hold up the others.
    let most = u32::try_from(config.max_streams).unwrap_or(u32::MAX);
    let window = STREAM_WINDOW
        .saturating_mul(most)
        .min(i32::MAX.unsigned_abs());
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_max_send_streams(UNKNOWN)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(window)
        .max_header_list_size(MAX_RESPONSE_HEAD)
        .keep_alive_interval(config.ping_interval)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// Drives a connection to its end, and follows what the peer allows.
async fn run<I>(
    mut connection: Pin<Box<Connection<I, Body, TokioExecutor>>>,
    streams: Arc<Streams>,
    address: Arc<str>,
) where
    I: Read + Write + Unpin + Send + 'static,
{
    let ended = std::future::poll_fn(|cx| {
        let polled = connection.as_mut().poll(cx);
        streams
            .most
            .store(connection.current_max_send_streams(), Ordering::Relaxed);
        polled
    });
    if let Err(error) = ended.await {
        tracing::debug!(target = %address, %error, "connection to upstream ended");
    }
}

/// Gives a request the shape of HTTP/2: the authority stands in the target (RFC 9113, 8.3.1).
pub(super) fn prepare(request: &mut Request<Body>, scheme: Scheme, address: &str) {
    // What it nominates would be removed: that is `te`, which HTTP/2 has as well (RFC 9113, 8.2.2).
    request.headers_mut().remove(header::CONNECTION);
    let host = request.headers_mut().remove(header::HOST);
    let named = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(scheme);
    parts.authority = named.or_else(|| address.parse().ok());
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    *request.version_mut() = Version::HTTP_2;
}

/// Why the peer is sure not to have looked at a request: it may be sent again, whatever its method (RFC 9113, 8.7).
pub(super) enum Refusal {
    /// The stream was refused.
    Stream,
    /// The connection goes away, and the stream was opened too late.
    Connection,
}

impl Refusal {
    pub(super) fn of(error: &hyper::Error) -> Option<Self> {
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            match cause.downcast_ref::<h2::Error>() {
                Some(error) if error.is_remote() && error.is_go_away() => {
                    return Some(Self::Connection);
                }
                Some(error)
                    if error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM) =>
                {
                    return Some(Self::Stream);
                }
                _ => source = cause.source(),
            }
        }
        None
    }
}
