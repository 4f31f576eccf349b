//! QUIC as the HTTP/3 library wants it, made of quinn's connections and streams.
//!
//! There is a crate that does the same, with less care: here frames are bounded while they come, a response ends when the
//! client has all of it, and what a client gives up is heard of.

use std::io::{Error, ErrorKind};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use quinn::{ConnectionError, ReadError, StoppedError, VarInt, WriteError};
use tokio::io::ReadBuf;
use tokio::sync::mpsc;

use super::frames::{Frames, Refusal};

/// Read at once.
const READ: usize = 8 << 10;

type Waiting<T> = Pin<Box<dyn Future<Output = Result<T, ConnectionError>> + Send>>;
type Streams = (quinn::SendStream, quinn::RecvStream);
/// Comes when the client no longer wants a response, or has all of it.
pub(super) type Stopped =
    Pin<Box<dyn Future<Output = Result<Option<VarInt>, StoppedError>> + Send + Sync>>;

/// A connection.
pub(super) struct Transport {
    opener: Opener,
    accepting: Option<Waiting<Streams>>,
    accepting_one: Option<Waiting<quinn::RecvStream>>,
    max_frame: u64,
    control: Control,
    stops: mpsc::UnboundedSender<(StreamId, Stopped)>,
}

/// Has a connection accept no more requests.
#[derive(Clone, Default)]
pub(super) struct Control(Arc<AtomicBool>);

