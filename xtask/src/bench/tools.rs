//! The programs that the bench needs, and where they run.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// The core of the proxy that is measured, which has it for itself.
pub(super) const PROXY_CORE: usize = 0;
/// The core of the load tool and the upstream.
pub(super) const LOAD_CORE: usize = 1;

/// Each program with the Debian package that has it.
const PACKAGES: [(&str, &str); 3] = [
    ("nginx", "nginx-light"),
    ("wrk", "wrk"),
    ("taskset", "util-linux"),
];
/// Where Debian puts servers, which is not in everybody's `PATH`.
const SERVER_FOLDERS: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// Where the programs are.
pub(super) struct Tools {
    pub(super) postern: PathBuf,
    pub(super) nginx: PathBuf,
    pub(super) wrk: PathBuf,
}

impl Tools {
    /// Looks for everything but Postern; an error says what to install.
    pub(super) fn find(postern: PathBuf) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        ensure!(cores >= 2, "the bench needs two cores, and may use {cores}");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = std::env::split_paths(&path)
            .chain(SERVER_FOLDERS.map(PathBuf::from))
            .collect();
        let missing: Vec<_> = PACKAGES
            .iter()
            .filter(|(program, _)| find(program, &folders).is_none())
            .collect();
        if !missing.is_empty() {
            bail!("{}", remedy(&missing));
        }
        let found = |program| find(program, &folders).context("was there a moment ago");
        Ok(Self {
            postern,
            nginx: found("nginx")?,
            wrk: found("wrk")?,
        })
    }

    /// The versions of all programs, for the report.
    pub(super) fn versions(&self) -> [(&'static str, String); 3] {
        [
            ("postern", version(&self.postern, "--version")),
            ("nginx", version(&self.nginx, "-v")),
            ("wrk", version(&self.wrk, "-v")),
        ]
    }
}

fn find(program: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let mut candidates = folders.iter().map(|folder| folder.join(program));
    candidates.find(|candidate| candidate.is_file())
}

fn remedy(missing: &[&(&str, &str)]) -> String {
    let names = |pick: fn(&(&'static str, &'static str)) -> &'static str| {
        let all = PACKAGES.iter().filter(|entry| missing.contains(entry));
        all.map(pick).collect::<Vec<_>>()
    };
    format!(
        "not installed: {}; on Debian: apt install {}",
        names(|entry| entry.0).join(", "),
        names(|entry| entry.1).join(" ")
    )
}

/// The first line that a program says of its version, on either output.
fn version(program: &Path, option: &str) -> String {
    let Ok(output) = Command::new(program).arg(option).output() else {
        return "unknown".to_owned();
    };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().next().unwrap_or("unknown");
    line.split(" Copyright")
        .next()
        .unwrap_or(line)
        .trim()
        .to_owned()
}

/// A program that will run on one core only.
pub(super) fn pinned(core: usize, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("taskset");
    // It replaces itself with the program, so the child that we start is the program.
    command.arg("-c").arg(core.to_string()).arg(program);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_with_its_packages() {
        let told = remedy(&[&PACKAGES[0], &PACKAGES[1]]);
        assert_eq!(
            told,
            "not installed: nginx, wrk; on Debian: apt install nginx-light wrk"
        );
    }

    #[test]
    fn programs_are_looked_for_in_order() {
        let folder = tempfile::tempdir().expect("the temp dir is writable");
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        std::fs::create_dir_all(&second).expect("writable");
        std::fs::write(second.join("wrk"), "").expect("writable");
        assert_eq!(
            find("wrk", &[first.clone(), second.clone()]),
            Some(second.join("wrk"))
        );
        assert_eq!(find("nginx", &[first, second]), None);
    }
}
