//! The body of a message, in either direction: streamed, whole, or absent.

mod replay;
mod trailers;

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use replay::Recorded;
pub use replay::Replay;

/// Why a body broke off.
#[derive(Debug)]
pub enum BodyError {
    /// It is larger than allowed.
    TooLarge,
    /// No bytes came for too long.
    Timeout,
    /// The connection that it came from failed.
    Broken(ArrivalError),
    /// The plugin that it passes through failed; the log says how.
    Plugin(Arc<str>),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("the body is larger than allowed"),
            Self::Timeout => f.write_str("no bytes of the body came in time"),
            Self::Broken(_) => f.write_str("the body broke off"),
            Self::Plugin(name) => write!(f, "plugin {name:?} failed on the body"),
        }
    }
}

impl StdError for BodyError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Broken(error) => Some(&**error),
            Self::TooLarge | Self::Timeout | Self::Plugin(_) => None,
        }
    }
}

/// Why a body does not arrive.
pub type ArrivalError = Box<dyn StdError + Send + Sync>;

/// A body as it arrives on a connection.
#[derive(Debug)]
pub enum Arriving {
    /// Over HTTP/1 or HTTP/2.
    Hyper(Incoming),
    /// In another way.
    Other(Box<dyn Arrival>),
}

/// A body that arrives in a way of its own.
pub trait Arrival: Send {
    /// The next frame; as [`HttpBody::poll_frame`].
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ArrivalError>>>;

    /// Whether it is known that nothing more comes.
    fn is_end_stream(&self) -> bool;

    /// What is known of its length.
    fn size_hint(&self) -> SizeHint;
}

impl fmt::Debug for dyn Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Arrival")
    }
}

impl Arriving {
    /// Whether it is known that nothing more comes.
    #[must_use]
    pub fn is_end_stream(&self) -> bool {
        match self {
            Self::Hyper(body) => body.is_end_stream(),
            Self::Other(body) => body.is_end_stream(),
        }
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ArrivalError>>> {
        match self {
            Self::Hyper(body) => {
                let polled = Pin::new(body).poll_frame(cx);
                polled.map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            Self::Other(body) => body.poll_frame(cx),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Hyper(body) => body.size_hint(),
            Self::Other(body) => body.size_hint(),
        }
    }
}

/// Longer waits than this are this long: adding them to an instant cannot overflow.
const FAR: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Most bytes that are read of a body that nobody wants, and for how long.
const MAX_DISCARDED: usize = 64 << 10;
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// The body of a request or a response.
#[derive(Debug, Default)]
pub struct Body(Kind);

#[derive(Debug, Default)]
enum Kind {
    #[default]
    Empty,
    Whole(Bytes),
    Stream(Box<Stream>),
    Tapped(Box<Tapped>),
    Recorded(Recorded),
    Pipe(Box<dyn Pipe>),
}

/// A body that somebody listens to.
#[derive(Debug)]
struct Tapped {
    body: Body,
    tap: Option<Box<dyn Tap>>,
}

/// Listens to a body as it passes. When the body breaks off, the tap is dropped without hearing of an end.
pub trait Tap: Send + Sync {
    /// Some of the body. Whether it wants more.
    fn data(&mut self, data: &Bytes) -> bool;

    /// The body has come to its end.
    fn end(self: Box<Self>);
}

impl fmt::Debug for dyn Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tap")
    }
}

/// A body that is made from another one while it is read.
pub trait Pipe: Send {
    /// The next frame; as [`HttpBody::poll_frame`].
    fn poll_frame(&mut self, cx: &mut Context<'_>)
    -> Poll<Option<Result<Frame<Bytes>, BodyError>>>;

    /// Whether it is known that nothing more comes.
    fn is_end_stream(&self) -> bool;
}

impl fmt::Debug for dyn Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pipe")
    }
}

/// A body on its way, with its limits.
#[derive(Debug)]
struct Stream {
    incoming: Arriving,
    /// Bytes that may still come.
    left: u64,
    /// Counts what came.
    counter: Option<Arc<AtomicU64>>,
    /// Longest wait for the next bytes.
    patience: Option<Duration>,
    /// When the whole body must have come.
    deadline: Option<Instant>,
    /// Made at the first wait: most bodies never wait.
    timer: Option<Pin<Box<Sleep>>>,
    /// Released when the body has come to its end.
    lease: Option<Box<dyn Lease>>,
    done: bool,
}

