//! HTTP/2 frames on the way in, counted: each costs its sender a few bytes and us an answer, a look-up or a whole exchange.
//!
//! The library bounds what frames make it keep (streams, unsent answers, header blocks). It does not bound how much it is
//! made to do: requests that are taken back at once, pings, settings, empty data, one after the other for as long as the
//! connection lasts. So frames that carry nothing are counted here, by kind and within a window of time.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::config::FrameLimits;

/// Length of the client's preface (RFC 9113, 3.4).
const PREFACE: usize = 24;
/// Length of a frame's header (RFC 9113, 4.1).
const HEADER: usize = 9;
/// What counts holds for this long. The clock is only looked at when it is used up.
const WINDOW: Duration = Duration::from_secs(10);
/// For so many bytes that we write, the client may send one more window update.
const BYTES_PER_UPDATE: usize = 1_024;

/// A connection whose frames are counted.
pub(super) struct Counted<I> {
    io: I,
    counter: Counter,
}

struct Counter {
    limits: FrameLimits,
    left: FrameLimits,
    updates: usize,
    since: Instant,
    /// Bytes that are no frame header: of the preface, or of a payload.
    skip: usize,
    header: [u8; HEADER],
    have: usize,
}

impl<I> Counted<I> {
    pub(super) fn new(io: I, limits: FrameLimits) -> Self {
        let counter = Counter {
            limits,
            left: limits,
            updates: limits.control as usize,
            since: Instant::now(),
            skip: PREFACE,
            header: [0; HEADER],
            have: 0,
        };
        Self { io, counter }
    }

    fn written(&mut self, polled: &Poll<Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = polled {
            // At least one: small answers are as good a reason.
            self.counter.updates += 1 + bytes / BYTES_PER_UPDATE;
        }
    }
}

impl Counter {
    /// Follows the frames.
    fn count(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let missing = (HEADER - self.have).min(bytes.len());
            let (here, rest) = bytes.split_at(missing);
            if let Some(room) = self.header.get_mut(self.have..self.have + missing) {
                room.copy_from_slice(here);
            }
            self.have += missing;
            bytes = rest;
            if self.have == HEADER {
                self.have = 0;
                self.frame()?;
            }
        }
        Ok(())
    }

    /// One frame's header has come.
    fn frame(&mut self) -> Result<()> {
        const DATA: u8 = 0;
        const HEADERS: u8 = 1;
        const RST_STREAM: u8 = 3;
        const WINDOW_UPDATE: u8 = 8;
        const END_STREAM: u8 = 1;

        let [a, b, c, kind, flags, ..] = self.header;
        self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
        let enough = |left: &u32| *left > 0;
        let fine = match kind {
            HEADERS => return Ok(()),
            DATA if self.skip > 0 || flags & END_STREAM != 0 => return Ok(()),
            RST_STREAM => enough(&self.left.resets),
            WINDOW_UPDATE => self.updates > 0,
            _ => enough(&self.left.control),
        };
        if !fine {
            self.refill()?;
        }
        match kind {
            RST_STREAM => self.left.resets -= 1,
            WINDOW_UPDATE => self.updates -= 1,
            _ => self.left.control -= 1,
        }
        Ok(())
    }

    /// Begins another window, if the last one is over.
    fn refill(&mut self) -> Result<()> {
        let now = Instant::now();
        if now - self.since < WINDOW {
            return Err(Error::new(
                ErrorKind::InvalidData,
                "too many frames that carry nothing",
            ));
        }
        self.since = now;
        self.left = self.limits;
        self.updates = self.updates.max(self.limits.control as usize);
        Ok(())
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Counted<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        let fresh = buffer.filled().get(before..).unwrap_or_default();
        Poll::Ready(self.counter.count(fresh))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Counted<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.written(&polled);
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, buffers);
        self.written(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Fuzz, pieces};

    const LIMITS: FrameLimits = FrameLimits {
        resets: 3,
        control: 5,
    };

    fn counter() -> Counter {
        let mut counter = Counted::new((), LIMITS).counter;
        counter
            .count(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .expect("no frames yet");
        counter
    }

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).expect("it is short");
        [&[0, 0, length, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn as_many_as_are_allowed_pass_in_each_window() {
        for (kind, payload, most) in [(3, 4, 3), (4, 0, 5), (6, 8, 5), (8, 4, 5), (9, 1, 5)] {
            let mut counter = counter();
            let frame = frame(kind, 0, &vec![0; payload]);
            for _ in 0..2 {
                for _ in 0..most {
                    counter.count(&frame).expect("it is within the limit");
                }
                counter.count(&frame).expect_err("one more is too many");
                // As if the connection went on, and in the next window.
                counter.skip = 0;
                counter.since -= WINDOW;
            }
        }
    }

    #[test]
    fn frames_are_found_in_any_pieces() {
        let frames = [
            frame(1, 4, b"headers"),
            frame(0, 0, b"data"),
            frame(3, 0, &[0; 4]),
        ]
        .concat();
        for size in 1..frames.len() {
            let mut counter = counter();
            for piece in frames.chunks(size) {
                counter.count(piece).expect("it is within the limits");
            }
            assert_eq!((counter.left.resets, counter.left.control), (2, 5));
        }
    }

    #[test]
    fn data_is_free_and_data_without_data_is_not() {
        let mut counter = counter();
        for _ in 0..100 {
            counter.count(&frame(0, 0, b"x")).expect("it is data");
            counter.count(&frame(0, 1, b"")).expect("it ends a body");
        }
        assert_eq!(counter.left.control, 5);
        counter.count(&frame(0, 0, b"")).expect("one is fine");
        assert_eq!(counter.left.control, 4);
    }

    #[test]
    fn who_reads_much_may_update_windows_often() {
        let mut counted = Counted::new((), LIMITS);
        counted.counter = counter();
        counted.written(&Poll::Ready(Ok(100 * BYTES_PER_UPDATE)));
        for _ in 0..100 {
            counted
                .counter
                .count(&frame(8, 0, &[0; 4]))
                .expect("it reads");
        }
    }

    /// Frames are followed in any pieces, whatever they hold.
    #[test]
    fn fuzz_frames() {
        let kinds = [
            frame(1, 4, b"headers"),
            frame(0, 1, b"data"),
            frame(8, 0, &[0; 4]),
        ];
        let corpus = [kinds.concat(), frame(3, 0, &[0; 4]).repeat(3)];
        let mut fuzz = Fuzz::new(corpus, kinds);
        while let Some(input) = fuzz.next() {
            let count = |pieces: Vec<&[u8]>| {
                let mut counter = counter();
                let counted: Result<()> = pieces
                    .into_iter()
                    .try_for_each(|piece| counter.count(piece));
                (
                    counted.is_ok(),
                    counter.left.resets,
                    counter.left.control,
                    counter.skip,
                )
            };
            let (whole, cut) = (count(vec![&input]), count(pieces(&mut fuzz, &input)));
            if whole != cut {
                fuzz.found(&input);
                panic!("{whole:?} at once, {cut:?} in pieces");
            }
        }
    }
}
