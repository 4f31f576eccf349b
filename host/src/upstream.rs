//! Upstreams: named sets of targets, and how a request gets to one of them and a response back.

mod balance;
mod error;
mod framing;
mod health;
mod http2;
mod load;
mod outcome;
mod target;
mod target_set;
mod tls;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::uri::Scheme;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::SendRequest;

pub use error::UpstreamError;
pub use health::Exclusion;
pub use outcome::Outcome;
pub use target::Target;

use balance::{PickContext, Picked, Turns};
use http2::{Place, Refusal};
use target::Keep;
use target_set::TargetSet;

use crate::body::{Body, Lease};
use crate::clock::Clock;
use crate::config::{TargetConfig, UpstreamConfig, UpstreamProtocol};

/// A connection that was idle for longer than this may be closed by the target at the moment of sending: a request
/// that can be repeated is then kept at hand. Connections in steady use save the copy.
const STALE_AFTER: Duration = Duration::from_millis(500);

/// How often a request is sent that targets refuse to look at.
const MAX_REFUSALS: usize = 3;
/// What is kept of a body, to send it again when its stream is refused. Targets refuse at once, if they do.
const MAX_KEPT: usize = 64 << 10;

/// All upstreams of a configuration.
#[derive(Default)]
pub struct Upstreams(Vec<Arc<Upstream>>);

/// A named set of targets.
pub struct Upstream {
    config: UpstreamConfig,
    set: ArcSwap<TargetSet>,
    /// Held while another set is made, so that no change is lost.
    changing: Mutex<()>,
    turns: Turns,
    workers: usize,
    clock: Clock,
}

/// A response's head has arrived.
pub struct Answer {
    /// Head and body.
    pub response: Response<Body>,
    /// Where it came from, `host:port`.
    pub target: Arc<str>,
}

impl Upstreams {
    /// Makes the upstreams of a configuration. Targets that `previous` has too are kept, with their connections.
    #[must_use]
    pub fn new(
        configs: &[UpstreamConfig],
        previous: Option<&Self>,
        workers: usize,
        clock: &Clock,
    ) -> Self {
        let previous = previous.iter().flat_map(|previous| &previous.0);
        let previous: HashMap<&str, &Arc<Upstream>> = previous
            .map(|upstream| (&*upstream.config.name, upstream))
            .collect();
        let upstream = |config: &UpstreamConfig| {
            let kept = previous
                .get(&*config.name)
                .map(|upstream| upstream.set.load());
            let set = TargetSet::new(
                &config.targets,
                kept.as_deref().map(|set| &**set),
                workers,
                clock,
            );
            Arc::new(Upstream {
                set: ArcSwap::from_pointee(set),
                changing: Mutex::new(()),
                turns: Turns::new(workers),
                workers,
                clock: clock.clone(),
                config: config.clone(),
            })
        };
        Self(configs.iter().map(upstream).collect())
    }

    /// The upstream of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.0
            .iter()
            .find(|upstream| *upstream.config.name == *name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.0.iter()
    }

    /// Closes connections that have been idle for too long.
    pub fn sweep(&self) {
        for upstream in &self.0 {
            for target in upstream.targets() {
                target.sweep(upstream.keep());
            }
        }
    }
}