/// Something that is needed for as long as a body comes, such as the connection that it comes from.
pub trait Lease: Send + Sync {
    /// Called at a clean end. Without it, dropping the lease means that the body was given up.
    fn release(self: Box<Self>);

    /// Called when the body broke off where it comes from, or nothing came of it for too long.
    fn fail(self: Box<Self>) {}
}

impl fmt::Debug for dyn Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lease")
    }
}

impl Body {
    /// No body.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// A body that is in memory.
    #[must_use]
    pub fn whole(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            Self::empty()
        } else {
            Self(Kind::Whole(bytes))
        }
    }

    /// The same body once more, if it is in memory.
    #[must_use]
    pub fn duplicate(&self) -> Option<Self> {
        match &self.0 {
            Kind::Empty => Some(Self::empty()),
            Kind::Whole(bytes) => Some(Self::whole(bytes.clone())),
            Kind::Stream(_) | Kind::Tapped(_) | Kind::Recorded(_) | Kind::Pipe(_) => None,
        }
    }

    /// The same body, heard by a tap.
    #[must_use]
    pub fn tapped(self, tap: Box<dyn Tap>) -> Self {
        let tap = Some(tap);
        Self(Kind::Tapped(Box::new(Tapped { body: self, tap })))
    }

    /// The body of a request, counted and limited.
    #[must_use]
    pub fn request(incoming: Arriving, limit: u64, counter: Arc<AtomicU64>) -> Self {
        let counter = Some(counter);
        let stream = Stream {
            incoming,
            left: limit,
            counter,
            patience: None,
            deadline: None,
            timer: None,
            lease: None,
            done: false,
        };
        Self(Kind::Stream(Box::new(stream)))
    }

    /// The body of a response, which must keep coming and end within `limit`, and the lease on where it comes from.
    #[must_use]
    pub fn response(
        incoming: Incoming,
        patience: Duration,
        limit: Option<Duration>,
        lease: Box<dyn Lease>,
    ) -> Self {
        if incoming.is_end_stream() {
            lease.release();
            return Self::empty();
        }
        let (patience, lease) = (Some(patience), Some(lease));
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let stream = Stream {
            incoming: Arriving::Hyper(incoming),
            left: u64::MAX,
            counter: None,
            patience,
            deadline,
            timer: None,
            lease,
            done: false,
        };
        Self(Kind::Stream(Box::new(stream)))
    }

    /// A body that is made from another one; its length is not known.
    #[must_use]
    pub fn piped(pipe: impl Pipe + 'static) -> Self {
        Self(Kind::Pipe(Box::new(pipe)))
    }

    /// The same body of a response, which must keep coming within `patience` and end within `limit`, where these are less
    /// than what it had.
    #[must_use]
    pub fn hurried(mut self, patience: Option<Duration>, limit: Option<Duration>) -> Self {
        if let Kind::Stream(stream) = &mut self.0 {
            let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
            stream.patience = less(stream.patience, patience);
            stream.deadline = less(stream.deadline, deadline);
        }
        self
    }

    /// Reads what nobody wants, if it is little: a connection that is read to the end of a body can be used again.
    pub fn discard(self) {
        if self.is_end_stream() || self.size_hint().lower() > MAX_DISCARDED as u64 {
            return;
        }
        tokio::spawn(tokio::time::timeout(
            DISCARD_TIME,
            self.collect(MAX_DISCARDED),
        ));
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// When it has more than `limit` bytes, or breaks off.
    pub async fn collect(self, limit: usize) -> Result<(Bytes, HeaderMap), BodyError> {
        let mut stream = match self.0 {
            Kind::Empty => return Ok((Bytes::new(), HeaderMap::new())),
            Kind::Whole(bytes) if bytes.len() > limit => return Err(BodyError::TooLarge),
            Kind::Whole(bytes) => return Ok((bytes, HeaderMap::new())),
            Kind::Stream(_) | Kind::Tapped(_) | Kind::Recorded(_) | Kind::Pipe(_) => self,
        };
        if stream.size_hint().lower() > limit as u64 {
            return Err(BodyError::TooLarge);
        }
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        let mut trailers = HeaderMap::new();
        while let Some(frame) = stream.frame().await {
            match frame?.into_data() {
                Ok(data) if first.is_empty() && all.is_empty() => first = data,
                Ok(data) => {
                    if all.is_empty() {
                        all.extend_from_slice(&std::mem::take(&mut first));
                    }
                    all.extend_from_slice(&data);
                }
                Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
            }
            if first.len().max(all.len()) > limit {
                return Err(BodyError::TooLarge);
            }
        }
        let bytes = if all.is_empty() { first } else { all.freeze() };
        Ok((bytes, trailers))
    }
}