impl Control {
    /// Requests that come from now on are rejected (RFC 9114, 5.2): the client may make them elsewhere.
    pub(super) fn reject(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Transport {
    /// Frames are no longer than `max_frame`. For each request that is accepted, it is heard when the client gives it up.
    pub(super) fn new(
        connection: quinn::Connection,
        max_frame: u64,
        control: Control,
    ) -> (Self, mpsc::UnboundedReceiver<(StreamId, Stopped)>) {
        let (stops, heard) = mpsc::unbounded_channel();
        let transport = Self {
            opener: Opener::new(connection),
            accepting: None,
            accepting_one: None,
            max_frame,
            control,
            stops,
        };
        (transport, heard)
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Streams, ConnectionError>> {
        let begin = |connection: quinn::Connection| async move { connection.accept_bi().await };
        poll_once(&mut self.accepting, cx, || {
            Box::pin(begin(self.opener.connection.clone()))
        })
    }
}

/// Polls what was begun, or begins it.
fn poll_once<T>(
    waiting: &mut Option<Waiting<T>>,
    cx: &mut Context<'_>,
    begin: impl FnOnce() -> Waiting<T>,
) -> Poll<Result<T, ConnectionError>> {
    let polled = waiting.get_or_insert_with(begin).as_mut().poll(cx);
    if polled.is_ready() {
        *waiting = None;
    }
    polled
}

impl quic::Connection<Bytes> for Transport {
    type RecvStream = Receiving;
    type OpenStreams = Opener;

    fn poll_accept_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Receiving, ConnectionErrorIncoming>> {
        let begin = |connection: quinn::Connection| async move { connection.accept_uni().await };
        let accepted = poll_once(&mut self.accepting_one, cx, || {
            Box::pin(begin(self.opener.connection.clone()))
        });
        let stream = ready!(accepted).map_err(of_connection)?;
        let frames = Frames::of_one_direction(self.max_frame);
        Poll::Ready(Ok(Receiving::new(stream, frames)))
    }

    fn poll_accept_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Both, ConnectionErrorIncoming>> {
        loop {
            let (mut sending, mut receiving) =
                ready!(self.poll_accept(cx)).map_err(of_connection)?;
            if self.control.0.load(Ordering::Relaxed) {
                let code = number(Code::H3_REQUEST_REJECTED.value());
                // A stream that is closed already needs neither.
                let _ = (sending.reset(code), receiving.stop(code));
                continue;
            }
            // Nobody hears it any more when the connection ends.
            let _ = self
                .stops
                .send((id(sending.id()), Box::pin(sending.stopped())));
            return Poll::Ready(Ok(Both {
                sending: Sending::new(sending),
                receiving: Receiving::new(receiving, Frames::of_request(self.max_frame)),
            }));
        }
    }

    fn opener(&self) -> Opener {
        Opener::new(self.opener.connection.clone())
    }
}

impl quic::OpenStreams<Bytes> for Transport {
    type BidiStream = Both;
    type SendStream = Sending;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Both, StreamErrorIncoming>> {
        self.opener.poll_open_bidi(cx)
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Sending, StreamErrorIncoming>> {
        self.opener.poll_open_send(cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.opener.close(code, reason);
    }
}

/// Opens streams of ours.
pub(super) struct Opener {
    connection: quinn::Connection,
    opening: Option<Waiting<Streams>>,
    opening_one: Option<Waiting<quinn::SendStream>>,
}

impl Opener {
    fn new(connection: quinn::Connection) -> Self {
        Self {
            connection,
            opening: None,
            opening_one: None,
        }
    }
}

impl quic::OpenStreams<Bytes> for Opener {
    type BidiStream = Both;
    type SendStream = Sending;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Both, StreamErrorIncoming>> {
        let begin = |connection: quinn::Connection| async move { connection.open_bi().await };
        let opened = poll_once(&mut self.opening, cx, || {
            Box::pin(begin(self.connection.clone()))
        });
        let (sending, receiving) = ready!(opened).map_err(lost)?;
        Poll::Ready(Ok(Both {
            sending: Sending::new(sending),
            receiving: Receiving::new(receiving, Frames::of_request(0)),
        }))
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Sending, StreamErrorIncoming>> {
        let begin = |connection: quinn::Connection| async move { connection.open_uni().await };
        let opened = poll_once(&mut self.opening_one, cx, || {
            Box::pin(begin(self.connection.clone()))
        });
        Poll::Ready(Ok(Sending::new(ready!(opened).map_err(lost)?)))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.connection.close(number(code.value()), reason);
    }
}

/// Our side of a stream.
pub(super) struct Sending {
    stream: quinn::SendStream,
    writing: Option<WriteBuf<Bytes>>,
    /// Since it was finished.
    taken: Option<Stopped>,
}

impl Sending {
    fn new(stream: quinn::SendStream) -> Self {
        Self {
            stream,
            writing: None,
            taken: None,
        }
    }
}

impl quic::SendStream<Bytes> for Sending {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        if let Some(buffer) = &mut self.writing {
            while buffer.has_remaining() {
                let stream = Pin::new(&mut self.stream);
                let written = ready!(stream.poll_write(cx, buffer.chunk())).map_err(of_write)?;
                buffer.advance(written);
            }
        }
        self.writing = None;
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        if self.writing.is_some() {
            let error = Error::new(ErrorKind::InvalidInput, "the last data is not written yet");
            return Err(StreamErrorIncoming::Unknown(error.into()));
        }
        self.writing = Some(data.into());
        Ok(())
    }

    /// Ready when the client has everything: only then may the connection be closed.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        let taken = match &mut self.taken {
            Some(taken) => taken,
            None => {
                let unknown = |error| StreamErrorIncoming::Unknown(Box::new(error));
                self.stream.finish().map_err(unknown)?;
                self.taken.insert(Box::pin(self.stream.stopped()))
            }
        };
        Poll::Ready(match ready!(taken.as_mut().poll(cx)) {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(terminated(code.into_inner())),
            Err(StoppedError::ConnectionLost(error)) => Err(lost(error)),
            Err(error) => Err(StreamErrorIncoming::Unknown(Box::new(error))),
        })
    }

    fn reset(&mut self, code: u64) {
        // One that is closed already need not be reset.
        let _ = self.stream.reset(number(code));
    }

    fn send_id(&self) -> StreamId {
        id(self.stream.id())
    }
}

/// The client's side of a stream.
pub(super) struct Receiving {
    stream: quinn::RecvStream,
    frames: Frames,
    /// What came and was not passed on.
    pending: Bytes,
    ended: bool,
    /// Why we broke off.
    refused: Option<Code>,
}

impl Receiving {
    fn new(stream: quinn::RecvStream, frames: Frames) -> Self {
        Self {
            stream,
            frames,
            pending: Bytes::new(),
            ended: false,
            refused: None,
        }
    }

    /// Breaks off, and says why.
    fn refuse(&mut self, code: Code) -> StreamErrorIncoming {
        self.refused = Some(code);
        quic::RecvStream::stop_sending(self, code.value());
        terminated(code.value())
    }
}

impl quic::RecvStream for Receiving {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        loop {
            match self.frames.next(&mut self.pending) {
                Ok(Some(piece)) => return Poll::Ready(Ok(Some(piece))),
                Ok(None) if self.ended => return Poll::Ready(Ok(None)),
                Ok(None) => {}
                Err(refusal) => {
                    let code = match refusal {
                        Refusal::TooLong => Code::H3_EXCESSIVE_LOAD,
                        Refusal::Malformed => Code::H3_MESSAGE_ERROR,
                    };
                    return Poll::Ready(Err(self.refuse(code)));
                }
            }
            let mut space = [MaybeUninit::uninit(); READ];
            let mut buffer = ReadBuf::uninit(&mut space);
            ready!(self.stream.poll_read_buf(cx, &mut buffer)).map_err(of_read)?;
            self.pending = Bytes::copy_from_slice(buffer.filled());
            self.ended = self.pending.is_empty();
            if self.ended && !self.frames.is_between() {
                // RFC 9114, 7.1
                return Poll::Ready(Err(self.refuse(Code::H3_FRAME_ERROR)));
            }
        }
    }

    fn stop_sending(&mut self, code: u64) {
        self.ended = true;
        // One that has ended already need not be stopped.
        let _ = self.stream.stop(number(code));
    }

    fn recv_id(&self) -> StreamId {
        id(self.stream.id())
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if !self.ended {
            // The answer does not need the rest of the request (RFC 9114, 4.1).
            let _ = self.stream.stop(number(Code::H3_NO_ERROR.value()));
        }
    }
}

/// Both sides of a stream.
pub(super) struct Both {
    sending: Sending,
    receiving: Receiving,
}

impl quic::BidiStream<Bytes> for Both {
    type SendStream = Sending;
    type RecvStream = Receiving;

    fn split(self) -> (Sending, Receiving) {
        (self.sending, self.receiving)
    }
}

impl quic::SendStream<Bytes> for Both {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.sending.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.sending.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.sending.poll_finish(cx)
    }

    fn reset(&mut self, code: u64) {
        self.sending.reset(code);
    }

    fn send_id(&self) -> StreamId {
        self.sending.send_id()
    }
}

impl quic::RecvStream for Both {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        let polled = self.receiving.poll_data(cx);
        if let Some(code) = self.receiving.refused {
            quic::SendStream::reset(&mut self.sending, code.value());
        }
        polled
    }

