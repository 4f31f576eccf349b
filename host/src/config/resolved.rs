//! What the rest of the host sees of the configuration: checked, typed, with every default filled in.
//!
//! The shape of the file is `config/file.rs`; that the two are free to differ is the point of having both.

mod balance;
mod consumer;
mod discovery;
mod health;
mod limit;
mod resilience;
mod route;
mod state;
mod target;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use balance::*;
pub use consumer::*;
pub use discovery::*;
pub use health::*;
pub use limit::*;
pub use resilience::*;
pub use route::*;
pub use state::*;
pub use target::*;

use super::address::ListenAddress;
use super::text::Texts;
use super::tls::ListenTlsConfig;
use crate::types::{EncodedInPath, Importance};

/// The whole configuration. Names in routes and grants refer to existing tables: `check` has seen to it.
#[derive(Debug)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[admin]`; without the table there is no admin listener.
    pub admin: Option<AdminConfig>,
    /// `[access-log]`
    pub access_log: AccessLogConfig,
    /// `[log]`
    pub log: LogConfig,
    /// `[plugins]`: what holds for all plugins.
    pub engine: EngineConfig,
    /// `[dns]`
    pub dns: DnsConfig,
    /// `[state]`
    pub state: StateConfig,
    /// `[listen.NAME]`, at least one.
    pub listeners: Vec<ListenerConfig>,
    /// `[upstream.NAME]`
    pub upstreams: Vec<UpstreamConfig>,
    /// `[plugin.NAME]`
    pub plugins: Vec<PluginConfig>,
    /// `[consumer.NAME]`
    pub consumers: Vec<ConsumerConfig>,
    /// `[tier.NAME]`: its limits.
    pub tiers: BTreeMap<Arc<str>, Vec<LimitConfig>>,
    /// `[tier.NAME]`: how much requests matter, of tiers that say it.
    pub importances: BTreeMap<Arc<str>, Importance>,
    /// `[keys.NAME]`
    pub keys: Vec<KeyConfig>,
    /// `[keys.NAME]` with `jwks`
    pub key_sets: Vec<KeySetConfig>,
    /// `[[route]]`, in the order of the file.
    pub routes: Vec<RouteConfig>,
    /// Every file that was read: the main one, included ones, and files that secrets came from.
    pub sources: Vec<PathBuf>,
    /// The texts that positions point into, for [`Problems::new`](super::Problems::new).
    pub texts: Texts,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Worker threads, each with its own connections. Default: available cores.
    pub workers: usize,
    /// How long a drain waits for exchanges to end. Default 30 s.
    pub drain_timeout: Duration,
    /// From not being ready to accepting nothing new. Default 0 s.
    pub readiness_delay: Duration,
}

/// `[admin]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where `/metrics`, `/healthz`, `/readyz` and `/api/*` are served.
    pub address: SocketAddr,
    /// Whether faults may be injected through it. Default not.
    pub allow_drills: bool,
}

/// `[access-log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLogConfig {
    /// Default `text`.
    pub format: AccessLogFormat,
    /// A file to append to; `None` is standard output.
    pub file: Option<PathBuf>,
}

/// How a line of the access log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// No access log.
    Off,
    /// One line for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// A tracing filter, such as `info` or `postern=debug,warn`. Default `info`.
    pub filter: String,
    /// JSON instead of text. Default text.
    pub json: bool,
}

/// `[plugins]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// Directory of compiled code. Default: `postern` in the user's cache directory.
    pub cache: Option<PathBuf>,
    /// Most instances that may live at once, over all plugins and workers. Default 1,000.
    pub max_instances: u32,
    /// Most memory of one instance, over all plugins: the size of the pool's slots. Default 64 MiB.
    pub max_memory: usize,
    /// Whether changed `.wasm` files are loaded while running. Default true.
    pub watch: bool,
}

/// How many frames of a kind may come on one HTTP/2 connection within ten seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// `max-resets`: `RST_STREAM`. Default 200.
    pub resets: u32,
    /// `max-control-frames`: `SETTINGS`, `PING`, `PRIORITY`, `CONTINUATION`, `DATA` without data, and unknown kinds. Window
    /// updates are counted apart from them, and up to the same number. Default 2,000.
    pub control: u32,
}

