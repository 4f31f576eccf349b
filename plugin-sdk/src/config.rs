//! Typed configuration: reads a plugin's `config` table, and says where and what is wrong in words for the operator.

mod error;
mod moment;
mod size;
mod value;

use std::time::Duration;

pub use moment::optional_moment;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
pub use size::optional_size;
use value::Value;

/// The config of a plugin without settings: any key is an error.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Reads a `config` table, as the gateway hands it over in JSON. The error begins with the path of the field, for example
/// `limits[2].window: expected a string, found a whole number`.
pub fn parse<C: DeserializeOwned>(json: &str) -> Result<C, String> {
    let value: Value = serde_json::from_str(json).map_err(|_| "the configuration is not JSON")?;
    serde_path_to_error::deserialize(value).map_err(|error| {
        let message = error.inner().to_string();
        let mut path = error.path().to_string();
        if let Some(rest) = message.strip_prefix("unknown field `") {
            // The message names it; the path is that of its table.
            let field = rest.find('`').unwrap_or_default();
            path.truncate(path.len().saturating_sub(field));
        }
        match path.trim_end_matches('.') {
            "" => message,
            path => format!("{path}: {message}"),
        }
    })
}

/// For `#[serde(deserialize_with = "...")]`: a duration with units, such as `"250ms"`, `"10m"` or `"1h 30m"`.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)
        .map_err(|_| D::Error::custom("expected a duration with a unit, such as \"30s\""))?;
    humantime::parse_duration(&text).map_err(|error| {
        D::Error::custom(format!(
            "expected a duration such as \"30s\", found {text:?}: {error}"
        ))
    })
}

/// The same as [`duration`], for an optional field (which also needs `#[serde(default)]`).
pub fn optional_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    struct Sample {
        #[serde(default, deserialize_with = "optional_duration")]
        max_age: Option<Duration>,
        #[serde(default)]
        rules: Vec<Rule>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Rule {
        #[expect(dead_code, reason = "only its absence matters")]
        name: String,
    }

    #[track_caller]
    fn error(json: &str) -> String {
        parse::<Sample>(json).expect_err("is wrong")
    }

    #[test]
    fn a_good_table_is_read() {
        let sample: Sample =
            parse(r#"{"max-age": "10m", "rules": [{"name": "a"}]}"#).expect("is right");
        assert_eq!(sample.max_age, Some(Duration::from_secs(600)));
        assert_eq!(sample.rules.len(), 1);
    }

    #[test]
    fn errors_name_the_field_and_what_was_expected() {
        assert_eq!(
            error(r#"{"rules": [{"name": 3}]}"#),
            "rules[0].name: expected a string, found a whole number"
        );
        assert_eq!(
            error(r#"{"rules": [{}]}"#),
            "rules[0]: missing field `name`"
        );
        assert_eq!(
            error(r#"{"rule": []}"#),
            "unknown field `rule`, expected `max-age` or `rules`"
        );
        assert_eq!(
            error(r#"{"rules": [{"name": "", "b": 1}]}"#),
            "rules[0]: unknown field `b`, expected `name`"
        );
        assert_eq!(
            error(r#"{"max-age": "10"}"#),
            "max-age: expected a duration such as \"30s\", found \"10\": time unit needed, for example 10sec or 10ms"
        );
        assert_eq!(
            error(r#"{"max-age": 10}"#),
            "max-age: expected a duration with a unit, such as \"30s\""
        );
    }

    #[test]
    fn a_plugin_without_settings_accepts_none() {
        parse::<NoConfig>("{}").expect("is empty");
        assert!(parse::<NoConfig>(r#"{"a": 1}"#).is_err());
    }
}
