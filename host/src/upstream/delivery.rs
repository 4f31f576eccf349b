//! One request to an upstream over real connections: how each attempt is made, and what is kept to make another.

use std::sync::Arc;
use std::time::Duration;

use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;

use super::affinity::Affinity;
use super::attempts::{How, Kept, Wire};
use super::balance::{PickContext, Picked};
use super::breaker::Change;
use super::http1::{Keep, Sender};
use super::http2::{self, Place, Refusal};
use super::outcome::Outcome;
use super::protection::Protection;
use super::target::Target;
use super::{Upstream, UpstreamError, framing};
use crate::body::{Body, Lease, Replay};
use crate::config::UpstreamProtocol;

/// A connection that was idle for longer than this may be closed by the target at the moment of sending: a request
/// that can be repeated is then kept at hand. Connections in steady use save the copy.
const STALE_AFTER: Duration = Duration::from_millis(500);

/// What the attempts at one request are made with.
pub(super) struct Delivery<'a> {
    pub(super) upstream: &'a Upstream,
    pub(super) worker: usize,
    pub(super) affinity: Option<&'a Affinity>,
    pub(super) protocol: UpstreamProtocol,
    /// What is kept of a body, to send it again.
    pub(super) max_body: usize,
    /// What tells targets how many milliseconds are left.
    pub(super) deadline_header: Option<&'a HeaderName>,
    /// When the caller of gRPC waits no longer.
    pub(super) grpc_deadline: Option<Duration>,
}

/// What a request can be made from again.
pub(super) enum Spare {
    /// The request itself, of which nothing was sent.
    Unsent(Request<Body>),
    /// Its head, and what was read of its body.
    Copy(http::request::Parts, Replay),
}

/// A response's head, and what its body comes on.
pub(super) type Exchanged = (Response<Incoming>, Held);

/// What a body comes on.
pub(super) enum Held {
    /// A connection of HTTP/1: idle again when the body has come to its end.
    Connection(Sender),
    /// A stream of HTTP/2: its connection goes on.
    Stream(Place),
}

type Remains = Kept<Spare>;

impl Delivery<'_> {
    async fn http1(
        &self,
        target: &Arc<Target>,
        request: Request<Body>,
        how: How,
        kept: &mut Remains,
    ) -> Result<Exchanged, UpstreamError> {
        let keep = self.upstream.keep();
        let reused = match how.fresh {
            true => None,
            false => target.reuse(self.worker, keep).await,
        };
        let mut connection = match reused {
            Some(connection) => connection,
            None => {
                // Boxed, so that requests on connections that are there need not have room for it.
                let connecting = Box::pin(target.connect(self.worker, &self.upstream.config));
                match connecting.await {
                    Ok(connection) => connection,
                    Err(error) => return Err(unsent(kept, request, error)),
                }
            }
        };
        let is_stale = connection.idle.is_some_and(|idle| idle > STALE_AFTER);
        let is_renewable = is_stale && is_repeatable(&request);
        let request = match how.copy || is_renewable {
            true => self.copy(request, kept),
            false => request,
        };
        match connection.sender.try_send_request(request).await {
            Ok(response) => Ok((response, Held::Connection(connection.sender))),
            Err(mut error) => {
                kept.is_old = is_renewable;
                if let Some(request) = error.take_message() {
                    kept.is_old = connection.idle.is_some();
                    kept.is_unsent = true;
                    kept.copy = Some(Spare::Unsent(request));
                }
                Err(UpstreamError::of(error.into_error(), target.address()))
            }
        }
    }

    async fn as_agreed(
        &self,
        target: &Arc<Target>,
        request: Request<Body>,
        how: How,
        kept: &mut Remains,
    ) -> Result<Exchanged, UpstreamError> {
        let upstream = self.upstream;
        let chosen = target.chose_http2(self.worker, &upstream.config);
        match chosen.await {
            Ok(true) => self.http2(target, request, how, kept).await,
            Ok(false) => self.http1(target, request, how, kept).await,
            Err(error) => Err(unsent(kept, request, error)),
        }
    }

    async fn http2(
        &self,
        target: &Arc<Target>,
        mut request: Request<Body>,
        how: How,
        kept: &mut Remains,
    ) -> Result<Exchanged, UpstreamError> {
        let stream = target.stream(self.worker, &self.upstream.config).await;
        let (mut sender, place) = match stream {
            Ok(stream) => stream,
            Err(error) => return Err(unsent(kept, request, error)),
        };
        let is_renewable = is_repeatable(&request);
        // A stream may be refused, and may then be sent again whatever its method.
        request = self.copy(request, kept);
        let scheme = match target.is_secure() {
            true => Scheme::HTTPS,
            false => Scheme::HTTP,
        };
        http2::prepare(&mut request, scheme, target.address());
        let error = match sender.try_send_request(request).await {
            Ok(response) => return Ok((response, Held::Stream(place))),
            Err(mut error) => {
                kept.is_unsent = error.take_message().is_some();
                error.into_error()
            }
        };
        let refusal = Refusal::of(&error);
        if matches!(refusal, Some(Refusal::Connection)) {
            place.retire();
        }
        let address = target.address();
        let error = match (&refusal, UpstreamError::of(error, address)) {
            // Of a body that broke off, the refusal is the consequence.
            (Some(_), UpstreamError::Closed { .. } | UpstreamError::Protocol { .. }) => {
                UpstreamError::Refused {
                    target: Arc::clone(address),
                }
            }
            (_, error) => error,
        };
        let is_lost = is_renewable && matches!(error, UpstreamError::Closed { .. });
        let goes_away = matches!(refusal, Some(Refusal::Connection));
        kept.is_old = kept.is_unsent || goes_away || is_lost;
        if refusal.is_none() && !how.copy && !kept.is_old {
            kept.copy = None;
        }
        Err(error)
    }

    /// Says how much time is left: less with each attempt.
    fn tell_deadline(&self, headers: &mut HeaderMap, deadline: Option<Duration>) {
        let now = self.now();
        let left = |deadline: Duration| {
            let left = deadline.saturating_sub(now).as_millis();
            u64::try_from(left).unwrap_or(u64::MAX).max(1)
        };
        if let (Some(name), Some(deadline)) = (self.deadline_header, deadline) {
            headers.insert(name.clone(), HeaderValue::from(left(deadline)));
        }
        if let Some(deadline) = self.grpc_deadline {
            // Eight digits at most (gRPC over HTTP/2, "Requests").
            let left = left(deadline);
            let text = match left {
                0..=99_999_999 => format!("{left}m"),
                _ => format!("{}S", (left / 1_000).min(99_999_999)),
            };
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert("grpc-timeout", value);
            }
        }
    }

    /// Keeps what is needed to send the request again.
    fn copy(&self, request: Request<Body>, kept: &mut Remains) -> Request<Body> {
        let (head, body) = request.into_parts();
        let (body, replay) = body.recorded(self.max_body);
        kept.copy = Some(Spare::Copy(head.clone(), replay));
        Request::from_parts(head, body)
    }
}

