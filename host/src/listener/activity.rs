//! What happens on a connection, so that one on which nothing happens can be closed.
//!
//! hyper's own head timeout also ends idle connections, and sets a timer for each request. Here a connection only counts,
//! and the janitor looks at the numbers now and then.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::time::Instant;

use crate::proxy::Refusal;

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
    /// Requests that have begun: the number of the last one.
    begun: AtomicU32,
    /// The number of the request that was refused while it was read, and why.
    refused: OnceLock<(u32, Refusal)>,
    /// Whether the connection was upgraded.
    upgraded: AtomicBool,
    /// Whether the head of the last request's answer was made.
    answered: AtomicBool,
    /// Bytes of request bodies.
    received: AtomicU64,
    /// Whether more of a request body is wanted, and not there.
    wanting: AtomicBool,
    /// Parts of responses that were handed over, and after which no other was asked for.
    untaken: AtomicU32,
    /// Whether the client's side of the connection takes no more bytes.
    blocked: AtomicBool,
    /// What the janitor wants.
    order: AtomicU8,
    waker: AtomicWaker,
}

/// What became of a request that asks for an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It has no answer yet.
    Waiting,
    /// It was answered like any other.
    Answered,
    /// The connection was upgraded.
    Upgraded,
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
    /// A request's body does not come, or too slowly.
    Body,
    /// The client does not take the response.
    Write,
}

/// How long a connection may keep us waiting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For a head.
    pub(super) header: Duration,
    /// For the next request.
    pub(super) idle: Duration,
    /// For a request body, in all...
    pub(super) body: Duration,
    /// ...and a second more for so many bytes that came.
    pub(super) bytes_per_second: u64,
    /// For any part of a response to be taken.
    pub(super) write: Duration,
}

/// Looks at a connection from time to time.
pub(super) struct Watch {
    activity: Arc<Activity>,
    patience: Patience,
    seen_events: u64,
    quiet_since: Instant,
    partial_since: Option<Instant>,
    served: bool,
    body: Wait,
}

/// How long was waited for the body of a request.
struct Wait {
    /// Of which request.
    request: u32,
    /// What had come when it began.
    received: u64,
    /// All the time in which more was wanted.
    waited: Duration,
    /// When was looked last, and whether more was wanted then.
    looked: Instant,
    wanting: bool,
}

impl Wait {
    fn new(now: Instant) -> Self {
        Self {
            request: 0,
            received: 0,
            waited: Duration::ZERO,
            looked: now,
            wanting: false,
        }
    }

    /// Whether the body has kept us waiting for longer than what has come of it is worth.
    fn look(&mut self, activity: &Activity, patience: &Patience, now: Instant) -> bool {
        let request = activity.begun.load(Ordering::Relaxed);
        let received = activity.received.load(Ordering::Relaxed);
        let wanting = activity.wanting.load(Ordering::Relaxed)
            && activity.under_way.load(Ordering::Relaxed) > 0
            && !activity.answered.load(Ordering::Relaxed);
        if request != self.request {
            *self = Self {
                request,
                received,
                ..Self::new(now)
            };
        } else if wanting && self.wanting {
            self.waited += now - self.looked;
        }
        self.looked = now;
        self.wanting = wanting;
        let earned = (received - self.received) / patience.bytes_per_second.max(1);
        wanting && self.waited >= patience.body.saturating_add(Duration::from_secs(earned))
    }
}

impl Activity {
    /// A request has begun; drop the guard when its response has ended.
    pub(super) fn begin(self: &Arc<Self>) -> InProgress {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.partial.store(false, Ordering::Relaxed);
        self.answered.store(false, Ordering::Relaxed);
        self.occupy()
    }

    /// The connection is in use, for as long as the guard lives.
    pub(super) fn occupy(self: &Arc<Self>) -> InProgress {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        self.events.fetch_add(1, Ordering::Relaxed);
        InProgress {
            activity: Arc::clone(self),
            untaken: false,
        }
    }

