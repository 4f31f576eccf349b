//! The tables about counters and keys.

use serde::Deserialize;

use super::Field;
use crate::config::reference::SecretReference;
use crate::config::state::{BackendWord, OnStateFailureWord, RedisUrl};
use crate::config::units::DurationText;
use crate::config::values::Name;

/// `[state]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct StateFile {
    /// Who keeps counters and keys.
    pub(in crate::config) backend: Option<BackendWord>,
    /// What limits do while the backend does not answer.
    pub(in crate::config) on_failure: Field<OnStateFailureWord>,
    /// How many gateways share the backend.
    pub(in crate::config) nodes: Field<u64>,
    /// Where it is.
    pub(in crate::config) redis: Field<RedisFile>,
}

/// `[state.redis]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct RedisFile {
    /// The server and its database.
    pub(in crate::config) url: Field<RedisUrl>,
    /// Who we are there.
    pub(in crate::config) username: Field<String>,
    /// Where the password is.
    pub(in crate::config) password: Field<SecretReference>,
    /// Authorities of its certificate.
    pub(in crate::config) ca: Field<String>,
    /// What all keys begin with.
    pub(in crate::config) prefix: Field<Name>,
    /// For one answer.
    pub(in crate::config) timeout: Field<DurationText>,
    /// For a connection to be made.
    pub(in crate::config) connect_timeout: Field<DurationText>,
}
