//! A released version of the plugin interface never changes: components were built against it. `wit/released.lock` holds
//! the digests of the files of each released version; a version that is not listed may still change.
//! `BLESS=1` lists the version that `wit/world.wit` names, or lists it anew.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Digest by file name.
type Files = BTreeMap<String, String>;
type Version = (u64, u64, u64);

const HEADER: &str = "\
# Released versions of the plugin interface: BLAKE3 digests of their files. A listed version never changes; a change makes a
# new one (README.md). Kept by host/tests/wit_frozen.rs; `BLESS=1` writes it.
";

fn wit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit")
}

/// The version that `world.wit` names.
fn current() -> Version {
    let world = fs::read_to_string(wit().join("world.wit")).unwrap();
    let package = world
        .lines()
        .find_map(|line| line.strip_prefix("package postern:plugin@"));
    version(
        package
            .and_then(|rest| rest.strip_suffix(';'))
            .expect("world.wit names the package and its version"),
    )
}

fn version(text: &str) -> Version {
    let numbers: Vec<u64> = text
        .split('.')
        .map(|number| number.parse().unwrap())
        .collect();
    let [major, minor, patch] = numbers[..] else {
        panic!("{text} is no version")
    };
    (major, minor, patch)
}

fn digests() -> Files {
    let mut files = Files::new();
    for entry in fs::read_dir(wit()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "wit") {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            files.insert(name, blake3::hash(&fs::read(&path).unwrap()).to_string());
        }
    }
    files
}

/// Lines of `VERSION FILE DIGEST`.
fn released(lock: &str) -> BTreeMap<Version, Files> {
    let mut versions = BTreeMap::<Version, Files>::new();
    for line in lock.lines().filter(|line| !line.starts_with('#')) {
        let [number, file, digest] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("wit/released.lock: {line:?} is not `VERSION FILE DIGEST`");
        };
        versions
            .entry(version(number))
            .or_default()
            .insert(file.to_owned(), digest.to_owned());
    }
    versions
}

fn render(versions: &BTreeMap<Version, Files>) -> String {
    let mut lock = HEADER.to_owned();
    for ((major, minor, patch), files) in versions {
        for (file, digest) in files {
            writeln!(lock, "{major}.{minor}.{patch} {file} {digest}").unwrap();
        }
    }
    lock
}

#[test]
fn a_released_interface_is_as_it_was() {
    let (path, current, files) = (wit().join("released.lock"), current(), digests());
    let lock = fs::read_to_string(&path).unwrap_or_default();
    let mut versions = released(&lock);
    if std::env::var_os("BLESS").is_some() {
        versions.insert(current, files);
        return fs::write(&path, render(&versions)).unwrap();
    }
    assert_eq!(
        render(&versions),
        lock,
        "the lock is not as this test writes it"
    );
    assert!(
        versions.keys().all(|&released| released <= current),
        "world.wit names version {current:?}, and a later one is released already"
    );
    // Not listed: not released, and free to change.
    let Some(frozen) = versions.get(&current) else {
        return;
    };
    let names = frozen.keys().chain(files.keys());
    let mut changed: Vec<&String> = names
        .filter(|&name| frozen.get(name) != files.get(name))
        .collect();
    changed.dedup();
    assert!(
        changed.is_empty(),
        "{changed:?} changed, but version {current:?} is released: give world.wit a new version (wit/README.md), \
         or, if nobody has built against it yet, list it anew with BLESS=1"
    );
}
