//! The stream of one connection: where its bytes come from, and those that were read before it was known what they are.

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

/// Room for what comes first: most requests without a body fit, and then one read is enough for them.
const FIRST_READ: usize = 2_048;

/// What a listener accepts: from over the network, or from this machine.
pub(super) type Socket = Either<TcpStream, UnixStream>;

/// What HTTP is spoken over: without TLS, or with it.
pub(super) type Stream = Either<Rewound, Box<TlsStream<Rewound>>>;

/// A socket whose first bytes can be looked at before they are read.
pub(super) struct Rewound {
    /// Bytes that were looked at and not yet read.
    first: BytesMut,
    socket: Socket,
}

impl Rewound {
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            first: BytesMut::new(),
            socket,
        }
    }

    /// The next bytes: at least `wanted`, unless the peer ends before. They are still there to be read afterwards. May be
    /// given up and called again.
    ///
    /// # Errors
    /// When the socket fails.
    pub(super) async fn peek(&mut self, wanted: usize) -> Result<&[u8]> {
        while self.first.len() < wanted {
            if self.first.is_empty() {
                self.first.reserve(FIRST_READ);
            }
            if self.socket.read_buf(&mut self.first).await? == 0 {
                break;
            }
        }
        Ok(&self.first)
    }

    /// Takes bytes that were looked at out of the stream.
    pub(super) fn skip(&mut self, length: usize) {
        self.first.advance(length.min(self.first.len()));
    }
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, buffer);
        }
        let length = self.first.len().min(buffer.remaining());
        buffer.put_slice(self.first.get(..length).unwrap_or_default());
        self.first.advance(length);
        if self.first.is_empty() {
            self.first = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn what_was_looked_at_is_read_once_and_in_order() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut stream = Rewound::new(Socket::Right(ours));
        theirs.write_all(b"PR").await.unwrap();
        assert_eq!(stream.peek(1).await.unwrap(), b"PR");
        theirs.write_all(b"I and the rest").await.unwrap();
        theirs.shutdown().await.unwrap();
        assert_eq!(stream.peek(3).await.unwrap(), b"PRI and the rest");
        let mut three = [0; 3];
        stream.read_exact(&mut three).await.unwrap();
        assert_eq!(&three, b"PRI");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b" and the rest");
    }

    #[tokio::test]
    async fn a_peer_that_ends_early_shows_what_there_was() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"P").await.unwrap();
        drop(theirs);
        assert_eq!(
            Rewound::new(Socket::Right(ours)).peek(3).await.unwrap(),
            b"P"
        );
    }
}
