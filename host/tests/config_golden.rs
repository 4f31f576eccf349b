//! Configurations and what becomes of them: `valid/*.toml` with what the host sees (`.snap`), `invalid/*.toml` with what the
//! operator is told (`.err`). `BLESS=1` writes the goldens anew.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use postern::config::{self, Config, Position, Problem, Problems};
use proptest::prelude::*;

/// What the fixtures find in the environment.
const ENVIRONMENT: [(&str, &str); 6] = [
    ("SECRET_OF_32_BYTES", "correct-horse-battery-staple-123"),
    (
        "SECRET_OF_64_BYTES",
        "correct-horse-battery-staple-123correct-horse-battery-staple-123",
    ),
    ("SHORT_SECRET", "hunter2"),
    ("API_KEY", "key-of-the-mobile-app"),
    ("KEY_WITH_SPACE", "key that has spaces"),
    ("EMPTY", ""),
];

/// No output may hold any of these.
const SECRETS: [&str; 5] = [
    "hunter2",
    "123456789",
    "correct-horse",
    "key-of-the",
    "key that has spaces",
];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config")
}

fn environment(name: &str) -> Option<OsString> {
    ENVIRONMENT
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value.into())
}

fn load(path: &Path) -> Result<Config, Problems> {
    config::load_with(path, &environment)
}

/// The files of one kind of fixture, sorted.
fn files(kind: &str, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(fixtures().join(kind)).unwrap();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

/// Paths as they are in every checkout.
fn portable(output: &str, kind: &str) -> String {
    let root = fixtures();
    output
        .replace(&format!("{}/", root.join(kind).display()), "")
        .replace(&format!("{}/", root.display()), "")
}

/// Compares with the golden beside `fixture`; what differs goes to `failures`.
fn compare(fixture: &Path, extension: &str, output: &str, failures: &mut Vec<String>) {
    let golden = fixture.with_extension(extension);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&golden, output).unwrap();
        return;
    }
    match fs::read_to_string(&golden) {
        Ok(expected) if expected == output => {}
        Ok(expected) => failures.push(format!(
            "{} differs\n--- expected\n{expected}\n--- found\n{output}",
            golden.display()
        )),
        Err(_) => failures.push(format!(
            "{} is missing; BLESS=1 writes it",
            golden.display()
        )),
    }
}

/// A golden whose fixture is gone tests nothing.
fn goldens_have_fixtures(kind: &str, extension: &str, failures: &mut Vec<String>) {
    for golden in files(kind, extension) {
        if !golden.with_extension("toml").exists() {
            failures.push(format!("{} belongs to no fixture", golden.display()));
        }
    }
}

