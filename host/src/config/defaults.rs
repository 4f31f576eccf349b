//! What holds where the file says nothing. `docs/operators.md` shows these values; a test compares the two.

use std::time::Duration;

use super::resolved::OnStateFailure;

/// `[server] drain-timeout`: longer than most requests, shorter than the patience of orchestrators.
pub const DEFAULT_SERVER_DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// `[server] readiness-delay`: who asks for readiness is expected to know by itself when to come back.
pub const DEFAULT_SERVER_READINESS_DELAY: Duration = Duration::ZERO;

/// `[admin] allow-drills`
pub const DEFAULT_ADMIN_ALLOW_DRILLS: bool = false;

/// `[log] level`
pub const DEFAULT_LOG_LEVEL: &str = "info";

/// `[plugins] max-instances`
pub const DEFAULT_PLUGINS_MAX_INSTANCES: u32 = 1_000;
/// `[plugins] max-memory`: address space of one slot, not memory that is used.
pub const DEFAULT_PLUGINS_MAX_MEMORY: usize = 64 << 20;
/// `[plugins] watch`
pub const DEFAULT_PLUGINS_WATCH: bool = true;

/// `[listen.NAME] socket-mode`: the owner and the group.
pub const DEFAULT_LISTEN_SOCKET_MODE: u32 = 0o660;
/// `[listen.NAME] redirect-https-port`
pub const DEFAULT_LISTEN_REDIRECT_HTTPS_PORT: u16 = 443;
/// `[listen.NAME] max-connections`
pub const DEFAULT_LISTEN_MAX_CONNECTIONS: usize = 10_000;
/// `[listen.NAME] header-timeout`: a slow client holds a connection no longer than this without a request.
pub const DEFAULT_LISTEN_HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// `[listen.NAME] idle-timeout`: longer than the 60 s that balancers in front usually keep connections.
pub const DEFAULT_LISTEN_IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// `[listen.NAME] max-header-bytes`
pub const DEFAULT_LISTEN_MAX_HEADER_BYTES: usize = 32 << 10;
/// `[listen.NAME] max-uri-bytes`: what RFC 9110, 4.1 asks for, and what most servers take.
pub const DEFAULT_LISTEN_MAX_URI_BYTES: usize = 8 << 10;
/// `[listen.NAME] max-headers`
pub const DEFAULT_LISTEN_MAX_HEADERS: usize = 100;
/// `[listen.NAME] max-streams`
pub const DEFAULT_LISTEN_MAX_STREAMS: u32 = 128;
/// `[listen.NAME] max-resets`: a page that is left takes about a hundred requests back.
pub const DEFAULT_LISTEN_MAX_RESETS: u32 = 200;
/// `[listen.NAME] max-control-frames`
pub const DEFAULT_LISTEN_MAX_CONTROL_FRAMES: u32 = 2_000;
/// `[listen.NAME] body-timeout`
pub const DEFAULT_LISTEN_BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// `[listen.NAME] min-body-rate`: a slow modem is many times faster.
pub const DEFAULT_LISTEN_MIN_BODY_RATE: u64 = 100;
/// `[listen.NAME] write-timeout`
pub const DEFAULT_LISTEN_WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// `[listen.NAME] http3`
pub const DEFAULT_LISTEN_HTTP3: bool = false;
/// `[listen.NAME] interim-responses`: some clients take one for the response (RFC 8297, 3).
pub const DEFAULT_LISTEN_INTERIM_RESPONSES: bool = false;

/// `[listen.NAME.tls] session-tickets`
pub const DEFAULT_TLS_SESSION_TICKETS: bool = true;
/// `[listen.NAME.tls] handshake-timeout`
pub const DEFAULT_TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// `[listen.NAME.tls] max-handshakes`: each costs about a millisecond of one core, and some KiB while it lasts.
pub const DEFAULT_TLS_MAX_HANDSHAKES: usize = 1_000;

