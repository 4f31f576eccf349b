//! Holds `docs/operators.md` and the structs of `file.rs` together: every key has its row, every row a key, and the defaults
//! that the page shows are the real ones.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::defaults::*;
use super::file::TOP_KEYS;
use super::units::show_size;

const PAGE: &str = include_str!("../../../docs/operators.md");
/// Fields that are tables of their own in the page, not rows.
const TABLES: [&str; 10] = [
    "budget",
    "jwt",
    "api_key",
    "tls",
    "balance",
    "sticky",
    "health",
    "outlier",
    "discovery",
    "redis",
];
const STRUCTS: [&str; 8] = [
    include_str!("file.rs"),
    include_str!("file/balance.rs"),
    include_str!("file/consumer.rs"),
    include_str!("file/discovery.rs"),
    include_str!("file/route.rs"),
    include_str!("file/resilience.rs"),
    include_str!("file/state.rs"),
    include_str!("file/target.rs"),
];

/// The keys of each table, read from the source: the first line of a struct's comment names the table in backticks.
fn keys_of_structs() -> BTreeMap<String, BTreeSet<String>> {
    let mut tables: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut table = String::new();
    for line in STRUCTS.iter().flat_map(|text| text.lines()) {
        if let Some(comment) = line
            .strip_prefix("/// `")
            .and_then(|rest| rest.strip_suffix('`'))
        {
            table = comment.to_owned();
        } else if let Some(field) = line
            .strip_prefix("    pub(super) ")
            .or_else(|| line.strip_prefix("    pub(in crate::config) "))
        {
            let name = field.split(':').next().unwrap_or_default();
            if name.starts_with("fn ") {
                continue;
            }
            if !TABLES.contains(&name) {
                tables
                    .entry(table.clone())
                    .or_default()
                    .insert(name.replace('_', "-"));
            }
        }
    }
    tables
}

/// The rows below each heading of the page that is a table's name: the key, and the cell of its default.
fn rows_of_page() -> BTreeMap<String, BTreeMap<String, String>> {
    let mut tables: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut table = None;
    for line in PAGE.lines() {
        if line.starts_with('#') {
            table = line
                .strip_prefix("### `")
                .and_then(|rest| rest.strip_suffix('`'))
                .map(str::to_owned);
        }
        let (Some(table), Some(row)) = (&table, line.strip_prefix("| `")) else {
            continue;
        };
        let mut cells = row.split(" | ");
        let key = cells
            .next()
            .unwrap_or_default()
            .trim_end_matches('`')
            .to_owned();
        let default = cells
            .nth(1)
            .unwrap_or_default()
            .trim_matches('`')
            .to_owned();
        tables
            .entry(table.clone())
            .or_default()
            .insert(key, default);
    }
    tables
}

#[test]
fn every_key_has_its_row_and_every_row_a_key() {
    let rows: BTreeMap<String, BTreeSet<String>> = rows_of_page()
        .into_iter()
        .filter(|(table, _)| table != "version" && table != "include")
        .map(|(table, rows)| (table, rows.into_keys().collect()))
        .collect();
    assert_eq!(rows, keys_of_structs());
}

#[test]
fn every_table_is_on_the_page() {
    for key in TOP_KEYS {
        let headings = [
            format!("### `{key}`"),
            format!("### `[{key}]`"),
            format!("### `[{key}.NAME]`"),
            format!("### `[[{key}]]`"),
        ];
        assert!(
            headings
                .iter()
                .any(|heading| PAGE.lines().any(|line| line == heading)),
            "{key}"
        );
    }
}

/// A default as an operator would write it: table, key, value.
type Row = (&'static str, &'static str, String);

fn duration(value: Duration) -> String {
    text(humantime::format_duration(value))
}

fn text(value: impl std::fmt::Display) -> String {
    format!("\"{value}\"")
}

fn size(value: usize) -> String {
    text(show_size(value as u64))
}

