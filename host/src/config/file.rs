//! The shape of the file: one struct for each table, one field for each key, exactly as they are written.
//!
//! Everything is optional here: what must be there is a rule of `check`, which can then name all that is missing at once.
//! `docs/operators.md` describes every key; a test compares the two.

mod balance;
mod consumer;
mod discovery;
mod resilience;
mod route;
mod state;
mod target;

use serde::Deserialize;
use toml::Spanned;

pub(super) use balance::*;
pub(super) use consumer::*;
pub(super) use discovery::*;
pub(super) use resilience::*;
pub(super) use route::*;
pub(super) use state::*;
pub(super) use target::*;

use super::address::{Address, ListenWord, ModeText, Network, ServerNameText};
use super::reference::SecretReference;
use super::units::{DurationText, SizeText};
use super::values::{
    AccessFormat, ClientAuthWord, EncodedWord, GrantWord, IsolationWord, LogFormat, OnFailureValue,
    ProtocolWord, ProxyProtocolWord, Share, TlsVersionWord,
};

/// A value that knows where it stands.
pub(super) type Field<T> = Option<Spanned<T>>;

/// The tables and keys at the top of a file.
pub(super) const TOP_KEYS: [&str; 16] = [
    "version",
    "include",
    "server",
    "admin",
    "access-log",
    "log",
    "plugins",
    "dns",
    "state",
    "listen",
    "upstream",
    "plugin",
    "consumer",
    "tier",
    "keys",
    "route",
];

/// `[server]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ServerFile {
    /// Worker threads.
    pub(super) workers: Field<u64>,
    /// How long a drain waits for exchanges to end.
    pub(super) drain_timeout: Field<DurationText>,
    /// From not being ready to accepting nothing new.
    pub(super) readiness_delay: Field<DurationText>,
}

/// `[admin]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct AdminFile {
    /// Where the admin listener listens.
    pub(super) address: Field<Address>,
    /// Whether faults may be injected through it.
    pub(super) allow_drills: Option<bool>,
}

/// `[access-log]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct AccessLogFile {
    /// Off, text or JSON.
    pub(super) format: Field<AccessFormat>,
    /// Where lines are appended instead of standard output.
    pub(super) file: Field<String>,
}

/// `[log]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct LogFile {
    /// What is logged.
    pub(super) level: Field<String>,
    /// Text or JSON.
    pub(super) format: Field<LogFormat>,
}

/// `[plugins]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct PluginsFile {
    /// Directory of compiled code.
    pub(super) cache: Field<String>,
    /// Most instances at once.
    pub(super) max_instances: Field<u64>,
    /// Most memory of one instance.
    pub(super) max_memory: Field<SizeText>,
    /// Whether changed components are loaded while running.
    pub(super) watch: Option<bool>,
}

/// `[listen.NAME]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ListenFile {
    /// Where to listen.
    pub(super) address: Field<ListenWord>,
    /// Who may connect to a path.
    pub(super) socket_mode: Field<ModeText>,
    /// Most connections at once.
    pub(super) max_connections: Field<u64>,
    /// Most connections of one client at once.
    pub(super) max_connections_per_address: Field<u64>,
    /// For a whole request head to arrive.
    pub(super) header_timeout: Field<DurationText>,
    /// For the next request of a kept connection to begin.
    pub(super) idle_timeout: Field<DurationText>,
    /// Most bytes of a request head.
    pub(super) max_header_bytes: Field<SizeText>,
    /// Most bytes of a request target.
    pub(super) max_uri_bytes: Field<SizeText>,
    /// Most header fields of a request.
    pub(super) max_headers: Field<u64>,
    /// Most concurrent streams of one HTTP/2 connection.
    pub(super) max_streams: Field<u64>,
    /// What is let through in paths.
    pub(super) allow_encoded: Option<Vec<Spanned<EncodedWord>>>,
    /// Most requests of an HTTP/2 connection that may be taken back within ten seconds.
    pub(super) max_resets: Field<u64>,
    /// Most frames of an HTTP/2 connection that carry nothing, within ten seconds.
    pub(super) max_control_frames: Field<u64>,
    /// For a request body to come, besides what its bytes are given.
    pub(super) body_timeout: Field<DurationText>,
    /// Bytes of a request body that are given a second.
    pub(super) min_body_rate: Field<SizeText>,
    /// For any part of a response to be taken.
    pub(super) write_timeout: Field<DurationText>,
    /// Peers whose forwarding headers are believed.
    pub(super) trusted_proxies: Option<Vec<Network>>,
    /// Whether a header of the PROXY protocol comes first.
    pub(super) proxy_protocol: Field<ProxyProtocolWord>,
    /// Whether requests without TLS are sent on to `https://`.
    pub(super) redirect_https: Option<bool>,
    /// The port that they are sent on to.
    pub(super) redirect_https_port: Field<u64>,
    /// Whether HTTP/3 is spoken as well.
    pub(super) http3: Field<bool>,
    /// Whether clients get interim responses of upstreams.
    pub(super) interim_responses: Option<bool>,
    /// With it, clients speak TLS.
    pub(super) tls: Field<ListenTlsFile>,
}

