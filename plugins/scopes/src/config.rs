//! The `config` table.

use std::collections::BTreeMap;

use postern_plugin::header::is_token;
use serde::Deserialize;

use crate::pattern::Pattern;
use crate::rule::Rule;

/// `[plugin.scopes] config`
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// The first that fits a request decides.
    pub(crate) rules: Vec<RuleConfig>,
    /// The claim that holds the scopes.
    pub(crate) scope_claim: String,
    /// What becomes of requests that no rule fits.
    pub(crate) unmatched: Unmatched,
    /// What clients are told that the token is for.
    pub(crate) realm: Option<String>,
}

/// What becomes of requests that no rule fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Unmatched {
    /// They are refused.
    Deny,
    /// They pass.
    Allow,
}

/// One of the rules.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RuleConfig {
    /// Methods; none means all.
    methods: Vec<String>,
    /// A path pattern; none means all paths.
    path: Option<String>,
    /// Scopes that the token must have all.
    scopes: Vec<String>,
    /// Scopes of which the token must have one.
    any_scope: Vec<String>,
    /// Claims that must have, or hold, one of these values.
    claims: BTreeMap<String, Vec<String>>,
    /// That nothing is needed.
    public: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            rules: Vec::new(),
            scope_claim: String::from("scope"),
            unmatched: Unmatched::Deny,
            realm: None,
        }
    }
}

impl Config {
    /// Checks what the types cannot, and makes the rules ready.
    pub(crate) fn rules(&self) -> Result<Vec<Rule>, String> {
        if self.rules.is_empty() {
            return Err(String::from("rules: there must be one at least"));
        }
        if self.scope_claim.is_empty() {
            return Err(String::from("scope-claim: expected the name of a claim"));
        }
        if self
            .realm
            .as_deref()
            .is_some_and(|realm| !is_quotable(realm))
        {
            return Err(String::from("realm: expected ASCII without \" and \\"));
        }
        let rules = self.rules.iter().enumerate();
        rules
            .map(|(index, rule)| {
                rule.compile()
                    .map_err(|reason| format!("rules[{index}].{reason}"))
            })
            .collect()
    }
}

impl RuleConfig {
    fn compile(&self) -> Result<Rule, String> {
        if let Some(method) = self.methods.iter().find(|method| !is_token(method)) {
            return Err(format!("methods: {method:?} is no method"));
        }
        for (key, scopes) in [("scopes", &self.scopes), ("any-scope", &self.any_scope)] {
            if let Some(scope) = scopes.iter().find(|scope| !is_scope(scope)) {
                return Err(format!("{key}: {scope:?} is no scope (RFC 6749, 3.3)"));
            }
        }
        if let Some((claim, _)) = self.claims.iter().find(|(_, values)| values.is_empty()) {
            return Err(format!("claims.{claim}: name the values that are right"));
        }
        let asks = !(self.scopes.is_empty() && self.any_scope.is_empty() && self.claims.is_empty());
        if asks == self.public {
            return Err(String::from(
                "scopes: a rule asks for scopes, any-scope or claims, or else says `public = true`",
            ));
        }
        let path = self.path.as_deref().map(Pattern::parse).transpose();
        let notes = self.claims.iter();
        Ok(Rule {
            methods: self.methods.clone(),
            path: path.map_err(|reason| format!("path: {reason}"))?,
            scopes: self.scopes.clone(),
            any_scope: self.any_scope.clone(),
            claims: notes
                .map(|(claim, values)| (format!("claim.{claim}"), values.clone()))
                .collect(),
        })
    }
}

/// RFC 6749, 3.3: visible ASCII without quotes and backslash, so that it can stand in a challenge.
fn is_scope(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}

/// Whether a text can stand between the quotes of a challenge as it is.
fn is_quotable(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_field() {
        for (json, expected) in [
            ("{}", "rules: there must be one"),
            (
                r#"{"rules": [{"scopes": ["a"]}], "scope-claim": ""}"#,
                "scope-claim: ",
            ),
            (
                r#"{"rules": [{"scopes": ["a"]}], "realm": "\""}"#,
                "realm: ",
            ),
            (r#"{"rules": [{}]}"#, "rules[0].scopes: a rule asks"),
            (
                r#"{"rules": [{"scopes": ["a"], "public": true}]}"#,
                "rules[0].scopes: a rule asks",
            ),
            (
                r#"{"rules": [{"scopes": ["a b"]}]}"#,
                "rules[0].scopes: \"a b\"",
            ),
            (
                r#"{"rules": [{"any-scope": [""]}]}"#,
                "rules[0].any-scope: ",
            ),
            (
                r#"{"rules": [{"claims": {"role": []}}]}"#,
                "rules[0].claims.role: ",
            ),
            (
                r#"{"rules": [{"scopes": ["a"], "methods": ["G T"]}]}"#,
                "rules[0].methods: ",
            ),
            (
                r#"{"rules": [{"scopes": ["a"], "path": "orders"}]}"#,
                "rules[0].path: ",
            ),
            (
                r#"{"rules": [{"scope": ["a"]}]}"#,
                "rules[0]: unknown field `scope`",
            ),
            (r#"{"unmatched": "maybe"}"#, "unmatched: "),
        ] {
            let read = postern_plugin::config::parse::<Config>(json);
            let error = read.and_then(|config| config.rules()).expect_err(json);
            assert!(error.starts_with(expected), "{json}: {error}");
        }
    }
}
