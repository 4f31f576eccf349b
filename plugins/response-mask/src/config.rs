//! The `config` table.

use regex::bytes::RegexBuilder;
use serde::Deserialize;

use crate::Rules;
use crate::fields::Fields;
use crate::scrub::Pattern;

/// A pattern may compile to this much: more is a mistake, or an attack on the memory of all instances.
const MAX_PATTERN_BYTES: usize = 256 << 10;

/// `[plugin.response-mask] config`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// Fields of JSON: names, or paths that begin with `$.`.
    fields: Vec<String>,
    /// What stands in the place of a field's value, as a JSON string.
    replacement: Option<String>,
    /// Patterns in text, and in strings of JSON.
    patterns: Vec<PatternConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PatternConfig {
    pattern: String,
    replacement: Option<String>,
}

impl Config {
    /// Compiles names and patterns.
    pub(crate) fn compile(self) -> Result<Rules, String> {
        let mut fields = Fields::default();
        for (index, field) in self.fields.iter().enumerate() {
            fields
                .add(field)
                .map_err(|reason| format!("fields[{index}]: {reason}"))?;
        }
        let replacement = self.replacement.as_deref().unwrap_or("***");
        let patterns = self.patterns.iter().enumerate().map(|(index, pattern)| {
            pattern
                .compile()
                .map_err(|reason| format!("patterns[{index}].{reason}"))
        });
        Ok(Rules {
            fields,
            replacement: crate::json::quoted(replacement),
            patterns: patterns.collect::<Result<_, _>>()?,
        })
    }
}

impl PatternConfig {
    fn compile(&self) -> Result<Pattern, String> {
        let regex = RegexBuilder::new(&self.pattern)
            .unicode(false)
            .size_limit(MAX_PATTERN_BYTES)
            .build()
            .map_err(|error| format!("pattern: {error}"))?;
        if regex.is_match(b"") {
            return Err(format!(
                "pattern: {:?} matches the empty text",
                self.pattern
            ));
        }
        let replacement = self.replacement.as_deref().unwrap_or("***");
        Ok(Pattern {
            regex,
            replacement: replacement.as_bytes().to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Config;

    #[track_caller]
    fn error(json: &str) -> String {
        let read = postern_plugin::config::parse::<Config>(json);
        read.and_then(|config| config.compile().map(|_| ()))
            .expect_err("is wrong")
    }

    #[test]
    fn errors_name_the_field() {
        assert!(error(r#"{"fields": ["a", "a.b"]}"#).starts_with("fields[1]: \"a.b\" is neither"));
        assert!(error(r#"{"patterns": [{"pattern": "("}]}"#).starts_with("patterns[0].pattern: "));
        assert!(error(r#"{"patterns": [{"pattern": "a*"}]}"#).contains("matches the empty text"));
        assert!(error(r#"{"patterns": [{"pattern": "a{10000}{1000}"}]}"#).contains("pattern: "));
        assert!(error(r#"{"field": []}"#).starts_with("unknown field `field`"));
    }
}
