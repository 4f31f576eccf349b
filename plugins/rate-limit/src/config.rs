//! The `config` table.

use postern_plugin::header::editable_name;
use serde::Deserialize;

use crate::policy::{Policy, parse_limits};

/// The longest name of a scope: it stands in every key and every policy name.
const MAX_SCOPE_BYTES: usize = 64;

/// `[plugin.rate-limit] config`
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// Whose requests are counted together.
    pub(crate) by: By,
    /// The header of `by = "header"`.
    pub(crate) header: Option<String>,
    /// How much of an IPv6 address names a client.
    pub(crate) ipv6_prefix: u8,
    /// The limits of everybody who has none of a tier.
    pub(crate) limits: Vec<String>,
    /// Whether the limits of the consumer's tier count instead; none means yes where there are consumers.
    pub(crate) tiers: Option<bool>,
    /// A name of these counters.
    pub(crate) scope: Option<String>,
    /// Whether every route counts for itself.
    pub(crate) per_route: bool,
    /// How much one request counts.
    pub(crate) cost: u64,
    /// What responses tell about the limits.
    pub(crate) headers: Headers,
    /// What happens to requests that cannot be counted.
    pub(crate) on_error: OnError,
}

/// Whose requests are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum By {
    /// Those of a consumer; without one, those of an address.
    Consumer,
    /// Those of a client's address.
    Address,
    /// Those with the same value of a header; without one, those of an address.
    Header,
    /// Those for a path, whoever sends them.
    Path,
}

/// What responses tell about the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Headers {
    /// `RateLimit` and `RateLimit-Policy`.
    Standard,
    /// The older `X-RateLimit-…` and `RateLimit-Limit`, `-Remaining`, `-Reset`.
    Legacy,
    /// All of them.
    Both,
    /// Nothing, but for `Retry-After` of a refusal.
    Off,
}

/// What happens to requests that cannot be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnError {
    /// They pass.
    Open,
    /// They are refused.
    Closed,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            by: By::Consumer,
            header: None,
            // What a provider gives to one customer; with less of it, one machine would be many clients.
            ipv6_prefix: 64,
            limits: vec![String::from("100/minute")],
            tiers: None,
            scope: None,
            per_route: false,
            cost: 1,
            headers: Headers::Standard,
            on_error: OnError::Closed,
        }
    }
}

impl Config {
    /// Checks what the types cannot, and makes the policy of those without a tier.
    pub(crate) fn validate(mut self) -> Result<(Self, Policy), String> {
        let limits = parse_limits(&self.limits)?;
        if self.cost == 0 {
            return Err("cost: expected at least 1".into());
        }
        if limits.iter().any(|limit| limit.amount < self.cost) {
            return Err(format!(
                "cost: at {} a request, one of the limits would never let one pass",
                self.cost
            ));
        }
        match (self.by, self.header.take()) {
            (By::Header, Some(name)) => {
                let name = editable_name(&name).map_err(|reason| format!("header: {reason}"))?;
                self.header = Some(name);
            }
            (By::Header, None) => {
                return Err("header: by = \"header\" needs the name of one".into());
            }
            (_, Some(_)) => return Err("header: means nothing without by = \"header\"".into()),
            (_, None) => {}
        }
        if !(1..=128).contains(&self.ipv6_prefix) {
            return Err("ipv6-prefix: expected 1 to 128".into());
        }
        if self.tiers == Some(true) && self.by != By::Consumer {
            return Err("tiers: consumers have tiers, so this needs by = \"consumer\"".into());
        }
        if limits.is_empty() && !self.uses_tiers() {
            return Err("limits: expected at least one, such as \"100/minute\"".into());
        }
        if self.scope.as_deref().is_some_and(|scope| !is_name(scope)) {
            return Err(format!(
                "scope: expected 1 to {MAX_SCOPE_BYTES} letters, digits, - and _"
            ));
        }
        let policy = Policy::new(limits, self.scope.as_deref());
        Ok((self, policy))
    }

    /// Whether the limits of the consumer's tier count.
    pub(crate) fn uses_tiers(&self) -> bool {
        self.by == By::Consumer && self.tiers != Some(false)
    }
}

fn is_name(text: &str) -> bool {
    (1..=MAX_SCOPE_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<(Config, Policy), String> {
        postern_plugin::config::parse::<Config>(json)?.validate()
    }

    #[test]
    fn errors_name_the_field() {
        let cases = [
            (r#"{"by": "ip"}"#, "by: "),
            (r#"{"by": "header"}"#, "header: by = "),
            (r#"{"by": "header", "header": "a b"}"#, "header: \"a b\""),
            (r#"{"header": "x-team"}"#, "header: means nothing"),
            (r#"{"ipv6-prefix": 0}"#, "ipv6-prefix: "),
            (r#"{"ipv6-prefix": 129}"#, "ipv6-prefix: "),
            (r#"{"limits": ["100"]}"#, "limits[0]: "),
            (r#"{"limits": ["1/hour", "x/day"]}"#, "limits[1]: "),
            (r#"{"limits": [], "tiers": false}"#, "limits: "),
            (r#"{"limits": [], "by": "path"}"#, "limits: "),
            (r#"{"by": "address", "tiers": true}"#, "tiers: "),
            (r#"{"scope": ""}"#, "scope: "),
            (r#"{"scope": "a b"}"#, "scope: "),
            (r#"{"cost": 0}"#, "cost: expected at least 1"),
            (r#"{"cost": 101}"#, "cost: at 101 a request"),
            (r#"{"headers": "on"}"#, "headers: "),
            (r#"{"on-error": "ignore"}"#, "on-error: "),
            (r#"{"limit": []}"#, "unknown field `limit`"),
        ];
        for (json, expected) in cases {
            let error = read(json).map(|_| ()).expect_err(json);
            assert!(error.starts_with(expected), "{json}: {error}");
        }
    }

    #[test]
    fn what_is_right_is_read() {
        let right = [
            "{}",
            r#"{"limits": []}"#,
            r#"{"by": "header", "header": "X-Team", "limits": ["10/10s", "100/hour"]}"#,
            r#"{"by": "address", "tiers": false, "headers": "both", "on-error": "open"}"#,
            r#"{"scope": "orders_v2", "per-route": true, "cost": 5}"#,
        ];
        for json in right {
            read(json).expect(json);
        }
        let (config, _) = read(right[2]).expect("is right");
        assert_eq!(config.header.as_deref(), Some("x-team"));
    }
}
