//! One connection: which version of HTTP it speaks, its requests one after another or at once, and its end.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{ALT_SVC, CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::accept::Handler;
use super::activity::{Activity, Order, Tracked, Watched};
use super::frames::Counted;
use super::http3::Udp;
use super::interim::{Between, Interims};
use super::stream::{Rewound, Stream};
use super::strict::{Limits, Strict};
use super::tls::H2;
use super::{Listener, Settings};
use crate::body::Arriving;
use crate::config::ListenerConfig;
use crate::proxy::Refusal;
use crate::shutdown::Seat;
use crate::types::Peer;

/// How an HTTP/2 connection begins (RFC 9113, 3.4); no method of HTTP/1.1 begins like this.
const H2_PREFACE: &[u8] = b"PRI";
const H2_PING_INTERVAL: Duration = Duration::from_secs(60);
/// Most bytes of responses that wait to be written, for each connection of HTTP/1 and each stream of HTTP/2: what a client
/// costs that does not read. No less than what is read at once.
const WRITE_BUFFER: usize = 128 << 10;

/// A head that is refused is ended by us, when all that is allowed of it has come.
const ENDING: usize = 64;

/// Serves a connection to its end.
pub(super) async fn serve<H: Handler>(
    stream: Rewound,
    (listener, settings): (&Listener, &Settings),
    handler: H,
    mut peer: Peer,
    activity: Arc<Activity>,
    seat: Seat,
) {
    let (config, address) = (&settings.config, peer.address);
    let begun = tokio::select! {
        begun = begin(stream, (listener, settings), &mut peer) => begun,
        // Nothing has begun that would have to be finished.
        () = activity.finish_ordered() => return,
    };
    let Some((stream, http2)) = begun else {
        return;
    };
    let peer = Arc::new(peer);
    // HTTP/2 says that it ends and still serves what the client had asked meanwhile (RFC 9113, 6.8); HTTP/1 says it with
    // a response.
    let finish_at = if http2 { Order::Last } else { Order::Finish };
    let supervisor = (Arc::clone(&activity), finish_at);
    let watched = Arc::clone(&activity);
    let limits = head_limits(config);
    let alternative = listener.udp.as_ref().and_then(Udp::alternative);
    let (interims, between) = interims(config.interim_responses && !http2);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let alternative = alternative.clone();
        let (handler, peer, progress) = (handler.clone(), Arc::clone(&peer), activity.begin());
        note(&mut request, limits, &activity, &seat, interims.as_ref());
        let (activity, interims) = (Arc::clone(&activity), interims.clone());
        // On the heap: it is large, and would otherwise be a part of every connection, idle ones too.
        Box::pin(async move {
            let request = request.map(Arriving::Hyper);
            let mut response: Response<_> = handler.handle(request, peer).await;
            answered(&activity, interims.as_deref(), response.status());
            announce(&mut response, !http2 && progress.is_last(), alternative);
            Ok::<_, Infallible>(response.map(|body| Tracked { body, progress }))
        })
    });
    let ended = match http2 {
        true => {
            let counted = Counted::new(stream, config.frames);
            let io = Watched::new(TokioIo::new(counted), watched);
            let connection = http2_of(config).serve_connection(io, service);
            supervise(connection, |it| it.graceful_shutdown(), supervisor).await
        }
        false => {
            let strict = Strict::new(stream, limits, Arc::clone(&watched), between);
            let io = Watched::new(TokioIo::new(strict), watched);
            let connection = http1_of(config)
                .serve_connection(io, service)
                .with_upgrades();
            supervise(connection, |it| it.graceful_shutdown(), supervisor).await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(client = %address, %error, "connection ended");
    }
}

/// What takes interim responses, where clients want them, and what writes them.
fn interims(wanted: bool) -> (Option<Arc<Interims>>, Option<Between>) {
    let interims = wanted.then(Arc::<Interims>::default);
    let between = interims.clone().map(Between::new);
    (interims, between)
}

/// Notes that a request has its answer.
fn answered(activity: &Activity, interims: Option<&Interims>, status: StatusCode) {
    activity.answer(status == StatusCode::SWITCHING_PROTOCOLS);
    if let Some(interims) = interims {
        interims.answered();
    }
}

/// Notes in a request whether it is refused, that the connection is in use for as long as an upgrade lasts, and where its
/// interim responses go.
fn note(
    request: &mut Request<Incoming>,
    limits: Limits,
    activity: &Arc<Activity>,
    seat: &Seat,
    interims: Option<&Arc<Interims>>,
) {
    // HTTP/1.0 has none (RFC 9110, 15.2).
    if let Some(interims) = interims
        && request.version() == Version::HTTP_11
    {
        request.extensions_mut().insert(interims.begin());
    }
    if let Some(refusal) = activity.refusal().or_else(|| too_large(request, limits)) {
        request.extensions_mut().insert(refusal);
    }
    if request.extensions().get::<OnUpgrade>().is_some() {
        // Whoever takes the connection over sits where it sat.
        let taken = Seat::new((seat.clone(), activity.occupy()));
        request.extensions_mut().insert(taken);
    }
}