    fn stop_sending(&mut self, code: u64) {
        self.receiving.stop_sending(code);
    }

    fn recv_id(&self) -> StreamId {
        self.receiving.recv_id()
    }
}

fn number(code: u64) -> VarInt {
    VarInt::from_u64(code).unwrap_or(VarInt::MAX)
}

fn id(id: quinn::StreamId) -> StreamId {
    let number = u64::from(VarInt::from(id));
    StreamId::try_from(number).expect("the numbers of streams are QUIC's")
}

fn terminated(error_code: u64) -> StreamErrorIncoming {
    StreamErrorIncoming::StreamTerminated { error_code }
}

fn of_connection(error: ConnectionError) -> ConnectionErrorIncoming {
    match error {
        ConnectionError::ApplicationClosed(close) => ConnectionErrorIncoming::ApplicationClose {
            error_code: close.error_code.into_inner(),
        },
        ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        error => ConnectionErrorIncoming::Undefined(Arc::new(error)),
    }
}

fn lost(error: ConnectionError) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming {
        connection_error: of_connection(error),
    }
}

fn of_read(error: ReadError) -> StreamErrorIncoming {
    match error {
        ReadError::Reset(code) => terminated(code.into_inner()),
        ReadError::ConnectionLost(error) => lost(error),
        error => StreamErrorIncoming::Unknown(Box::new(error)),
    }
}

fn of_write(error: WriteError) -> StreamErrorIncoming {
    match error {
        WriteError::Stopped(code) => terminated(code.into_inner()),
        WriteError::ConnectionLost(error) => lost(error),
        error => StreamErrorIncoming::Unknown(Box::new(error)),
    }
}
