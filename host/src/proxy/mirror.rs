//! Copies of requests for another upstream: a new version that is tried with real requests, without anybody waiting for it.
//!
//! A copy is sent when the request's body has come to its end. It is bounded in number and bytes: what is too much is not
//! copied. Its answer is thrown away, and so are its failures; both are counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::Body as HttpBody;
use http_body_util::BodyExt;

use crate::body::{Body, Tap};
use crate::config::MirrorConfig;
use crate::telemetry::{MirrorMetrics, MirrorOutcome};
use crate::types::Importance;
use crate::upstream::{Sending, Upstream};

/// Bytes of an answer that are read to keep its connection; with more than these it is closed.
const MAX_ANSWER: usize = 1 << 20;

/// Sends copies of a route's requests.
pub struct Mirror {
    upstream: Arc<Upstream>,
    per_million: u32,
    max_body: usize,
    timeout: Duration,
    places: Places,
    metrics: MirrorMetrics,
}

/// How many copies are under way, and may be.
#[derive(Clone)]
struct Places {
    taken: Arc<AtomicUsize>,
    most: usize,
}

/// One of them. It is given back when it is dropped.
struct Place(Arc<AtomicUsize>);

impl Places {
    fn take(&self) -> Option<Place> {
        let place = Place(Arc::clone(&self.taken));
        // Taken first and counted after: dropping the place gives it back.
        (self.taken.fetch_add(1, Ordering::Relaxed) < self.most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Mirror {
    /// To `upstream`, which is given `timeout` for its whole answer.
    #[must_use]
    pub fn new(
        config: &MirrorConfig,
        upstream: Arc<Upstream>,
        timeout: Duration,
        metrics: MirrorMetrics,
    ) -> Self {
        let places = Places {
            taken: Arc::default(),
            most: config.max_pending,
        };
        Self {
            upstream,
            per_million: config.per_million,
            max_body: config.max_body,
            timeout,
            places,
            metrics,
        }
    }

    /// Sees to it that a copy of a request is sent, if it is one of the share that is copied. Returns the request, to be sent
    /// on as if nothing had happened.
    pub(super) fn copy(self: &Arc<Self>, worker: usize, request: Request<Body>) -> Request<Body> {
        if self.per_million < 1_000_000 && rand::random_range(0..1_000_000) >= self.per_million {
            return request;
        }
        let Some(place) = self
            .places
            .take()
            .filter(|_| request.body().size_hint().lower() <= self.max_body as u64)
        else {
            self.metrics.count(MirrorOutcome::Dropped);
            return request;
        };
        let (head, body) = request.into_parts();
        let mut copy = Copy {
            mirror: Arc::clone(self),
            place,
            head: Request::new(()),
            bytes: Vec::new(),
            worker,
        };
        *copy.head.method_mut() = head.method.clone();
        *copy.head.uri_mut() = head.uri.clone();
        copy.head.headers_mut().clone_from(&head.headers);
        if body.is_end_stream() {
            copy.send();
            return Request::from_parts(head, body);
        }
        Request::from_parts(head, body.tapped(Box::new(copy)))
    }
}

/// A copy of a request, until it is sent.
struct Copy {
    mirror: Arc<Mirror>,
    place: Place,
    head: Request<()>,
    bytes: Vec<u8>,
    worker: usize,
}

impl Tap for Copy {
    fn data(&mut self, data: &Bytes) -> bool {
        let fits = self.bytes.len() + data.len() <= self.mirror.max_body;
        if fits {
            self.bytes.extend_from_slice(data);
        } else {
            self.mirror.metrics.count(MirrorOutcome::Dropped);
        }
        fits
    }

    fn end(self: Box<Self>) {
        (*self).send();
    }
}

impl Copy {
    /// Sends it, apart from the request that it is a copy of.
    fn send(self) {
        let Self {
            mirror,
            place,
            head,
            bytes,
            worker,
        } = self;
        let request = head.map(|()| Body::whole(bytes.into()));
        tokio::spawn(async move {
            let answered =
                tokio::time::timeout(mirror.timeout, answer(&mirror, worker, request)).await;
            let outcome = match answered {
                Ok(true) => MirrorOutcome::Sent,
                Ok(false) | Err(_) => MirrorOutcome::Failed,
            };
            mirror.metrics.count(outcome);
            drop(place);
        });
    }
}

/// Sends a copy and reads its answer to the end. Whether there was one.
async fn answer(mirror: &Mirror, worker: usize, request: Request<Body>) -> bool {
    let sending = Sending {
        worker,
        limit: Some(mirror.timeout),
        importance: Importance::Low,
        ..Sending::default()
    };
    let Ok(answer) = mirror.upstream.send(sending, request).await.answer else {
        return false;
    };
    let mut body = answer.response.into_body();
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > MAX_ANSWER {
            break;
        }
    }
    true
}
