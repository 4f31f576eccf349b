//! Upstreams: named sets of targets, and how a request gets to one of them and a response back.

mod adaptive;
mod affinity;
mod attempts;
mod backoff;
mod balance;
mod breaker;
mod budget;
mod care;
mod delivery;
mod dial;
pub mod discovery;
mod dns;
mod error;
mod framing;
mod health;
mod http1;
mod http2;
mod keeper;
mod limit;
mod load;
mod outcome;
mod protection;
mod rehearsal;
mod report;
mod retry;
mod room;
mod target;
mod target_set;
#[cfg(test)]
mod testing;
mod tls;
mod window;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, Request, Response};
use tokio::sync::Notify;

pub use affinity::{Affinity, Features};
pub use dns::Dns;
pub use error::UpstreamError;
pub use health::Exclusion;
pub use keeper::keep;
pub use outcome::Outcome;
pub use protection::Rejection;
pub use report::{
    BreakerReport, ConcurrencyReport, ConnectionsReport, TargetReport, UpstreamReport,
};
pub use target::Target;

use affinity::Binder;
use attempts::{Attempts, Noted};
use balance::{PickContext, Picked, Turns};
use care::Attention;
use delivery::Delivery;
use http1::Keep;
use protection::Protection;
use retry::Course;
use target_set::TargetSet;

use crate::body::Body;
use crate::clock::Clock;
use crate::config::{RetryConfig, TargetConfig, UpstreamConfig, UpstreamProtocol};
use crate::exchange::Attempt;
use crate::telemetry::Metrics;
use crate::types::Importance;

/// All upstreams of a configuration.
#[derive(Default)]
pub struct Upstreams {
    list: Vec<Arc<Upstream>>,
    by_name: HashMap<Arc<str>, usize>,
    /// Wakes whoever looks after them; the same over all configurations.
    wake: Arc<Notify>,
}

/// A named set of targets.
pub struct Upstream {
    config: UpstreamConfig,
    binder: Option<Binder>,
    set: ArcSwap<TargetSet>,
    /// Held while another set is made, so that no change is lost.
    changing: Mutex<()>,
    turns: Turns,
    protection: Arc<Protection>,
    /// When it is to be looked after; its targets call for that.
    attention: Arc<Attention>,
    /// When targets are compared with each other, in nanoseconds of the clock.
    compare_at: AtomicU64,
    workers: usize,
    clock: Clock,
    dns: Arc<Dns>,
}

/// How a request is sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sending<'a> {
    /// On whose connections.
    pub worker: usize,
    /// How long is waited for the head of a response, if that is no longer than the upstream's own patience; without it,
    /// the caller sees to it that the wait ends.
    pub limit: Option<Duration>,
    /// When it is sent again, where that is not for the upstream to say.
    pub retry: Option<&'a RetryConfig>,
    /// How much it matters.
    pub importance: Importance,
    /// The header that tells targets how many milliseconds are left.
    pub deadline_header: Option<&'a HeaderName>,
    /// How long the caller of gRPC still waits, which targets are told.
    pub grpc_timeout: Option<Duration>,
    /// Whether it asks for an upgrade, which HTTP/1 alone has: of an answer with status 101, the connection is to be had
    /// from its extensions.
    pub upgrade: bool,
    /// What it is bound to, if it is bound to anything.
    pub affinity: Option<&'a Affinity>,
}

/// What came of a request.
pub struct Delivered {
    /// The answer, or why there is none: no target can be reached, the one that was does not answer, or the request was not
    /// sent to protect others.
    pub answer: Result<Answer, UpstreamError>,
    /// All attempts, where not the first one was the only one.
    pub attempts: Vec<Attempt>,
    /// Whether the request may be given to another service: none has seen it, or its method allows it.
    pub may_repeat: bool,
}

impl Delivered {
    fn failed(error: UpstreamError) -> Self {
        Self {
            answer: Err(error),
            attempts: Vec::new(),
            may_repeat: true,
        }
    }
}

/// A response's head has arrived.
pub struct Answer {
    /// Head and body.
    pub response: Response<Body>,
    /// Where it came from, `host:port`.
    pub target: Arc<str>,
}

