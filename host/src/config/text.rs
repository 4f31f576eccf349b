//! The texts that problems point into: lines, columns, and which bytes must never be shown.
//!
//! A file with a mistake is printed back to whoever runs the gateway, often into a log that others read. What looks like a
//! secret is therefore found by scanning the raw text, which works even where the file is not valid TOML.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Keys whose values are secrets, unless they only say where the secret is.
pub(super) const SECRET_KEYS: [&str; 7] = [
    "secret",
    "key",
    "hash",
    "api-key",
    "client-key",
    "password",
    "token",
];

/// One file as it was when it was read.
#[derive(Clone)]
pub(super) struct Text {
    /// As the operator named it, or as an `include` found it.
    pub(super) file: Arc<PathBuf>,
    /// The content.
    pub(super) content: Arc<str>,
    /// Bytes that are shown as `*`.
    masked: Vec<Range<usize>>,
}

impl Text {
    /// Keeps the content of `file`.
    pub(super) fn new(file: PathBuf, content: &str) -> Self {
        Self {
            file: Arc::new(file),
            content: content.into(),
            masked: find_secrets(content),
        }
    }

    /// What relative paths in this file are relative to.
    pub(super) fn directory(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new(""))
    }

    /// Line and column of a byte, both in characters and from 1.
    pub(super) fn line_and_column(&self, offset: usize) -> (usize, usize) {
        let before = self.content.get(..self.floor(offset)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        (line, column)
    }

    /// The bytes of the line that `offset` is in, without its end.
    pub(super) fn line_range(&self, offset: usize) -> Range<usize> {
        let offset = self.floor(offset);
        let (before, after) = self.content.split_at(offset);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let end = after
            .find('\n')
            .map_or(self.content.len(), |newline| offset + newline);
        let line = self.content.get(start..end).unwrap_or_default();
        start..start + line.strip_suffix('\r').unwrap_or(line).len()
    }

    /// The characters of `range`, masked ones replaced and control characters made visible: a file must not be able to
    /// send escape sequences to a terminal.
    pub(super) fn shown(&self, range: Range<usize>) -> String {
        let part = self.content.get(range.clone()).unwrap_or_default();
        part.char_indices()
            .map(|(index, character)| match character {
                _ if self.is_masked_at(range.start + index) => '*',
                '\t' => ' ',
                control if control.is_control() => char::REPLACEMENT_CHARACTER,
                other => other,
            })
            .collect()
    }

    /// Whether any byte of `range` must not be shown.
    pub(super) fn is_masked(&self, range: &Range<usize>) -> bool {
        self.masked
            .iter()
            .any(|masked| masked.start < range.end && range.start < masked.end)
    }

    fn is_masked_at(&self, offset: usize) -> bool {
        self.masked.iter().any(|masked| masked.contains(&offset))
    }

    /// The nearest character boundary at or before `offset`: spans of later stages are not trusted.
    fn floor(&self, offset: usize) -> usize {
        self.content.floor_char_boundary(offset)
    }
}

/// The files of one configuration, so that problems found later can still be shown in their place.
#[derive(Clone, Default)]
pub struct Texts {
    files: Vec<Text>,
}

impl Texts {
    /// Adds a file; the order of adding is the order of reporting.
    /// Where a table stands, as `postern.toml:14`.
    #[must_use]
    pub fn place(&self, position: &super::resolved::Position) -> String {
        let file = position.file.display();
        match self.get(&position.file) {
            Some(text) => format!("{file}:{}", text.line_and_column(position.span.start).0),
            None => file.to_string(),
        }
    }

    pub(super) fn add(&mut self, text: Text) {
        self.files.push(text);
    }

    /// Never shows these bytes of `file`.
    pub(super) fn mask(&mut self, file: &Path, range: Range<usize>) {
        if let Some(text) = self
            .files
            .iter_mut()
            .find(|text| text.file.as_path() == file)
        {
            text.masked.push(range);
        }
    }

    /// The text of `file`.
    pub(super) fn get(&self, file: &Path) -> Option<&Text> {
        self.files.iter().find(|text| text.file.as_path() == file)
    }

    /// The place of `file` in the order of reporting.
    pub(super) fn rank(&self, file: &Path) -> usize {
        self.files
            .iter()
            .position(|text| text.file.as_path() == file)
            .unwrap_or(usize::MAX)
    }
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.files.iter().map(|text| &text.file))
            .finish()
    }
}

/// Everything in `content` that looks like a secret: values of secret keys, passwords in URLs, private keys.
fn find_secrets(content: &str) -> Vec<Range<usize>> {
    let values = SECRET_KEYS
        .iter()
        .flat_map(|key| content.match_indices(key))
        .filter_map(|(at, key)| secret_value(content, at, key));
    let passwords = content
        .match_indices("://")
        .filter_map(|(at, separator)| user_info(content, at + separator.len()));
    let private_keys = content
        .match_indices("PRIVATE KEY-----")
        .filter_map(|(at, marker)| {
            let body = at + marker.len();
            let begins = content
                .get(..at)?
                .rsplit("-----")
                .next()?
                .starts_with("BEGIN ");
            begins.then(|| body..find_from(content, body, "-----END").unwrap_or(content.len()))
        });
    values.chain(passwords).chain(private_keys).collect()
}

