//! A body that can be sent once more from its beginning, as long as little of it was sent.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{Body, BodyError, Kind};

/// Gives a body back that was begun to be sent.
#[derive(Debug)]
pub struct Replay(Source);

#[derive(Debug)]
enum Source {
    /// A body in memory.
    Whole(Body),
    Recorded(Recorded),
}

/// A body, and what was read of it.
#[derive(Debug, Clone)]
pub(super) struct Recorded(Arc<Mutex<Recording>>);

#[derive(Debug)]
struct Recording {
    /// To be read before the rest.
    ahead: VecDeque<Bytes>,
    rest: Body,
    /// What was read; none once it was more than there is room for.
    read: Option<VecDeque<Bytes>>,
    room: usize,
}

impl Body {
    /// The body, and a way to have it again from its beginning until more than `room` bytes of it were read.
    #[must_use]
    pub fn recorded(self, room: usize) -> (Self, Replay) {
        if let Some(whole) = self.duplicate() {
            return (self, Replay(Source::Whole(whole)));
        }
        let recorded = Recorded::new(VecDeque::new(), self, room);
        (
            Self(Kind::Recorded(recorded.clone())),
            Replay(Source::Recorded(recorded)),
        )
    }
}

impl Replay {
    /// Whether the whole body can still be had.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        match &self.0 {
            Source::Whole(_) => true,
            Source::Recorded(recorded) => recorded.lock().read.is_some(),
        }
    }

    /// The whole body, if what was read of it is still there. Whoever has begun to read it reads no further.
    #[must_use]
    pub fn again(self) -> Option<Body> {
        let recorded = match self.0 {
            Source::Whole(body) => return Some(body),
            Source::Recorded(recorded) => recorded,
        };
        let mut recording = recorded.lock();
        let mut ahead = recording.read.take()?;
        ahead.append(&mut recording.ahead);
        let rest = std::mem::take(&mut recording.rest);
        drop(recording);
        Some(Body(Kind::Recorded(Recorded::new(ahead, rest, 0))))
    }
}

impl Recorded {
    fn new(ahead: VecDeque<Bytes>, rest: Body, room: usize) -> Self {
        Self(Arc::new(Mutex::new(Recording {
            ahead,
            rest,
            read: Some(VecDeque::new()),
            room,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Recording> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn poll_frame(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut recording = self.lock();
        let polled = match recording.ahead.pop_front() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => Pin::new(&mut recording.rest).poll_frame(cx),
        };
        if let Poll::Ready(Some(frame)) = &polled {
            recording.note(frame.as_ref().ok().and_then(Frame::data_ref));
        }
        polled
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let recording = self.lock();
        recording.ahead.is_empty() && recording.rest.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let recording = self.lock();
        let ahead: u64 = recording.ahead.iter().map(|bytes| bytes.len() as u64).sum();
        let rest = recording.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(ahead + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(ahead + upper);
        }
        hint
    }
}

impl Recording {
    /// What is no data (trailers, an error) ends the recording: nothing of it could be read again.
    fn note(&mut self, data: Option<&Bytes>) {
        match (data, &mut self.read) {
            (Some(data), Some(read)) if data.len() <= self.room => {
                self.room -= data.len();
                read.push_back(data.clone());
            }
            _ => self.read = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    /// A body that is not simply in memory.
    fn streamed(text: &'static str) -> Body {
        let recorded = Recorded::new(VecDeque::new(), Body::whole(text.into()), 0);
        Body(Kind::Recorded(recorded))
    }

    #[tokio::test]
    async fn a_body_is_read_again_from_its_beginning() {
        let (mut body, replay) = streamed("abc").recorded(3);
        assert_eq!(body.size_hint().exact(), Some(3));
        let first = body.frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "abc");
        let again = replay.again().unwrap();
        assert_eq!(again.size_hint().exact(), Some(3));
        assert!(!again.is_end_stream());
        assert!(body.frame().await.is_none(), "the first reader is cut off");
        assert_eq!(again.collect(10).await.unwrap().0, "abc");
    }

    #[tokio::test]
    async fn a_body_that_was_not_begun_is_whole() {
        let (body, replay) = streamed("abc").recorded(0);
        drop(body);
        assert_eq!(replay.again().unwrap().collect(10).await.unwrap().0, "abc");
    }

    #[tokio::test]
    async fn too_much_was_read_to_read_it_again() {
        let (mut body, replay) = streamed("abc").recorded(2);
        assert!(replay.is_whole());
        body.frame().await.unwrap().unwrap();
        assert!(!replay.is_whole());
        assert!(replay.again().is_none());
    }

    #[tokio::test]
    async fn a_body_in_memory_is_there_as_often_as_it_is_wanted() {
        let (mut body, replay) = Body::whole("abc".into()).recorded(0);
        body.frame().await.unwrap().unwrap();
        assert_eq!(replay.again().unwrap().collect(10).await.unwrap().0, "abc");
        assert!(streamed("abc").duplicate().is_none());
    }
}
