//! The `config` table: as the operator writes it, and compiled.

use std::collections::BTreeMap;

use postern_plugin::header::editable_name;
use serde::Deserialize;

use crate::rules::Rules;
use crate::template::Template;

/// `[plugin.header-transform] config`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// What to change in requests.
    pub(crate) request: Side,
    /// What to change in responses.
    pub(crate) response: Side,
}

/// The five steps of one side, in the order in which they are taken.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Side {
    /// Removes headers.
    pub(crate) remove: Vec<String>,
    /// Old name to new name.
    pub(crate) rename: BTreeMap<String, String>,
    /// Name to template; only where the header is present.
    pub(crate) replace: BTreeMap<String, String>,
    /// Name to template; only where the header is absent.
    pub(crate) add: BTreeMap<String, String>,
    /// Name to template; beside the values that are there.
    pub(crate) append: BTreeMap<String, String>,
}

impl Side {
    /// Checks names and templates. The error begins with `side` and the field.
    pub(crate) fn compile(&self, side: &str) -> Result<Rules, String> {
        let names = self
            .remove
            .iter()
            .map(|name| editable_name(name))
            .collect::<Result<Vec<_>, _>>();
        let remove = names.map_err(|reason| format!("{side}.remove: {reason}"))?;
        let rename =
            compile_renames(&self.rename).map_err(|reason| format!("{side}.rename: {reason}"))?;
        let templates = |field: &str, entries: &BTreeMap<String, String>| {
            compile_templates(entries).map_err(|reason| format!("{side}.{field}{reason}"))
        };
        Ok(Rules {
            remove,
            rename,
            replace: templates("replace", &self.replace)?,
            add: templates("add", &self.add)?,
            append: templates("append", &self.append)?,
        })
    }
}

fn compile_renames(entries: &BTreeMap<String, String>) -> Result<Vec<(String, String)>, String> {
    let mut renames: Vec<(String, String)> = Vec::with_capacity(entries.len());
    for (old, new) in entries {
        let (old, new) = (editable_name(old)?, editable_name(new)?);
        if old == new {
            return Err(format!("{old:?} is renamed to itself"));
        }
        if renames.iter().any(|(known, _)| *known == old) {
            return Err(format!("{old:?} is renamed twice"));
        }
        if renames.iter().any(|(_, known)| *known == new) {
            return Err(format!("two headers are renamed to {new:?}"));
        }
        renames.push((old, new));
    }
    Ok(renames)
}

/// The error begins with the key in dots, or with a colon where the key itself is wrong.
fn compile_templates(
    entries: &BTreeMap<String, String>,
) -> Result<Vec<(String, Template)>, String> {
    let mut templates: Vec<(String, Template)> = Vec::with_capacity(entries.len());
    for (name, template) in entries {
        let lower = editable_name(name).map_err(|reason| format!(": {reason}"))?;
        if templates.iter().any(|(known, _)| *known == lower) {
            return Err(format!(": {lower:?} is there twice; case does not matter"));
        }
        let template = Template::parse(template).map_err(|reason| format!(".{name}: {reason}"))?;
        templates.push((lower, template));
    }
    Ok(templates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn error(json: &str) -> String {
        let read = postern_plugin::config::parse::<Config>(json);
        read.and_then(|config| config.request.compile("request").map(|_| ()))
            .expect_err("is wrong")
    }

    #[test]
    fn errors_name_the_field() {
        assert!(
            error(r#"{"request": {"remvoe": []}}"#)
                .starts_with("request: unknown field `remvoe`, expected one of")
        );
        assert!(
            error(r#"{"request": {"remove": ["Host"]}}"#)
                .starts_with("request.remove: \"host\" belongs")
        );
        assert!(
            error(r#"{"request": {"rename": {"a b": "c"}}}"#)
                .starts_with("request.rename: \"a b\" is no header")
        );
        assert!(
            error(r#"{"request": {"add": {"x": 3}}}"#)
                .starts_with("request.add.x: expected a string, found a whole number")
        );
        assert!(
            error(r#"{"request": {"add": {"X-A": "{nope}"}}}"#)
                .starts_with("request.add.X-A: unknown placeholder")
        );
        assert!(
            error(r#"{"request": {"append": {"X": "", "x": ""}}}"#)
                .starts_with("request.append: \"x\" is there")
        );
    }

    #[test]
    fn renames_must_not_meet() {
        assert_eq!(
            error(r#"{"request": {"rename": {"a": "A"}}}"#),
            "request.rename: \"a\" is renamed to itself"
        );
        assert_eq!(
            error(r#"{"request": {"rename": {"a": "c", "b": "c"}}}"#),
            "request.rename: two headers are renamed to \"c\""
        );
    }
}
