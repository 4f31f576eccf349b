//! Interim responses (RFC 9110, 15.2) to clients over HTTP/1. hyper's server has no way to send them, so they are written
//! between two of its writes, where one message has ended and the next has not begun.

use std::io::{ErrorKind, Result};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use http::{HeaderMap, StatusCode};
use tokio::io::AsyncWrite;

use crate::proxy::Interim;

/// Most bytes that wait for a client. What comes on top is dropped: the response itself is what counts.
const MOST_WAITING: usize = 16 << 10;

/// The interim responses of one connection. Both sides are on the connection's worker: nobody waits for the lock.
#[derive(Default)]
pub(super) struct Interims(Mutex<State>);

#[derive(Default)]
struct State {
    /// Number of the request under way, or of the last one.
    request: u64,
    /// Whether it has no answer yet.
    open: bool,
    /// Heads of interim responses to it.
    waiting: Vec<u8>,
    /// The connection's task.
    waker: Option<Waker>,
}

impl Interims {
    /// A request begins: what takes its interim responses.
    pub(super) fn begin(self: &Arc<Self>) -> Interim {
        let mut state = self.lock();
        state.request += 1;
        state.open = true;
        state.waiting.clear();
        let (interims, request) = (Arc::clone(self), state.request);
        Interim::new(move |status, headers| interims.add(request, status, &headers))
    }

    /// The request has its answer; of attempts that go on, nothing more is heard.
    pub(super) fn answered(&self) {
        self.lock().open = false;
    }

    fn add(&self, request: u64, status: StatusCode, headers: &HeaderMap) {
        let mut state = self.lock();
        if !state.open || state.request != request {
            return;
        }
        let head = head(status, headers);
        if state.waiting.len() + head.len() > MOST_WAITING {
            return;
        }
        state.waiting.extend_from_slice(&head);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A head of HTTP/1.1. Names and values were checked when they were read.
fn head(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let reason = status.canonical_reason().unwrap_or_default();
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Where interim responses go between the writes of hyper.
pub(super) struct Between {
    interims: Arc<Interims>,
    /// Those that are being written.
    writing: Vec<u8>,
    /// Whether hyper had nothing left to write when it last flushed, and has not written since.
    clear: bool,
}

impl Between {
    pub(super) fn new(interims: Arc<Interims>) -> Self {
        Self {
            interims,
            writing: Vec::new(),
            clear: true,
        }
    }

    /// hyper is about to write. After a flush, that begins with the head of the answer that interim responses precede;
    /// otherwise nobody knows where in its bytes the head begins.
    pub(super) fn before_write<I: AsyncWrite + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        ready!(self.poll_write(io, cx))?;
        if self.clear {
            self.writing.append(&mut self.interims.lock().waiting);
            ready!(self.poll_write(io, cx))?;
        }
        self.clear = false;
        Poll::Ready(Ok(()))
    }

    /// hyper flushes, which it does when it has written everything. While a request has no answer, nothing of it was.
    pub(super) fn at_flush<I: AsyncWrite + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        self.clear = true;
        // Before more is taken: a client that does not read costs no more than what may wait.
        ready!(self.poll_write(io, cx))?;
        let mut state = self.interims.lock();
        match state.open {
            true => {
                self.writing.append(&mut state.waiting);
                state.waker = Some(cx.waker().clone());
            }
            // The answer has gone out without them.
            false => state.waiting.clear(),
        }
        drop(state);
        self.poll_write(io, cx)
    }

    fn poll_write<I: AsyncWrite + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        while !self.writing.is_empty() {
            let written = ready!(Pin::new(&mut *io).poll_write(cx, &self.writing))?;
            if written == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            self.writing.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http::HeaderValue;
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    fn hints(interims: &Interims, request: u64, link: &'static str) {
        let headers = HeaderMap::from_iter([(http::header::LINK, HeaderValue::from_static(link))]);
        interims.add(request, StatusCode::EARLY_HINTS, &headers);
    }

    /// What a connection writes when hyper does these things.
    async fn written(between: &mut Between, acts: &str) -> String {
        let (mut ours, mut theirs) = duplex(1 << 10);
        let mut cx = Context::from_waker(Waker::noop());
        for act in acts.chars() {
            if act == 'f' {
                assert!(between.at_flush(&mut ours, &mut cx).is_ready());
                continue;
            }
            assert!(between.before_write(&mut ours, &mut cx).is_ready());
            let bytes = [act as u8];
            assert!(Pin::new(&mut ours).poll_write(&mut cx, &bytes).is_ready());
        }
        drop(ours);
        let mut text = String::new();
        theirs.read_to_string(&mut text).await.unwrap();
        text
    }

    const HEAD: &str = "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n";

    fn open() -> (Arc<Interims>, Between) {
        let interims = Arc::<Interims>::default();
        let between = Between::new(Arc::clone(&interims));
        interims.begin();
        (interims, between)
    }

    #[tokio::test]
    async fn they_go_out_at_once_or_right_before_the_answer() {
        let (interims, mut between) = open();
        hints(&interims, 1, "a");
        assert_eq!(written(&mut between, "f").await, HEAD);
        hints(&interims, 1, "a");
        interims.answered();
        assert_eq!(written(&mut between, "xyf").await, format!("{HEAD}xy"));
        assert_eq!(written(&mut between, "f").await, "");
    }

    #[tokio::test]
    async fn they_never_go_out_inside_or_after_an_answer() {
        let (interims, mut between) = open();
        // hyper has begun to write, and not flushed: this may be the end of the answer before.
        assert_eq!(written(&mut between, "x").await, "x");
        hints(&interims, 1, "a");
        assert_eq!(written(&mut between, "y").await, "y");
        interims.answered();
        assert_eq!(written(&mut between, "zfz").await, "zz");
        hints(&interims, 1, "late");
        assert_eq!(written(&mut between, "fx").await, "x");
        interims.begin();
        hints(&interims, 1, "of the request before");
        assert_eq!(written(&mut between, "fx").await, "x");
    }

    #[tokio::test]
    async fn few_wait_for_a_client_that_does_not_read() {
        let (interims, mut between) = open();
        let (mut ours, _theirs) = duplex(64);
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..3_000 {
            hints(&interims, 1, "a");
            let _ = between.at_flush(&mut ours, &mut cx);
        }
        let waiting = interims.lock().waiting.len();
        assert!(waiting <= MOST_WAITING && waiting > MOST_WAITING - HEAD.len());
        assert!(between.writing.len() <= MOST_WAITING);
    }
}