/// How fast a client must send bodies, and take responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaceConfig {
    /// For a request body to come, besides what its bytes are given. Default 30 s.
    pub body_timeout: Duration,
    /// Bytes of a request body that are given a second. Default 100.
    pub min_body_rate: u64,
    /// For any part of a response to be taken. Default 30 s.
    pub write_timeout: Duration,
}

/// `[listen.NAME]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerConfig {
    /// `NAME`
    pub name: Arc<str>,
    /// Where to listen; port 0 picks a free one.
    pub address: ListenAddress,
    /// Permissions of a socket with a path. Default 0660.
    pub socket_mode: u32,
    /// Most connections at once. Default 10,000.
    pub max_connections: usize,
    /// Most connections of one client, in IPv6 of a /64, at once. Default no limit.
    pub max_connections_per_address: Option<usize>,
    /// For a whole request head to arrive. Default 10 s.
    pub header_timeout: Duration,
    /// For the next request of a kept connection to begin. Default 75 s.
    pub idle_timeout: Duration,
    /// Most bytes of a request head. Default 32 KiB.
    pub max_header_bytes: usize,
    /// Most bytes of a request target. Default 8 KiB.
    pub max_uri_bytes: usize,
    /// Most header fields of a request. Default 100.
    pub max_headers: usize,
    /// Most concurrent streams of one HTTP/2 connection. Default 128.
    pub max_streams: u32,
    /// What is let through in paths where it is percent-encoded. Default nothing.
    pub allow_encoded: EncodedInPath,
    /// Frames of HTTP/2 that cost a client nothing.
    pub frames: FrameLimits,
    /// How fast clients must be.
    pub pace: PaceConfig,
    /// Peers whose `Forwarded` and `X-Forwarded-*` headers are believed. Default none.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Whether HTTP/3 is spoken as well. Default false.
    pub http3: bool,
    /// Whether clients get interim responses (1xx) of upstreams. Default false.
    pub interim_responses: bool,
    /// With it, clients speak TLS. Default none.
    pub tls: Option<ListenTlsConfig>,
    /// Whether connections begin with a header of the PROXY protocol. Default not.
    pub proxy_protocol: bool,
    /// The port of `https://` that requests without TLS are sent on to. Default they are not.
    pub redirect_https: Option<u16>,
}

/// `[upstream.NAME]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// `NAME`
    pub name: Arc<str>,
    /// At least one, if the file lists them.
    pub targets: Vec<TargetConfig>,
    /// Where they come from otherwise.
    pub discovery: Option<DiscoveryConfig>,
    /// For a connection to be made. Default 1 s.
    pub connect_timeout: Duration,
    /// For the next bytes of a response, head or body. Default 60 s.
    pub read_timeout: Duration,
    /// For the whole response, from the request's first byte to the response's last. Default none.
    pub total_timeout: Option<Duration>,
    /// Which version of HTTP is spoken to it. Default `auto`.
    pub protocol: UpstreamProtocol,
    /// Most streams at once on one connection of HTTP/2; the target may allow fewer. Default 100.
    pub max_streams: usize,
    /// Between pings on a connection of HTTP/2 on which nothing comes, while streams are open. Default 6 min.
    pub ping_interval: Duration,
    /// Most idle connections kept to each target by each worker. Default 64.
    pub max_idle: usize,
    /// How long an idle connection is kept. Default 60 s.
    pub idle_timeout: Duration,
    /// How many connections there are, and for how long.
    pub pool: PoolConfig,
    /// `[upstream.NAME.balance]`
    pub balance: BalanceConfig,
    /// `[upstream.NAME.sticky]`
    pub sticky: Option<StickyConfig>,
    /// `[upstream.NAME.health]`
    pub health: Option<HealthConfig>,
    /// `[upstream.NAME.outlier]`
    pub outlier: OutlierConfig,
    /// When requests are sent again.
    pub retry: RetryConfig,
    /// How many are sent again.
    pub retry_budget: RetryBudgetConfig,
    /// When none is sent. Default never.
    pub breaker: Option<BreakerConfig>,
    /// How many are sent at once. Default all.
    pub concurrency: Option<ConcurrencyConfig>,
}