/// Says whether the connection ends with this response (RFC 9112, 9.6), and where else we can be reached (RFC 7838).
fn announce<B>(response: &mut Response<B>, ends: bool, alternative: Option<HeaderValue>) {
    if ends && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    if let Some(alternative) = alternative {
        response.headers_mut().insert(ALT_SVC, alternative);
    }
}

/// The stream that HTTP is spoken over, and whether it is HTTP/2. Nothing when the client does not get as far.
async fn begin(
    mut stream: Rewound,
    (listener, settings): (&Listener, &Settings),
    peer: &mut Peer,
) -> Option<(Stream, bool)> {
    if let Some(tls) = listener.tls() {
        // Boxed, so that connections without TLS need not have room for it.
        let (stream, facts) = Box::pin(tls.accept(stream, &listener.metrics)).await?;
        peer.tls = Some(Box::new(facts));
        let http2 = stream.get_ref().1.alpn_protocol() == Some(H2);
        return Some((Stream::Right(Box::new(stream)), http2));
    }
    let limit = settings.config.header_timeout;
    let http2 = tokio::time::timeout(limit, speaks_http2(&mut stream)).await;
    Some((Stream::Left(stream), http2.ok()?.ok()?))
}

fn http1_of(config: &ListenerConfig) -> http1::Builder {
    let most = config.max_header_bytes + ENDING;
    let mut builder = http1::Builder::new();
    builder
        .max_headers(config.max_headers)
        .max_header_size(most)
        // For reading as well: it must hold a whole head.
        .max_buf_size(WRITE_BUFFER.max(most))
        .half_close(false)
        .header_read_timeout(None);
    builder
}

fn http2_of(config: &ListenerConfig) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.max_streams)
        .enable_connect_protocol()
        .max_header_list_size(u32::try_from(config.max_header_bytes).unwrap_or(u32::MAX))
        .max_send_buf_size(WRITE_BUFFER)
        .keep_alive_interval(H2_PING_INTERVAL);
    builder
}

pub(super) fn head_limits(config: &ListenerConfig) -> Limits {
    Limits {
        head: config.max_header_bytes,
        target: config.max_uri_bytes,
        fields: config.max_headers,
    }
}

/// What is left to measure of a head in HTTP/2 and HTTP/3. In HTTP/1 it was done while the head was read.
pub(super) fn too_large<B>(request: &Request<B>, limits: Limits) -> Option<Refusal> {
    let target = request.uri().path_and_query();
    match target.is_some_and(|target| target.as_str().len() > limits.target) {
        true => Some(Refusal::TargetTooLong),
        false => (request.headers().len() > limits.fields).then_some(Refusal::HeadTooLarge),
    }
}

/// Whether the client speaks HTTP/2 with prior knowledge. An error when it says nothing at all.
async fn speaks_http2(stream: &mut Rewound) -> std::io::Result<bool> {
    let mut wanted = 1;
    loop {
        let seen = stream.peek(wanted).await?;
        if seen.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if seen.len() < wanted || !H2_PREFACE.starts_with(seen) {
            return Ok(seen.starts_with(H2_PREFACE));
        }
        if seen.len() == H2_PREFACE.len() {
            return Ok(true);
        }
        wanted = seen.len() + 1;
    }
}

/// A connection that obeys the janitor.
struct Supervised<C> {
    connection: Pin<Box<C>>,
    /// Has it finish what it does.
    finish: fn(Pin<&mut C>),
    activity: Arc<Activity>,
    /// The order at which the protocol is told to finish.
    finish_at: Order,
    /// The last order that was heard.
    heard: Option<Order>,
    finishing: bool,
}

impl<C: Future<Output = hyper::Result<()>>> Future for Supervised<C> {
    type Output = hyper::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut ordered = self.activity.ordered();
        while self.heard != Some(ordered) {
            // An order takes the waker with it. Without one, once is enough: the connection stays in its task.
            self.activity.listen(cx);
            self.heard = Some(ordered);
            ordered = self.activity.ordered();
        }
        if ordered == Order::Close {
            return Poll::Ready(Ok(()));
        }
        if ordered >= self.finish_at && !self.finishing {
            self.finishing = true;
            let finish = self.finish;
            finish(self.connection.as_mut());
        }
        self.connection.as_mut().poll(cx)
    }
}

fn supervise<C>(
    connection: C,
    finish: fn(Pin<&mut C>),
    (activity, finish_at): (Arc<Activity>, Order),
) -> Supervised<C> {
    Supervised {
        connection: Box::pin(connection),
        finish,
        activity,
        finish_at,
        heard: None,
        finishing: false,
    }
}
