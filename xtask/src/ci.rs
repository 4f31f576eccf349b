//! `cargo xtask ci`: everything that must hold before a change lands, cheapest first.

use anyhow::{Result, ensure};

use crate::workspace::Workspace;
use crate::{build_plugins, demo, process, test};

/// Runs all checks, stopping at the first that fails.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    process::run(workspace.cargo().args(["fmt", "--all", "--check"]))?;
    licences(workspace)?;
    build_plugins::ensure_target(workspace)?;
    process::run(workspace.cargo().args([
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    if !workspace.guests.is_empty() {
        // A second look at the plugins as what they really are: `cfg(target_arch = "wasm32")` code is not in the first.
        process::run(
            workspace
                .cargo()
                .args([
                    "clippy",
                    "--locked",
                    "--target",
                    build_plugins::GUEST_TARGET,
                    "--target-dir",
                ])
                .arg(workspace.guest_target())
                .args(workspace.guest_args())
                .args(["--", "-D", "warnings"]),
        )?;
    }
    test::run(workspace, &test::Options::default())?;
    demo::run(workspace, &demo::Options::check())
}

/// Licences, banned crates and sources. Advisories are not checked: a new one must not fail an unrelated change.
fn licences(workspace: &Workspace) -> Result<()> {
    if process::has_cargo_command(workspace.cargo(), "deny") {
        return process::run(
            workspace
                .cargo()
                .args(["deny", "--locked", "check", "licenses", "bans", "sources"]),
        );
    }
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    ensure!(
        !in_ci,
        "cargo-deny is not installed, and CI must not skip the licence check"
    );
    println!("note: licences not checked; `cargo install --locked cargo-deny` enables it");
    Ok(())
}
