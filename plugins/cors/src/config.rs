//! The `config` table.

use std::time::Duration;

use postern_plugin::config::optional_duration;
use postern_plugin::header::is_token;
use serde::Deserialize;

use crate::origin::Origins;
use crate::policy::{AllowHeaders, Policy};

/// What browsers send from pages, apart from forms.
const DEFAULT_METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// `[plugin.cors] config`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// Who may read answers: origins, patterns, or `*` alone.
    pub(crate) origins: Vec<String>,
    /// Methods that scripts may use.
    #[serde(default = "default_methods")]
    pub(crate) methods: Vec<String>,
    /// Request headers that scripts may set; without it, whatever the browser asks for.
    #[serde(default)]
    pub(crate) allow_headers: Option<Vec<String>>,
    /// Response headers that scripts may read.
    #[serde(default)]
    pub(crate) expose_headers: Vec<String>,
    /// Whether cookies and HTTP authentication may be sent.
    #[serde(default)]
    pub(crate) credentials: bool,
    /// How long a browser may remember a preflight's answer.
    #[serde(default, deserialize_with = "optional_duration")]
    pub(crate) max_age: Option<Duration>,
    /// Whether public pages may reach this gateway in a private network.
    #[serde(default)]
    pub(crate) private_network: bool,
}

fn default_methods() -> Vec<String> {
    DEFAULT_METHODS.map(str::to_owned).to_vec()
}

impl Config {
    /// Checks what the types cannot, and makes the policy.
    pub(crate) fn compile(self) -> Result<Policy, String> {
        let origins =
            Origins::parse(&self.origins).map_err(|reason| format!("origins: {reason}"))?;
        if self.credentials && matches!(origins, Origins::Any) {
            return Err(String::from(
                "credentials: cannot go with origins = [\"*\"]: browsers refuse it, because any page could then act as \
                 the user; list the origins that may",
            ));
        }
        self.check_names("methods", &self.methods)?;
        self.check_names(
            "allow-headers",
            self.allow_headers.as_deref().unwrap_or_default(),
        )?;
        self.check_names("expose-headers", &self.expose_headers)?;
        if self.methods.is_empty() {
            return Err(String::from(
                "methods: expected at least one method, or no such key for the usual ones",
            ));
        }
        Ok(Policy {
            origins,
            methods: self.methods.join(", "),
            allow_headers: self.allow_headers.map_or(AllowHeaders::Asked, |names| {
                AllowHeaders::These(names.join(", "))
            }),
            expose_headers: self.expose_headers.join(", "),
            credentials: self.credentials,
            max_age: self.max_age.map(|age| age.as_secs().to_string()),
            private_network: self.private_network,
        })
    }

    fn check_names(&self, field: &str, names: &[String]) -> Result<(), String> {
        if let Some(bad) = names.iter().find(|name| !is_token(name)) {
            return Err(format!(
                "{field}: {bad:?} is no name: expected letters, digits and -"
            ));
        }
        if self.credentials && names.iter().any(|name| name == "*") {
            return Err(format!(
                "{field}: with credentials = true, browsers take \"*\" literally; list the names"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn error(json: &str) -> String {
        postern_plugin::config::parse::<Config>(json)
            .and_then(Config::compile)
            .map(|_| ())
            .expect_err("is wrong")
    }

    #[test]
    fn errors_name_the_field() {
        assert!(error("{}").contains("missing field"));
        assert!(error(r#"{"origins": []}"#).starts_with("origins: "));
        assert!(error(r#"{"origins": ["*"], "methods": []}"#).starts_with("methods: "));
        assert!(
            error(r#"{"origins": ["*"], "expose-headers": ["a b"]}"#)
                .starts_with("expose-headers: \"a b\"")
        );
        assert!(error(r#"{"origins": ["*"], "max-age": 5}"#).starts_with("max-age: "));
        assert!(
            error(r#"{"origins": ["*"], "credentials": true}"#)
                .starts_with("credentials: cannot go with")
        );
        let star =
            r#"{"origins": ["https://a.test"], "credentials": true, "allow-headers": ["*"]}"#;
        assert!(error(star).starts_with("allow-headers: with credentials"));
    }
}
