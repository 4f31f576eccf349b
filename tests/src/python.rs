//! Peers that are written in Python, with packages that are not ours: `tests/peers`.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A script of `tests/peers`, if Python and the packages that it imports are there. If not, says so, and the test that asks is
/// skipped. `.ci/run` installs them and says where with `PYTHONPATH`.
#[must_use]
pub fn script(name: &str, imports: &[&str]) -> Option<Command> {
    let check: String = imports
        .iter()
        .map(|name| format!("import {name};"))
        .collect();
    let found = Command::new("python3")
        .args(["-c", &check])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        eprintln!("SKIPPED: python3 with {} is not there", imports.join(", "));
        return None;
    }
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("peers");
    let mut command = Command::new("python3");
    command.arg(folder.join(name));
    Some(command)
}

/// Runs a peer to its end, away from the test's runtime.
///
/// # Panics
/// When it fails: the peer is part of the test.
pub async fn run(mut command: Command) -> String {
    let run = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output());
    let Output {
        status,
        stdout,
        stderr,
    } = run.await.expect("no panic").expect("python3 starts");
    let errors = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "the peer fails ({status}):\n{errors}");
    String::from_utf8_lossy(&stdout).into_owned()
}
