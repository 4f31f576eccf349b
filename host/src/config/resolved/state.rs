//! Where counters and keys are kept.

use std::sync::Arc;
use std::time::Duration;

use crate::config::secret::Secret;
use crate::config::tls::TargetTls;

/// `[state]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateConfig {
    /// The server that keeps them. Default: they are kept in memory.
    pub redis: Option<RedisConfig>,
}

/// `[state.redis]`, with what of `[state]` is about a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// Name or address, without brackets.
    pub host: Arc<str>,
    /// Its port.
    pub port: u16,
    /// With it, TLS is spoken.
    pub tls: Option<TargetTls>,
    /// Number of the database.
    pub database: u16,
    /// Who we are there. Default: the server's default user.
    pub username: Option<Arc<str>>,
    /// Its password, which is UTF-8.
    pub password: Option<Secret>,
    /// What all keys begin with. Default `postern`.
    pub prefix: Arc<str>,
    /// For one answer. Default 50 ms.
    pub timeout: Duration,
    /// For a connection to be made, TLS and authentication included. Default 1 s.
    pub connect_timeout: Duration,
    /// What limits do while there is no answer. Default `local`.
    pub on_failure: OnStateFailure,
    /// How many gateways share the server. Default 1.
    pub nodes: u32,
}

/// What limits do while the state is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStateFailure {
    /// Each node counts by itself, and allows its share.
    Local,
    /// Everything is allowed.
    Open,
    /// Nothing can be decided: plugins are told so.
    Closed,
}