/// In the extensions of an answer with status 101: the target has something under way until this is dropped.
#[derive(Clone)]
pub struct Hold(#[expect(dead_code, reason = "held, and dropped")] Arc<Picked>);

impl Hold {
    fn of(picked: Picked) -> Self {
        Self(Arc::new(picked))
    }

    fn put<B>(self, response: Response<B>) -> Response<Body> {
        let mut response = response.map(|_| Body::empty());
        response.extensions_mut().insert(self);
        response
    }
}

impl Upstreams {
    /// Makes the upstreams of a configuration. Targets that `previous` has too are kept, with their connections.
    #[must_use]
    pub fn new(
        configs: &[UpstreamConfig],
        previous: Option<&Self>,
        workers: usize,
        clock: &Clock,
        metrics: &Metrics,
        dns: &Arc<Dns>,
    ) -> Self {
        let wake = previous.map_or_else(Arc::default, |previous| Arc::clone(&previous.wake));
        let upstream = |config: &UpstreamConfig| {
            let before = previous.and_then(|previous| previous.get(&config.name));
            let fitting = before.filter(|before| Protection::fits(&before.config, config));
            let protection = match fitting {
                Some(before) => Arc::clone(&before.protection),
                None => Arc::new(Protection::new(config, metrics.protection(&config.name))),
            };
            let with = (workers, clock, dns);
            Arc::new(Upstream::new(config, before, protection, &wake, with))
        };
        let list: Vec<Arc<Upstream>> = configs.iter().map(upstream).collect();
        let names = list.iter().map(|upstream| Arc::clone(upstream.name()));
        Self {
            by_name: names.zip(0..).collect(),
            list,
            wake,
        }
    }

    /// The upstream of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.list.get(*self.by_name.get(name)?)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.list.iter()
    }

    /// Opens the connections that a worker is to have before they are needed; on the worker itself, whose they are.
    pub async fn warm(&self, worker: usize) {
        let warmed = self
            .list
            .iter()
            .filter(|upstream| upstream.config.pool.warm_connections > 0);
        for upstream in warmed {
            for target in upstream
                .targets()
                .iter()
                .filter(|target| target.is_usable())
            {
                target.warm(worker, &upstream.config).await;
            }
        }
    }

    /// Brings gauges up to date.
    pub fn observe(&self) {
        for upstream in &self.list {
            upstream.protection.observe(upstream.clock.now());
        }
    }

    /// Closes connections that have been idle for too long.
    pub fn sweep(&self) {
        for upstream in &self.list {
            for target in upstream.targets() {
                target.sweep(upstream.keep());
            }
        }
    }
}

impl Upstream {
    fn new(
        config: &UpstreamConfig,
        before: Option<&Arc<Self>>,
        protection: Arc<Protection>,
        wake: &Arc<Notify>,
        (workers, clock, dns): (usize, &Clock, &Arc<Dns>),
    ) -> Self {
        let attention = match before {
            Some(before) => Arc::clone(&before.attention),
            None => Arc::new(Attention::new(Arc::clone(wake))),
        };
        let make = |endpoint| {
            let attention = Arc::clone(&attention);
            Target::new(endpoint, workers, clock.clone(), dns, attention)
        };
        let kept = before.map(|before| before.set.load_full());
        let set = TargetSet::new(&config.targets, config, kept.as_deref(), clock.now(), make);
        attention.call();
        Self {
            binder: Binder::new(config),
            set: ArcSwap::from_pointee(set),
            changing: Mutex::new(()),
            turns: Turns::new(workers),
            protection,
            attention,
            compare_at: AtomicU64::new(0),
            workers,
            clock: clock.clone(),
            dns: Arc::clone(dns),
            config: config.clone(),
        }
    }

