//! From paths to parsed documents: reads the main file and what it includes, checks `version`, reports syntax errors.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Problem, Report};
use super::reference::describe;
use super::resolved::Position;
use super::text::Text;

/// More than a hundred thousand consumers need; guards against a path that names something endless.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// The one version of the format that there is.
const VERSION: &str = "1";

/// A parsed file.
pub(super) struct Document<'t> {
    /// Where it came from.
    pub(super) text: &'t Text,
    /// What it says.
    pub(super) root: DeTable<'t>,
}

impl Document<'_> {
    /// The place of `span`, which is about `key`.
    pub(super) fn position(&self, span: Range<usize>, key: &str) -> Position {
        Position {
            file: self.text.file.clone(),
            span,
            key: key.into(),
        }
    }
}

/// The files of a configuration: the main one comes first, the others in the order of their names.
pub(super) struct Files {
    /// What could be read.
    pub(super) texts: Vec<Text>,
    /// Whether that is all of them.
    pub(super) complete: bool,
}

/// Reads the file at `path` and the files it includes.
pub(super) fn read(path: &Path, report: &mut Report) -> Files {
    let Some(main) = read_text(path, report) else {
        return Files {
            texts: Vec::new(),
            complete: false,
        };
    };
    let (paths, mut complete) = match parse(&main, report) {
        Some(document) if check_version(&document, true, report) => includes(&document, report),
        _ => (Vec::new(), false),
    };
    let mut texts = vec![main];
    for path in paths {
        let text = read_text(&path, report);
        complete &= text.is_some();
        texts.extend(text);
    }
    Files { texts, complete }
}

/// Parses the files again, to keep what borrows from them, and leaves out those that cannot be understood. The main file was
/// judged before: its problems are the same ones, and are kept only once.
pub(super) fn parse_all<'t>(texts: &'t [Text], report: &mut Report) -> Vec<Document<'t>> {
    let mut documents = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let is_main = index == 0;
        let Some(document) =
            parse(text, report).filter(|document| check_version(document, is_main, report))
        else {
            continue;
        };
        if let Some((key, _)) = document.root.get_key_value("include").filter(|_| !is_main) {
            let place = document.position(key.span(), "include");
            report.at(
                &place,
                "an included file includes no others",
                Some("list all files in the main one".into()),
            );
        }
        documents.push(document);
    }
    documents
}

fn read_text(path: &Path, report: &mut Report) -> Option<Text> {
    let mut refuse = |message: String| report.add(Problem::of_file(path, message, None));
    let mut bytes = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        refuse(format!("cannot read the file: {}", describe(&error)));
        return None;
    }
    if bytes.len() as u64 > MAX_FILE_BYTES {
        refuse(format!(
            "the file is larger than {} MiB",
            MAX_FILE_BYTES >> 20
        ));
        return None;
    }
    match String::from_utf8(bytes) {
        Ok(content) => {
            let text = Text::new(path.to_owned(), &content);
            report.texts.add(text.clone());
            Some(text)
        }
        Err(error) => {
            let line = error
                .as_bytes()
                .iter()
                .take(error.utf8_error().valid_up_to())
                .filter(|&&byte| byte == b'\n')
                .count()
                + 1;
            refuse(format!("the file is not UTF-8: see line {line}"));
            None
        }
    }
}

/// Parses one file. A key that is defined twice leaves the rest readable; any other error ends the file.
fn parse<'t>(text: &'t Text, report: &mut Report) -> Option<Document<'t>> {
    let (root, errors) = DeTable::parse_recoverable(&text.content);
    let document = Document {
        text,
        root: root.into_inner(),
    };
    let whole = text.content.len()..text.content.len();
    if let Some(error) = errors
        .iter()
        .find(|error| error.message() != "duplicate key")
    {
        let place = document.position(error.span().unwrap_or(whole), "");
        // `address = 127.0.0.1:80` is read as a number that goes wrong.
        let is_bare = ["invalid float", "invalid integer", "invalid datetime"]
            .iter()
            .any(|start| error.message().starts_with(start));
        let help = is_bare.then(|| "a text stands in quotes".to_owned());
        report.at(&place, format!("not valid TOML: {}", error.message()), help);
        return None;
    }
    for error in errors {
        let span = error.span().unwrap_or(whole.clone());
        let key = text.shown(span.clone());
        let place = document.position(span, "");
        report.at(
            &place,
            format!("\"{key}\" is defined twice"),
            Some("keep one of the two".into()),
        );
    }
    Some(document)
}

