//! The `config` table.

use std::collections::BTreeMap;

use postern_plugin::header::editable_name;
use postern_plugin::limits::{Algorithm, Limit};
use serde::Deserialize;

use crate::policy::{Policy, Shape, parse_limits};

/// The longest name of a scope: it stands in every key and every policy name.
const MAX_SCOPE_BYTES: usize = 64;
/// The longest time in which a bucket fills: the host's.
const MAX_FILL_MS: u64 = 31 * 24 * 60 * 60 * 1000;

/// `[plugin.rate-limit] config`
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// Whose requests are counted together.
    pub(crate) by: By,
    /// The header of `by = "header"`.
    pub(crate) header: Option<String>,
    /// The note of `by = "note"`.
    pub(crate) note: Option<String>,
    /// How much of an IPv4 address names a client.
    pub(crate) ipv4_prefix: u8,
    /// How much of an IPv6 address names a client.
    pub(crate) ipv6_prefix: u8,
    /// How limits count.
    pub(crate) algorithm: Counting,
    /// What a token bucket holds; none is the limit's amount.
    pub(crate) burst: Option<u32>,
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
    /// How much it counts on these routes.
    pub(crate) costs: BTreeMap<String, u64>,
    /// The header of responses that says how much it has cost in the end.
    pub(crate) cost_header: Option<String>,
    /// Most requests at once.
    pub(crate) concurrency: Option<u64>,
    /// Whether what is over a limit passes, and is only logged.
    pub(crate) dry_run: bool,
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
    /// Those with the same credential of a consumer; without one, those of an address.
    Credential,
    /// Those with the same value of a header; without one, those of an address.
    Header,
    /// Those with the same note of an earlier plugin; without one, those of an address.
    Note,
    /// Those for a path, whoever sends them.
    Path,
}

/// How limits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Counting {
    /// In windows that begin with the first request counted in them.
    FixedWindow,
    /// In windows, of which the last one counts in part.
    SlidingWindow,
    /// With tokens that come evenly.
    TokenBucket,
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
            note: None,
            ipv4_prefix: 32,
            // What a provider gives to one customer; with less of it, one machine would be many clients.
            ipv6_prefix: 64,
            algorithm: Counting::FixedWindow,
            burst: None,
            limits: vec![String::from("100/minute")],
            tiers: None,
            scope: None,
            per_route: false,
            cost: 1,
            costs: BTreeMap::new(),
            cost_header: None,
            concurrency: None,
            dry_run: false,
            headers: Headers::Standard,
            on_error: OnError::Closed,
        }
    }
}

impl Config {
    /// Checks what the types cannot, and makes the policy of those without a tier.
    pub(crate) fn validate(mut self) -> Result<(Self, Policy), String> {
        let limits = parse_limits(&self.limits)?;
        self.check_counting(&limits)?;
        self.check_costs(&limits)?;
        self.check_by()?;
        if self.tiers == Some(true) && !self.by.is_of_consumers() {
            return Err("tiers: consumers have tiers, so this needs by = \"consumer\"".into());
        }
        if limits.is_empty() && !self.uses_tiers() && self.concurrency.is_none() {
            return Err("limits: expected at least one, such as \"100/minute\"".into());
        }
        if self.scope.as_deref().is_some_and(|scope| !is_name(scope)) {
            return Err(format!(
                "scope: expected 1 to {MAX_SCOPE_BYTES} letters, digits, - and _"
            ));
        }
        let policy = Policy::new(limits, &self.shape());
        Ok((self, policy))
    }

    fn check_counting(&self, limits: &[Limit]) -> Result<(), String> {
        if self.concurrency == Some(0) {
            return Err("concurrency: expected at least 1".into());
        }
        let Some(burst) = self.burst.map(u64::from) else {
            return Ok(());
        };
        if self.algorithm != Counting::TokenBucket {
            return Err("burst: means nothing without algorithm = \"token-bucket\"".into());
        }
        let is_slow =
            |limit: &Limit| burst.saturating_mul(limit.window_ms) / limit.amount > MAX_FILL_MS;
        if burst == 0 || limits.iter().any(is_slow) {
            return Err("burst: expected at least 1, and no more than comes in 31 days".into());
        }
        Ok(())
    }