#[test]
fn valid_configurations_become_what_their_goldens_say() {
    let mut failures = Vec::new();
    for fixture in files("valid", "toml") {
        let mut config = match load(&fixture) {
            Ok(config) => config,
            Err(problems) => {
                failures.push(format!("{} is refused:\n{problems}", fixture.display()));
                continue;
            }
        };
        if !fs::read_to_string(&fixture).unwrap().contains("workers") {
            assert!(config.server.workers > 0, "there is at least one core");
            config.server.workers = 0;
        }
        compare(
            &fixture,
            "snap",
            &portable(&format!("{config:#?}\n"), "valid"),
            &mut failures,
        );
    }
    goldens_have_fixtures("valid", "snap", &mut failures);
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn mistakes_are_reported_as_their_goldens_say() {
    let mut failures = Vec::new();
    for fixture in files("invalid", "toml") {
        match load(&fixture) {
            Ok(_) => failures.push(format!("{} is accepted", fixture.display())),
            Err(problems) => compare(
                &fixture,
                "err",
                &portable(&problems.to_string(), "invalid"),
                &mut failures,
            ),
        }
    }
    goldens_have_fixtures("invalid", "err", &mut failures);
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn no_output_holds_a_secret() {
    for kind in ["valid", "invalid"] {
        for fixture in files(kind, "toml") {
            let output = match load(&fixture) {
                Ok(config) => format!("{config:#?}"),
                Err(problems) => format!("{problems}{problems:#?}"),
            };
            for secret in SECRETS {
                assert!(
                    !output.contains(secret),
                    "{} shows {secret}:\n{output}",
                    fixture.display()
                );
            }
        }
    }
}

#[test]
fn every_fixture_is_used() {
    let mut texts = String::new();
    for kind in ["valid", "invalid", "files", "files/conf.d"] {
        for file in files(kind, "toml") {
            texts.push_str(&fs::read_to_string(file).unwrap());
        }
    }
    let unused: BTreeSet<_> = fs::read_dir(fixtures().join("files"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| {
            !texts.contains(&format!("files/{name}")) && !texts.contains(&format!("\"{name}\""))
        })
        .collect();
    assert!(unused.is_empty(), "no fixture names {unused:?}");
    assert!(!files("valid", "toml").is_empty() && !files("invalid", "toml").is_empty());
}

#[test]
fn included_files_and_secrets_are_among_the_sources() {
    let config = load(&fixtures().join("valid/everything.toml")).unwrap();
    let sources: Vec<_> = config
        .sources
        .iter()
        .filter_map(|path| path.file_name()?.to_str())
        .collect();
    assert_eq!(
        sources,
        [
            "everything.toml",
            "base.toml",
            "a-plugins.toml",
            "b-orders.toml",
            "shop.pem",
            "shop.ocsp",
            "shop.key",
            "public.pem",
            "api.key",
            "jwks.json"
        ]
    );
}

#[test]
fn a_problem_found_later_is_shown_at_the_place_of_its_table() {
    let config = load(&fixtures().join("valid/everything.toml")).unwrap();
    let position: &Position = &config
        .plugins
        .iter()
        .find(|plugin| &*plugin.name == "cors")
        .unwrap()
        .position;
    let problem = Problem::at(
        position,
        "unknown origin",
        Some("write it with its scheme".into()),
    );
    let shown = portable(
        &Problems::new(vec![problem], &config.texts).to_string(),
        "valid",
    );
    let text = fs::read_to_string(fixtures().join("valid/everything.toml")).unwrap();
    let mut lines = text.lines();
    let line = 1 + lines
        .position(|line| line == "[plugin.cors.config]")
        .unwrap();
    let start = format!("everything.toml:{line}:1: plugin.cors.config: unknown origin\n");
    let margin = " ".repeat(line.to_string().len());
    let quoted = format!("{line} | [plugin.cors.config]\n{margin} | ^^^");
    assert!(
        shown.starts_with(&start) && shown.contains(&quoted),
        "{shown}"
    );
}

#[test]
fn a_file_that_is_absent_or_not_text_is_one_problem() {
    let problems = load(&fixtures().join("absent.toml")).unwrap_err();
    assert_eq!(
        portable(&problems.to_string(), "valid"),
        "absent.toml: cannot read the file: no such file\n"
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("binary.toml");
    fs::write(&path, b"version = 1\n\xff").unwrap();
    let problems = load(&path).unwrap_err();
    assert!(
        problems.len() == 1 && problems.to_string().contains("not UTF-8: see line 2"),
        "{problems}"
    );
}

#[test]
fn a_wildcard_does_not_include_the_file_that_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("postern.toml");
    fs::write(
        &path,
        "version = 1\ninclude = [\"*.toml\"]\n[listen.a]\naddress = \"127.0.0.1:0\"\n",
    )
    .unwrap();
    fs::copy(
        fixtures().join("files/again.toml"),
        directory.path().join("again.toml"),
    )
    .unwrap();
    let problems = load(&path).unwrap_err();
    assert!(
        problems.len() == 1 && problems.to_string().contains("there is no route"),
        "{problems}"
    );
}

#[test]
fn the_examples_are_right() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut seen = 0;
    for example in fs::read_dir(examples).unwrap() {
        let path = example.unwrap().path().join("postern.toml");
        if !path.exists() {
            continue;
        }
        seen += 1;
        // Plugins are built later than this runs.
        let is_absent = |problem: &Problem| problem.message.contains(".wasm\": no such file");
        // Each variable has a value of its own that is long enough for every algorithm.
        let environment = |name: &str| Some(format!("{name}-{}", "x".repeat(64)).into());
        if let Err(problems) = config::load_with(&path, &environment) {
            assert!(problems.iter().all(is_absent), "{problems}");
        }
    }
    assert!(seen > 0, "there are examples");
}

#[test]
fn the_process_environment_is_asked_by_default() {
    let problems = config::load(&fixtures().join("invalid/secret-unreadable.toml")).unwrap_err();
    assert!(problems.to_string().contains("\"NOT_SET\" is not set"));
}

/// Loads `text` as a configuration and renders what comes of it.
fn load_text(text: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("postern.toml");
    fs::write(&path, text).unwrap();
    match load(&path) {
        Ok(config) => drop(format!("{config:?}")),
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
}

/// A fixture with one part replaced by something else.
fn damaged() -> impl Strategy<Value = String> {
    let texts: Vec<String> = ["valid", "invalid"]
        .iter()
        .flat_map(|kind| files(kind, "toml"))
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let pieces = prop_oneof![
        any::<String>(),
        Just(String::new()),
        Just("= {".into()),
        Just("\"".into()),
        Just("[[route]]\n".into()),
        Just("[plugin.a.budget]\n".into()),
        Just("ä\u{0}\r".into()),
        Just(" = [[], {}, 1e9, 1979-05-27]\n".into()),
    ];
    (
        prop::sample::select(texts),
        any::<prop::sample::Index>(),
        0..40_usize,
        pieces,
    )
        .prop_map(|(text, at, length, piece)| {
            let characters: Vec<char> = text.chars().collect();
            let start = at.index(characters.len());
            let before: String = characters.iter().take(start).collect();
            let after: String = characters.iter().skip(start + length).collect();
            format!("{before}{piece}{after}")
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn no_text_panics_the_loader(text in any::<String>()) {
        load_text(&text);
    }

    #[test]
    fn no_damage_panics_the_loader(text in damaged()) {
        load_text(&text);
    }
}
