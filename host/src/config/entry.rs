//! One table of the file, read so that one mistake does not hide the next.
//!
//! serde stops at the first error. So the key that an error is about is taken out of the table, and the table is read again,
//! until the rest is right. What was taken out is remembered: a key that was wrong is not also "missing".

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeValue, ValueDeserializer};

use super::document::{Document, Node};
use super::error::Report;
use super::resolved::Position;
use super::text::SECRET_KEYS;
use super::units::{DURATION, SIZE, unit_of_duration, unit_of_size};
use super::values::HELP;
use super::{reference, suggest};

/// A table and where it stands.
pub(super) struct Entry<'d, T> {
    /// `NAME` of `[kind.NAME]`, empty where there is none.
    pub(super) name: Arc<str>,
    /// What the table says.
    pub(super) file: T,
    /// Where it says so.
    pub(super) place: Place<'d>,
}

/// Where a table stands and what in it could not be read.
pub(super) struct Place<'d> {
    document: &'d Document<'d>,
    node: &'d Node<'d>,
    path: String,
    lost: Vec<String>,
}

impl<'d, T: DeserializeOwned + Default> Entry<'d, T> {
    /// Reads `node`, whose key path is `path`, and reports all that is wrong with its keys and values.
    pub(super) fn read(
        document: &'d Document<'d>,
        name: &str,
        path: String,
        node: &'d Node<'d>,
        report: &mut Report,
    ) -> Self {
        let mut place = Place {
            document,
            node,
            path,
            lost: Vec::new(),
        };
        let file = place.read(report);
        Self {
            name: name.into(),
            file,
            place,
        }
    }
}

