//! The body of a request that comes over HTTP/3.

use std::io::{Error, ErrorKind};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::server::RequestStream;
use http_body::{Frame, SizeHint};

use super::transport::Receiving;
use crate::body::{Arrival, ArrivalError};

/// A body with exactly the length that was declared, if one was (RFC 9114, 4.1.2).
pub(super) struct RequestBody {
    stream: RequestStream<Receiving, Bytes>,
    /// What was read to see whether there is a body.
    first: Option<Bytes>,
    /// Bytes of the declared length that are yet to come.
    left: Option<u64>,
    data_ended: bool,
    ended: bool,
}

impl RequestBody {
    pub(super) fn new(stream: RequestStream<Receiving, Bytes>, length: Option<u64>) -> Self {
        Self {
            stream,
            first: None,
            left: length,
            data_ended: false,
            ended: length == Some(0),
        }
    }

    /// Waits until it is known whether there is a body. Trailers without one are nobody's.
    pub(super) async fn look(&mut self) -> Result<(), ArrivalError> {
        self.first = std::future::poll_fn(|cx| self.poll_data(cx)).await?;
        self.ended = self.first.is_none();
        Ok(())
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ArrivalError>> {
        let data = ready!(self.stream.poll_recv_data(cx))?;
        Poll::Ready(Ok(data.map(|mut data| data.copy_to_bytes(data.remaining()))))
    }

    /// Counts what came against the declared length.
    fn account(&mut self, data: &Bytes) -> Result<(), ArrivalError> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(data.len() as u64).ok_or_else(|| {
                Error::new(ErrorKind::InvalidData, "the body is longer than declared")
            })?;
        }
        Ok(())
    }
}

impl Arrival for RequestBody {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ArrivalError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if !self.data_ended {
            let data = match self.first.take() {
                Some(first) => Some(first),
                None => match ready!(self.poll_data(cx)) {
                    Ok(data) => data,
                    Err(error) => return Poll::Ready(Some(Err(error))),
                },
            };
            if let Some(data) = data {
                let counted = self.account(&data).map(|()| Frame::data(data));
                return Poll::Ready(Some(counted));
            }
            self.data_ended = true;
            if self.left.is_some_and(|left| left > 0) {
                let error = Error::new(
                    ErrorKind::UnexpectedEof,
                    "the body is shorter than declared",
                );
                return Poll::Ready(Some(Err(error.into())));
            }
        }
        let trailers = ready!(self.stream.poll_recv_trailers(cx));
        self.ended = true;
        match trailers {
            Ok(trailers) => Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers)))),
            Err(error) => Poll::Ready(Some(Err(error.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        match self.left {
            Some(left) => SizeHint::with_exact(left),
            None => SizeHint::default(),
        }
    }
}