/// `[listen.NAME.tls]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ListenTlsFile {
    /// Who we are.
    pub(super) certificates: Field<Vec<Spanned<CertificateFile>>>,
    /// The oldest version of TLS.
    pub(super) min_version: Field<TlsVersionWord>,
    /// Whether clients show certificates.
    pub(super) client_auth: Field<ClientAuthWord>,
    /// Authorities of clients' certificates.
    pub(super) client_ca: Field<String>,
    /// Whether sessions are resumed.
    pub(super) session_tickets: Option<bool>,
    /// For a handshake.
    pub(super) handshake_timeout: Field<DurationText>,
    /// Most handshakes at once.
    pub(super) max_handshakes: Field<u64>,
}

/// `certificates = [{ ... }]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct CertificateFile {
    /// The chain.
    pub(super) cert: Field<String>,
    /// The key of its first certificate.
    pub(super) key: Field<SecretReference>,
    /// What the authority says about it.
    pub(super) ocsp: Field<String>,
}

/// `[upstream.NAME]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct UpstreamFile {
    /// Addresses of the service.
    pub(super) targets: Field<Vec<Spanned<TargetEntry>>>,
    /// Who knows them otherwise.
    pub(super) discovery: Field<DiscoveryFile>,
    /// For a connection to be made.
    pub(super) connect_timeout: Field<DurationText>,
    /// For the next bytes of a response.
    pub(super) read_timeout: Field<DurationText>,
    /// For the whole response.
    pub(super) total_timeout: Field<DurationText>,
    /// Which version of HTTP is spoken to it.
    pub(super) protocol: Option<ProtocolWord>,
    /// Most streams at once on one connection of HTTP/2.
    pub(super) max_streams: Field<u64>,
    /// Between pings on a connection of HTTP/2 on which nothing comes.
    pub(super) ping_interval: Field<DurationText>,
    /// Most idle connections kept.
    pub(super) max_idle: Field<u64>,
    /// How long an idle connection is kept.
    pub(super) idle_timeout: Field<DurationText>,
    /// Most connections to one target.
    pub(super) max_connections: Field<u64>,
    /// Most requests that wait for a connection to one target.
    pub(super) max_waiting: Field<u64>,
    /// Most requests on one connection.
    pub(super) max_requests_per_connection: Field<u64>,
    /// How long one connection is used.
    pub(super) max_connection_age: Field<DurationText>,
    /// Connections that are made before they are needed.
    pub(super) warm_connections: Field<u64>,
    /// Requests that may be sent again.
    pub(super) retry_budget: Field<Share>,
    /// So many a second at least.
    pub(super) retry_budget_min: Field<u64>,
    /// When requests are sent again.
    pub(super) retry: Field<RetryFile>,
    /// When none is sent.
    pub(super) breaker: Field<BreakerFile>,
    /// How many are sent at once.
    pub(super) concurrency: Field<ConcurrencyFile>,
    /// For `https://` targets.
    pub(super) tls: Field<UpstreamTlsFile>,
    /// How targets share the requests.
    pub(super) balance: Field<BalanceEntry>,
    /// What binds clients to targets.
    pub(super) sticky: Field<StickyFile>,
    /// How targets are checked.
    pub(super) health: Field<HealthFile>,
    /// When targets are ejected.
    pub(super) outlier: Field<OutlierFile>,
}

/// `[upstream.NAME.tls]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct UpstreamTlsFile {
    /// Authorities of the targets' certificates.
    pub(super) ca: Field<String>,
    /// Whose certificate targets show.
    pub(super) server_name: Field<ServerNameText>,
    /// Who we are.
    pub(super) client_cert: Field<String>,
    /// Its key.
    pub(super) client_key: Field<SecretReference>,
    /// Whether targets must show a good certificate.
    pub(super) verify: Option<bool>,
}

/// `[plugin.NAME]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct PluginFile {
    /// The component.
    pub(super) file: Field<String>,
    /// What the plugin's own `configure` gets.
    pub(super) config: Field<toml::Table>,
    /// Host interfaces that it may import.
    pub(super) grants: Option<Vec<Spanned<GrantWord>>>,
    /// Upstreams that it may call.
    pub(super) upstreams: Option<Vec<Spanned<String>>>,
    /// Whether instances serve more than one exchange.
    pub(super) isolation: Option<IsolationWord>,
    /// What happens to a request whose plugin failed.
    pub(super) on_failure: Field<OnFailureValue>,
    /// What one call may use.
    pub(super) budget: Option<BudgetFile>,
}

/// `on-failure = { ... }`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ReplyFile {
    /// Status code.
    pub(super) status: Field<u64>,
    /// Body, as plain text.
    pub(super) body: Option<String>,
}

/// `[plugin.NAME.budget]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct BudgetFile {
    /// CPU time of one call.
    pub(super) cpu: Field<DurationText>,
    /// Wall time of one call.
    pub(super) wall: Field<DurationText>,
    /// Linear memory of one instance.
    pub(super) memory: Field<SizeText>,
    /// Bytes that one call may move to the host.
    pub(super) host_call_bytes: Field<SizeText>,
    /// Outbound requests of one exchange.
    pub(super) outbound_calls: Field<u64>,
    /// Outbound requests under way at once.
    pub(super) outbound_concurrency: Field<u64>,
    /// Body of a reply.
    pub(super) reply_size: Field<SizeText>,
    /// Bodies that are handed to the plugin.
    pub(super) body_size: Field<SizeText>,
    /// What a stream phase returns for one chunk.
    pub(super) chunk_size: Field<SizeText>,
    /// Calls after which an instance is replaced.
    pub(super) max_calls: Field<u64>,
}
