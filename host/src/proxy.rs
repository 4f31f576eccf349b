//! The proxy: from a request to its response, always. `pipeline` is the path, `rescue` what happens when it fails.

mod deadline;
mod drill;
mod error;
mod fallback;
mod fault;
mod find;
mod forwarding;
mod grpc;
mod headers;
mod interim;
mod mirror;
mod pipeline;
mod rescue;
mod rewrite;
mod secure;
mod snapshot;
mod split;
mod tunnel;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};

pub use drill::{Drills, MAX_DRILL};
pub use error::{ProxyError, Refusal};
pub use fallback::{Fallback, FallbackStep, Substitute};
pub use fault::{DrillSlot, Fault, Faults};
pub use find::find;
pub use interim::Interim;
pub use mirror::Mirror;
pub use rewrite::{PathChange, Redirect};
pub use snapshot::{Origin, Route, Snapshot, View};
pub use split::Split;

use crate::body::{Arriving, Body, BodyError};
use crate::clock::Clock;
use crate::exchange::{Exchange, Recorder};
use crate::types::{PathParameters, Peer, RequestId};

/// Serves one request. There is always a response.
pub async fn handle(
    view: Arc<View>,
    clock: &Clock,
    request: Request<Arriving>,
    peer: &Arc<Peer>,
) -> Response<ExchangeBody> {
    let (parts, body) = request.into_parts();
    let exchange = Box::new(open(&view, clock, parts, &body, peer));
    let (mut exchange, response, tunnel) = pipeline::run(&view, exchange, body).await;
    exchange.status = Some(response.status().as_u16());
    if let Some(tunnel) = tunnel {
        tokio::spawn(tunnel.run(exchange));
        return response.map(|body| ExchangeBody {
            body,
            exchange: None,
        });
    }
    response.map(|body| ExchangeBody::new(body, exchange))
}

fn open(
    view: &View,
    clock: &Clock,
    request: http::request::Parts,
    body: &Arriving,
    peer: &Arc<Peer>,
) -> Exchange {
    let now = clock.now();
    view.snapshot.recorder.began();
    let recorder: Arc<dyn Recorder> = Arc::clone(&view.snapshot.recorder) as _;
    Exchange {
        id: RequestId::generate(),
        started: now,
        mark: now,
        clock: clock.clone(),
        peer: Arc::clone(peer),
        client: peer.ip(),
        secure: peer.tls.is_some(),
        matched_uri: request.uri.clone(),
        request,
        authority: Arc::default(),
        content_length: None,
        has_body: !body.is_end_stream(),
        takes_trailers: false,
        route: None,
        route_index: None,
        parameters: PathParameters::default(),
        identity: None,
        notes: Vec::new(),
        held: Vec::new(),
        outbound_calls: 0,
        grpc: false,
        grpc_status: None,
        upstream: None,
        target: None,
        attempts: Vec::new(),
        may_repeat: true,
        fallback: None,
        upstream_time: None,
        status: None,
        source: None,
        code: None,
        detail: None,
        request_bytes: None,
        response_bytes: 0,
        complete: false,
        recorder: Some(recorder),
    }
}

/// The body of a response, and the exchange that ends with it.
pub struct ExchangeBody {
    body: Body,
    /// None when it ends with a tunnel.
    exchange: Option<Box<Exchange>>,
}

impl ExchangeBody {
    fn new(body: Body, mut exchange: Box<Exchange>) -> Self {
        let bodiless = exchange.request.method == http::Method::HEAD;
        exchange.complete = bodiless || body.is_end_stream();
        let exchange = Some(exchange);
        Self { body, exchange }
    }
}

/// Notes what a part of a response's body tells. A call of gRPC is told of a body that broke off in its trailers.
fn note(
    exchange: &mut Exchange,
    body: &Body,
    part: Option<Result<Frame<Bytes>, BodyError>>,
) -> Option<Result<Frame<Bytes>, BodyError>> {
    match &part {
        Some(Ok(frame)) => {
            exchange.response_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            exchange.complete = body.is_end_stream();
            if exchange.grpc
                && let Some(trailers) = frame.trailers_ref()
            {
                exchange.grpc_status = grpc::status(trailers);
            }
        }
        Some(Err(error)) => {
            exchange.detail = Some(error.to_string());
            if exchange.grpc {
                let trailers = grpc::broken_off();
                exchange.grpc_status = grpc::status(&trailers);
                return Some(Ok(Frame::trailers(trailers)));
            }
        }
        None => exchange.complete = true,
    }
    part
}

impl HttpBody for ExchangeBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match (polled, &mut this.exchange) {
            (Poll::Ready(part), Some(exchange)) => Poll::Ready(note(exchange, &this.body, part)),
            (polled, _) => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
