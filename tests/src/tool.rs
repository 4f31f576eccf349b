//! Programs that others wrote, as clients and servers of the gateway.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::setup::Finished;

/// Whether a program is installed. If not, the test says that it was skipped: CI installs what is needed.
#[must_use]
pub fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if !there {
        println!("SKIPPED: {program} is not installed");
    }
    there
}

/// Runs a program in a folder to its end, with this input.
#[must_use]
pub fn run(folder: &Path, program: &str, arguments: &[&str], input: &str) -> Finished {
    let mut child = Command::new(program)
        .current_dir(folder)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program is installed");
    let mut stdin = child.stdin.take().expect("it is piped");
    // It may end without reading.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    Finished::of(&child.wait_with_output().expect("it ends"))
}
