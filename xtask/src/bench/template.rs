//! Configuration files with `@NAME@` placeholders and `#include FILE` lines.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// A file that includes itself is told as such.
const DEEPEST_INCLUDE: usize = 8;

/// What the placeholders stand for.
pub(super) type Values = HashMap<&'static str, String>;

/// The text of a file with everything filled in.
pub(super) fn render(file: &Path, values: &Values) -> Result<String> {
    expand(&included(file, 0)?, values).with_context(|| format!("in {}", file.display()))
}

/// The text of a file in which `#include FILE` lines are replaced by the files, which lie beside it.
fn included(file: &Path, depth: usize) -> Result<String> {
    ensure!(
        depth < DEEPEST_INCLUDE,
        "{} is included by itself",
        file.display()
    );
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut whole = String::with_capacity(text.len());
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("#include ") {
            whole.push_str(&included(&file.with_file_name(name.trim()), depth + 1)?);
        } else {
            whole.push_str(line);
            whole.push('\n');
        }
    }
    Ok(whole)
}

/// Replaces each `@NAME@`; an unknown name is an error, and other `@` signs stay.
pub(super) fn expand(text: &str, values: &Values) -> Result<String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('@') {
        let (before, from) = rest.split_at(at);
        expanded.push_str(before);
        match placeholder(from) {
            Some(name) => {
                let Some(value) = values.get(name) else {
                    bail!("unknown placeholder @{name}@");
                };
                expanded.push_str(value);
                rest = &from[name.len() + 2..];
            }
            None => {
                expanded.push('@');
                rest = &from[1..];
            }
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// The name at the beginning of a text, such as `UP` of `@UP@/path`.
fn placeholder(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix('@')?.split_once('@')?;
    let is_name = name.starts_with(|first: char| first.is_ascii_uppercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    is_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Values {
        Values::from([
            ("UP", "127.0.0.1:1".to_owned()),
            ("JSON_1K", "{\"a\":\"@UP@\"}".to_owned()),
        ])
    }

    #[test]
    fn placeholders_are_replaced_once_and_other_signs_stay() {
        let expanded = expand("a@b @UP@, @UP@ me@@x @up@ @JSON_1K@ @", &values()).expect("known");
        assert_eq!(
            expanded,
            "a@b 127.0.0.1:1, 127.0.0.1:1 me@@x @up@ {\"a\":\"@UP@\"} @"
        );
    }

    #[test]
    fn an_unknown_placeholder_is_an_error() {
        let error = expand("x @NO_SUCH@", &values()).expect_err("not a value");
        assert_eq!(error.to_string(), "unknown placeholder @NO_SUCH@");
    }

    #[test]
    fn included_files_lie_beside_the_file_and_are_expanded_too() {
        let folder = tempfile::tempdir().expect("the temp dir is writable");
        let write = |name: &str, text: &str| {
            fs::write(folder.path().join(name), text).expect("writable");
        };
        write("a", "first\n#include b\nlast\n");
        write("b", "#include c");
        write("c", "up = @UP@\n");
        write("loop", "#include loop\n");
        let rendered = render(&folder.path().join("a"), &values()).expect("all there");
        assert_eq!(rendered, "first\nup = 127.0.0.1:1\nlast\n");
        let error = render(&folder.path().join("loop"), &values()).expect_err("endless");
        assert!(error.to_string().contains("included by itself"), "{error}");
    }
}
