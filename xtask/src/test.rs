//! `cargo xtask test`: plugins first, because tests run real ones, then every test of the workspace.

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{build_plugins, process};

/// Arguments of `cargo xtask test`.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Passed on to the test runner (cargo-nextest if it is installed, otherwise `cargo test`).
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Builds what tests need, then runs them.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    build_plugins::run(workspace)?;
    // The process ring starts these; building the whole workspace's keeps the features, and so the compiled
    // dependencies, those of the test build.
    process::run(workspace.cargo().args(["build", "--workspace", "--bins"]))?;

    let runner: &[&str] = if process::has_cargo_command(workspace.cargo(), "nextest") {
        &["nextest", "run", "--workspace", "--no-tests", "pass"]
    } else {
        &["test", "--workspace", "--lib", "--bins", "--tests"]
    };
    process::run(
        cargo_with_artifacts(workspace)
            .args(runner)
            .args(&options.args),
    )?;
    if options.args.is_empty() {
        process::run(cargo_with_artifacts(workspace).args(["test", "--workspace", "--doc"]))?;
    }
    Ok(())
}

/// Cargo, with the built artifacts' places in the environment of the tests.
fn cargo_with_artifacts(workspace: &Workspace) -> std::process::Command {
    let mut cargo = workspace.cargo();
    cargo
        .env("POSTERN_PLUGINS", workspace.plugins())
        .env("POSTERN_BIN", workspace.program("postern"))
        .env("POSTERN_SHOP_BIN", workspace.program("shop"));
    cargo
}
