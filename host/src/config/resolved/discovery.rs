//! How names are resolved, and where targets come from that the file does not list.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Endpoint;
use crate::config::secret::Secret;
use crate::config::tls::UpstreamTls;

/// `[dns]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsConfig {
    /// Who is asked. Default: the servers of `/etc/resolv.conf`.
    pub nameservers: Vec<SocketAddr>,
    /// For one server to answer. Default 2 s.
    pub timeout: Duration,
    /// The shortest that an answer is believed. Default 1 s.
    pub min_ttl: Duration,
    /// The longest that an answer is believed. Default 1 min.
    pub max_ttl: Duration,
}

/// `[upstream.NAME.discovery]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveryConfig {
    /// Who knows the targets.
    pub source: DiscoverySource,
    /// How they are spoken to over TLS: all of them, or where a source tells each target's scheme, those with `https`.
    pub tls: Option<UpstreamTls>,
}

/// Who knows the targets of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiscoverySource {
    /// A and AAAA records (RFC 1035, RFC 3596).
    Dns(DnsDiscovery),
    /// SRV records (RFC 2782).
    Srv(SrvDiscovery),
    /// A file that somebody else writes.
    File(FileDiscovery),
    /// The health endpoint of Consul.
    Consul(ConsulDiscovery),
    /// The EndpointSlices of a service in Kubernetes.
    Kubernetes(KubernetesDiscovery),
}

impl DiscoverySource {
    /// `kind`
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Dns(_) => "dns",
            Self::Srv(_) => "srv",
            Self::File(_) => "file",
            Self::Consul(_) => "consul",
            Self::Kubernetes(_) => "kubernetes",
        }
    }
}

/// `kind = "dns"`: each address is a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsDiscovery {
    /// What is asked for.
    pub name: Arc<str>,
    /// Of every target.
    pub port: u16,
    /// Addresses of which kind. Default `auto`.
    pub family: AddressFamily,
    /// Who is asked, if not the servers of `[dns]`.
    pub nameservers: Vec<SocketAddr>,
    /// Whether targets are kept when there are no addresses any more. Default yes.
    pub keep_when_empty: bool,
}

/// `kind = "srv"`: each address of a host that a record names is a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrvDiscovery {
    /// What is asked for, such as `_http._tcp.orders.example`.
    pub name: Arc<str>,
    /// Addresses of which kind. Default `auto`.
    pub family: AddressFamily,
    /// Who is asked, if not the servers of `[dns]`.
    pub nameservers: Vec<SocketAddr>,
    /// Whether targets are kept when there are no records any more. Default yes.
    pub keep_when_empty: bool,
}

/// `kind = "file"`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDiscovery {
    /// A file in JSON or TOML, by its extension.
    pub path: PathBuf,
}

/// `kind = "consul"`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsulDiscovery {
    /// Where its HTTP API is. Default `http://127.0.0.1:8500`.
    pub server: Endpoint,
    /// The service's name there.
    pub service: Arc<str>,
    /// Default: that of the agent.
    pub datacenter: Option<Arc<str>>,
    /// Default: that of the token.
    pub namespace: Option<Arc<str>>,
    /// What instances must have, all of them.
    pub tags: Vec<Arc<str>>,
    /// Who we are.
    pub token: Option<Secret>,
    /// Whether instances with warnings are targets. Default no.
    pub include_warning: bool,
    /// How long an answer may be held back. Default 1 min.
    pub wait: Duration,
}

/// `kind = "kubernetes"`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesDiscovery {
    /// Where the API server is. Default: that of the cluster we run in.
    pub server: Endpoint,
    /// The service's name there.
    pub service: Arc<str>,
    /// Default: the one that we run in.
    pub namespace: Arc<str>,
    /// Which port of the service's slices. Default: their only one.
    pub port: Option<ServicePort>,
    /// Holds the token that says who we are; it is read again for every request, because it changes.
    pub token_file: Option<PathBuf>,
    /// How long a watch lasts, and how long one that is silent is believed to be one. Default 1 min.
    pub wait: Duration,
}

/// Which addresses are targets where a name has both kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressFamily {
    /// IPv4 where there is any, IPv6 otherwise: hosts that have both are then one target.
    Auto,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// All.
    Both,
}

/// A port, by number or by the name that the service gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServicePort {
    /// `8080`
    Number(u16),
    /// `"http"`
    Name(Arc<str>),
}