/// Keeps a request of which nothing was sent.
fn unsent(kept: &mut Remains, request: Request<Body>, error: UpstreamError) -> UpstreamError {
    kept.copy = Some(Spare::Unsent(request));
    kept.is_unsent = true;
    error
}

/// Whether a request may be sent twice (RFC 9110, 9.2.2) and has no body.
fn is_repeatable(request: &Request<Body>) -> bool {
    let method = request.method();
    method.is_idempotent()
        && *method != Method::CONNECT
        && http_body::Body::is_end_stream(request.body())
}

impl Wire for Delivery<'_> {
    type Request = Request<Body>;
    type Copy = Spare;
    type Answer = Exchanged;
    type Error = UpstreamError;
    type Picked = Picked;
    type Id = Arc<Target>;

    fn now(&self) -> Duration {
        self.upstream.clock.now()
    }

    fn random(&self) -> f64 {
        rand::random()
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    async fn within<F: Future>(&self, limit: Duration, future: F) -> Option<F::Output> {
        tokio::time::timeout(limit, future).await.ok()
    }

    fn pick(&self, tried: &[Arc<Target>]) -> Result<Picked, UpstreamError> {
        self.upstream.pick(&PickContext {
            worker: self.worker,
            affinity: self.affinity,
            tried,
        })
    }

    fn id(&self, picked: &Picked) -> Arc<Target> {
        Arc::clone(picked.target())
    }

    fn has_other(&self, tried: &[Arc<Target>]) -> bool {
        let set = self.upstream.set.load();
        let is_tried = |target| tried.iter().any(|tried| Arc::ptr_eq(tried, target));
        set.members().iter().any(|member| !is_tried(&member.target))
    }

    async fn exchange(
        &self,
        picked: &Picked,
        mut request: Request<Body>,
        how: How,
        kept: &mut Remains,
    ) -> Result<Exchanged, UpstreamError> {
        let target = picked.target();
        if self.deadline_header.is_some() || self.grpc_deadline.is_some() {
            self.tell_deadline(request.headers_mut(), how.deadline);
        }
        let asks_upgrade = request.headers().contains_key(header::UPGRADE);
        let exchanged = match self.protocol {
            UpstreamProtocol::Auto if target.is_secure() => {
                Box::pin(self.as_agreed(target, request, how, kept)).await
            }
            UpstreamProtocol::Http1 | UpstreamProtocol::Auto => {
                self.http1(target, request, how, kept).await
            }
            UpstreamProtocol::H2 => Box::pin(self.http2(target, request, how, kept)).await,
        }?;
        framing::check(&exchanged.0, asks_upgrade).map_err(|what| UpstreamError::Framing {
            target: Arc::clone(target.address()),
            what,
        })?;
        Ok(exchanged)
    }

    fn duplicate(&self, request: &Request<Body>) -> Option<Request<Body>> {
        let mut copy = Request::new(request.body().duplicate()?);
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        copy.headers_mut().clone_from(request.headers());
        Some(copy)
    }

    fn is_whole(&self, copy: &Spare) -> bool {
        match copy {
            Spare::Unsent(_) => true,
            Spare::Copy(_, replay) => replay.is_whole(),
        }
    }

    fn renew(&self, copy: Spare) -> Option<Request<Body>> {
        match copy {
            Spare::Unsent(request) => Some(request),
            Spare::Copy(head, replay) => Some(Request::from_parts(head, replay.again()?)),
        }
    }

    fn outcome(&self, result: &Result<Exchanged, UpstreamError>) -> Outcome {
        Outcome::of(result.as_ref().map(|(response, _)| response))
    }

    fn retry_after(&self, answer: &Exchanged) -> Option<Duration> {
        retry_after(answer.0.headers(), self.upstream.clock.unix_ms())
    }

    fn timed_out(&self, picked: &Picked, limit: Duration) -> UpstreamError {
        // What is left of a limit, to the millisecond, as it is written.
        let millis = (limit.as_micros() + 500) / 1_000;
        UpstreamError::ResponseTimeout {
            target: Arc::clone(picked.target().address()),
            limit: Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)),
        }
    }

    fn broken(&self) -> UpstreamError {
        self.upstream.protection.broken()
    }

    fn report(&self, picked: &Picked, outcome: Outcome, took: Duration) {
        picked.report(outcome, took);
        self.upstream.protection.learn(outcome, took, || self.now());
    }

    fn changed(&self, change: Change) {
        self.upstream.protection.breaker_changed(change);
    }

    fn repeats(&self, outcome: Outcome) {
        self.upstream
            .protection
            .metrics()
            .repeated(outcome.as_str());
    }

    fn hedges(&self) {
        self.upstream.protection.metrics().repeated("hedge");
    }

    fn exhausted(&self) {
        self.upstream.protection.metrics().budget_exhausted();
    }

    fn discard(&self, picked: Picked, (response, held): Exchanged) {
        self.body(picked, held, response, None, None)
            .into_body()
            .discard();
    }
}

