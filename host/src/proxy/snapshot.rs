//! One immutable generation of the whole configuration, ready to serve.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::fallback::Fallback;
use super::fault::Faults;
use super::mirror::Mirror;
use super::rewrite::{PathChange, Redirect};
use super::split::Split;
use crate::config::RetryConfig;
use crate::exchange::Exchange;
use crate::plugin::{Chain, Plugin, Worker};
use crate::router::Router;
use crate::telemetry::ExchangeRecorder;
use crate::types::Importance;
use crate::upstream::{Upstream, Upstreams};

/// One generation. An exchange keeps the one that it began with to its end.
pub struct Snapshot {
    /// Counts up with every change.
    pub generation: u64,
    /// Finds the route of a request.
    pub router: Router,
    /// The routes, in the order that the router numbers them in.
    pub routes: Vec<Route>,
    /// All upstreams, also those that only plugins use.
    pub upstreams: Arc<Upstreams>,
    /// All plugins, also those that no route uses.
    pub plugins: Vec<Arc<Plugin>>,
    /// How much requests of consumers' tiers matter.
    pub importances: BTreeMap<Arc<str>, Importance>,
    /// Learns of every exchange that ends.
    pub recorder: Arc<ExchangeRecorder>,
}

impl Snapshot {
    /// How much a request of a route matters.
    pub(super) fn importance(&self, route: &Route, exchange: &Exchange) -> Importance {
        let identity = exchange
            .identity
            .as_ref()
            .filter(|_| !self.importances.is_empty());
        let tier = identity.and_then(|identity| identity.consumer.tier.as_ref());
        let of_tier = tier.and_then(|tier| self.importances.get(tier));
        of_tier.copied().unwrap_or(route.importance)
    }
}

/// A route, ready to serve.
pub struct Route {
    /// Its name.
    pub name: Arc<str>,
    /// Its plugins.
    pub chain: Chain,
    /// Who answers.
    pub origin: Origin,
    /// What becomes of the path on its way to an upstream.
    pub path_change: Option<PathChange>,
    /// Who gets copies of requests.
    pub mirror: Option<Arc<Mirror>>,
    /// When requests are sent again, where that is not for the upstream to say.
    pub retry: Option<RetryConfig>,
    /// Who answers when the origin cannot.
    pub fallback: Option<Fallback>,
    /// What goes wrong on purpose.
    pub faults: Option<Faults>,
    /// How much it matters when not all requests can be served, where a tier does not say it.
    pub importance: Importance,
    /// Where clients say how long they wait, and services are told.
    pub deadline_header: Option<HeaderName>,
    /// From the request's head to the response's head.
    pub timeout: Duration,
    /// For the next bytes of a response, where that is less than the upstream's.
    pub read_timeout: Option<Duration>,
    /// For the whole response, where that is less than the upstream's.
    pub total_timeout: Option<Duration>,
    /// Most bytes of a request body.
    pub max_request_body: u64,
    /// Where WebSockets are allowed: how long nothing may be said on one.
    pub websocket: Option<Duration>,
}

impl Route {
    /// How long a response's head may still take, `elapsed` after the request's.
    pub(super) fn patience(&self, elapsed: Duration) -> Duration {
        let left = self.timeout.saturating_sub(elapsed);
        let others = [self.read_timeout, self.total_timeout];
        others.into_iter().flatten().fold(left, Duration::min)
    }
}

/// Who answers the requests of a route.
pub enum Origin {
    /// A service.
    Upstream(Arc<Upstream>),
    /// One of several services.
    Split(Split),
    /// A plugin.
    Responder(Arc<Plugin>),
    /// Nobody: clients are sent elsewhere.
    Redirect(Redirect),
}

/// A snapshot as one worker sees it. Each worker counts the references to its own view, so that workers do not
/// contend for one counter.
pub struct View {
    /// The generation.
    pub snapshot: Arc<Snapshot>,
    /// The worker.
    pub worker: Worker,
}