fn of_the_gateway() -> Vec<Row> {
    let server = "[server]";
    let log = "[log]";
    let plugins = "[plugins]";
    vec![
        (
            server,
            "readiness-delay",
            duration(DEFAULT_SERVER_READINESS_DELAY),
        ),
        (
            server,
            "drain-timeout",
            duration(DEFAULT_SERVER_DRAIN_TIMEOUT),
        ),
        (log, "level", text(DEFAULT_LOG_LEVEL)),
        (
            plugins,
            "max-instances",
            DEFAULT_PLUGINS_MAX_INSTANCES.to_string(),
        ),
        (plugins, "max-memory", size(DEFAULT_PLUGINS_MAX_MEMORY)),
        (plugins, "watch", DEFAULT_PLUGINS_WATCH.to_string()),
    ]
}

fn of_listeners() -> Vec<Row> {
    let listen = "[listen.NAME]";
    vec![
        (
            listen,
            "socket-mode",
            text(format_args!("{DEFAULT_LISTEN_SOCKET_MODE:04o}")),
        ),
        (
            listen,
            "redirect-https-port",
            DEFAULT_LISTEN_REDIRECT_HTTPS_PORT.to_string(),
        ),
        (
            listen,
            "max-connections",
            DEFAULT_LISTEN_MAX_CONNECTIONS.to_string(),
        ),
        (
            listen,
            "header-timeout",
            duration(DEFAULT_LISTEN_HEADER_TIMEOUT),
        ),
        (
            listen,
            "idle-timeout",
            duration(DEFAULT_LISTEN_IDLE_TIMEOUT),
        ),
        (
            listen,
            "max-header-bytes",
            size(DEFAULT_LISTEN_MAX_HEADER_BYTES),
        ),
        (
            listen,
            "max-headers",
            DEFAULT_LISTEN_MAX_HEADERS.to_string(),
        ),
        (
            listen,
            "max-streams",
            DEFAULT_LISTEN_MAX_STREAMS.to_string(),
        ),
        (listen, "http3", DEFAULT_LISTEN_HTTP3.to_string()),
        (
            listen,
            "interim-responses",
            DEFAULT_LISTEN_INTERIM_RESPONSES.to_string(),
        ),
    ]
}

fn of_discovery() -> Vec<Row> {
    let (dns, discovery) = ("[dns]", "[upstream.NAME.discovery]");
    vec![
        (dns, "timeout", duration(DEFAULT_DNS_TIMEOUT)),
        (dns, "min-ttl", duration(DEFAULT_DNS_MIN_TTL)),
        (dns, "max-ttl", duration(DEFAULT_DNS_MAX_TTL)),
        (discovery, "wait", duration(DEFAULT_DISCOVERY_WAIT)),
    ]
}

fn of_state() -> Vec<Row> {
    let (state, redis) = ("[state]", "[state.redis]");
    vec![
        (state, "backend", text("memory")),
        (state, "on-failure", text("local")),
        (state, "nodes", DEFAULT_STATE_NODES.to_string()),
        (redis, "prefix", text(DEFAULT_REDIS_PREFIX)),
        (redis, "timeout", duration(DEFAULT_REDIS_TIMEOUT)),
        (
            redis,
            "connect-timeout",
            duration(DEFAULT_REDIS_CONNECT_TIMEOUT),
        ),
    ]
}

fn of_upstreams() -> Vec<Row> {
    let upstream = "[upstream.NAME]";
    vec![
        (
            upstream,
            "connect-timeout",
            duration(DEFAULT_UPSTREAM_CONNECT_TIMEOUT),
        ),
        (
            upstream,
            "read-timeout",
            duration(DEFAULT_UPSTREAM_READ_TIMEOUT),
        ),
        (upstream, "protocol", text("auto")),
        (
            upstream,
            "max-streams",
            DEFAULT_UPSTREAM_MAX_STREAMS.to_string(),
        ),
        (
            upstream,
            "ping-interval",
            duration(DEFAULT_UPSTREAM_PING_INTERVAL),
        ),
        (upstream, "max-idle", DEFAULT_UPSTREAM_MAX_IDLE.to_string()),
        (
            upstream,
            "max-waiting",
            DEFAULT_UPSTREAM_MAX_WAITING.to_string(),
        ),
        (
            upstream,
            "idle-timeout",
            duration(DEFAULT_UPSTREAM_IDLE_TIMEOUT),
        ),
    ]
}

