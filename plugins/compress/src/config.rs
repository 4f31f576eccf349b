//! The `config` table.

use postern_plugin::config::optional_size;
use postern_plugin::header::is_token;
use serde::Deserialize;

use crate::negotiate::Coding;
use crate::policy::{Policy, TypePattern};

/// What compresses well, and is not compressed already.
const DEFAULT_TYPES: [&str; 12] = [
    "text/*",
    "application/json",
    "application/javascript",
    "application/xml",
    "application/wasm",
    "application/x-ndjson",
    "application/vnd.ms-fontobject",
    "*/*+json",
    "*/*+xml",
    "font/ttf",
    "font/otf",
    "image/bmp",
];
/// Less fits into one packet, compressed or not.
const DEFAULT_MIN_SIZE: u32 = 1 << 10;

/// `[plugin.compress] config`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// Codings to offer, the one to prefer first.
    codings: Option<Vec<Coding>>,
    /// Content types to compress.
    content_types: Option<Vec<String>>,
    /// Bodies that are known to be smaller stay as they are.
    #[serde(deserialize_with = "optional_size")]
    min_size: Option<u32>,
    /// How much time to spend on size.
    level: Level,
}

/// How much time to spend on size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Level {
    Fast,
    #[default]
    Balanced,
    Small,
}

impl Config {
    /// Checks what the types cannot, and makes the policy.
    pub(crate) fn compile(self) -> Result<Policy, String> {
        let codings = self
            .codings
            .unwrap_or_else(|| vec![Coding::Zstd, Coding::Brotli, Coding::Gzip]);
        if codings.is_empty() {
            return Err(String::from(
                "codings: expected at least one of \"gzip\", \"br\", \"zstd\"",
            ));
        }
        let types = match &self.content_types {
            Some(types) => types.iter().map(String::as_str).map(pattern).collect(),
            None => DEFAULT_TYPES.into_iter().map(pattern).collect(),
        };
        let types: Result<Vec<_>, String> = types;
        Ok(Policy {
            codings,
            types: types.map_err(|reason| format!("content-types: {reason}"))?,
            min_size: self.min_size.unwrap_or(DEFAULT_MIN_SIZE).into(),
            level: self.level,
        })
    }
}

fn pattern(text: &str) -> Result<TypePattern, String> {
    let lower = text.to_ascii_lowercase();
    let parts = lower.split_once('/');
    match parts {
        Some(("*", suffix)) if suffix.starts_with("*+") && is_token(&suffix[2..]) => {
            Ok(TypePattern::Suffix(suffix[1..].to_owned()))
        }
        Some((family, "*")) if is_token(family) && family != "*" => {
            Ok(TypePattern::Family(format!("{family}/")))
        }
        Some((family, name)) if is_token(family) && is_token(name) && !lower.contains('*') => {
            Ok(TypePattern::Exact(lower))
        }
        _ => Err(format!(
            "expected a type such as \"text/html\", \"text/*\" or \"*/*+json\", found {text:?}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, pattern};

    #[track_caller]
    fn error(json: &str) -> String {
        let read = postern_plugin::config::parse::<Config>(json);
        read.and_then(|config| config.compile().map(|_| ()))
            .expect_err("is wrong")
    }

    #[test]
    fn errors_name_the_field() {
        assert!(error(r#"{"codings": []}"#).starts_with("codings: expected at least one"));
        assert!(error(r#"{"codings": ["deflate"]}"#).starts_with("codings[0]: "));
        assert!(error(r#"{"min-size": 5}"#).starts_with("min-size: expected a size"));
        assert!(error(r#"{"content-types": ["html"]}"#).starts_with("content-types: expected a"));
        assert!(error(r#"{"level": "best"}"#).starts_with("level: "));
    }

    #[test]
    fn patterns_match_families_and_suffixes() {
        let matches = |text: &str, essence: &str| pattern(text).is_ok_and(|p| p.matches(essence));
        assert!(matches("text/*", "text/html"));
        assert!(matches("Text/HTML", "text/html"));
        assert!(matches("*/*+json", "application/problem+json"));
        assert!(!matches("*/*+json", "application/json"));
        assert!(!matches("text/*", "application/text"));
        for bad in [
            "", "*/*", "text/", "/html", "text", "*/html", "te*t/x", "a b/c",
        ] {
            assert!(pattern(bad).is_err(), "{bad:?}");
        }
    }
}
