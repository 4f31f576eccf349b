//! The examples hold what they promise, and nothing among the fixtures is unused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use postern_tests::{guests, setup};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this package is in a folder of the workspace")
}

/// All files below a folder with this extension.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is readable") {
        let path = entry.expect("the folder is readable").path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Every configuration of an example, with the plugins that the tests run.
#[test]
fn every_example_is_right() {
    let configurations: Vec<_> = files(&root().join("examples"), "toml")
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name != "Cargo.toml"))
        .collect();
    assert!(!configurations.is_empty());
    for path in configurations {
        let text = fs::read_to_string(&path).expect("it is readable");
        let folder = tempfile::tempdir().expect("there is room");
        // Where `cargo xtask build-plugins` puts them, and where they are for this run.
        let mut portable = String::new();
        for line in text.lines() {
            match line.split_once("\"../../target/plugins/") {
                Some((before, after)) => {
                    portable += &format!("{before}\"{}/{after}\n", guests::folder().display())
                }
                None => portable += &format!("{line}\n"),
            }
        }
        fs::write(folder.path().join("postern.toml"), portable).expect("there is room");
        let mut command: Command = setup::program();
        command
            .current_dir(folder.path())
            .args(["check", "--config", "postern.toml"]);
        // What an example takes from the environment is long enough for any algorithm.
        for name in text
            .split("\"env:")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
        {
            command.env(name, format!("{:0>64}", name.to_lowercase()));
        }
        let finished = setup::Finished::of(&command.output().expect("it starts"));
        assert_eq!(
            finished.code,
            Some(0),
            "{}: {}",
            path.display(),
            finished.stderr
        );
    }
}

#[test]
fn every_fixture_guest_is_used_by_a_test() {
    let tests = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), "rs");
    let sources: String = tests
        .iter()
        .map(|path| fs::read_to_string(path).expect("it is readable"))
        .collect();
    let fixtures = guests::fixtures();
    assert!(fixtures.len() >= 5, "{fixtures:?}");
    for name in fixtures {
        let used = [
            format!("\"{name}.wasm"),
            format!("guests::bytes(\"{name}\")"),
        ]
        .iter()
        .any(|use_| sources.contains(use_));
        assert!(used, "no test uses the guest {name:?}");
    }
}

#[test]
fn every_golden_file_is_used_by_a_test() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = files(&package.join("tests"), "rs");
    let sources: String = tests
        .iter()
        .map(|path| fs::read_to_string(path).expect("it is readable"))
        .collect();
    // A long call stands on several lines.
    let sources: String = sources.split_whitespace().collect();
    for entry in fs::read_dir(package.join("fixtures/golden")).expect("the folder is readable") {
        let name = entry
            .expect("the folder is readable")
            .file_name()
            .to_string_lossy()
            .into_owned();
        assert!(
            sources.contains(&format!("\"{name}\"")),
            "no test compares with {name:?}"
        );
    }
}

#[test]
fn a_gateway_loads_every_standard_plugin_within_its_size() {
    for name in [
        "jwt",
        "api-key",
        "rate-limit",
        "header-transform",
        "cors",
        "correlation-id",
        "aggregate",
    ] {
        let bytes = guests::bytes(name).len();
        println!("{name}: {} KiB", bytes.div_ceil(1024));
        if name == "header-transform" {
            assert!(bytes < 200 << 10, "{bytes} bytes");
        }
    }
}