fn of_resilience() -> Vec<Row> {
    let upstream = "[upstream.NAME]";
    let retry = "[upstream.NAME.retry], [route.retry]";
    let breaker = "[upstream.NAME.breaker]";
    let concurrency = "[upstream.NAME.concurrency]";
    let fallback = "[[route.fallback]]";
    let statuses = format!("{DEFAULT_FALLBACK_STATUSES:?}");
    let share = |per_million: u32| text(format_args!("{}%", per_million / 10_000));
    let least = DEFAULT_UPSTREAM_RETRY_BUDGET_MIN.to_string();
    let queue_timeout = duration(DEFAULT_CONCURRENCY_QUEUE_TIMEOUT);
    vec![
        (
            upstream,
            "retry-budget",
            share(DEFAULT_UPSTREAM_RETRY_BUDGET),
        ),
        (upstream, "retry-budget-min", least),
        (fallback, "statuses", statuses),
        (
            "[admin]",
            "allow-drills",
            DEFAULT_ADMIN_ALLOW_DRILLS.to_string(),
        ),
        (retry, "retries", DEFAULT_RETRY_RETRIES.to_string()),
        (retry, "backoff", duration(DEFAULT_RETRY_BACKOFF)),
        (retry, "max-backoff", duration(DEFAULT_RETRY_MAX_BACKOFF)),
        (
            retry,
            "max-retry-after",
            duration(DEFAULT_RETRY_MAX_RETRY_AFTER),
        ),
        (retry, "max-body", size(DEFAULT_RETRY_MAX_BODY)),
        (breaker, "window", duration(DEFAULT_BREAKER_WINDOW)),
        (breaker, "failure-rate", share(DEFAULT_BREAKER_FAILURE_RATE)),
        (breaker, "slow-rate", share(DEFAULT_BREAKER_SLOW_RATE)),
        (
            breaker,
            "min-requests",
            DEFAULT_BREAKER_MIN_REQUESTS.to_string(),
        ),
        (breaker, "open-for", duration(DEFAULT_BREAKER_OPEN_FOR)),
        (breaker, "probes", DEFAULT_BREAKER_PROBES.to_string()),
        (
            concurrency,
            "max-queue",
            DEFAULT_CONCURRENCY_MAX_QUEUE.to_string(),
        ),
        (concurrency, "queue-timeout", queue_timeout),
        (
            concurrency,
            "adaptive",
            DEFAULT_CONCURRENCY_ADAPTIVE.to_string(),
        ),
        (
            concurrency,
            "min-requests",
            DEFAULT_CONCURRENCY_MIN_REQUESTS.to_string(),
        ),
    ]
}

fn share(parts: u32) -> String {
    text(format_args!("{}%", parts / 10_000))
}

fn of_balancing() -> Vec<Row> {
    let (balance, sticky) = ("[upstream.NAME.balance]", "[upstream.NAME.sticky]");
    vec![
        (balance, "policy", text("round-robin")),
        (
            balance,
            "panic-threshold",
            share(DEFAULT_BALANCE_PANIC_THRESHOLD),
        ),
        (balance, "subset-fallback", text("any")),
        (sticky, "cookie", text(DEFAULT_STICKY_COOKIE)),
        (sticky, "path", text(DEFAULT_STICKY_PATH)),
    ]
}

