//! The shape of the host, as a test: who may import whom, how long files and functions may be, and that the documents
//! that name files name existing ones.

use std::fs;
use std::path::{Path, PathBuf};

/// The floors, the lowest first. A module imports its own parts and modules of lower floors; modules of one floor are
/// strangers. The modules of the lowest floor are plain data and tools, and may use each other.
const FLOORS: [&[&str]; 7] = [
    &[
        "body",
        "certificate",
        "clock",
        "exchange",
        "fuzz",
        "shutdown",
        "types",
        "watch",
    ],
    &["config"],
    &["telemetry"],
    &["identity", "plugin", "router", "state", "upstream"],
    &["proxy"],
    &["admin", "listener"],
    &["app", "cli"],
];
const MAX_FILE_LINES: usize = 600;
const MAX_FUNCTION_LINES: usize = 60;

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("the sources can be read") {
            let path = entry.expect("the sources can be read").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("sources are text");
                let name = path
                    .strip_prefix(&root)
                    .expect("it was found there")
                    .to_owned();
                found.push((name, text));
            }
        }
    }
    assert!(found.len() > 50, "the sources were found");
    found
}

/// The module that a file belongs to: its first folder, or its own name.
fn module(file: &Path) -> String {
    let first = file.components().next().expect("a file has a name");
    first
        .as_os_str()
        .to_string_lossy()
        .trim_end_matches(".rs")
        .to_owned()
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

/// Whether a file holds nothing but tests.
fn is_test(file: &Path) -> bool {
    const NAMES: [&str; 4] = ["fuzz.rs", "tests.rs", "testing.rs", "properties.rs"];
    file.components()
        .any(|part| NAMES.iter().any(|name| part.as_os_str() == *name))
}

/// The modules that a line names after `crate::`.
fn imports(line: &str) -> Vec<String> {
    let parts = line.split("crate::").skip(1);
    let word = |part: &str| {
        part.chars()
            .take_while(|c| c.is_ascii_lowercase() || *c == '_')
            .collect()
    };
    parts
        .map(word)
        .filter(|word: &String| !word.is_empty())
        .collect()
}

fn violations(file: &Path, text: &str) -> Vec<String> {
    let own = module(file);
    if matches!(own.as_str(), "lib" | "main") {
        return Vec::new();
    }
    let Some(own_floor) = floor(&own) else {
        return vec![format!(
            "{}: module {own} stands on no floor",
            file.display()
        )];
    };
    let mut found = Vec::new();
    for (number, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
    {
        for import in imports(line) {
            let allowed = import == own
                || floor(&import)
                    .is_some_and(|floor| floor < own_floor || (floor == 0 && own_floor == 0))
                || (own == "cli" && import == "app");
            if !allowed {
                found.push(format!(
                    "{}:{}: {own} imports {import}",
                    file.display(),
                    number + 1
                ));
            }
        }
    }
    found
}

#[test]
fn modules_import_only_from_lower_floors() {
    let found: Vec<String> = sources()
        .iter()
        .flat_map(|(file, text)| violations(file, text))
        .collect();
    assert!(
        found.is_empty(),
        "imports that go up or sideways:\n{}",
        found.join("\n")
    );
}

#[test]
fn an_import_that_goes_up_is_found() {
    assert_eq!(
        violations(Path::new("router/tree.rs"), "use crate::proxy::View;").len(),
        1
    );
    assert_eq!(
        violations(Path::new("router.rs"), "use crate::plugin::Chain;").len(),
        1
    );
    assert_eq!(violations(Path::new("nowhere.rs"), "").len(), 1);
    assert!(violations(Path::new("proxy.rs"), "use crate::{plugin::Chain};").is_empty());
}

#[test]
fn files_and_functions_stay_short() {
    let mut found = Vec::new();
    for (file, text) in sources() {
        let lines = text.lines().count();
        if lines > MAX_FILE_LINES {
            found.push(format!(
                "{}: {lines} lines, at most {MAX_FILE_LINES}",
                file.display()
            ));
        }
        if is_test(&file) {
            continue;
        }
        for (name, length) in functions(&text)
            .into_iter()
            .filter(|(_, length)| *length > MAX_FUNCTION_LINES)
        {
            found.push(format!(
                "{}: {name} has {length} lines, at most {MAX_FUNCTION_LINES}",
                file.display()
            ));
        }
    }
    assert!(found.is_empty(), "too long:\n{}", found.join("\n"));
}

/// Functions and their lengths, in formatted source: one ends at the first brace that stands where it began.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let Some(at) = code.find("fn ").filter(|at| {
            code[..*at]
                .chars()
                .all(|c| c.is_ascii_alphabetic() || " ()".contains(c))
        }) else {
            continue;
        };
        let indent = &line[..line.len() - code.len()];
        let body = lines[start..]
            .iter()
            .find(|line| line.ends_with('{') || line.ends_with(';') || line.ends_with('}'));
        if !body.is_some_and(|line| line.ends_with('{')) {
            continue; // A declaration without a body, or with one on its own line.
        }
        let end = lines[start..]
            .iter()
            .position(|line| *line == format!("{indent}}}"));
        let name = code[at + 3..]
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        found.extend(end.map(|length| (name, length + 1)));
    }
    found
}

#[test]
fn nothing_on_the_request_path_unwraps() {
    let mut found = Vec::new();
    for (file, text) in sources() {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate().filter(|_| !is_test(&file)) {
            if line.contains(".unwrap()") || line.contains("panic!(") || line.contains("todo!(") {
                found.push(format!(
                    "{}:{}: {}",
                    file.display(),
                    number + 1,
                    line.trim()
                ));
            }
        }
    }
    assert!(found.is_empty(), "these can panic:\n{}", found.join("\n"));
}

#[test]
fn documents_name_files_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("host is in the workspace")
        .to_owned();
    for document in ["docs/request.md", "README.md"] {
        let text = fs::read_to_string(root.join(document)).expect("the document exists");
        let named = text
            .split('`')
            .filter(|code| code.contains('/') && code.ends_with(".rs"))
            .map(str::trim);
        for name in named {
            assert!(
                root.join(name).exists(),
                "{document} names {name}, which does not exist"
            );
        }
    }
}