    /// The head of an answer is made: from now on the other side decides how long the request goes on. After an upgrade
    /// the connection is no longer HTTP.
    pub(super) fn answer(&self, upgraded: bool) {
        self.answered.store(true, Ordering::Relaxed);
        if upgraded {
            self.upgraded.store(true, Ordering::Relaxed);
        }
    }

    /// So many bytes of a request body came, and whether that was less than was wanted.
    pub(super) fn receive(&self, bytes: usize, wanting: bool) {
        let before = self.received.load(Ordering::Relaxed);
        self.received
            .store(before + bytes as u64, Ordering::Relaxed);
        self.wanting.store(wanting, Ordering::Relaxed);
    }

    /// The request after the first `before` is refused.
    pub(super) fn refuse(&self, before: u32, refusal: Refusal) {
        let _ = self.refused.set((before.wrapping_add(1), refusal));
    }

    /// Why the request that begins now is refused, if it is.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let (number, refusal) = self.refused.get()?;
        (self.begun.load(Ordering::Relaxed) == *number).then_some(*refusal)
    }

    /// Bytes were written, or could not be.
    fn wrote(&self, blocked: bool) {
        if blocked || self.blocked.load(Ordering::Relaxed) {
            self.blocked.store(blocked, Ordering::Relaxed);
            self.events
                .fetch_add(u64::from(!blocked), Ordering::Relaxed);
        }
    }

    /// What became of the last of `heads` requests.
    pub(super) fn turn(&self, heads: u32) -> Turn {
        if self.upgraded.load(Ordering::Relaxed) {
            return Turn::Upgraded;
        }
        let begun = self.begun.load(Ordering::Relaxed) == heads;
        match begun && self.under_way.load(Ordering::Relaxed) == 0 {
            true => Turn::Answered,
            false => Turn::Waiting,
        }
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

    /// Waits for a stricter order than this.
    pub(super) async fn order_after(&self, known: Order) -> Order {
        std::future::poll_fn(|cx| {
            self.listen(cx);
            match self.ordered() {
                order if order > known => Poll::Ready(order),
                _ => Poll::Pending,
            }
        })
        .await
    }

    /// The task to wake when there is an order.
    pub(super) fn listen(&self, cx: &Context<'_>) {
        self.waker.register(cx.waker());
    }
}

/// A request that has begun.
pub(super) struct InProgress {
    activity: Arc<Activity>,
    untaken: bool,
}

impl InProgress {
    /// Whether a part of the response was handed over that may not have been taken.
    fn hand_over(&mut self, untaken: bool) {
        if self.untaken == untaken {
            return;
        }
        self.untaken = untaken;
        match untaken {
            true => self.activity.untaken.fetch_add(1, Ordering::Relaxed),
            false => self.activity.untaken.fetch_sub(1, Ordering::Relaxed),
        };
    }
}

impl InProgress {
    /// A part of the response was handed over, or taken.
    pub(super) fn part(&mut self, untaken: bool) {
        self.activity.events.fetch_add(1, Ordering::Relaxed);
        self.hand_over(untaken);
    }

    /// Whether the connection ends with the response.
    pub(super) fn is_last(&self) -> bool {
        self.activity.ordered() >= Order::Last
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.hand_over(false);
        self.activity.under_way.fetch_sub(1, Ordering::Relaxed);
        self.activity.events.fetch_add(1, Ordering::Relaxed);
    }
}