impl Place<'_> {
    /// The place of the whole table: its header.
    pub(super) fn here(&self) -> Position {
        self.document.position(self.node.span(), &self.path)
    }

    /// The place of a value in the table.
    pub(super) fn at<T>(&self, value: &Spanned<T>) -> Position {
        let span = value.span();
        let path = find(self.node, &span)
            .map_or_else(|| self.path.clone(), |found| join(&self.path, &found.path));
        self.document.position(span, &path)
    }

    /// What relative paths are relative to.
    pub(super) fn directory(&self) -> &Path {
        self.document.text.directory()
    }

    /// Whether `key` of `table` (a part of this one, or this one) was there but could not be read, or a part of its list.
    pub(super) fn is_lost(&self, table: &Position, key: &str) -> bool {
        let path = join(&table.key, key);
        let is_part = |lost: &str| {
            lost.strip_prefix(&path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
        };
        self.lost
            .iter()
            .any(|lost| is_part(lost) || lost == &self.path)
    }

    fn read<T: DeserializeOwned + Default>(&mut self, report: &mut Report) -> T {
        let mut node = self.node.clone();
        loop {
            let error = match T::deserialize(ValueDeserializer::from(node.clone())) {
                Ok(file) => return file,
                Err(error) => error,
            };
            let span = error.span().unwrap_or_else(|| self.node.span());
            let found = find(self.node, &span);
            let path = found
                .as_ref()
                .map_or_else(|| self.path.clone(), |found| join(&self.path, &found.path));
            self.report(error.message(), &span, &path, found.as_ref(), report);
            self.lost.push(path);
            if !remove(&mut node, &span) {
                // The table itself is wrong, for example a string: nothing in it can be used.
                self.lost.push(self.path.clone());
                return T::default();
            }
        }
    }

    fn report(
        &mut self,
        message: &str,
        span: &Range<usize>,
        path: &str,
        found: Option<&Found<'_, '_>>,
        report: &mut Report,
    ) {
        let position = self.document.position(span.clone(), path);
        if let Some(unknown) = unknown_key(message) {
            if let Some(found) = found.filter(|_| {
                unknown
                    .known
                    .iter()
                    .any(|known| SECRET_KEYS.contains(known))
            }) {
                self.hide(found.value, report);
            }
            // What the key was meant to be is not also missing.
            if let Some(near) = suggest::nearest(unknown.key, &unknown.known) {
                let table = path.strip_suffix(&quoted(unknown.key)).unwrap_or_default();
                self.lost.push(join(table.trim_end_matches('.'), near));
            }
            let hint = suggest::hint(unknown.key, "known keys", unknown.known.iter().copied());
            return report.at(
                &position,
                format!("unknown key \"{}\"", unknown.key.escape_debug()),
                Some(hint),
            );
        }
        let hidden = found.filter(|found| is_secret(path) || holds_password(path, found.value));
        if let Some(found) = hidden {
            self.hide(found.value, report);
        }
        let value = found.filter(|_| hidden.is_none()).map(|found| found.value);
        let (message, help) = self.explain(message, value);
        report.at(&position, message, help);
    }

    /// Hides what is, or was perhaps meant to be, a secret: the scan of the text does not know misspelt and escaped keys.
    fn hide(&self, value: &Node<'_>, report: &mut Report) {
        if !value
            .get_ref()
            .as_str()
            .is_some_and(reference::is_reference)
        {
            report.texts.mask(&self.document.text.file, value.span());
        }
    }

    /// Turns an error of serde into our words: `invalid type: integer `250`, expected X` into `expected X, found 250`.
    fn explain(&self, message: &str, value: Option<&Node<'_>>) -> (String, Option<String>) {
        if let Some((message, help)) = message.split_once(HELP) {
            return (message.to_owned(), Some(help.to_owned()));
        }
        let is_mismatch =
            message.starts_with("invalid type: ") || message.starts_with("invalid value: ");
        let Some((_, expected)) = message.rsplit_once(", expected ").filter(|_| is_mismatch) else {
            return (message.to_owned(), None);
        };
        let what = expectation(expected);
        let Some(value) = value.filter(|value| !self.document.text.is_masked(&value.span())) else {
            return (format!("expected {what}"), None);
        };
        let help = match (value.get_ref(), expected) {
            (DeValue::Integer(number), DURATION) => Some(unit_of_duration(&number.to_string())),
            (DeValue::Integer(number), SIZE) => Some(unit_of_size(&number.to_string())),
            _ => None,
        };
        (
            format!("expected {what}, found {}", self.shown(value)),
            help,
        )
    }

    fn shown(&self, value: &Node<'_>) -> String {
        match value.get_ref() {
            DeValue::Array(_) => "an array".into(),
            DeValue::Table(_) => "a table".into(),
            DeValue::String(text) if text.len() > 64 => "a long string".into(),
            DeValue::String(text) => format!("{text:?}"),
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => self.document.text.shown(value.span()),
        }
    }
}

/// Whether `path` ends with a key whose value is a secret.
fn is_secret(path: &str) -> bool {
    let last = path.rsplit('.').next().unwrap_or_default();
    SECRET_KEYS.contains(&last.split('[').next().unwrap_or_default())
}

/// Whether `value` is a target with something before an `@`.
fn holds_password(path: &str, value: &Node<'_>) -> bool {
    path.contains(".targets")
        && value
            .get_ref()
            .as_str()
            .is_some_and(|text| text.contains('@'))
}

/// serde's names of types in words.
fn expectation(expected: &str) -> String {
    match expected {
        "i64" => "a whole number".into(),
        "u64" | "u32" | "usize" => "a whole number that is not negative".into(),
        "a boolean" => "true or false".into(),
        "a sequence" => "a list".into(),
        "a map" => "a table".into(),
        // "struct ServerFile": the names of our types mean nothing to an operator.
        other if other.starts_with("struct ") => "a table".into(),
        other => other.into(),
    }
}

/// What serde says about a key that a struct does not have.
struct UnknownKey<'m> {
    key: &'m str,
    known: Vec<&'m str>,
}

