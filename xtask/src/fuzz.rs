//! `cargo xtask fuzz`: a fuzz target for longer than it runs as one test among many.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::process;
use crate::workspace::Workspace;

/// Arguments of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// What to fuzz.
    target: Target,
    /// How long.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Where to begin; a run that found something says its seed. Default: the time.
    #[arg(long)]
    seed: Option<u64>,
}

/// What can be fuzzed.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Target {
    /// The configuration file.
    Config,
    /// What plugins hand to the host.
    Conversions,
    /// HTTP/1 heads and bodies, in pieces.
    Http1,
    /// HTTP/2 frames, in pieces.
    Frames,
    /// The normal form of paths.
    Path,
    /// Headers of the PROXY protocol.
    ProxyProtocol,
    /// Bytes sent to a whole gateway.
    Listener,
}

/// Runs one target.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let (place, test): (&[&str], &str) = match options.target {
        Target::Config => (&["--lib"], "fuzz_config"),
        Target::Conversions => (&["--lib"], "fuzz_conversions"),
        Target::Http1 => (&["--lib"], "fuzz_http1"),
        Target::Frames => (&["--lib"], "fuzz_frames"),
        Target::Path => (&["--lib"], "fuzz_path"),
        Target::ProxyProtocol => (&["--lib"], "fuzz_proxy_protocol"),
        Target::Listener => (&["--test", "fuzz"], "fuzz_listener"),
    };
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(1, |time| time.as_secs())
    };
    process::run(
        workspace
            .cargo()
            // With the features of the whole workspace, as everything else is compiled.
            .args(["test", "--workspace"])
            .args(place)
            .arg(test)
            .args(["--", "--nocapture"])
            .env("POSTERN_FUZZ_SECONDS", options.seconds.to_string())
            .env(
                "POSTERN_FUZZ_SEED",
                options.seed.unwrap_or_else(now).to_string(),
            ),
    )
}