/// The connections to a target, besides those that are idle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolConfig {
    /// Most connections to one target, over all workers. Default no limit.
    pub max_connections: Option<usize>,
    /// Most requests that wait for a connection to one target, where there is a limit. Default 1,000.
    pub max_waiting: usize,
    /// Most requests on one connection. Default no limit.
    pub max_requests_per_connection: Option<u64>,
    /// How long one connection is used. Default no limit.
    pub max_connection_age: Option<Duration>,
    /// Idle connections that each worker has to each target, before they are needed. Default none.
    pub warm_connections: usize,
}

/// Which version of HTTP is spoken to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// What the target prefers where the handshake of TLS tells, HTTP/1.1 where there is none.
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, with prior knowledge (RFC 9113, 3.3).
    H2,
}

/// `[plugin.NAME]`
#[derive(Debug, Clone, PartialEq)]
pub struct PluginConfig {
    /// `NAME`: also the metric label.
    pub name: Arc<str>,
    /// The component, resolved against the directory of the file that names it.
    pub file: PathBuf,
    /// The `config` table as JSON, `{}` without one.
    pub config: Arc<str>,
    /// Where the `config` table (or, without one, the plugin's table) stands: its errors are shown there.
    pub position: Position,
    /// Host interfaces that it may import, besides `log`, `exchange` and `clock`.
    pub grants: Vec<Grant>,
    /// Upstreams that it may call or route to; a non-empty list grants `outbound`.
    pub upstreams: Vec<Arc<str>>,
    /// Default `reuse`.
    pub isolation: Isolation,
    /// Default `closed`.
    pub on_failure: OnFailure,
    /// `[plugin.NAME.budget]`
    pub budget: BudgetConfig,
}

/// A host interface that must be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// `identity`
    Identity,
    /// `keys`
    Keys,
    /// `limits`
    Limits,
    /// `store`
    Store,
    /// `metrics`
    Metrics,
}

/// Whether instances serve more than one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// A pool of instances for each worker.
    Reuse,
    /// A fresh instance for each exchange.
    Request,
}

/// What happens to a request whose plugin failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnFailure {
    /// 503, code `plugin-failed`.
    Closed,
    /// As if the plugin were not in the chain.
    Open,
    /// This answer: status (400 to 599) and body (text/plain).
    Reply {
        /// Status code.
        status: u16,
        /// Body.
        body: Arc<str>,
    },
}

/// `[plugin.NAME.budget]`: what one call may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetConfig {
    /// CPU time of one call. Default 2 ms; more than that runs the plugin on a fiber that yields every millisecond.
    pub cpu: Duration,
    /// Wall time of one call, where it can suspend. Default 10 s.
    pub wall: Duration,
    /// Linear memory of one instance. Default 16 MiB; at most `[plugins] max-memory`.
    pub memory: usize,
    /// Bytes that one call may move to the host. Default 4 MiB.
    pub host_call_bytes: usize,
    /// Outbound requests of one exchange. Default 16.
    pub outbound_calls: u32,
    /// Outbound requests under way at once, over all workers. Default 256.
    pub outbound_concurrency: u32,
    /// Body of a reply. Default 1 MiB.
    pub reply_size: usize,
    /// Whole bodies handed to the plugin, and bodies of outbound responses. Default 1 MiB.
    pub body_size: usize,
    /// What a stream phase returns for one chunk. Default 256 KiB.
    pub chunk_size: usize,
    /// Calls after which an instance is replaced. Default 10,000.
    pub max_calls: u32,
}

/// Signature algorithms that keys can be bound to (RFC 7518, 3.1; RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of the RFC")]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    ES512,
    EdDSA,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::HS256,
        Self::HS384,
        Self::HS512,
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::ES512,
        Self::EdDSA,
    ];

    /// By its name in the RFCs, with which `Debug` writes it too.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| format!("{algorithm:?}") == name)
    }
}

/// A protocol that a client may change to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeProtocol {
    /// RFC 6455, and RFC 8441 over HTTP/2.
    WebSocket,
}

/// A place in a file, for errors that are found after parsing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The file.
    pub file: Arc<PathBuf>,
    /// Bytes from its start to the first and past the last byte of the place.
    pub span: std::ops::Range<usize>,
    /// The key's path, such as `plugin.jwt.config`.
    pub key: Arc<str>,
}
