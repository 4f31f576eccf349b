//! Routes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{FallbackConfig, FaultConfig, Position, RetryConfig, UpgradeProtocol};
use crate::config::template::Template;
use crate::types::Importance;

/// `[[route]]`
#[derive(Debug, Clone, PartialEq)]
pub struct RouteConfig {
    /// Unique; also the metric label.
    pub name: Arc<str>,
    /// Exact host names, lower case, or `*.` and a suffix; empty matches every host.
    pub hosts: Vec<Arc<str>>,
    /// Which paths it is for.
    pub path: PathConfig,
    /// Upper case; empty matches every method.
    pub methods: Vec<http::Method>,
    /// What is wanted of headers.
    pub headers: Vec<ConditionConfig>,
    /// What is wanted of query parameters.
    pub query: Vec<ConditionConfig>,
    /// Routes of a higher one go first. Default 0.
    pub priority: i32,
    /// The chain: names of plugins, in the order of their request phases.
    pub plugins: Vec<Arc<str>>,
    /// What becomes of the path on its way to an upstream. Default nothing.
    pub path_change: Option<PathChangeConfig>,
    /// Who answers.
    pub origin: OriginConfig,
    /// Requests that another upstream answers: the first rule that holds.
    pub canary: Vec<CanaryConfig>,
    /// Requests that another upstream gets a copy of.
    pub mirror: Option<MirrorConfig>,
    /// When requests are sent again. Default what the upstream has.
    pub retry: Option<RetryConfig>,
    /// Who answers when the origin cannot: the first that is for the status.
    pub fallback: Vec<FallbackConfig>,
    /// What goes wrong on purpose. Default nothing.
    pub fault: Option<FaultConfig>,
    /// How much it matters when not all requests can be served, where a tier does not say it. Default normal.
    pub importance: Importance,
    /// Where clients say how long they wait, and services are told. Default nowhere.
    pub deadline_header: Option<http::HeaderName>,
    /// From the request's head to the response's head. Default 60 s.
    pub timeout: Duration,
    /// Protocols that a client may change to. Default none.
    pub upgrade: Vec<UpgradeProtocol>,
    /// How long nothing may be said on a tunnel. Default 5 min.
    pub tunnel_idle_timeout: Duration,
    /// For the next bytes of a response, head or body, where that is less than the upstream's.
    pub read_timeout: Option<Duration>,
    /// For the whole response, from the request's first byte to the response's last, where that is less than the
    /// upstream's.
    pub total_timeout: Option<Duration>,
    /// Most bytes of a request body. Default 16 MiB.
    pub max_request_body: u64,
    /// Where the route stands.
    pub position: Position,
}

/// Which paths a route is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathConfig {
    /// `/exact`, `/with/{parameter}`, `/with/{*tail}`.
    Pattern(Arc<str>),
    /// A regular expression that the whole path matches.
    Regex(Arc<str>),
}

impl fmt::Display for PathConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern(text) => f.write_str(text),
            Self::Regex(text) => write!(f, "~ {text}"),
        }
    }
}

/// What is wanted of a header, a query parameter or a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionConfig {
    /// Its name.
    pub name: Arc<str>,
    /// What is wanted.
    pub test: TestConfig,
}

/// What is wanted of one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TestConfig {
    /// It is this.
    Exact(Arc<str>),
    /// The whole of it matches.
    Regex(Arc<str>),
    /// It is there.
    Present,
    /// It is not there.
    Absent,
}

/// What becomes of a path on its way to an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathChangeConfig {
    /// This, with which the path begins, is cut off.
    StripPrefix(Arc<str>),
    /// It is replaced.
    Rewrite(Template),
}

/// Who answers the requests of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginConfig {
    /// `upstream = "NAME"`
    Upstream(Arc<str>),
    /// `split`: upstreams and their weights, which are not all zero.
    Split(Vec<(Arc<str>, u32)>),
    /// `responder = "NAME"`: a plugin.
    Responder(Arc<str>),
    /// `redirect`: the client is sent elsewhere.
    Redirect {
        /// 301, 302, 303, 307 or 308. Default 307.
        status: u16,
        /// A path, or a URL.
        to: Template,
    },
}

impl OriginConfig {
    /// The names of its upstreams.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<str>> {
        let (one, many) = match self {
            Self::Upstream(name) => (Some(name), None),
            Self::Split(shares) => (None, Some(shares)),
            Self::Responder(_) | Self::Redirect { .. } => (None, None),
        };
        one.into_iter()
            .chain(many.into_iter().flatten().map(|(name, _)| name))
    }
}

/// `[[route.canary]]`: all that it names must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanaryConfig {
    /// Who answers.
    pub upstream: Arc<str>,
    /// What is wanted of headers.
    pub headers: Vec<ConditionConfig>,
    /// What is wanted of cookies.
    pub cookies: Vec<ConditionConfig>,
    /// One of these consumers; empty is everybody.
    pub consumers: Vec<Arc<str>>,
}

/// `[route.mirror]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorConfig {
    /// Who gets the copies.
    pub upstream: Arc<str>,
    /// How many of a million requests. Default all.
    pub per_million: u32,
    /// Most bytes of a body; requests with more are not copied. Default 64 KiB.
    pub max_body: usize,
    /// Most copies under way, over all workers. Default 64.
    pub max_pending: usize,
}
