//! `cargo xtask build-plugins`: compiles every plugin to a Wasm component and puts it where a running gateway notices.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::process;
use crate::workspace::Workspace;

/// The target of all guests.
pub(crate) const GUEST_TARGET: &str = "wasm32-wasip2";
/// The profile in the root `Cargo.toml` that guests are compiled with; also the name of cargo's output folder.
pub(crate) const GUEST_PROFILE: &str = "plugin";

/// Builds all plugins and prints what each weighs.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    ensure_target(workspace)?;
    if workspace.guests.is_empty() {
        println!("no plugins to build");
        return Ok(());
    }
    // One invocation for all: both cores are busy, and a plugin's bytes do not depend on which others were asked for.
    process::run(
        workspace
            .cargo()
            .args([
                "build",
                "--target",
                GUEST_TARGET,
                "--profile",
                GUEST_PROFILE,
                "--target-dir",
            ])
            .arg(workspace.guest_target())
            .args(workspace.guest_args()),
    )?;
    fs::create_dir_all(workspace.plugins())?;
    for name in &workspace.guests {
        let built = artifact(&workspace.guest_target(), name);
        let installed = workspace.plugins().join(format!("{name}.wasm"));
        let changed = install(&built, &installed)?;
        let kib = fs::metadata(&installed)?.len().div_ceil(1024);
        println!(
            "{kib:>6} KiB  {}{}",
            installed.display(),
            if changed { "" } else { "  (unchanged)" }
        );
    }
    Ok(())
}

/// Where cargo leaves a package's component. A library's name has no hyphens; one test fixture is a program.
pub(crate) fn artifact(target: &Path, package: &str) -> PathBuf {
    let folder = target.join(GUEST_TARGET).join(GUEST_PROFILE);
    let program = folder.join(format!("{package}.wasm"));
    if program.is_file() {
        return program;
    }
    folder.join(format!("{}.wasm", package.replace('-', "_")))
}

/// Copies a component over another in one step, so that nobody reads half of it. Says whether the bytes are new.
pub(crate) fn install(built: &Path, installed: &Path) -> Result<bool> {
    let bytes = fs::read(built).with_context(|| {
        format!(
            "no component {}: does the package have crate-type = [\"cdylib\"]?",
            built.display()
        )
    })?;
    install_bytes(&bytes, installed)
}

/// The same for a component that is in memory.
pub(crate) fn install_bytes(bytes: &[u8], installed: &Path) -> Result<bool> {
    if fs::read(installed).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    let partial = installed.with_extension("wasm.partial");
    fs::write(&partial, bytes).with_context(|| format!("cannot write {}", partial.display()))?;
    fs::rename(&partial, installed)
        .with_context(|| format!("cannot replace {}", installed.display()))?;
    Ok(true)
}

/// Adds the guests' target to the toolchain when it is not there.
pub(crate) fn ensure_target(workspace: &Workspace) -> Result<()> {
    if has_target(workspace)? {
        return Ok(());
    }
    let added = process::run(Command::new("rustup").current_dir(&workspace.root).args([
        "target",
        "add",
        GUEST_TARGET,
    ]));
    added.with_context(|| {
        format!("plugins are compiled to {GUEST_TARGET}; add it to your Rust toolchain and run this again")
    })?;
    if !has_target(workspace)? {
        bail!(
            "rustup added {GUEST_TARGET}, but the rustc in use does not have it: is it rustup's?"
        );
    }
    Ok(())
}

fn has_target(workspace: &Workspace) -> Result<bool> {
    // Asks rustc instead of rustup, which not every toolchain comes from.
    let output = Command::new("rustc")
        .current_dir(&workspace.root)
        .args(["--print", "target-libdir", "--target", GUEST_TARGET])
        .output()
        .context("cannot start rustc")?;
    ensure!(
        output.status.success(),
        "rustc: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_artifact_of_a_hyphenated_package_has_underscores() {
        let path = artifact(Path::new("/t"), "rate-limit");
        assert_eq!(path, Path::new("/t/wasm32-wasip2/plugin/rate_limit.wasm"));
    }

    #[test]
    fn installing_the_same_bytes_again_touches_nothing() {
        let folder = tempfile::tempdir().expect("the temp dir is writable");
        let (built, installed) = (
            folder.path().join("built.wasm"),
            folder.path().join("installed.wasm"),
        );
        fs::write(&built, "one").expect("writable");
        assert!(install(&built, &installed).expect("first"));
        assert!(!install(&built, &installed).expect("same bytes"));
        fs::write(&built, "two").expect("writable");
        assert!(install(&built, &installed).expect("new bytes"));
        assert_eq!(fs::read(&installed).expect("readable"), b"two");
        assert!(!folder.path().join("installed.wasm.partial").exists());
    }
}