/// `[upstream.NAME.balance] panic-threshold`: three targets that lose two go on with the one; ten that lose eight do not
/// let the two go down as well.
pub const DEFAULT_BALANCE_PANIC_THRESHOLD: u32 = 250_000;
/// `[upstream.NAME.sticky] cookie`
pub const DEFAULT_STICKY_COOKIE: &str = "postern-target";
/// `[upstream.NAME.sticky] path`
pub const DEFAULT_STICKY_PATH: &str = "/";
/// `[upstream.NAME.health] interval`
pub const DEFAULT_HEALTH_INTERVAL: Duration = Duration::from_secs(10);
/// `[upstream.NAME.health] jitter`
pub const DEFAULT_HEALTH_JITTER: u32 = 100_000;
/// `[upstream.NAME.health] timeout`
pub const DEFAULT_HEALTH_TIMEOUT: Duration = Duration::from_secs(1);
/// `[upstream.NAME.health] rise`
pub const DEFAULT_HEALTH_RISE: u32 = 2;
/// `[upstream.NAME.health] fall`
pub const DEFAULT_HEALTH_FALL: u32 = 3;
/// `[upstream.NAME.outlier] consecutive-5xx`; these and those below are Envoy's.
pub const DEFAULT_OUTLIER_CONSECUTIVE_5XX: u32 = 5;
/// `[upstream.NAME.outlier] consecutive-connect-failures`
pub const DEFAULT_OUTLIER_CONSECUTIVE_CONNECT_FAILURES: u32 = 5;
/// `[upstream.NAME.outlier] interval`
pub const DEFAULT_OUTLIER_INTERVAL: Duration = Duration::from_secs(10);
/// `[upstream.NAME.outlier] base-ejection-time`
pub const DEFAULT_OUTLIER_BASE_EJECTION_TIME: Duration = Duration::from_secs(30);
/// `[upstream.NAME.outlier] max-ejection-time`
pub const DEFAULT_OUTLIER_MAX_EJECTION_TIME: Duration = Duration::from_secs(300);
/// `[upstream.NAME.outlier] max-ejected`
pub const DEFAULT_OUTLIER_MAX_EJECTED: u32 = 100_000;
/// `[upstream.NAME.outlier] success-rate-stdev-factor`
pub const DEFAULT_OUTLIER_SUCCESS_RATE_STDEV_FACTOR: u32 = 1_900;
/// `[upstream.NAME.outlier] success-rate-minimum-hosts`
pub const DEFAULT_OUTLIER_SUCCESS_RATE_MINIMUM_HOSTS: usize = 5;
/// `[upstream.NAME.outlier] success-rate-request-volume`
pub const DEFAULT_OUTLIER_SUCCESS_RATE_REQUEST_VOLUME: u64 = 100;
/// `[upstream.NAME.outlier] failure-percentage-request-volume`
pub const DEFAULT_OUTLIER_FAILURE_PERCENTAGE_REQUEST_VOLUME: u64 = 50;

/// `[upstream.NAME] connect-timeout`
pub const DEFAULT_UPSTREAM_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// `[upstream.NAME] read-timeout`
pub const DEFAULT_UPSTREAM_READ_TIMEOUT: Duration = Duration::from_secs(60);
/// `[upstream.NAME] max-streams`: as many as servers should allow at least (RFC 9113, 6.5.2).
pub const DEFAULT_UPSTREAM_MAX_STREAMS: usize = 100;
/// `[upstream.NAME] ping-interval`: servers of gRPC close connections on which pings come more often than every 5 minutes.
pub const DEFAULT_UPSTREAM_PING_INTERVAL: Duration = Duration::from_secs(6 * 60);
/// `[upstream.NAME] max-idle`, for each target and worker.
pub const DEFAULT_UPSTREAM_MAX_IDLE: usize = 64;
/// `[upstream.NAME] max-waiting`, for each target.
pub const DEFAULT_UPSTREAM_MAX_WAITING: usize = 1_000;
/// `[upstream.NAME] idle-timeout`
pub const DEFAULT_UPSTREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// `[upstream.NAME] retry-budget`, of a million requests.
pub const DEFAULT_UPSTREAM_RETRY_BUDGET: u32 = 200_000;
/// `[upstream.NAME] retry-budget-min`, a second: a service that is hardly used is not without retries.
pub const DEFAULT_UPSTREAM_RETRY_BUDGET_MIN: u32 = 3;

/// `[upstream.NAME.retry] retries`
pub const DEFAULT_RETRY_RETRIES: u32 = 1;
/// `[upstream.NAME.retry] backoff`
pub const DEFAULT_RETRY_BACKOFF: Duration = Duration::from_millis(25);
/// `[upstream.NAME.retry] max-backoff`
pub const DEFAULT_RETRY_MAX_BACKOFF: Duration = Duration::from_millis(250);
/// `[upstream.NAME.retry] max-retry-after`: more than that, the client can wait itself.
pub const DEFAULT_RETRY_MAX_RETRY_AFTER: Duration = Duration::from_secs(1);
/// `[upstream.NAME.retry] max-body`
pub const DEFAULT_RETRY_MAX_BODY: usize = 64 << 10;

/// `[upstream.NAME.breaker] window`
pub const DEFAULT_BREAKER_WINDOW: Duration = Duration::from_secs(10);
/// `[upstream.NAME.breaker] failure-rate`, of a million requests.
pub const DEFAULT_BREAKER_FAILURE_RATE: u32 = 500_000;
/// `[upstream.NAME.breaker] slow-rate`, of a million requests.
pub const DEFAULT_BREAKER_SLOW_RATE: u32 = 1_000_000;
/// `[upstream.NAME.breaker] min-requests`
pub const DEFAULT_BREAKER_MIN_REQUESTS: u32 = 20;
/// `[upstream.NAME.breaker] open-for`
pub const DEFAULT_BREAKER_OPEN_FOR: Duration = Duration::from_secs(5);
/// `[upstream.NAME.breaker] probes`
pub const DEFAULT_BREAKER_PROBES: u32 = 3;

