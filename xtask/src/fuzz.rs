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
    /// Bytes sent to a whole gateway.
    Listener,
}

/// Runs one target.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let (place, test): (&[&str], &str) = match options.target {
        Target::Config => (&HOST, "fuzz_config"),
        Target::Conversions => (&HOST, "fuzz_conversions"),
        Target::Http1 => (&HOST, "fuzz_http1"),
        Target::Frames => (&HOST, "fuzz_frames"),
        Target::Path => (&HOST, "fuzz_path"),
        Target::Listener => (
            &["--package", "postern-tests", "--test", "fuzz"],
            "fuzz_listener",
        ),
    };
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(1, |time| time.as_secs())
    };
    process::run(
        workspace
            .cargo()
            .arg("test")
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

const HOST: [&str; 3] = ["--package", "postern", "--lib"];