impl Upstream {
    /// `NAME`
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.config.name
    }

    /// Its targets as they are now.
    #[must_use]
    pub fn targets(&self) -> Vec<Arc<Target>> {
        let set = self.set.load();
        let targets = set.members().iter().map(|member| &member.target);
        targets.cloned().collect()
    }

    /// From here on these are its targets. Those that it had already stay as they are, with their connections and their
    /// health. Those that are gone get no new requests, and end those that they have.
    pub fn replace_targets(&self, targets: &[TargetConfig]) {
        self.change(|set| TargetSet::new(targets, Some(set), self.workers, &self.clock));
    }

    /// Excludes one of its targets, or does so no more, and plans picks without it or with it.
    pub fn exclude(&self, target: &Target, exclusion: Exclusion, holds: bool) {
        if target.exclude(exclusion, holds) {
            self.change(TargetSet::replanned);
        }
    }

    fn change(&self, make: impl FnOnce(&TargetSet) -> TargetSet) {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = make(&self.set.load());
        self.set.store(Arc::new(changed));
    }

    /// The longest that it is given for the head of a response.
    #[must_use]
    pub fn patience(&self) -> Duration {
        let read = self.config.read_timeout;
        self.config
            .total_timeout
            .map_or(read, |total| total.min(read))
    }

    /// Sends a request to the next target and waits for the head of the response, no longer than `limit` and the
    /// upstream's patience; without a limit the caller sees to it that the wait ends. The request's authority is not
    /// looked at: targets are addresses.
    ///
    /// # Errors
    /// When no target can be reached, or the one that was does not answer.
    pub async fn send(
        &self,
        worker: usize,
        request: Request<Body>,
        limit: Option<Duration>,
    ) -> Result<Answer, UpstreamError> {
        self.deliver(worker, request, limit, self.config.protocol)
            .await
    }

    /// The same for a request that asks for an upgrade, which HTTP/1 alone has: of an answer with status 101, the
    /// connection is to be had from its extensions.
    ///
    /// # Errors
    /// As `send`.
    pub async fn upgrade(
        &self,
        worker: usize,
        request: Request<Body>,
        limit: Option<Duration>,
    ) -> Result<Answer, UpstreamError> {
        self.deliver(worker, request, limit, UpstreamProtocol::Http1)
            .await
    }

    async fn deliver(
        &self,
        worker: usize,
        request: Request<Body>,
        limit: Option<Duration>,
        protocol: UpstreamProtocol,
    ) -> Result<Answer, UpstreamError> {
        let picked = self.pick(&PickContext {
            worker,
            ..PickContext::default()
        })?;
        let target = picked.target();
        let total = self.config.total_timeout;
        let begun = self.clock.now();
        let exchange = self.speak(protocol, target, worker, request);
        let answer = match limit.map(|limit| limit.min(self.patience())) {
            None => exchange.await,
            Some(limit) => {
                let answer = tokio::time::timeout(limit, exchange).await;
                answer.unwrap_or_else(|_| {
                    Err(UpstreamError::ResponseTimeout {
                        target: Arc::clone(target.address()),
                        limit,
                    })
                })
            }
        };
        let elapsed = self.clock.now().saturating_sub(begun);
        picked.report(
            Outcome::of(answer.as_ref().map(|(response, _)| response)),
            elapsed,
        );
        let (response, held) = answer?;
        let address = Arc::clone(target.address());
        let lease = Box::new(AttemptLease {
            picked,
            held,
            worker,
            keep: self.keep(),
        });
        let patience = self.config.read_timeout;
        let rest = total.map(|total| total.saturating_sub(elapsed));
        let response = match response.status() {
            // The connection is HTTP's no longer.
            StatusCode::SWITCHING_PROTOCOLS => response.map(|_| Body::empty()),
            _ => response.map(|body| Body::response(body, patience, rest, lease)),
        };
        Ok(Answer {
            response,
            target: address,
        })
    }

    async fn speak(
        &self,
        protocol: UpstreamProtocol,
        target: &Arc<Target>,
        worker: usize,
        request: Request<Body>,
    ) -> Result<Exchanged, UpstreamError> {
        let asks_upgrade = request.headers().contains_key(http::header::UPGRADE);
        let exchanged = match protocol {
            UpstreamProtocol::Auto if target.is_secure() => {
                Box::pin(self.exchange_as_agreed(target, worker, request)).await
            }
            UpstreamProtocol::Http1 | UpstreamProtocol::Auto => {
                self.exchange(target, worker, request).await
            }
            UpstreamProtocol::H2 => Box::pin(self.exchange_http2(target, worker, request)).await,
        }?;
        framing::check(&exchanged.0, asks_upgrade).map_err(|what| UpstreamError::Framing {
            target: Arc::clone(target.address()),
            what,
        })?;
        Ok(exchanged)
    }

    /// A target for one attempt.
    fn pick(&self, context: &PickContext<'_>) -> Result<Picked, UpstreamError> {
        let picked = balance::pick(&self.set.load(), &self.turns, context);
        picked.ok_or_else(|| UpstreamError::NoTarget {
            upstream: Arc::clone(&self.config.name),
        })
    }

    async fn exchange(
        &self,
        target: &Arc<Target>,
        worker: usize,
        mut request: Request<Body>,
    ) -> Result<Exchanged, UpstreamError> {
        if let Some(mut connection) = target.reuse(worker, self.keep()).await {
            let is_stale = connection.idle.is_some_and(|idle| idle > STALE_AFTER);
            let spare = is_stale.then(|| spare(&request)).flatten();
            match connection.sender.try_send_request(request).await {
                Ok(response) => return Ok((response, Held::Connection(connection.sender))),
                Err(mut error) => match take_back(&mut error).or(spare) {
                    Some(unsent) => request = unsent,
                    None => return Err(UpstreamError::of(error.into_error(), target.address())),
                },
            }
        }
        let mut connection = target.connect(self.config.connect_timeout).await?;
        match connection.sender.send_request(request).await {
            Ok(response) => Ok((response, Held::Connection(connection.sender))),
            Err(error) => Err(UpstreamError::of(error, target.address())),
        }
    }

    async fn exchange_as_agreed(
        &self,
        target: &Arc<Target>,
        worker: usize,
        request: Request<Body>,
    ) -> Result<Exchanged, UpstreamError> {
        match target
            .chose_http2(worker, &self.config, self.keep())
            .await?
        {
            true => self.exchange_http2(target, worker, request).await,
            false => self.exchange(target, worker, request).await,
        }
    }

    async fn exchange_http2(
        &self,
        target: &Arc<Target>,
        worker: usize,
        mut request: Request<Body>,
    ) -> Result<Exchanged, UpstreamError> {
        let scheme = match target.is_secure() {
            true => Scheme::HTTPS,
            false => Scheme::HTTP,
        };
        http2::prepare(&mut request, scheme, target.address());
        // Of these, one more is sent when the connection ends under them, as one of HTTP/1 may when it was idle.
        let mut renewable = is_repeatable(&request);
        for _ in 0..MAX_REFUSALS {
            let (mut sender, place) = target.stream(worker, &self.config).await?;
            let (head, body) = request.into_parts();
            let (body, replay) = body.recorded(MAX_KEPT);
            let spare = head.clone();
            let sent = Request::from_parts(head, body);
            let mut error = match sender.try_send_request(sent).await {
                Ok(response) => return Ok((response, Held::Stream(place))),
                Err(error) => error,
            };
            let refusal = Refusal::of(error.error());
            if matches!(refusal, Some(Refusal::Connection)) {
                place.retire();
            }
            if let Some(unsent) = take_back(&mut error) {
                request = unsent;
                continue;
            }
            let error = UpstreamError::of(error.into_error(), target.address());
            let lost = renewable && matches!(error, UpstreamError::Closed { .. });
            let again = (lost || refusal.is_some()).then(|| replay.again());
            request = match again.flatten() {
                Some(body) => Request::from_parts(spare, body),
                None => return Err(error),
            };
            renewable &= !lost;
        }
        Err(UpstreamError::Refused {
            target: Arc::clone(target.address()),
        })
    }

    fn keep(&self) -> Keep {
        Keep {
            max_idle: self.config.max_idle,
            idle_timeout: self.config.idle_timeout,
        }
    }
}

