//! What happens on a connection, so that one on which nothing happens can be closed.
//!
//! hyper's own head timeout also ends idle connections, and sets a timer for each request. Here a connection only counts,
//! and the janitor looks at the numbers now and then.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::time::Instant;

/// A client that has not asked for so long is not about to: its request would be lost if we closed the connection.
const QUIET: Duration = Duration::from_millis(500);
/// The same where a part of a head has come, perhaps.
const PARTIAL_QUIET: Duration = Duration::from_secs(2);

/// Shared by the connection's parts.
#[derive(Default)]
pub(super) struct Activity {
    /// Requests that have begun and whose responses have not ended.
    under_way: AtomicU32,
    /// Requests and responses that have begun or ended: changes when something happened.
    events: AtomicU64,
    /// Whether bytes came since the last request began: a part of a head.
    partial: AtomicBool,
    /// What the janitor wants.
    order: AtomicU8,
    waker: AtomicWaker,
}

/// What the janitor wants of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Order {
    /// To go on.
    None,
    /// To say with the next response that it is the last, and to wait for it as long as a client may be about to ask.
    Last,
    /// To finish what it does, and then to close.
    Finish,
    /// To close at once.
    Close,
}

/// Why a connection is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// A request's head does not come to its end.
    Head,
    /// No request comes.
    Idle,
}

/// Looks at a connection from time to time.
pub(super) struct Watch {
    activity: Arc<Activity>,
    header_timeout: Duration,
    idle_timeout: Duration,
    seen_events: u64,
    quiet_since: Instant,
    partial_since: Option<Instant>,
    served: bool,
}

impl Activity {
    /// A request has begun; drop the guard when its response has ended.
    pub(super) fn begin(self: &Arc<Self>) -> InProgress {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        self.events.fetch_add(1, Ordering::Relaxed);
        self.partial.store(false, Ordering::Relaxed);
        InProgress(Arc::clone(self))
    }

    /// Tells the connection what to do; orders only get stricter.
    pub(super) fn order(&self, order: Order) {
        if self.order.fetch_max(order as u8, Ordering::Relaxed) < order as u8 {
            self.waker.wake();
        }
    }

    /// What the connection is to do.
    pub(super) fn ordered(&self) -> Order {
        match self.order.load(Ordering::Relaxed) {
            0 => Order::None,
            1 => Order::Last,
            2 => Order::Finish,
            _ => Order::Close,
        }
    }

    /// Waits for the order to finish, or a stricter one.
    pub(super) async fn finish_ordered(&self) {
        std::future::poll_fn(|cx| {
            self.listen(cx);
            match self.ordered() {
                Order::None | Order::Last => Poll::Pending,
                Order::Finish | Order::Close => Poll::Ready(()),
            }
        })
        .await;
    }

    /// The task to wake when there is an order.
    pub(super) fn listen(&self, cx: &Context<'_>) {
        self.waker.register(cx.waker());
    }
}

/// A request that has begun.
pub(super) struct InProgress(Arc<Activity>);

impl InProgress {
    /// Whether the connection ends with the response.
    pub(super) fn is_last(&self) -> bool {
        self.0.ordered() >= Order::Last
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
        self.0.events.fetch_add(1, Ordering::Relaxed);
    }
}

impl Watch {
    pub(super) fn new(
        activity: Arc<Activity>,
        header_timeout: Duration,
        idle_timeout: Duration,
    ) -> Self {
        let quiet_since = Instant::now();
        Self {
            activity,
            header_timeout,
            idle_timeout,
            seen_events: 0,
            quiet_since,
            partial_since: None,
            served: false,
        }
    }

    /// Whose connection this is, and whether it has ended: then only the watch still knows it.
    pub(super) fn activity(&self) -> Option<&Activity> {
        (Arc::strong_count(&self.activity) > 1).then_some(&*self.activity)
    }

    /// Whether the client seems to want nothing: closing the connection now would take nothing from it. To be asked right
    /// after `look`.
    pub(super) fn is_quiet(&self, now: Instant) -> bool {
        let partial = self.activity.partial.load(Ordering::Relaxed);
        let patience = if partial { PARTIAL_QUIET } else { QUIET };
        now.saturating_duration_since(self.quiet_since) >= patience
    }

