//! The load tool: how it is called, and what it says.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Stop;
use super::peer::Site;
use super::scenario::Scenario;
use super::tools::{LOAD_CORE, pinned};
use crate::process::{self, Service};

/// Open at the same time, each with one request at a time.
pub(super) const CONNECTIONS: u32 = 64;
/// A response that takes longer is an error.
const RESPONSE_TIMEOUT: &str = "5s";
/// Beyond its time, before it is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the load tool has counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Load {
    pub(super) requests: u64,
    pub(super) duration: Duration,
    /// Of responses, headers and all.
    pub(super) bytes: u64,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    /// Each kind of error that has occurred, with its number.
    pub(super) errors: Vec<(&'static str, u64)>,
}

/// What `bench/load.lua` counts as errors.
const ERRORS: [&str; 5] = ["connect", "read", "write", "status", "timeout"];

impl Load {
    fn parse(output: &str) -> Result<Self> {
        let figure = |name: &str| {
            let prefix = format!("figure {name} ");
            let value = output.lines().find_map(|line| line.strip_prefix(&prefix));
            let value = value.with_context(|| format!("wrk says no \"{name}\": {output}"))?;
            value
                .parse::<u64>()
                .with_context(|| format!("wrk says {name} {value}"))
        };
        let mut errors = Vec::new();
        for name in ERRORS {
            errors.push((name, figure(name)?));
        }
        errors.retain(|(_, number)| *number > 0);
        Ok(Self {
            requests: figure("requests")?,
            duration: Duration::from_micros(figure("duration_us")?),
            bytes: figure("bytes")?,
            p50: Duration::from_micros(figure("p50_us")?),
            p99: Duration::from_micros(figure("p99_us")?),
            errors,
        })
    }

    /// An error unless every request was answered in full.
    pub(super) fn ensure_complete(&self, least: usize) -> Result<()> {
        ensure!(
            self.errors.is_empty(),
            "errors in {} requests: {:?}",
            self.requests,
            self.errors
        );
        ensure!(self.requests >= 50, "only {} requests", self.requests);
        let each = self.bytes / self.requests;
        ensure!(each >= least as u64, "only {each} bytes a response");
        Ok(())
    }
}

/// Puts load on an address, for whole seconds.
pub(super) fn run(
    site: &Site<'_>,
    scenario: &Scenario,
    to: SocketAddr,
    seconds: u32,
    stop: &Stop,
) -> Result<Load> {
    let mut command = pinned(LOAD_CORE, &site.tools.wrk);
    command.args(["--threads", "1", "--timeout", RESPONSE_TIMEOUT]);
    command.args(["--connections", &CONNECTIONS.to_string()]);
    command.args(["--duration", &format!("{seconds}s")]);
    command.arg("--script").arg(site.load_script());
    for header in scenario.headers {
        command.args(["--header", header]);
    }
    command
        .arg(format!("http://{to}{}", scenario.path))
        .arg("--");
    if scenario.tokens {
        command.arg("tokens").arg(site.tokens());
    }
    if let Some(size) = scenario.posts {
        command.arg("body").arg(size.to_string());
    }
    // Into a file, so that nobody need read while the load runs.
    let mut output = tempfile::tempfile()?;
    let errors: File = output.try_clone()?;
    command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(errors);

    let mut wrk = Service::start("wrk", &mut command)?;
    let patience = Duration::from_secs(seconds.into()) + PATIENCE;
    let ended = process::poll(patience, || {
        if stop.is_set() {
            return Some(Err(anyhow::anyhow!("interrupted")));
        }
        wrk.ended().transpose()
    });
    let status = ended.with_context(|| format!("wrk still runs after {patience:?}"))??;
    let mut said = String::new();
    std::io::Seek::rewind(&mut output)?;
    output.read_to_string(&mut said)?;
    ensure!(status.success(), "wrk: {status}: {said}");
    Load::parse(&said)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "Running 1s test @ http://127.0.0.1:1/json\n  1 threads and 64 connections\n\
        Requests/sec:  51234.00\nfigure requests 102400\nfigure duration_us 2000000\nfigure bytes 117964800\n\
        figure connect 0\nfigure read 0\nfigure write 0\nfigure status 0\nfigure timeout 0\n\
        figure p50_us 1100\nfigure p99_us 2300\n";

    #[test]
    fn figures_are_read_from_the_output() {
        let load = Load::parse(SAID).expect("complete");
        assert_eq!((load.requests, load.bytes), (102_400, 117_964_800));
        assert_eq!(load.duration, Duration::from_secs(2));
        assert_eq!((load.p50.as_micros(), load.p99.as_micros()), (1100, 2300));
        load.ensure_complete(1024).expect("1152 bytes each");
        let error = load
            .ensure_complete(2000)
            .expect_err("too short")
            .to_string();
        assert_eq!(error, "only 1152 bytes a response");
    }

    #[test]
    fn one_error_spoils_a_run() {
        let said = SAID
            .replace("status 0", "status 3")
            .replace("read 0", "read 1");
        let load = Load::parse(&said).expect("complete");
        let error = load.ensure_complete(1).expect_err("errors").to_string();
        assert_eq!(
            error,
            "errors in 102400 requests: [(\"read\", 1), (\"status\", 3)]"
        );
    }

    #[test]
    fn output_without_figures_is_an_error() {
        let error = Load::parse("unable to connect").expect_err("no figures");
        assert!(error.to_string().contains("unable to connect"), "{error}");
    }
}