    /// `NAME`
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.config.name
    }

    /// Its targets as they are now.
    #[must_use]
    pub fn targets(&self) -> Vec<Arc<Target>> {
        self.set.load().targets().to_vec()
    }

    /// From here on these are its targets. Those that it had already stay as they are, with their connections and their
    /// health. Those that are gone get no new requests, and end those that they have.
    pub fn replace_targets(&self, targets: &[TargetConfig]) {
        let now = self.clock.now();
        let make = |endpoint| {
            let attention = Arc::clone(&self.attention);
            let clock = self.clock.clone();
            Target::new(endpoint, self.workers, clock, &self.dns, attention)
        };
        self.change(|set| TargetSet::new(targets, &self.config, Some(set), now, make));
        self.attention.call();
    }

    /// What binds a request to some of its targets, if anything does.
    #[must_use]
    pub fn affinity(&self, request: &Features<'_>) -> Option<Affinity> {
        self.binder.as_ref().map(|binder| binder.affinity(request))
    }

    /// Picks are made anew of the same targets: the health of one has changed.
    fn replan(&self) {
        let now = self.clock.now();
        self.change(|set| set.replanned(&self.config, now));
    }

    /// Its targets as they are now.
    fn current(&self) -> Arc<TargetSet> {
        self.set.load_full()
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

    /// Sends a request, as often as there is sense in it, and waits for the head of a response. The request's authority is
    /// not looked at: targets are addresses.
    pub async fn send(&self, sending: Sending<'_>, request: Request<Body>) -> Delivered {
        let begun = self.clock.now();
        let total = self.config.total_timeout;
        let limit = sending.limit.map(|limit| limit.min(total.unwrap_or(limit)));
        let deadline = limit.map(|limit| begun.saturating_add(limit));
        let policy = sending.retry.unwrap_or(&self.config.retry);
        let entered = self
            .protection
            .enter(sending.importance, deadline, &self.clock);
        let permit = match entered.await {
            Ok(permit) => permit,
            Err(error) => return Delivered::failed(error),
        };
        if policy.retries > 0 {
            self.protection.budget().request(begun);
        }
        let wire = Delivery {
            upstream: self,
            worker: sending.worker,
            affinity: sending.affinity,
            protocol: match sending.upgrade {
                true => UpstreamProtocol::Http1,
                false => self.config.protocol,
            },
            max_body: policy.max_body,
            deadline_header: sending.deadline_header,
            grpc_deadline: sending.grpc_timeout.map(|left| begun.saturating_add(left)),
        };
        let method = request.method().clone();
        let budget = Some(self.protection.budget());
        let mut attempts = Attempts {
            wire: &wire,
            course: Course::new(policy, budget, &method, deadline),
            breaker: self.protection.breaker(),
            // Without a limit, somebody else watches the time.
            patience: limit.map(|_| self.config.read_timeout),
            log: Vec::new(),
        };
        let result = attempts.run(request).await;
        let log = attempts.log;
        let is_unseen = || log.iter().all(|noted| retry::is_unseen(noted.outcome));
        let may_repeat = policy.allows(&method) || result.is_err() && is_unseen();
        let log = log.into_iter().map(attempt);
        Delivered {
            may_repeat,
            attempts: log.collect(),
            answer: result.map(|(picked, (mut response, held))| {
                let target = Arc::clone(picked.target().address());
                self.bind(sending.affinity, picked.target(), response.headers_mut());
                let elapsed = || self.clock.now().saturating_sub(begun);
                let rest = total.map(|total| total.saturating_sub(elapsed()));
                let response = match delivery::switches(response.status()) {
                    // The connection is HTTP's no longer.
                    true => Hold::of(picked).put(response),
                    false => wire.body(picked, held, response, rest, permit),
                };
                Answer { response, target }
            }),
        }
    }

    /// Tells a client which target it is bound to from here on.
    fn bind(&self, affinity: Option<&Affinity>, target: &Target, headers: &mut HeaderMap) {
        let cookie = || self.binder.as_ref()?.cookie(affinity?, target);
        if let Some(cookie) = affinity.and_then(|_| cookie()) {
            headers.append(http::header::SET_COOKIE, cookie);
        }
    }

    /// A target for one attempt.
    fn pick(&self, context: &PickContext<'_>) -> Result<Picked, UpstreamError> {
        let picked = balance::pick(&self.set.load(), &self.config.balance, &self.turns, context);
        picked.ok_or_else(|| UpstreamError::NoTarget {
            upstream: Arc::clone(&self.config.name),
        })
    }

    fn keep(&self) -> Keep {
        Keep::of(&self.config)
    }
}

/// An attempt as the access log tells of it.
fn attempt(noted: Noted<Arc<Target>>) -> Attempt {
    Attempt {
        target: Arc::clone(noted.target.address()),
        outcome: match noted.outcome {
            Outcome::Answered { status, .. } => status.as_u16().to_string().into(),
            other => other.as_str().into(),
        },
        took: noted.took,
    }
}
