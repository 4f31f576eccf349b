//! HTTP/1 on the way in, read strictly: what other servers may read in another way never gets to ours.
//!
//! hyper takes lines that end with LF alone, both lengths at once, a length said twice. Each is harmless to itself and the
//! beginning of a smuggled request where two servers stand in a row. So the bytes are looked at while they lie in hyper's own
//! buffer, once and without a copy. A head that is refused is cut off before the line that is wrong and ended there, so that
//! hyper makes a request of it, which the proxy answers as it answers everything: with a problem, a log line and metrics.

mod chunks;
mod field;
mod guard;
mod head;
#[cfg(test)]
mod tests;

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(super) use guard::Limits;
use guard::{Guard, Scanned};

use super::activity::{Activity, Turn};
use super::interim::Between;

/// Most bytes that are read and thrown away after a refusal. A connection that is closed with bytes unread is reset, and
/// the client may never see the answer.
const MOST_DISCARDED: usize = 256 << 10;
/// Most bytes that are kept while it is open whether they are HTTP at all.
const MOST_HELD: usize = 16 << 10;

/// A connection whose requests are read strictly.
pub(super) struct Strict<I> {
    io: I,
    guard: Guard,
    mode: Mode,
    /// Bytes that hyper gets before those that are still to be read.
    ahead: Vec<u8>,
    activity: Arc<Activity>,
    /// Where clients want interim responses.
    between: Option<Between>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Bytes are HTTP, and looked at.
    Guarded,
    /// A request asks for an upgrade: what follows it is HTTP only if it is not granted.
    Undecided,
    /// The connection was upgraded: its bytes are not HTTP.
    Upgraded,
    /// A request was refused: nothing that follows is looked at.
    Refused { left: usize },
    /// The body of a request is malformed: it has no end.
    Broken,
}

impl<I> Strict<I> {
    pub(super) fn new(
        io: I,
        limits: Limits,
        activity: Arc<Activity>,
        between: Option<Between>,
    ) -> Self {
        Self {
            io,
            guard: Guard::new(limits),
            mode: Mode::Guarded,
            ahead: Vec::new(),
            activity,
            between,
        }
    }

    /// Hands out what is ahead, as far as there is room.
    fn hand_out(&mut self, buffer: &mut ReadBuf<'_>) {
        let count = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(self.ahead.get(..count).unwrap_or_default());
        self.ahead.drain(..count);
        if self.ahead.is_empty() {
            self.ahead = Vec::new();
        }
    }

    /// Looks at what has come into the buffer, and takes back what hyper must not see.
    fn look(&mut self, buffer: &mut ReadBuf<'_>, before: usize) -> Result<()> {
        let fresh = buffer.filled().get(before..).unwrap_or_default();
        match self.guard.scan(fresh) {
            Scanned::Clean => {}
            Scanned::Upgrade { keep } => {
                self.mode = Mode::Undecided;
                let held = fresh.get(keep..).unwrap_or_default();
                self.ahead.splice(..0, held.iter().copied());
                buffer.set_filled(before + keep);
            }
            Scanned::Refused {
                keep,
                refusal,
                ending,
            } => {
                self.mode = Mode::Refused {
                    left: MOST_DISCARDED,
                };
                self.activity.refuse(self.guard.heads(), refusal);
                self.ahead = ending;
                buffer.set_filled(before + keep);
                self.hand_out(buffer);
            }
            Scanned::Broken { keep } => {
                self.mode = Mode::Broken;
                buffer.set_filled(before + keep);
                if keep == 0 {
                    return Err(broken());
                }
            }
        }
        Ok(())
    }
}

impl<I: AsyncRead + Unpin> Strict<I> {
    /// Reads on without hyper: to see the end of the connection, and the bytes that belong to whatever is decided.
    fn hold(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut bytes = [0; 1024];
        while self.ahead.len() < MOST_HELD {
            let mut buffer = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.ahead.extend_from_slice(buffer.filled());
        }
        Poll::Pending
    }

    /// Reads what follows a refused request, and forgets it. hyper is busy with the answer, after which it closes the
    /// connection: the end of the input would only make it give up earlier.
    fn discard(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
        mut left: usize,
    ) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        while left > 0 {
            let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
            let came = buffer.filled().len() - before;
            buffer.set_filled(before);
            left = match polled {
                Poll::Ready(Ok(())) if came > 0 => left.saturating_sub(came),
                Poll::Ready(_) => 0,
                Poll::Pending => break,
            };
            self.mode = Mode::Refused { left };
        }
        Poll::Pending
    }
}

fn broken() -> Error {
    Error::new(ErrorKind::InvalidData, "the chunked body is malformed")
}

impl<I: AsyncRead + Unpin> AsyncRead for Strict<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let this = &mut *self;
        if this.mode == Mode::Undecided {
            match this.activity.turn(this.guard.heads()) {
                Turn::Upgraded => this.mode = Mode::Upgraded,
                Turn::Answered => this.mode = Mode::Guarded,
                Turn::Waiting => return this.hold(cx),
            }
        }
        let before = buffer.filled().len();
        if !this.ahead.is_empty() {
            this.hand_out(buffer);
        } else if let Mode::Refused { left } = this.mode {
            return this.discard(cx, buffer, left);
        } else if this.mode == Mode::Broken {
            return Poll::Ready(Err(broken()));
        } else {
            let polled = Pin::new(&mut this.io).poll_read(cx, buffer);
            if this.guard.in_body() {
                let came = buffer.filled().len() - before;
                this.activity.receive(came, polled.is_pending());
            }
            ready!(polled)?;
        }
        if this.mode == Mode::Guarded {
            this.look(buffer, before)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> Strict<I> {
    fn before_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.between {
            Some(between) => between.before_write(&mut self.io, cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Strict<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        ready!(self.before_write(cx))?;
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        if let Some(between) = &mut this.between {
            ready!(between.at_flush(&mut this.io, cx))?;
        }
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        ready!(self.before_write(cx))?;
        Pin::new(&mut self.io).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