/// The value of `key = ...` at `at`, unless it is a reference such as `"env:NAME"`.
fn secret_value(content: &str, at: usize, key: &str) -> Option<Range<usize>> {
    let is_word =
        |character: char| character.is_ascii_alphanumeric() || character == '-' || character == '_';
    if content.get(..at)?.ends_with(is_word) {
        return None;
    }
    let rest = content.get(at + key.len()..)?;
    let rest = rest
        .strip_prefix(['"', '\''])
        .unwrap_or(rest)
        .trim_start_matches([' ', '\t']);
    let value = rest.strip_prefix('=')?.trim_start_matches([' ', '\t']);
    let start = content.len() - value.len();
    let quoted = value.trim_start_matches(['"', '\'']);
    // Tables are looked into by themselves: the keys in them are found by this very scan.
    let holds_tables = value.starts_with('{')
        || value
            .strip_prefix('[')
            .is_some_and(|rest| rest.trim_start().starts_with('{'));
    if holds_tables || quoted.starts_with("env:") || quoted.starts_with("file:") {
        return None;
    }
    Some(start..start + value_length(value))
}

/// How far the TOML value that `value` begins with reaches; to the end of the line where that is not clear.
fn value_length(value: &str) -> usize {
    let line = value.find('\n').unwrap_or(value.len());
    for fence in ["\"\"\"", "'''"] {
        if value.starts_with(fence) {
            return find_from(value, fence.len(), fence)
                .map_or(value.len(), |end| end + fence.len());
        }
    }
    match value.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let mut escaped = false;
            let end = value.char_indices().skip(1).find(|&(_, character)| {
                let ends = character == quote && !escaped;
                escaped = quote == '"' && character == '\\' && !escaped;
                ends
            });
            end.map_or(line, |(index, _)| (index + 1).min(line))
        }
        Some('[') => line,
        _ => value.find([',', '}', '\n', '#']).unwrap_or(value.len()),
    }
}

/// `user:password` of a URL whose part after `://` begins at `start`.
fn user_info(content: &str, start: usize) -> Option<Range<usize>> {
    let authority = content
        .get(start..)?
        .split(['/', '"', '\'', '\n', ' '])
        .next()?;
    authority.rfind('@').map(|at| start..start + at)
}

fn find_from(content: &str, from: usize, what: &str) -> Option<usize> {
    content.get(from..)?.find(what).map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(content: &str) -> String {
        Text::new("a.toml".into(), content).shown(0..content.len())
    }

    #[test]
    fn lines_and_columns_count_characters_from_one() {
        let text = Text::new("a.toml".into(), "# häh\r\nx = 1\n");
        assert_eq!(text.line_and_column(0), (1, 1));
        assert_eq!(text.line_and_column("# hä".len()), (1, 5));
        assert_eq!(
            text.line_and_column(text.content.find('x').unwrap()),
            (2, 1)
        );
        assert_eq!(text.line_and_column(10_000), (3, 1));
        assert_eq!(text.shown(text.line_range(2)), "# häh");
    }

    #[test]
    fn literal_secrets_are_masked_and_references_are_not() {
        assert_eq!(shown("secret = \"abc\" # x"), "secret = ***** # x");
        assert_eq!(
            shown("{ key = 'a\"c', name = \"x\" }"),
            "{ key = *****, name = \"x\" }"
        );
        assert_eq!(shown("\"secret\" = \"a\\\"b\""), "\"secret\" = ******");
        assert_eq!(shown("secret = 12345"), "secret = *****");
        assert_eq!(shown("secret = \"unclosed"), "secret = *********");
        assert_eq!(shown("api-key = [\"abc\"]"), "api-key = *******");
        for open in [
            "secret = \"env:NAME\"",
            "key = 'file:a.key'",
            "public-key = \"abc\"",
            "keys = \"abc\"",
            "api-key = [{ name = \"a\" }]",
        ] {
            assert_eq!(shown(open), open);
        }
    }

    #[test]
    fn a_secret_over_several_lines_is_masked_to_its_end() {
        let text = shown("secret = \"\"\"\nabc\n\"\"\"\nname = 1");
        assert!(
            !text.contains("abc") && text.ends_with("name = 1"),
            "{text}"
        );
    }

    #[test]
    fn passwords_in_urls_and_private_keys_are_masked() {
        assert_eq!(
            shown("targets = [\"http://me:pw@host:1\"]"),
            "targets = [\"http://*****@host:1\"]"
        );
        assert!(!shown("x = \"-----BEGIN PRIVATE KEY-----\\nMIIabc").contains("MIIabc"));
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert!(!shown("x = \"\u{1b}[31m\"").contains('\u{1b}'));
    }
}