    /// Whether the connection is to be closed, as things stand at `now`.
    pub(super) fn look(&mut self, now: Instant) -> Option<Overdue> {
        let events = self.activity.events.load(Ordering::Relaxed);
        if events != self.seen_events || self.activity.under_way.load(Ordering::Relaxed) > 0 {
            self.served |= events > 0;
            self.seen_events = events;
            self.quiet_since = now;
            self.partial_since = None;
            return None;
        }
        // The first request must come as fast as a head must: until then we know nothing good of the peer.
        if !self.served {
            return (now - self.quiet_since >= self.header_timeout).then_some(Overdue::Head);
        }
        if self.activity.partial.load(Ordering::Relaxed) {
            let since = *self.partial_since.get_or_insert(now);
            return (now - since >= self.header_timeout).then_some(Overdue::Head);
        }
        (now - self.quiet_since >= self.idle_timeout).then_some(Overdue::Idle)
    }
}

/// An io that notes that bytes came.
pub(super) struct Watched<I> {
    io: I,
    activity: Arc<Activity>,
}

impl<I> Watched<I> {
    pub(super) fn new(io: I, activity: Arc<Activity>) -> Self {
        Self { io, activity }
    }
}

impl<I: Read + Unpin> Read for Watched<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        if polled.is_ready() {
            self.activity.partial.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl<I: Write + Unpin> Write for Watched<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, buffers)
    }
}

/// A body that ends a request's progress when it ends.
pub(super) struct Tracked<B> {
    pub(super) body: B,
    pub(super) progress: InProgress,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Tracked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_ready() {
            self.progress.0.events.fetch_add(1, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn watch() -> (Arc<Activity>, Watch) {
        let activity = Arc::new(Activity::default());
        (
            Arc::clone(&activity),
            Watch::new(activity, 10 * SECOND, 75 * SECOND),
        )
    }

    #[test]
    fn a_first_request_must_come_within_the_header_timeout() {
        let (_, mut watch) = watch();
        let start = Instant::now();
        assert_eq!(watch.look(start + 9 * SECOND), None);
        assert_eq!(watch.look(start + 11 * SECOND), Some(Overdue::Head));
    }

    #[test]
    fn a_kept_connection_may_be_idle_for_longer() {
        let (activity, mut watch) = watch();
        let start = Instant::now();
        drop(activity.begin());
        assert_eq!(watch.look(start + SECOND), None);
        assert_eq!(watch.look(start + 70 * SECOND), None);
        assert_eq!(watch.look(start + 77 * SECOND), Some(Overdue::Idle));
    }

    #[test]
    fn a_connection_is_quiet_when_nothing_began_or_ended_for_a_while() {
        let (activity, mut watch) = watch();
        let start = Instant::now();
        let request = activity.begin();
        assert_eq!(watch.look(start + SECOND), None);
        assert!(!watch.is_quiet(start + SECOND));
        drop(request);
        assert_eq!(watch.look(start + 2 * SECOND), None);
        assert!(!watch.is_quiet(start + 2 * SECOND), "it may ask again");
        assert!(watch.is_quiet(start + 2 * SECOND + QUIET));
        activity.partial.store(true, Ordering::Relaxed);
        assert!(
            !watch.is_quiet(start + 2 * SECOND + QUIET),
            "a head may be on its way"
        );
        assert!(watch.is_quiet(start + 2 * SECOND + PARTIAL_QUIET));
    }

    #[test]
    fn a_head_that_does_not_end_is_overdue_and_a_long_response_is_not() {
        let (activity, mut watch) = watch();
        let start = Instant::now();
        let request = activity.begin();
        assert_eq!(watch.look(start + 100 * SECOND), None);
        drop(request);
        assert_eq!(watch.look(start + 101 * SECOND), None);
        activity.partial.store(true, Ordering::Relaxed);
        assert_eq!(watch.look(start + 102 * SECOND), None);
        assert_eq!(watch.look(start + 113 * SECOND), Some(Overdue::Head));
    }
}
