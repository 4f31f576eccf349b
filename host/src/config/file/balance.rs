//! How an upstream's targets are chosen and kept in health.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::Field;
use crate::config::condition::HeaderKey;
use crate::config::reference::SecretReference;
use crate::config::units::DurationText;
use crate::config::values::{
    HashText, PolicyWord, ProbeWord, SameSiteWord, Share, StatusText, SubsetFallbackWord, policy,
};

/// `[upstream.NAME.balance]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct BalanceFile {
    /// Who gets a request.
    pub(in crate::config) policy: Field<PolicyWord>,
    /// What requests are bound by.
    pub(in crate::config) hash_on: Field<HashText>,
    /// How much of the targets must be usable.
    pub(in crate::config) panic_threshold: Field<Share>,
    /// How long targets take to come to their full weight.
    pub(in crate::config) slow_start: Field<DurationText>,
    /// Parts of zones.
    pub(in crate::config) zones: Field<BTreeMap<String, Spanned<u64>>>,
    /// The header that says which targets a request is for.
    pub(in crate::config) subset_header: Field<HeaderKey>,
    /// The tag that is compared with it.
    pub(in crate::config) subset_tag: Field<String>,
    /// What becomes of requests for which there are no such targets.
    pub(in crate::config) subset_fallback: Field<SubsetFallbackWord>,
}

/// What `balance` may be: a word or a table.
#[derive(Debug)]
pub(in crate::config) enum BalanceEntry {
    /// `"least-request"`
    Policy(PolicyWord),
    /// `{ policy = "least-request", slow-start = "30s" }`
    Table(Box<BalanceFile>),
}

impl<'de> Deserialize<'de> for BalanceEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordOrTable;

        impl<'de> Visitor<'de> for WordOrTable {
            type Value = BalanceEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a policy like \"least-request\" or { policy = \"...\" }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                let word = policy(text).map_err(E::custom)?;
                Ok(BalanceEntry::Policy(PolicyWord(word)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let file = BalanceFile::deserialize(MapAccessDeserializer::new(map))?;
                Ok(BalanceEntry::Table(Box::new(file)))
            }
        }

        deserializer.deserialize_any(WordOrTable)
    }
}

/// `[upstream.NAME.sticky]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct StickyFile {
    /// Name of the cookie.
    pub(in crate::config) cookie: Field<String>,
    /// What it is signed with.
    pub(in crate::config) secret: Field<SecretReference>,
    /// How long clients keep it.
    pub(in crate::config) max_age: Field<DurationText>,
    /// With which paths it is sent.
    pub(in crate::config) path: Field<String>,
    /// Whether it is sent over TLS only.
    pub(in crate::config) secure: Option<bool>,
    /// Whether scripts cannot read it.
    pub(in crate::config) http_only: Option<bool>,
    /// With which requests of other sites it is sent.
    pub(in crate::config) same_site: Option<SameSiteWord>,
}

/// `[upstream.NAME.health]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct HealthFile {
    /// What is asked.
    pub(in crate::config) kind: Field<ProbeWord>,
    /// Path of the request.
    pub(in crate::config) path: Field<String>,
    /// Host of the request.
    pub(in crate::config) host: Field<String>,
    /// Status of a good answer.
    pub(in crate::config) expected_status: Field<Vec<StatusText>>,
    /// What a good answer contains.
    pub(in crate::config) expected_body: Field<String>,
    /// Whether one check is made on the connection of another.
    pub(in crate::config) reuse_connection: Field<bool>,
    /// Name of the service.
    pub(in crate::config) service: Field<String>,
    /// Between two checks.
    pub(in crate::config) interval: Field<DurationText>,
    /// How much earlier or later.
    pub(in crate::config) jitter: Field<Share>,
    /// For a check.
    pub(in crate::config) timeout: Field<DurationText>,
    /// How many must pass.
    pub(in crate::config) rise: Field<u64>,
    /// How many must fail.
    pub(in crate::config) fall: Field<u64>,
}

/// `[upstream.NAME.outlier]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct OutlierFile {
    /// Server errors in a row.
    pub(in crate::config) consecutive_5xx: Field<u64>,
    /// Errors of gateways in a row.
    pub(in crate::config) consecutive_gateway_errors: Field<u64>,
    /// Failures to connect in a row.
    pub(in crate::config) consecutive_connect_failures: Field<u64>,
    /// How often targets are compared.
    pub(in crate::config) interval: Field<DurationText>,
    /// How long the first ejection lasts.
    pub(in crate::config) base_ejection_time: Field<DurationText>,
    /// How long any lasts at most.
    pub(in crate::config) max_ejection_time: Field<DurationText>,
    /// How many may be ejected at once.
    pub(in crate::config) max_ejected: Field<Share>,
    /// How far below the mean a success rate may be.
    pub(in crate::config) success_rate_stdev_factor: Field<u64>,
    /// How many targets it takes to compare.
    pub(in crate::config) success_rate_minimum_hosts: Field<u64>,
    /// How many requests it takes to compare.
    pub(in crate::config) success_rate_request_volume: Field<u64>,
    /// From which part of failures on.
    pub(in crate::config) failure_percentage: Field<Share>,
    /// How many requests it takes to judge by it.
    pub(in crate::config) failure_percentage_request_volume: Field<u64>,
}
