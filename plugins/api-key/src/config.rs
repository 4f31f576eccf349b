//! The `config` table.

use postern_plugin::header::editable_name;
use postern_plugin::identity::Require;
use serde::Deserialize;

/// The name that most services use.
const DEFAULT_HEADER: &str = "x-api-key";

/// `[plugin.api-key] config`
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// Headers that may carry the key.
    pub(crate) header: Vec<String>,
    /// Query parameters that may carry the key; none, because queries end up in logs and histories.
    pub(crate) query: Vec<String>,
    /// Whether the upstream is kept from seeing the key.
    pub(crate) hide_credentials: bool,
    /// What clients are told that the key is for.
    pub(crate) realm: Option<String>,
    /// Whether there must be a key.
    pub(crate) require: Option<Require>,
    /// Whose the requests without a key are.
    pub(crate) anonymous: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            header: vec![DEFAULT_HEADER.to_owned()],
            query: Vec::new(),
            hide_credentials: true,
            realm: None,
            require: None,
            anonymous: None,
        }
    }
}

impl Config {
    /// Checks what the types cannot; the headers come back in lower case.
    pub(crate) fn validate(mut self) -> Result<Self, String> {
        for name in &mut self.header {
            *name = editable_name(name).map_err(|reason| format!("header: {reason}"))?;
        }
        if self.query.iter().any(String::is_empty) {
            return Err(String::from(
                "query: expected names of parameters, found an empty one",
            ));
        }
        if self.header.is_empty() && self.query.is_empty() {
            return Err(String::from(
                "header: with no header and no query parameter, no request could carry a key",
            ));
        }
        if self
            .realm
            .as_deref()
            .is_some_and(|realm| !is_quotable(realm))
        {
            return Err(String::from(
                "realm: expected visible ASCII characters and spaces, without \" and \\",
            ));
        }
        Ok(self)
    }
}

/// Whether a text can stand between the quotes of a challenge as it is.
fn is_quotable(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Config, String> {
        postern_plugin::config::parse::<Config>(json)?.validate()
    }

    #[test]
    fn an_empty_table_means_one_header_and_nothing_for_the_upstream() {
        let config = read("{}").expect("is right");
        assert_eq!(config.header, ["x-api-key"]);
        assert!(config.query.is_empty());
        assert!(config.hide_credentials);
    }

    #[test]
    fn errors_name_the_field() {
        let cases = [
            (r#"{"header": ["a b"]}"#, "header: \"a b\""),
            (r#"{"header": ["Connection"]}"#, "header: \"connection\""),
            (r#"{"header": []}"#, "header: with no header"),
            (r#"{"header": "x-key"}"#, "header: "),
            (r#"{"query": [""]}"#, "query: "),
            (r#"{"realm": "a\"b"}"#, "realm: "),
            (r#"{"hide-credentials": "no"}"#, "hide-credentials: "),
            (r#"{"headers": []}"#, "unknown field `headers`"),
        ];
        for (json, expected) in cases {
            let error = read(json).expect_err(json);
            assert!(error.starts_with(expected), "{json}: {error}");
        }
        assert!(read(r#"{"header": [], "query": ["api-key"]}"#).is_ok());
    }
}