fn of_health() -> Vec<Row> {
    let (health, outlier) = ("[upstream.NAME.health]", "[upstream.NAME.outlier]");
    vec![
        (health, "interval", duration(DEFAULT_HEALTH_INTERVAL)),
        (health, "jitter", share(DEFAULT_HEALTH_JITTER)),
        (health, "timeout", duration(DEFAULT_HEALTH_TIMEOUT)),
        (health, "rise", DEFAULT_HEALTH_RISE.to_string()),
        (health, "fall", DEFAULT_HEALTH_FALL.to_string()),
        (
            outlier,
            "consecutive-5xx",
            DEFAULT_OUTLIER_CONSECUTIVE_5XX.to_string(),
        ),
        (
            outlier,
            "consecutive-connect-failures",
            DEFAULT_OUTLIER_CONSECUTIVE_CONNECT_FAILURES.to_string(),
        ),
        (outlier, "interval", duration(DEFAULT_OUTLIER_INTERVAL)),
        (
            outlier,
            "base-ejection-time",
            duration(DEFAULT_OUTLIER_BASE_EJECTION_TIME),
        ),
        (
            outlier,
            "max-ejection-time",
            duration(DEFAULT_OUTLIER_MAX_EJECTION_TIME),
        ),
        (outlier, "max-ejected", share(DEFAULT_OUTLIER_MAX_EJECTED)),
        (
            outlier,
            "success-rate-stdev-factor",
            DEFAULT_OUTLIER_SUCCESS_RATE_STDEV_FACTOR.to_string(),
        ),
        (
            outlier,
            "success-rate-minimum-hosts",
            DEFAULT_OUTLIER_SUCCESS_RATE_MINIMUM_HOSTS.to_string(),
        ),
        (
            outlier,
            "success-rate-request-volume",
            DEFAULT_OUTLIER_SUCCESS_RATE_REQUEST_VOLUME.to_string(),
        ),
        (
            outlier,
            "failure-percentage-request-volume",
            DEFAULT_OUTLIER_FAILURE_PERCENTAGE_REQUEST_VOLUME.to_string(),
        ),
    ]
}

fn of_tls() -> Vec<Row> {
    let tls = "[listen.NAME.tls]";
    vec![
        (
            tls,
            "session-tickets",
            DEFAULT_TLS_SESSION_TICKETS.to_string(),
        ),
        (
            tls,
            "handshake-timeout",
            duration(DEFAULT_TLS_HANDSHAKE_TIMEOUT),
        ),
        (
            tls,
            "max-handshakes",
            DEFAULT_TLS_MAX_HANDSHAKES.to_string(),
        ),
    ]
}

fn of_budgets_and_routes() -> Vec<Row> {
    let budget = "[plugin.NAME.budget]";
    let route = "[[route]]";
    let mirror = "[route.mirror]";
    vec![
        ("[keys.NAME]", "refresh", duration(DEFAULT_KEYS_REFRESH)),
        (budget, "cpu", duration(DEFAULT_BUDGET_CPU)),
        (budget, "wall", duration(DEFAULT_BUDGET_WALL)),
        (budget, "memory", size(DEFAULT_BUDGET_MEMORY)),
        (
            budget,
            "host-call-bytes",
            size(DEFAULT_BUDGET_HOST_CALL_BYTES),
        ),
        (
            budget,
            "outbound-calls",
            DEFAULT_BUDGET_OUTBOUND_CALLS.to_string(),
        ),
        (
            budget,
            "outbound-concurrency",
            DEFAULT_BUDGET_OUTBOUND_CONCURRENCY.to_string(),
        ),
        (budget, "reply-size", size(DEFAULT_BUDGET_REPLY_SIZE)),
        (budget, "body-size", size(DEFAULT_BUDGET_BODY_SIZE)),
        (budget, "chunk-size", size(DEFAULT_BUDGET_CHUNK_SIZE)),
        (budget, "max-calls", DEFAULT_BUDGET_MAX_CALLS.to_string()),
        (route, "timeout", duration(DEFAULT_ROUTE_TIMEOUT)),
        (
            route,
            "tunnel-idle-timeout",
            duration(DEFAULT_ROUTE_TUNNEL_IDLE_TIMEOUT),
        ),
        (
            route,
            "max-request-body",
            text(show_size(DEFAULT_ROUTE_MAX_REQUEST_BODY)),
        ),
        (mirror, "max-body", size(DEFAULT_MIRROR_MAX_BODY)),
        (
            mirror,
            "max-pending",
            DEFAULT_MIRROR_MAX_PENDING.to_string(),
        ),
    ]
}

#[test]
fn the_page_shows_the_real_defaults() {
    let rows = rows_of_page();
    for (table, key, value) in [
        of_the_gateway(),
        of_listeners(),
        of_state(),
        of_upstreams(),
        of_discovery(),
        of_balancing(),
        of_health(),
        of_tls(),
        of_resilience(),
        of_budgets_and_routes(),
    ]
    .concat()
    {
        let shown = rows.get(table).and_then(|rows| rows.get(key));
        assert_eq!(shown, Some(&value), "{table} {key}");
    }
}
