//! What plugins need of their neighbours on the same floor: the ports of `plugin`, over `identity`, `state` and
//! `upstream`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};

use super::remote::SharedState;
use crate::body::{Body, BodyError};
use crate::clock::Clock;
use crate::config::{Algorithm, Config, LimitRule};
use crate::identity::{self, Consumers, KeyRef, Keys, Verification};
use crate::plugin::{
    Cost, Counters, Decision, Held, Identities, KeyName, KeyRing, Outbound, OutboundFailure,
    OutboundFuture, OutboundRequest, RemoteState, Services, StoreFailure, Stores, Verified,
};
use crate::state;
use crate::types::{Consumer, Identity};
use crate::upstream::{Features, Sending, UpstreamError, Upstreams};

/// The services of one configuration. Counters and stores outlive it.
pub(super) fn services(
    config: &Config,
    keys: Keys,
    (state, remote): (&Arc<State>, Option<&Arc<SharedState>>),
    clock: &Clock,
) -> Services {
    Services {
        identities: Arc::new(People(Consumers::build(&config.consumers, clock))),
        keys: Arc::new(Ring(keys)),
        counters: Arc::clone(state) as Arc<dyn Counters>,
        stores: Arc::clone(state) as Arc<dyn Stores>,
        remote: remote.map(|remote| Arc::clone(remote) as Arc<dyn RemoteState>),
        tiers: Arc::new(config.tiers.clone()),
        clock: clock.clone(),
    }
}

struct People(Consumers);

impl Identities for People {
    fn find_api_key(&self, key: &str) -> Option<Identity> {
        self.0.find_api_key(key)
    }

    fn find_issuer(&self, issuer: &str) -> Option<Identity> {
        self.0.find_issuer(issuer)
    }

    fn by_name(&self, name: &str) -> Option<Arc<Consumer>> {
        self.0.by_name(name)
    }
}

struct Ring(Keys);

impl KeyRing for Ring {
    fn verify(
        &self,
        key: KeyName<'_>,
        id: Option<&str>,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Verified {
        let key = match key {
            KeyName::Set(name) => KeyRef::Set(name),
            KeyName::Issuer(issuer) => KeyRef::Issuer(issuer),
        };
        match self.0.verify(key, id, algorithm, message, signature) {
            Verification::Valid => Verified::Valid,
            Verification::BadSignature => Verified::BadSignature,
            Verification::UnknownKey => Verified::UnknownKey,
            Verification::AlgorithmNotAllowed => Verified::AlgorithmNotAllowed,
        }
    }

    fn sha256(&self, data: &[u8]) -> [u8; 32] {
        identity::sha256(data)
    }
}

/// Keys that limits are counted for, in all.
const MAX_LIMIT_KEYS: usize = 1_000_000;
/// Of the store of one plugin.
const MAX_STORE_ENTRIES: usize = 100_000;
const MAX_STORE_BYTES: usize = 32 << 20;

/// Counters and stores: they survive reloads.
pub(super) struct State {
    limits: state::Limits,
    places: Arc<state::Places>,
    stores: state::Stores,
    clock: Clock,
}

impl State {
    pub(super) fn new(clock: Clock) -> Self {
        let limits = state::Limits::new(MAX_LIMIT_KEYS);
        Self {
            limits,
            places: Arc::default(),
            stores: state::Stores::new(MAX_STORE_ENTRIES, MAX_STORE_BYTES),
            clock,
        }
    }

    /// Forgets the stores of plugins that are gone.
    pub(super) fn retain_stores(&self, is_configured: impl Fn(&str) -> bool) {
        self.stores.retain(is_configured);
    }

    /// Forgets what is over.
    pub(super) fn sweep(&self) {
        self.limits.sweep(self.clock.now());
        self.stores.sweep(self.clock.now());
    }
}

impl Counters for State {
    fn take(
        &self,
        namespace: &str,
        key: &str,
        rules: &[LimitRule],
        cost: Cost,
    ) -> Result<Vec<Decision>, String> {
        let (place, now) = ((namespace, key), self.clock.now());
        let limits = &self.limits;
        let decisions = limits.decide(place, rules, cost.amount, cost.is_spent, now);
        let decisions = decisions.map_err(|error| error.to_string())?;
        Ok(decisions.iter().map(export).collect())
    }

    fn enter(&self, namespace: &str, key: &str, most: u64) -> Option<Held> {
        let place = self.places.enter(namespace, key, most)?;
        Some(Arc::new(place))
    }
}

/// A decision as plugins see it.
pub(super) fn export(decision: &state::Decision) -> Decision {
    Decision {
        allowed: decision.allowed,
        limit: decision.limit,
        remaining: decision.remaining,
        reset: Duration::from_millis(decision.reset_ms()),
        retry: Duration::from_millis(decision.retry_ms()),
    }
}

impl Stores for State {
    fn get(&self, namespace: &str, key: &str) -> Result<Option<(Bytes, u64)>, StoreFailure> {
        let entry = self
            .stores
            .of(namespace)
            .get(key, self.clock.now())
            .map_err(store_failure)?;
        Ok(entry.map(|entry| (Bytes::copy_from_slice(&entry.value), entry.version)))
    }