/// The lesser of two limits, where there are any.
fn less<T: Ord>(one: Option<T>, two: Option<T>) -> Option<T> {
    one.into_iter().chain(two).min()
}

impl Stream {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.incoming.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.timer = None;
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                if let Some(counter) = &self.counter {
                    counter.fetch_add(length, Ordering::Relaxed);
                }
                if length > self.left {
                    self.done = true;
                    return Poll::Ready(Some(Err(BodyError::TooLarge)));
                }
                self.left -= length;
                // Whoever reads a body of known length does not ask again after its last byte, and nothing follows trailers.
                if frame.is_trailers() || self.incoming.is_end_stream() {
                    self.finish();
                }
                Poll::Ready(Some(Ok(match frame.is_data() {
                    true => frame,
                    false => trailers::permitted(frame),
                })))
            }
            Poll::Ready(Some(Err(error))) => {
                self.fail();
                Poll::Ready(Some(Err(BodyError::Broken(error))))
            }
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
            Poll::Pending => self.poll_patience(cx),
        }
    }

    fn finish(&mut self) {
        self.done = true;
        if let Some(lease) = self.lease.take() {
            lease.release();
        }
    }

    /// It is not the reader's doing that no more comes.
    fn fail(&mut self) {
        self.done = true;
        if let Some(lease) = self.lease.take() {
            lease.fail();
        }
    }

    fn poll_patience(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(patience) = self.patience else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| {
            let end = Instant::now() + patience.min(FAR);
            Box::pin(tokio::time::sleep_until(
                self.deadline.map_or(end, |deadline| deadline.min(end)),
            ))
        });
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        match self.deadline.is_some_and(|end| end <= Instant::now()) {
            // Who took the time is not known: the reader may be slow.
            true => self.done = true,
            false => self.fail(),
        }
        Poll::Ready(Some(Err(BodyError::Timeout)))
    }
}

impl Tapped {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let wants_more =
                    |tap: &mut Box<dyn Tap>| frame.data_ref().is_none_or(|data| tap.data(data));
                if !self.tap.as_mut().is_some_and(wants_more) {
                    self.tap = None;
                }
            }
            Poll::Ready(Some(Err(_))) => self.tap = None,
            Poll::Ready(None) | Poll::Pending => {}
        }
        // Whoever reads a body of known length does not ask again after its last byte.
        if !polled.is_pending()
            && self.body.is_end_stream()
            && let Some(tap) = self.tap.take()
        {
            tap.end();
        }
        polled
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Stream(stream) if stream.done => Poll::Ready(None),
            Kind::Stream(stream) => stream.poll_frame(cx),
            Kind::Tapped(tapped) => tapped.poll_frame(cx),
            Kind::Recorded(recorded) => recorded.poll_frame(cx),
            Kind::Pipe(pipe) => pipe.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Whole(_) => false,
            Kind::Stream(stream) => stream.done || stream.incoming.is_end_stream(),
            Kind::Tapped(tapped) => tapped.body.is_end_stream(),
            Kind::Recorded(recorded) => recorded.is_end_stream(),
            Kind::Pipe(pipe) => pipe.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(stream) => stream.incoming.size_hint(),
            Kind::Tapped(tapped) => tapped.body.size_hint(),
            Kind::Recorded(recorded) => recorded.size_hint(),
            Kind::Pipe(_) => SizeHint::default(),
        }
    }
}
