//! One immutable generation of the whole configuration, ready to serve.

use std::sync::Arc;
use std::time::Duration;

use super::mirror::Mirror;
use super::rewrite::{PathChange, Redirect};
use super::split::Split;
use crate::config::RetryConfig;
use crate::plugin::{Chain, Plugin, Worker};
use crate::router::Router;
use crate::telemetry::ExchangeRecorder;
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
    /// Learns of every exchange that ends.
    pub recorder: Arc<ExchangeRecorder>,
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
