//! Targets of upstreams.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::config::tls::TargetTls;

/// One address of an upstream, and its place among the others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TargetConfig {
    /// Where it is. A target whose endpoint stays is the same target, with its connections and its health.
    pub endpoint: Endpoint,
    /// Which part of the requests it gets.
    pub placement: Placement,
}

/// Where a target is, from `http://host:port` or `https://host:port`, and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Name or address, without brackets, or `unix:` and a path.
    pub host: Arc<str>,
    /// Port, 80 or 443 when the URL names none, 0 with a path.
    pub port: u16,
    /// How it is spoken to over TLS, if it is.
    pub tls: Option<TargetTls>,
}

impl Endpoint {
    /// The path of its socket, if it is one of this machine.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.host.strip_prefix("unix:").map(Path::new)
    }

    /// `host:port`, or `unix:` and a path.
    #[must_use]
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        match host.contains(':') {
            _ if self.path().is_some() => host.to_string(),
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        }
    }
}

/// The place of a target among those of its upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Placement {
    /// Its part of the sum of all weights of its priority, 1 to 10,000. Default 1.
    pub weight: u32,
    /// Targets of a higher number get what those of lower ones cannot carry. Default 0.
    pub priority: u8,
    /// Whether it is used only when no other target can be. Default not.
    pub backup: bool,
    /// Where it stands.
    pub zone: Option<Arc<str>>,
    /// What else is known of it.
    pub tags: BTreeMap<Arc<str>, Arc<str>>,
}

impl Default for Placement {
    fn default() -> Self {
        Self {
            weight: 1,
            priority: 0,
            backup: false,
            zone: None,
            tags: BTreeMap::new(),
        }
    }
}

impl From<Endpoint> for TargetConfig {
    fn from(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            placement: Placement::default(),
        }
    }
}
