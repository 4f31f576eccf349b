//! `cargo xtask bench`: measures Postern and other gateways with one method, in one run.

use anyhow::{Result, bail};

use crate::workspace::Workspace;

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Passed on to the harness.
    #[arg(last = true)]
    args: Vec<String>,
}

/// Runs the side-by-side harness.
pub(crate) fn run(_workspace: &Workspace, options: &Options) -> Result<()> {
    bail!(
        "the bench harness is not connected yet (arguments: {:?})",
        options.args
    )
}
