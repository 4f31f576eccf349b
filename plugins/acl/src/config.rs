//! The `config` table.

use serde::Deserialize;

/// `[plugin.acl] config`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// Groups that may pass; none means that all may that are not kept out.
    pub(crate) allow: Vec<String>,
    /// Groups that are kept out, whatever else they are in.
    pub(crate) deny: Vec<String>,
}

impl Config {
    /// Checks what the types cannot.
    pub(crate) fn validate(self) -> Result<Self, String> {
        if self.allow.is_empty() && self.deny.is_empty() {
            return Err(String::from(
                "allow: name the groups that may pass, or in `deny` those that may not",
            ));
        }
        for (key, groups) in [("allow", &self.allow), ("deny", &self.deny)] {
            if groups.iter().any(String::is_empty) {
                return Err(format!(
                    "{key}: expected names of groups, found an empty one"
                ));
            }
        }
        if let Some(both) = self.allow.iter().find(|group| self.deny.contains(group)) {
            return Err(format!("deny: {both:?} is in `allow` too"));
        }
        Ok(self)
    }

    /// Whether a consumer that is in these groups may pass.
    pub(crate) fn admits(&self, groups: &[String]) -> bool {
        let is_in = |list: &[String]| groups.iter().any(|group| list.contains(group));
        !is_in(&self.deny) && (self.allow.is_empty() || is_in(&self.allow))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_field() {
        let cases = [
            ("{}", "allow: name the groups"),
            (r#"{"allow": [""]}"#, "allow: expected names"),
            (r#"{"deny": ["a", ""]}"#, "deny: expected names"),
            (r#"{"allow": ["a"], "deny": ["a"]}"#, "deny: \"a\" is in"),
            (r#"{"allow": "a"}"#, "allow: "),
            (r#"{"groups": ["a"]}"#, "unknown field `groups`"),
        ];
        for (json, expected) in cases {
            let read = postern_plugin::config::parse::<Config>(json);
            let error = read.and_then(Config::validate).expect_err(json);
            assert!(error.starts_with(expected), "{json}: {error}");
        }
    }
}
