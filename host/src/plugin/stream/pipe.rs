//! A body that passes through a guest while it is read: the guest is called when the next hop has room for more, so a slow
//! reader slows the sender down, and no more than a piece is held.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame};

use super::guest::{Guest, Piece};
use crate::body::{Body, BodyError, Pipe};

/// Most bytes of one piece: few enough that a guest is done with them within its CPU budget, and enough that the calls
/// cost little beside the copying.
const PIECE_BYTES: usize = 16 << 10;
/// Time that a body may spend in a guest before others on the worker have their turn.
const TURN: Duration = Duration::from_millis(1);

/// A body that passes through a guest.
pub(super) struct Piped {
    state: State,
    source: Body,
    /// What is left of the source's last frame.
    waiting: Bytes,
    trailers: HeaderMap,
    /// Time in the guest since others had their turn.
    spent: Duration,
}

#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each body, and it is idle most of the time"
)]
enum State {
    Idle(Guest),
    Piece(Call<Piece>),
    End(Call<(Bytes, HeaderMap)>),
    /// All that is left are the trailers.
    Ended,
}

type Call<T> = Pin<Box<dyn Future<Output = Result<T, BodyError>> + Send>>;
type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

impl Piped {
    pub(super) fn new(guest: Guest, source: Body) -> Self {
        Self {
            state: State::Idle(guest),
            source,
            waiting: Bytes::new(),
            trailers: HeaderMap::new(),
            spent: Duration::ZERO,
        }
    }

    /// What the source gives next, as a call of the guest; or the source's error.
    fn poll_source(&mut self, guest: Guest, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        while self.waiting.is_empty() {
            let end = match Pin::new(&mut self.source).poll_frame(cx) {
                Poll::Pending => {
                    self.state = State::Idle(guest);
                    return Poll::Pending;
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        self.waiting = data;
                        continue;
                    }
                    Err(frame) => frame.into_trailers().unwrap_or_default(),
                },
                Poll::Ready(None) => HeaderMap::new(),
            };
            self.state = State::End(Box::pin(guest.end(end)));
            return Poll::Ready(Ok(()));
        }
        let length = self.waiting.len().min(PIECE_BYTES);
        let piece = self.waiting.split_to(length);
        self.state = State::Piece(Box::pin(guest.piece(piece)));
        Poll::Ready(Ok(()))
    }

    /// Whether others should have their turn first.
    fn yields(&mut self, cx: &Context<'_>) -> bool {
        if self.spent < TURN {
            return false;
        }
        self.spent = Duration::ZERO;
        cx.waker().wake_by_ref();
        true
    }

    fn fail(&mut self, error: BodyError) -> Polled {
        self.state = State::Ended;
        self.source = Body::empty();
        self.waiting = Bytes::new();
        Poll::Ready(Some(Err(error)))
    }
}

impl Pipe for Piped {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        loop {
            if self.yields(cx) {
                return Poll::Pending;
            }
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Idle(guest) => match self.poll_source(guest, cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(error)) => return self.fail(error),
                    Poll::Ready(Ok(())) => {}
                },
                State::Piece(mut call) => match call.as_mut().poll(cx) {
                    Poll::Pending => {
                        self.state = State::Piece(call);
                        return Poll::Pending;
                    }
                    Poll::Ready(Err(error)) => return self.fail(error),
                    Poll::Ready(Ok(Piece { guest, bytes, time })) => {
                        self.state = State::Idle(guest);
                        self.spent += time;
                        if !bytes.is_empty() {
                            return Poll::Ready(Some(Ok(Frame::data(bytes))));
                        }
                    }
                },
                State::End(mut call) => match call.as_mut().poll(cx) {
                    Poll::Pending => {
                        self.state = State::End(call);
                        return Poll::Pending;
                    }
                    Poll::Ready(Err(error)) => return self.fail(error),
                    Poll::Ready(Ok((bytes, trailers))) => {
                        self.trailers = trailers;
                        if !bytes.is_empty() {
                            return Poll::Ready(Some(Ok(Frame::data(bytes))));
                        }
                    }
                },
                State::Ended if self.trailers.is_empty() => return Poll::Ready(None),
                State::Ended => {
                    let trailers = std::mem::take(&mut self.trailers);
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Ended) && self.trailers.is_empty()
    }
}
