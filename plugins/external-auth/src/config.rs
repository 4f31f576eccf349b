//! The `config` table.

use std::time::Duration;

use postern_plugin::config::{duration, optional_duration};
use postern_plugin::header::{editable_name, is_token};
use serde::Deserialize;

/// `[plugin.external-auth] config`
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// The upstream that is asked.
    pub(crate) upstream: String,
    /// Where it is asked.
    pub(crate) path: String,
    /// Headers of the request that it is told.
    pub(crate) send_headers: Vec<String>,
    /// Headers of its answer for the request.
    pub(crate) request_headers: Vec<String>,
    /// Headers of its refusal for the client.
    pub(crate) response_headers: Vec<String>,
    /// How long it may take.
    #[serde(deserialize_with = "duration")]
    pub(crate) timeout: Duration,
    /// How long an answer that lets pass is good for the same request.
    #[serde(deserialize_with = "optional_duration")]
    pub(crate) cache: Option<Duration>,
    /// What happens when it does not answer.
    pub(crate) on_error: OnError,
}

/// What happens to requests that cannot be decided.
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
            upstream: String::new(),
            path: String::from("/"),
            send_headers: vec![String::from("authorization"), String::from("cookie")],
            request_headers: Vec::new(),
            response_headers: vec![String::from("www-authenticate")],
            timeout: Duration::from_secs(1),
            cache: None,
            on_error: OnError::Closed,
        }
    }
}

impl Config {
    /// Checks what the types cannot; the headers come back in lower case.
    pub(crate) fn validate(mut self) -> Result<Self, String> {
        if self.upstream.is_empty() {
            return Err(String::from(
                "upstream: name the upstream that is asked; it must be among the plugin's `upstreams` too",
            ));
        }
        let is_path = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        if !self.path.starts_with('/') || !self.path.bytes().all(is_path) {
            return Err(String::from("path: expected a path such as \"/verify\""));
        }
        if self.timeout.is_zero() {
            return Err(String::from("timeout: expected more than nothing"));
        }
        if self.cache.is_some_and(|time| time.is_zero()) {
            return Err(String::from(
                "cache: expected more than nothing; leave it out for none",
            ));
        }
        for name in &mut self.send_headers {
            if !is_token(name) {
                return Err(format!("send-headers: {name:?} is no header name"));
            }
            name.make_ascii_lowercase();
        }
        let edited = [
            ("request-headers", &mut self.request_headers),
            ("response-headers", &mut self.response_headers),
        ];
        for (key, names) in edited {
            for name in names {
                *name = editable_name(name).map_err(|reason| format!("{key}: {reason}"))?;
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_field() {
        for (json, expected) in [
            ("{}", "upstream: name"),
            (r#"{"upstream": "auth", "path": "verify"}"#, "path: "),
            (r#"{"upstream": "auth", "path": "/a b"}"#, "path: "),
            (r#"{"upstream": "auth", "timeout": "0s"}"#, "timeout: "),
            (r#"{"upstream": "auth", "cache": "0s"}"#, "cache: "),
            (
                r#"{"upstream": "auth", "send-headers": ["a b"]}"#,
                "send-headers: ",
            ),
            (
                r#"{"upstream": "auth", "request-headers": ["Host"]}"#,
                "request-headers: ",
            ),
            (
                r#"{"upstream": "auth", "response-headers": ["Connection"]}"#,
                "response-headers: ",
            ),
            (r#"{"upstream": "auth", "on-error": "pass"}"#, "on-error: "),
            (r#"{"url": "http://auth"}"#, "unknown field `url`"),
        ] {
            let read = postern_plugin::config::parse::<Config>(json);
            let error = read.and_then(Config::validate).expect_err(json);
            assert!(error.starts_with(expected), "{json}: {error}");
        }
    }
}