/// A response's head, and what its body comes on.
type Exchanged = (Response<Incoming>, Held);

/// What a body comes on.
enum Held {
    /// A connection of HTTP/1: idle again when the body has come to its end.
    Connection(SendRequest<Body>),
    /// A stream of HTTP/2: its connection goes on.
    Stream(Place),
}

/// What an attempt holds until the response's body has ended or was given up.
struct AttemptLease {
    picked: Picked,
    held: Held,
    worker: usize,
    keep: Keep,
}

impl Lease for AttemptLease {
    fn release(self: Box<Self>) {
        match self.held {
            Held::Connection(sender) => self.picked.target().keep(self.worker, sender, self.keep),
            // The place is free when it is dropped.
            Held::Stream(place) => drop(place),
        }
    }
}

/// The request, if nothing of it was sent.
fn take_back(error: &mut TrySendError<Request<Body>>) -> Option<Request<Body>> {
    error.take_message()
}

/// Whether a request may be sent twice (RFC 9110, 9.2.2) and has no body.
fn is_repeatable(request: &Request<Body>) -> bool {
    let method = request.method();
    method.is_idempotent()
        && *method != Method::CONNECT
        && http_body::Body::is_end_stream(request.body())
}

/// A copy to send again if the target closes an idle connection just when the request is sent.
fn spare(request: &Request<Body>) -> Option<Request<Body>> {
    if !is_repeatable(request) {
        return None;
    }
    let mut copy = Request::new(Body::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    copy.headers_mut().clone_from(request.headers());
    Some(copy)
}