/// Whether the file is of the version that this gateway reads. An included file need not say it.
fn check_version(document: &Document<'_>, is_main: bool, report: &mut Report) -> bool {
    let Some(version) = document.root.get("version") else {
        if is_main {
            let help = format!("begin it with `version = {VERSION}`");
            report.add(Problem::of_file(
                document.text.file.as_path(),
                "the file does not say its version",
                Some(help),
            ));
        }
        return true;
    };
    let found = match version.get_ref() {
        DeValue::Integer(number) if number.to_string() == VERSION => return true,
        DeValue::Integer(number) => {
            format!("version {number} of the configuration is not supported")
        }
        _ => "expected the version of the configuration, a number".to_owned(),
    };
    let place = document.position(version.span(), "version");
    report.at(
        &place,
        found,
        Some(format!("this gateway reads `version = {VERSION}`")),
    );
    false
}

/// The files that `include` names, and whether that is all that was meant.
fn includes(document: &Document<'_>, report: &mut Report) -> (Vec<PathBuf>, bool) {
    let mut found = Vec::new();
    let Some(include) = document.root.get("include") else {
        return (found, true);
    };
    let DeValue::Array(patterns) = include.get_ref() else {
        let place = document.position(include.span(), "include");
        report.at(
            &place,
            format!(
                "expected a list of files, found {}",
                include.get_ref().type_str()
            ),
            Some("write `include = [\"conf.d/*.toml\"]`".into()),
        );
        return (found, false);
    };
    let mut understood = true;
    for (index, pattern) in patterns.iter().enumerate() {
        let text = pattern
            .get_ref()
            .as_str()
            .ok_or_else(|| "expected the path of a file".to_owned());
        match text.and_then(|text| expand(document.text, text)) {
            Ok(paths) => found.extend(paths),
            Err(message) => {
                understood = false;
                report.at(
                    &document.position(pattern.span(), &format!("include[{index}]")),
                    message,
                    None,
                );
            }
        }
    }
    found.sort();
    found.dedup();
    (found, understood)
}

/// The files that match one pattern. A wildcard may match none, and never matches the main file or a hidden one.
fn expand(main: &Text, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let path = main.directory().join(pattern);
    let (Some(directory), Some(last)) = (
        path.parent(),
        path.file_name().and_then(|last| last.to_str()),
    ) else {
        return Err(format!("expected the path of a file, found {pattern:?}"));
    };
    if directory
        .to_str()
        .is_some_and(|directory| directory.contains(['*', '?']))
    {
        return Err("a wildcard may stand only in the last part of the path".into());
    }
    if !last.contains(['*', '?']) {
        let metadata = std::fs::metadata(&path)
            .map_err(|error| format!("cannot read \"{}\": {}", path.display(), describe(&error)))?;
        return if metadata.is_dir() {
            Err(format!("\"{}\" is a directory", path.display()))
        } else {
            Ok(vec![path])
        };
    }
    let listed = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    let entries = std::fs::read_dir(listed).map_err(|error| {
        format!(
            "cannot read the directory \"{}\": {}",
            directory.display(),
            describe(&error)
        )
    })?;
    let canonical = main.file.canonicalize().ok();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names
        .filter(|name| !name.starts_with('.') && matches_wildcard(last.as_bytes(), name.as_bytes()))
        .map(|name| directory.join(name))
        .filter(|path| path.is_file() && path.canonicalize().ok() != canonical)
        .collect())
}

/// Whether `name` matches `pattern`, in which `*` stands for any number of bytes and `?` for one.
fn matches_wildcard(pattern: &[u8], name: &[u8]) -> bool {
    // The last `*` seen and what it was tried against: on a mismatch it takes one byte more.
    let (mut at, mut matched, mut star) = (0, 0, None);
    while matched < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, matched));
                at += 1;
            }
            Some(&byte) if byte == b'?' || Some(&byte) == name.get(matched) => {
                at += 1;
                matched += 1;
            }
            _ => match star {
                Some((star_at, taken)) => {
                    star = Some((star_at, taken + 1));
                    at = star_at + 1;
                    matched = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern
        .get(at..)
        .is_some_and(|rest| rest.iter().all(|&byte| byte == b'*'))
}

/// A node of a document.
pub(super) type Node<'t> = Spanned<DeValue<'t>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_like_a_shell() {
        for (pattern, name) in [
            ("*.toml", "a.toml"),
            ("*.toml", ".toml"),
            ("a*b*c", "axbxbc"),
            ("?.toml", "a.toml"),
            ("*", ""),
            ("a", "a"),
        ] {
            assert!(
                matches_wildcard(pattern.as_bytes(), name.as_bytes()),
                "{pattern} {name}"
            );
        }
        for (pattern, name) in [
            ("*.toml", "a.tom"),
            ("a*b*c", "axbxb"),
            ("?.toml", "ab.toml"),
            ("", "a"),
            ("a?", "a"),
        ] {
            assert!(
                !matches_wildcard(pattern.as_bytes(), name.as_bytes()),
                "{pattern} {name}"
            );
        }
    }
}
