//! Where things are: the root, the target directory, and the packages that are plugins.
//!
//! Everything is asked of `cargo metadata`, so a `CARGO_TARGET_DIR` of the caller is respected.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

/// The folders whose packages are compiled to Wasm.
const GUEST_FOLDERS: [&str; 3] = ["plugins", "examples/plugins", "tests/fixtures/plugins"];

/// The checked-out project.
pub(crate) struct Workspace {
    /// Where the root `Cargo.toml` is.
    pub(crate) root: PathBuf,
    /// Where native artifacts go.
    pub(crate) target: PathBuf,
    /// Package names of all plugins, sorted.
    pub(crate) guests: Vec<String>,
}

impl Workspace {
    /// Asks cargo about the workspace that the working directory belongs to.
    pub(crate) fn find() -> Result<Self> {
        let output = cargo()
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .output()
            .context("cannot start cargo")?;
        ensure!(
            output.status.success(),
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let metadata: Value =
            serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
        Self::from_metadata(&metadata)
    }

    fn from_metadata(metadata: &Value) -> Result<Self> {
        let root = PathBuf::from(text(metadata, "workspace_root")?);
        let target = PathBuf::from(text(metadata, "target_directory")?);
        let packages = metadata["packages"]
            .as_array()
            .context("cargo metadata has no packages")?;
        let mut guests = Vec::new();
        for package in packages {
            let folder = Path::new(text(package, "manifest_path")?)
                .parent()
                .and_then(Path::parent);
            if GUEST_FOLDERS
                .iter()
                .any(|guests| folder == Some(&root.join(guests)))
            {
                guests.push(text(package, "name")?.to_owned());
            }
        }
        guests.sort();
        Ok(Self {
            root,
            target,
            guests,
        })
    }

    /// Where guests are compiled: a directory of its own, so that cargo does not wait for the lock of a native build.
    pub(crate) fn guest_target(&self) -> PathBuf {
        self.target.join("guests")
    }

    /// Where the finished `.wasm` files lie.
    pub(crate) fn plugins(&self) -> PathBuf {
        self.target.join("plugins")
    }

    /// A natively compiled program of the dev profile.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.target.join("debug").join(name)
    }

    /// Cargo, to be run at the root.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(&self.root);
        command
    }

    /// Cargo's `-p` arguments for all guests.
    pub(crate) fn guest_args(&self) -> impl Iterator<Item = &str> {
        self.guests.iter().flat_map(|name| ["-p", name])
    }
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key]
        .as_str()
        .ok_or_else(|| anyhow!("cargo metadata has no text \"{key}\""))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_packages_in_the_plugin_folders_are_guests() {
        let package = |name: &str, path: &str| json!({ "name": name, "manifest_path": path });
        let metadata = json!({
            "workspace_root": "/src",
            "target_directory": "/elsewhere",
            "packages": [
                package("postern", "/src/host/Cargo.toml"),
                package("jwt", "/src/plugins/jwt/Cargo.toml"),
                package("shop", "/src/examples/shop/Cargo.toml"),
                package("greeter", "/src/examples/plugins/greeter/Cargo.toml"),
                package("greedy", "/src/tests/fixtures/plugins/greedy/Cargo.toml"),
                package("postern-tests", "/src/tests/Cargo.toml"),
            ],
        });
        let workspace = Workspace::from_metadata(&metadata).expect("the metadata is complete");
        assert_eq!(workspace.guests, ["greedy", "greeter", "jwt"]);
        assert_eq!(workspace.plugins(), Path::new("/elsewhere/plugins"));
        assert_eq!(
            workspace.guest_args().collect::<Vec<_>>(),
            ["-p", "greedy", "-p", "greeter", "-p", "jwt"]
        );
    }
}