impl Delivery<'_> {
    /// A response whose body gives back what it came on.
    pub(super) fn body(
        &self,
        picked: Picked,
        held: Held,
        response: Response<Incoming>,
        rest: Option<Duration>,
        permit: Option<super::limit::Permit>,
    ) -> Response<Body> {
        let protection = &self.upstream.protection;
        let lease = Box::new(AttemptLease {
            picked,
            held,
            worker: self.worker,
            keep: self.upstream.keep(),
            has_failed: response.status().is_server_error(),
            breaker: protection
                .breaker()
                .map(|breaker| (Arc::clone(protection), breaker.generation())),
            _permit: permit,
        });
        let patience = self.upstream.config.read_timeout;
        response.map(|body| Body::response(body, patience, rest, lease))
    }
}

/// What an attempt holds until the response's body has ended or was given up.
struct AttemptLease {
    picked: Picked,
    held: Held,
    worker: usize,
    keep: Keep,
    /// Whether the head has told of a failure already.
    has_failed: bool,
    /// Who is told of a body that breaks off, and of which state of the breaker the head was.
    breaker: Option<(Arc<Protection>, u32)>,
    _permit: Option<super::limit::Permit>,
}

impl Lease for AttemptLease {
    fn release(self: Box<Self>) {
        let target = self.picked.target();
        target.proved();
        match self.held {
            Held::Connection(sender) => target.keep(self.worker, sender, self.keep),
            // The place is free when it is dropped.
            Held::Stream(place) => drop(place),
        }
    }

    fn fail(self: Box<Self>) {
        if self.has_failed {
            return;
        }
        let target = self.picked.target();
        target.broke();
        if let Some((protection, generation)) = &self.breaker
            && let Some(breaker) = protection.breaker()
            && let Some(change) = breaker.broke(*generation, target.now())
        {
            protection.breaker_changed(change);
        }
    }
}

/// How long a service wants to be left alone (RFC 9110, 10.2.3): seconds, or a date.
fn retry_after(headers: &HeaderMap, unix_ms: u64) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(since.saturating_sub(Duration::from_millis(unix_ms)))
}

/// Whether a connection is HTTP's no longer.
pub(super) fn switches(status: StatusCode) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let parsed = |text| {
            let headers =
                HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static(text))]);
            // 1994-11-06 08:49:30 UTC
            retry_after(&headers, 784_111_770_000)
        };
        assert_eq!(parsed("120"), Some(Duration::from_secs(120)));
        assert_eq!(
            parsed("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(Duration::from_secs(7))
        );
        assert_eq!(
            parsed("Sun, 06 Nov 1994 08:49:27 GMT"),
            Some(Duration::ZERO),
            "it is over"
        );
        for wrong in ["", "-1", "1.5", "soon"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }
}