    fn check_costs(&mut self, limits: &[Limit]) -> Result<(), String> {
        let smallest = limits.iter().map(|limit| match self.burst {
            Some(burst) => u64::from(burst),
            None => limit.amount,
        });
        let smallest = smallest.min().unwrap_or(u64::MAX);
        let of_routes = self.costs.iter();
        let of_routes = of_routes.map(|(route, cost)| (format!("costs.{route}"), *cost));
        for (field, cost) in std::iter::once(("cost".to_owned(), self.cost)).chain(of_routes) {
            if cost == 0 {
                return Err(format!("{field}: expected at least 1"));
            }
            if cost > smallest {
                return Err(format!(
                    "{field}: at {cost} a request, one of the limits would never let one pass"
                ));
            }
        }
        if let Some(name) = self.cost_header.take() {
            let name = editable_name(&name).map_err(|reason| format!("cost-header: {reason}"))?;
            self.cost_header = Some(name);
        }
        Ok(())
    }

    fn check_by(&mut self) -> Result<(), String> {
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
        match (self.by, self.note.as_deref()) {
            (By::Note, None | Some("")) => {
                return Err("note: by = \"note\" needs the name of one".into());
            }
            (By::Note, Some(_)) | (_, None) => {}
            (_, Some(_)) => return Err("note: means nothing without by = \"note\"".into()),
        }
        if !(1..=32).contains(&self.ipv4_prefix) {
            return Err("ipv4-prefix: expected 1 to 32".into());
        }
        if !(1..=128).contains(&self.ipv6_prefix) {
            return Err("ipv6-prefix: expected 1 to 128".into());
        }
        Ok(())
    }

    /// What all policies have in common.
    pub(crate) fn shape(&self) -> Shape {
        Shape {
            scope: self.scope.clone(),
            algorithm: match self.algorithm {
                Counting::FixedWindow => Algorithm::FixedWindow,
                Counting::SlidingWindow => Algorithm::SlidingWindow,
                Counting::TokenBucket => Algorithm::TokenBucket,
            },
            burst: self.burst.map_or(0, u64::from),
        }
    }

    /// How much a request on this route counts.
    pub(crate) fn cost_of(&self, route: Option<&str>) -> u64 {
        let of_route = route.and_then(|route| self.costs.get(route));
        of_route.copied().unwrap_or(self.cost)
    }

    /// Whether the limits of the consumer's tier count.
    pub(crate) fn uses_tiers(&self) -> bool {
        self.by.is_of_consumers() && self.tiers != Some(false)
    }
}

impl By {
    fn is_of_consumers(self) -> bool {
        matches!(self, By::Consumer | By::Credential)
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
            (
                r#"{"costs": {"export": 0}}"#,
                "costs.export: expected at least 1",
            ),
            (
                r#"{"costs": {"export": 101}}"#,
                "costs.export: at 101 a request",
            ),
            (r#"{"cost-header": "content-length"}"#, "cost-header: "),
            (r#"{"concurrency": 0}"#, "concurrency: "),
            (r#"{"by": "note"}"#, "note: by = "),
            (r#"{"note": "tenant"}"#, "note: means nothing"),
            (r#"{"ipv4-prefix": 33}"#, "ipv4-prefix: "),
            (r#"{"algorithm": "leaky"}"#, "algorithm: "),
            (r#"{"burst": 5}"#, "burst: means nothing"),
            (
                r#"{"algorithm": "token-bucket", "burst": 0}"#,
                "burst: expected",
            ),
            (
                r#"{"algorithm": "token-bucket", "burst": 100, "limits": ["1/day"]}"#,
                "burst: expected",
            ),
            (
                r#"{"algorithm": "token-bucket", "burst": 5, "cost": 6}"#,
                "cost: at 6 a request",
            ),
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
            r#"{"algorithm": "token-bucket", "burst": 20, "limits": ["10/second"], "dry-run": true}"#,
            r#"{"by": "credential", "algorithm": "sliding-window", "costs": {"export": 10}}"#,
            r#"{"by": "note", "note": "tenant", "cost-header": "X-Cost", "tiers": false}"#,
            r#"{"limits": [], "by": "address", "concurrency": 4}"#,
        ];
        for json in right {
            read(json).expect(json);
        }
        let (config, _) = read(right[2]).expect("is right");
        assert_eq!(config.header.as_deref(), Some("x-team"));
    }
}