    fn set(
        &self,
        namespace: &str,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<(), StoreFailure> {
        let ttl = ttl.unwrap_or_default();
        self.stores
            .of(namespace)
            .set(key, &value, ttl, self.clock.now())
            .map_err(store_failure)
    }

    fn compare_and_set(
        &self,
        namespace: &str,
        key: &str,
        expected: Option<u64>,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<u64, StoreFailure> {
        let (store, ttl) = (self.stores.of(namespace), ttl.unwrap_or_default());
        store
            .compare_and_set(key, expected, &value, ttl, self.clock.now())
            .map_err(store_failure)
    }

    fn delete(&self, namespace: &str, key: &str) -> Result<(), StoreFailure> {
        self.stores.of(namespace).delete(key).map_err(store_failure)
    }

    fn add(
        &self,
        namespace: &str,
        key: &str,
        delta: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, StoreFailure> {
        let ttl = ttl.unwrap_or_default();
        self.stores
            .of(namespace)
            .add(key, delta, ttl, self.clock.now())
            .map_err(store_failure)
    }
}

fn store_failure(error: state::StoreError) -> StoreFailure {
    match error {
        state::StoreError::TooLarge => StoreFailure::TooLarge,
        state::StoreError::Conflict => StoreFailure::Conflict,
    }
}

/// The upstreams of one configuration, over the connections of one worker.
pub(super) struct WorkerUpstreams {
    pub(super) worker: usize,
    pub(super) upstreams: Arc<Upstreams>,
}

impl Outbound for WorkerUpstreams {
    fn send(&self, request: OutboundRequest) -> OutboundFuture {
        let OutboundRequest {
            upstream,
            request,
            timeout,
            max_body,
        } = request;
        let found = self.upstreams.get(&upstream).cloned();
        let worker = self.worker;
        Box::pin(async move {
            let Some(upstream) = found else {
                return Err(OutboundFailure::Unavailable(format!(
                    "there is no upstream {upstream:?}"
                )));
            };
            let whole = async {
                // The timer around the whole is enough, unless the upstream is more impatient.
                let limit = (timeout > upstream.patience()).then_some(timeout);
                let request = outgoing(request);
                // Nothing is known of a client here: what binds is what the plugin says.
                let affinity = upstream.affinity(&Features {
                    headers: request.headers(),
                    uri: request.uri(),
                    client: None,
                    consumer: None,
                });
                let sending = Sending {
                    worker,
                    limit,
                    affinity: affinity.as_ref(),
                    ..Sending::default()
                };
                let delivered = upstream.send(sending, request).await;
                let answer = delivered.answer.map_err(outbound_failure)?;
                let (head, body) = answer.response.into_parts();
                let (bytes, _) = body.collect(max_body).await.map_err(body_failure)?;
                Ok(Response::from_parts(head, bytes))
            };
            tokio::time::timeout(timeout, whole)
                .await
                .unwrap_or(Err(OutboundFailure::Timeout))
        })
    }
}

/// A plugin's request as it goes to a target: `Host` is the host's, and plugins speak to the upstream's name.
fn outgoing(request: Request<Bytes>) -> Request<Body> {
    let mut request = request.map(Body::whole);
    let headers: &mut HeaderMap = request.headers_mut();
    headers
        .entry(http::header::HOST)
        .or_insert(http::HeaderValue::from_static("postern.internal"));
    request
}

fn outbound_failure(error: UpstreamError) -> OutboundFailure {
    match &error {
        UpstreamError::ConnectTimeout { .. }
        | UpstreamError::Connect { .. }
        | UpstreamError::Tls { .. }
        | UpstreamError::Refused { .. }
        | UpstreamError::PoolFull { .. }
        | UpstreamError::NoTarget { .. }
        | UpstreamError::Rejected { .. } => OutboundFailure::Unavailable(error.to_string()),
        UpstreamError::ResponseTimeout { .. } => OutboundFailure::Timeout,
        UpstreamError::Closed { .. }
        | UpstreamError::Switched { .. }
        | UpstreamError::Protocol { .. }
        | UpstreamError::Plugin(_)
        | UpstreamError::Framing { .. }
        | UpstreamError::RequestBody { .. } => OutboundFailure::Protocol(error.to_string()),
    }
}

fn body_failure(error: BodyError) -> OutboundFailure {
    match error {
        BodyError::TooLarge => OutboundFailure::TooLarge,
        BodyError::Timeout => OutboundFailure::Timeout,
        BodyError::Broken(_) | BodyError::Plugin(_) => OutboundFailure::Protocol(error.to_string()),
    }
}
