//! The tables of a route.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::{FallbackFile, FaultFile, Field, RetryFile};
use crate::config::address::Host;
use crate::config::condition::{ConditionValue, HeaderKey};
use crate::config::path::{PathPattern, PathRegex};
use crate::config::resilience::{DeadlineHeader, ImportanceWord};
use crate::config::units::{DurationText, SizeText};
use crate::config::values::{Method, Name, Share, UpgradeWord};

/// Conditions, by what they are on.
pub(in crate::config) type ConditionsFile<K> = Option<BTreeMap<K, Spanned<ConditionValue>>>;

/// `[[route]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct RouteFile {
    /// Names the route in logs and metrics.
    pub(in crate::config) name: Field<Name>,
    /// Which hosts it is for.
    pub(in crate::config) hosts: Option<Vec<Spanned<Host>>>,
    /// Which paths it is for.
    pub(in crate::config) path: Field<PathPattern>,
    /// The same, as a regular expression.
    pub(in crate::config) path_regex: Field<PathRegex>,
    /// Which methods it is for.
    pub(in crate::config) methods: Option<Vec<Spanned<Method>>>,
    /// Which headers it wants.
    pub(in crate::config) headers: ConditionsFile<HeaderKey>,
    /// Which query parameters it wants.
    pub(in crate::config) query: ConditionsFile<String>,
    /// Which routes it goes before.
    pub(in crate::config) priority: Field<i64>,
    /// The chain.
    pub(in crate::config) plugins: Option<Vec<Spanned<String>>>,
    /// What is cut off the path.
    pub(in crate::config) strip_prefix: Field<String>,
    /// What the path is replaced by.
    pub(in crate::config) rewrite: Field<String>,
    /// The upstream that answers.
    pub(in crate::config) upstream: Field<String>,
    /// Upstreams that share the requests.
    pub(in crate::config) split: Field<Vec<Spanned<SplitFile>>>,
    /// The plugin that answers.
    pub(in crate::config) responder: Field<String>,
    /// Where the client is sent.
    pub(in crate::config) redirect: Field<RedirectFile>,
    /// Requests that go elsewhere.
    pub(in crate::config) canary: Field<Vec<Spanned<CanaryFile>>>,
    /// Requests that are also sent elsewhere.
    pub(in crate::config) mirror: Field<MirrorFile>,
    /// When requests are sent again.
    pub(in crate::config) retry: Field<RetryFile>,
    /// Who answers when the origin cannot.
    pub(in crate::config) fallback: Field<Vec<Spanned<FallbackFile>>>,
    /// What goes wrong on purpose.
    pub(in crate::config) fault: Field<FaultFile>,
    /// How much it matters when not all requests can be served.
    pub(in crate::config) importance: Option<ImportanceWord>,
    /// Where clients say how long they wait.
    pub(in crate::config) deadline_header: Option<DeadlineHeader>,
    /// From the request's head to the response's head.
    pub(in crate::config) timeout: Field<DurationText>,
    /// Protocols that a client may change to.
    pub(in crate::config) upgrade: Option<Vec<Spanned<UpgradeWord>>>,
    /// How long nothing may be said on a tunnel.
    pub(in crate::config) tunnel_idle_timeout: Field<DurationText>,
    /// For the next bytes of a response.
    pub(in crate::config) read_timeout: Field<DurationText>,
    /// For the whole response.
    pub(in crate::config) total_timeout: Field<DurationText>,
    /// Most bytes of a request body.
    pub(in crate::config) max_request_body: Field<SizeText>,
}

/// `{ exact = ... }`
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct ConditionFile {
    /// The value.
    pub(in crate::config) exact: Option<String>,
    /// What the whole value matches.
    pub(in crate::config) regex: Option<String>,
    /// Whether there is one.
    pub(in crate::config) present: Option<bool>,
}

/// `[[route.split]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct SplitFile {
    /// The upstream.
    pub(in crate::config) upstream: Field<String>,
    /// Its part of the sum of all weights.
    pub(in crate::config) weight: Field<u64>,
}

/// `[route.redirect]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct RedirectFile {
    /// Status code.
    pub(in crate::config) status: Field<u64>,
    /// The new address.
    pub(in crate::config) to: Field<String>,
}

/// `[[route.canary]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct CanaryFile {
    /// Where they go.
    pub(in crate::config) upstream: Field<String>,
    /// Which headers they have.
    pub(in crate::config) headers: ConditionsFile<HeaderKey>,
    /// Which cookies they have.
    pub(in crate::config) cookies: ConditionsFile<String>,
    /// Whose they are.
    pub(in crate::config) consumers: Option<Vec<Spanned<String>>>,
}

/// `[route.mirror]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct MirrorFile {
    /// Where they are sent, too.
    pub(in crate::config) upstream: Field<String>,
    /// How many of them.
    pub(in crate::config) share: Field<Share>,
    /// Most bytes of a body.
    pub(in crate::config) max_body: Field<SizeText>,
    /// Most of them at once.
    pub(in crate::config) max_pending: Field<u64>,
}
