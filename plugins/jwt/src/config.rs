//! The `config` table.

mod check;
mod list;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use postern_plugin::config::{duration, optional_duration, optional_moment};
use postern_plugin::identity::Require;
use serde::Deserialize;

/// Clocks of machines that keep time differ by less; an expired token is of use for that much longer.
const DEFAULT_LEEWAY: Duration = Duration::from_secs(30);
const DEFAULT_CONSUMER_CLAIM: &str = "iss";

/// `[plugin.jwt] config`
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// Query parameters that may carry the token, beside `Authorization: Bearer`.
    pub(crate) query: Vec<String>,
    /// Cookies that may carry it.
    pub(crate) cookie: Vec<String>,
    /// Whether the upstream is kept from seeing the token.
    pub(crate) hide_credentials: bool,
    /// What clients are told that the token is for.
    pub(crate) realm: Option<String>,
    /// The claim by which the consumer is found; none means `iss`.
    pub(crate) consumer_claim: Option<String>,
    /// The `[keys.NAME]` table that all tokens are signed with; none means that each consumer has its own key.
    pub(crate) key_set: Option<String>,
    /// The consumer that all tokens of the key set belong to.
    pub(crate) consumer: Option<String>,
    /// One of these must be in `iss`.
    #[serde(deserialize_with = "list::one_or_many")]
    pub(crate) issuer: Vec<String>,
    /// One of these must be in `aud`.
    #[serde(deserialize_with = "list::one_or_many")]
    pub(crate) audience: Vec<String>,
    /// Claims that must be there.
    pub(crate) required_claims: Vec<String>,
    /// Whether `exp` must be there.
    pub(crate) require_exp: bool,
    /// By how much clocks may differ.
    #[serde(deserialize_with = "duration")]
    pub(crate) leeway: Duration,
    /// How long a token may be valid at most.
    #[serde(deserialize_with = "optional_duration")]
    pub(crate) maximum_lifetime: Option<Duration>,
    /// What the header must say in `typ`; none means that it is not looked at.
    pub(crate) token_type: Option<String>,
    /// Tokens that count no more, however right they are.
    pub(crate) revoked: Revoked,
    /// Claims for the upstream, and the headers to tell them in.
    pub(crate) forward_claims: BTreeMap<String, String>,
    /// Claims for later plugins.
    pub(crate) note_claims: Vec<String>,
    /// Whether there must be a token.
    pub(crate) require: Option<Require>,
    /// Whose the requests without a token are.
    pub(crate) anonymous: Option<String>,
}

/// `[plugin.jwt] config.revoked`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Revoked {
    /// Values of `jti`.
    pub(crate) ids: BTreeSet<String>,
    /// Values of `sub`.
    pub(crate) subjects: BTreeSet<String>,
    /// All tokens with an `iat` before this moment, or without one; milliseconds since 1970.
    #[serde(deserialize_with = "optional_moment")]
    pub(crate) issued_before: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            query: Vec::new(),
            cookie: Vec::new(),
            hide_credentials: false,
            realm: None,
            consumer_claim: None,
            key_set: None,
            consumer: None,
            issuer: Vec::new(),
            audience: Vec::new(),
            required_claims: Vec::new(),
            require_exp: true,
            leeway: DEFAULT_LEEWAY,
            maximum_lifetime: None,
            token_type: None,
            revoked: Revoked::default(),
            forward_claims: BTreeMap::new(),
            note_claims: Vec::new(),
            require: None,
            anonymous: None,
        }
    }
}

impl Config {
    /// The claim by which the consumer is found.
    pub(crate) fn consumer_claim(&self) -> &str {
        self.consumer_claim
            .as_deref()
            .unwrap_or(DEFAULT_CONSUMER_CLAIM)
    }
}

#[cfg(test)]
mod tests;