/// `[upstream.NAME.concurrency] max-queue`: waiting is a decision of the operator's.
pub const DEFAULT_CONCURRENCY_MAX_QUEUE: usize = 0;
/// `[upstream.NAME.concurrency] queue-timeout`
pub const DEFAULT_CONCURRENCY_QUEUE_TIMEOUT: Duration = Duration::from_secs(1);
/// `[upstream.NAME.concurrency] adaptive`
pub const DEFAULT_CONCURRENCY_ADAPTIVE: bool = false;
/// `[upstream.NAME.concurrency] min-requests`
pub const DEFAULT_CONCURRENCY_MIN_REQUESTS: usize = 1;

/// `[[route.fallback]] statuses`
pub const DEFAULT_FALLBACK_STATUSES: [u16; 4] = [500, 502, 503, 504];

/// `[plugin.NAME.budget] cpu`: what a neighbour on the same worker may have to wait for a call that does not yield.
pub const DEFAULT_BUDGET_CPU: Duration = Duration::from_millis(2);
/// `[plugin.NAME.budget] wall`
pub const DEFAULT_BUDGET_WALL: Duration = Duration::from_secs(10);
/// `[plugin.NAME.budget] memory`, or `[plugins] max-memory` where that is less.
pub const DEFAULT_BUDGET_MEMORY: usize = 16 << 20;
/// `[plugin.NAME.budget] host-call-bytes`
pub const DEFAULT_BUDGET_HOST_CALL_BYTES: usize = 4 << 20;
/// `[plugin.NAME.budget] outbound-calls`
pub const DEFAULT_BUDGET_OUTBOUND_CALLS: u32 = 16;
/// `[plugin.NAME.budget] outbound-concurrency`
pub const DEFAULT_BUDGET_OUTBOUND_CONCURRENCY: u32 = 256;
/// `[plugin.NAME.budget] reply-size`
pub const DEFAULT_BUDGET_REPLY_SIZE: usize = 1 << 20;
/// `[plugin.NAME.budget] body-size`
pub const DEFAULT_BUDGET_BODY_SIZE: usize = 1 << 20;
/// `[plugin.NAME.budget] chunk-size`
pub const DEFAULT_BUDGET_CHUNK_SIZE: usize = 256 << 10;
/// `[plugin.NAME.budget] max-calls`
pub const DEFAULT_BUDGET_MAX_CALLS: u32 = 10_000;

/// `[keys.NAME] refresh`: how long a key that its issuer has withdrawn may still count.
pub const DEFAULT_KEYS_REFRESH: Duration = Duration::from_secs(10 * 60);

/// `[[route]] timeout`
pub const DEFAULT_ROUTE_TIMEOUT: Duration = Duration::from_secs(60);
/// `[[route]] tunnel-idle-timeout`: WebSockets that are in use ping more often than that.
pub const DEFAULT_ROUTE_TUNNEL_IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// `[[route]] max-request-body`
pub const DEFAULT_ROUTE_MAX_REQUEST_BODY: u64 = 16 << 20;

/// `[route.mirror] max-body`
pub const DEFAULT_MIRROR_MAX_BODY: usize = 64 << 10;
/// `[route.mirror] max-pending`: with the default of `max-body`, 4 MiB.
pub const DEFAULT_MIRROR_MAX_PENDING: usize = 64;

/// `[state] nodes`
pub const DEFAULT_STATE_NODES: u32 = 1;
/// `[state] on-failure`: neither everybody's way in, nor nobody's.
pub const DEFAULT_STATE_ON_FAILURE: OnStateFailure = OnStateFailure::Local;
/// `[state.redis] prefix`
pub const DEFAULT_REDIS_PREFIX: &str = "postern";
/// `[state.redis] timeout`: a server nearby answers within a millisecond; more than that much is an outage.
pub const DEFAULT_REDIS_TIMEOUT: Duration = Duration::from_millis(50);
/// `[state.redis] connect-timeout`
pub const DEFAULT_REDIS_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// `[dns] timeout`
pub const DEFAULT_DNS_TIMEOUT: Duration = Duration::from_secs(2);
/// `[dns] min-ttl`: some servers say 0.
pub const DEFAULT_DNS_MIN_TTL: Duration = Duration::from_secs(1);
/// `[dns] max-ttl`: services move more often than their names say.
pub const DEFAULT_DNS_MAX_TTL: Duration = Duration::from_secs(60);
/// `[upstream.NAME.discovery] wait`
pub const DEFAULT_DISCOVERY_WAIT: Duration = Duration::from_secs(60);
/// `[upstream.NAME.discovery] server` with `kind = "consul"`: the agent beside us.
pub const DEFAULT_CONSUL_HOST: &str = "127.0.0.1";
/// Its port.
pub const DEFAULT_CONSUL_PORT: u16 = 8500;