impl Watch {
    pub(super) fn new(activity: Arc<Activity>, patience: Patience) -> Self {
        let quiet_since = Instant::now();
        Self {
            activity,
            patience,
            seen_events: 0,
            quiet_since,
            partial_since: None,
            served: false,
            body: Wait::new(quiet_since),
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
        let slow_body = self.body.look(&self.activity, &self.patience, now);
        let events = self.activity.events.load(Ordering::Relaxed);
        let changed = events != self.seen_events;
        if changed {
            self.served |= events > 0;
            self.seen_events = events;
            self.quiet_since = now;
            self.partial_since = None;
        }
        let blocked = self.activity.blocked.load(Ordering::Relaxed);
        if blocked || self.activity.under_way.load(Ordering::Relaxed) > 0 {
            let untaken = blocked || self.activity.untaken.load(Ordering::Relaxed) > 0;
            return match now - self.quiet_since >= self.patience.write {
                true if untaken => Some(Overdue::Write),
                _ => slow_body.then_some(Overdue::Body),
            };
        }
        if changed {
            return None;
        }
        // The first request must come as fast as a head must: until then we know nothing good of the peer.
        if !self.served {
            return (now - self.quiet_since >= self.patience.header).then_some(Overdue::Head);
        }
        if self.activity.partial.load(Ordering::Relaxed) {
            let since = *self.partial_since.get_or_insert(now);
            return (now - since >= self.patience.header).then_some(Overdue::Head);
        }
        (now - self.quiet_since >= self.patience.idle).then_some(Overdue::Idle)
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
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.activity.wrote(polled.is_pending());
        polled
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
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, buffers);
        self.activity.wrote(polled.is_pending());
        polled
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
            let events = &self.progress.activity.events;
            events.fetch_add(1, Ordering::Relaxed);
        }
        // Whoever asks for more has taken what there was.
        self.progress
            .hand_over(matches!(polled, Poll::Ready(Some(Ok(_)))));
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
        let patience = Patience {
            header: 10 * SECOND,
            idle: 75 * SECOND,
            body: 20 * SECOND,
            bytes_per_second: 100,
            write: 30 * SECOND,
        };
        (Arc::clone(&activity), Watch::new(activity, patience))
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

    #[test]
    fn a_body_must_keep_coming() {
        let (activity, mut watch) = watch();
        let start = Instant::now();
        let request = activity.begin();
        activity.receive(0, true);
        for second in 0..20 {
            assert_eq!(watch.look(start + second * SECOND), None, "{second}");
        }
        // 500 bytes are worth five seconds more.
        activity.receive(500, true);
        assert_eq!(watch.look(start + 24 * SECOND), None);
        assert_eq!(watch.look(start + 26 * SECOND), Some(Overdue::Body));
        activity.answer(false);
        assert_eq!(watch.look(start + 27 * SECOND), None);
        drop(request);
    }

    #[test]
    fn time_in_which_nothing_of_a_body_was_wanted_does_not_count() {
        let (activity, mut watch) = watch();
        let start = Instant::now();
        let _request = activity.begin();
        activity.receive(0, false);
        for second in 0..100 {
            assert_eq!(watch.look(start + second * SECOND), None, "{second}");
        }
    }

    #[test]
    fn a_response_must_be_taken() {
        let (activity, mut watch) = watch();
        let start = Instant::now();
        let mut request = activity.begin();
        assert_eq!(watch.look(start), None);
        // The origin is slow: that is not the client's fault.
        assert_eq!(watch.look(start + 40 * SECOND), None);
        request.hand_over(true);
        activity.events.fetch_add(1, Ordering::Relaxed);
        assert_eq!(watch.look(start + 41 * SECOND), None);
        assert_eq!(watch.look(start + 70 * SECOND), None);
        assert_eq!(watch.look(start + 72 * SECOND), Some(Overdue::Write));
        request.hand_over(false);
        assert_eq!(watch.look(start + 73 * SECOND), None);
        // What was handed over may still not have gone out.
        drop(request);
        activity.wrote(true);
        assert_eq!(watch.look(start + 74 * SECOND), None);
        assert_eq!(watch.look(start + 105 * SECOND), Some(Overdue::Write));
        activity.wrote(false);
        assert_eq!(watch.look(start + 106 * SECOND), None);
    }
}
