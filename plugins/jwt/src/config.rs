//! The `config` table.

mod list;

use std::collections::BTreeMap;
use std::time::Duration;

use postern_plugin::config::{duration, optional_duration};
use postern_plugin::header::{editable_name, is_token};
use postern_plugin::identity::CONSUMER_HEADERS;
use serde::Deserialize;

/// Clocks of machines that keep time differ by less; an expired token is of use for that much longer.
const DEFAULT_LEEWAY: Duration = Duration::from_secs(30);
/// "no more than a few minutes" (RFC 7519, 4.1.4).
const MAX_LEEWAY: Duration = Duration::from_secs(10 * 60);
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
    /// Claims for the upstream, and the headers to tell them in.
    pub(crate) forward_claims: BTreeMap<String, String>,
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
            forward_claims: BTreeMap::new(),
        }
    }
}

impl Config {
    /// Checks what the types cannot; the headers come back in lower case.
    pub(crate) fn validate(mut self) -> Result<Self, String> {
        let cookies_are_names = self.cookie.iter().all(|name| is_token(name));
        let lives = self.maximum_lifetime;
        let checks = [
            (
                "query",
                !self.query.iter().any(String::is_empty),
                "expected names of parameters",
            ),
            ("cookie", cookies_are_names, "expected names of cookies"),
            (
                "realm",
                self.realm.as_deref().is_none_or(is_quotable),
                "expected ASCII without \" and \\",
            ),
            (
                "consumer-claim",
                self.consumer_claim.as_deref() != Some(""),
                "expected the name of a claim",
            ),
            (
                "key-set",
                self.key_set.as_deref() != Some(""),
                "expected the name of a [keys.NAME] table",
            ),
            (
                "issuer",
                !self.issuer.iter().any(String::is_empty),
                "expected issuers, found an empty one",
            ),
            (
                "audience",
                !self.audience.iter().any(String::is_empty),
                "expected audiences, found an empty one",
            ),
            (
                "required-claims",
                !self.required_claims.iter().any(String::is_empty),
                "expected names of claims",
            ),
            (
                "forward-claims",
                !self.forward_claims.contains_key(""),
                "expected names of claims",
            ),
            ("leeway", self.leeway <= MAX_LEEWAY, "expected at most 10m"),
            (
                "maximum-lifetime",
                lives != Some(Duration::ZERO),
                "expected more than nothing",
            ),
            (
                "maximum-lifetime",
                lives.is_none() || self.require_exp,
                "needs require-exp = true",
            ),
            (
                "consumer",
                self.consumer.as_deref() != Some(""),
                "expected the name of a [consumer.NAME] table",
            ),
            (
                "consumer",
                self.consumer.is_none() || self.key_set.is_some(),
                "needs key-set: without one, the token names its consumer",
            ),
            (
                "consumer-claim",
                self.consumer.is_none() || self.consumer_claim.is_none(),
                "means nothing with consumer, which all tokens belong to",
            ),
            (
                "issuer",
                self.key_set.is_none() || !self.issuer.is_empty(),
                "key-set needs it: other issuers may sign with the same keys",
            ),
        ];
        if let Some((field, _, problem)) = checks.iter().find(|(_, is_right, _)| !is_right) {
            return Err(format!("{field}: {problem}"));
        }
        self.check_forwarded()?;
        Ok(self)
    }

    /// The claim by which the consumer is found.
    pub(crate) fn consumer_claim(&self) -> &str {
        self.consumer_claim
            .as_deref()
            .unwrap_or(DEFAULT_CONSUMER_CLAIM)
    }

    fn check_forwarded(&mut self) -> Result<(), String> {
        let mut used: Vec<&str> = CONSUMER_HEADERS.to_vec();
        for (claim, header) in &mut self.forward_claims {
            *header = editable_name(header)
                .map_err(|reason| format!("forward-claims.{claim}: {reason}"))?;
            if used.contains(&header.as_str()) {
                return Err(format!(
                    "forward-claims.{claim}: header {header:?} is written already"
                ));
            }
            used.push(header);
        }
        Ok(())
    }
}

/// Whether a text can stand between the quotes of a challenge as it is.
fn is_quotable(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\')
}

#[cfg(test)]
mod tests;