/// Reads ``unknown field `x`, expected one of `a`, `b` ``. The text is serde's and stable; a test would notice a change.
fn unknown_key(message: &str) -> Option<UnknownKey<'_>> {
    let rest = message.strip_prefix("unknown field `")?;
    let (key, known) = rest
        .rsplit_once("`, expected ")
        .or_else(|| rest.rsplit_once("`, there are no "))?;
    Some(UnknownKey {
        key,
        known: known.split('`').skip(1).step_by(2).collect(),
    })
}

/// A node that a span belongs to.
struct Found<'n, 't> {
    path: String,
    value: &'n Node<'t>,
}

/// The innermost node whose value, or whose key, stands at `span`.
fn find<'n, 't>(node: &'n Node<'t>, span: &Range<usize>) -> Option<Found<'n, 't>> {
    match node.get_ref() {
        DeValue::Table(table) => table.iter().find_map(|(key, value)| {
            let name = quoted(key.get_ref());
            let inner = find(value, span).map(|found| Found {
                path: join(&name, &found.path),
                ..found
            });
            inner.or_else(|| (key.span() == *span).then_some(Found { path: name, value }))
        }),
        DeValue::Array(array) => array.iter().enumerate().find_map(|(index, value)| {
            find(value, span).map(|found| Found {
                path: join(&format!("[{index}]"), &found.path),
                ..found
            })
        }),
        _ => None,
    }
    .or_else(|| {
        (node.span() == *span).then(|| Found {
            path: String::new(),
            value: node,
        })
    })
}

/// Takes out what [`find`] would find; `false` when that is `node` itself, or nothing.
fn remove(node: &mut Node<'_>, span: &Range<usize>) -> bool {
    match node.get_mut() {
        DeValue::Table(table) => {
            if table.iter_mut().any(|(_, value)| remove(value, span)) {
                return true;
            }
            let key = table
                .iter()
                .find(|(key, value)| key.span() == *span || value.span() == *span)
                .map(|(key, _)| key.get_ref().to_string());
            key.is_some_and(|key| table.remove(key.as_str()).is_some())
        }
        DeValue::Array(array) => {
            if array.iter_mut().any(|value| remove(value, span)) {
                return true;
            }
            let Some(index) = array.iter().position(|value| value.span() == *span) else {
                return false;
            };
            let mut kept = DeArray::new();
            for (at, value) in array.iter().enumerate() {
                if at != index {
                    kept.push(value.clone());
                }
            }
            *array = kept;
            true
        }
        _ => false,
    }
}

/// Joins two parts of a key path.
fn join(parent: &str, child: &str) -> String {
    let dot = if parent.is_empty() || child.is_empty() || child.starts_with('[') {
        ""
    } else {
        "."
    };
    format!("{parent}{dot}{child}")
}

/// A key as it would be written in a path.
pub(super) fn quoted(key: &str) -> String {
    let bare = !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if bare {
        key.to_owned()
    } else {
        format!("\"{}\"", key.escape_debug())
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[test]
    fn the_words_of_serde_are_understood() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Two {
            #[expect(dead_code, reason = "only its name matters")]
            a: Option<u64>,
            #[expect(dead_code, reason = "only its name matters")]
            b: Option<u64>,
        }
        let error = toml::from_str::<Two>("c = 1").unwrap_err();
        let unknown = unknown_key(error.message()).unwrap();
        assert_eq!((unknown.key, unknown.known), ("c", vec!["a", "b"]));
        let error = toml::from_str::<Two>("a = \"x\"").unwrap_err();
        assert_eq!(error.message(), "invalid type: string \"x\", expected u64");
    }

    #[test]
    fn paths_are_joined_with_dots_and_brackets() {
        assert_eq!(join("route[0]", "timeout"), "route[0].timeout");
        assert_eq!(join("targets", "[1]"), "targets[1]");
        assert_eq!(join("", "a"), "a");
        assert_eq!(quoted("a b"), "\"a b\"");
    }
}
