//! `cargo xtask demo`: the quick start. Builds everything, starts the shop behind Postern, prints calls to try, and
//! waits for Ctrl-C. With `--check` it makes those calls itself and compares the answers.

mod check;
mod lines;
mod reload;
mod setup;
mod start;

use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Result, ensure};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::setup::{Addresses, DEFAULT_ADDRESSES};
use self::start::Demo;
use crate::workspace::Workspace;
use crate::{build_plugins, process};

/// How often the waiting demo looks whether its programs still run.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// Brings word when the demo is to end before its time.
type Stop = mpsc::Receiver<()>;

/// Arguments of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Make the calls, compare the answers, and exit. Uses free ports.
    #[arg(long)]
    check: bool,
    /// The first of six ports to use instead of 8080, 9901 and 7001 to 7004.
    #[arg(long, value_name = "PORT", conflicts_with = "check", value_parser = clap::value_parser!(u16).range(1..=65530))]
    port: Option<u16>,
}

impl Options {
    /// The options of `cargo xtask demo --check`.
    pub(crate) fn check() -> Self {
        Self {
            check: true,
            port: None,
        }
    }
}

/// Runs the demo.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let stop = stop_requests()?;
    if options.check {
        build(workspace)?;
        ensure!(stop.try_recv().is_err(), "interrupted");
        return check_calls(workspace, Addresses::free()?, &stop);
    }
    let addresses = options.port.map_or(DEFAULT_ADDRESSES, Addresses::from_port);
    // Before minutes of building, not after them.
    addresses.ensure_free()?;
    build(workspace)?;
    ensure!(stop.try_recv().is_err(), "interrupted");
    serve(workspace, addresses, &stop)
}

fn build(workspace: &Workspace) -> Result<()> {
    build_plugins::run(workspace)?;
    // The whole workspace's binaries, for the reason that `test` gives.
    process::run(workspace.cargo().args(["build", "--workspace", "--bins"]))
}

fn serve(workspace: &Workspace, addresses: Addresses, stop: &Stop) -> Result<()> {
    let mut demo = Demo::start(workspace, addresses, start::Output::Terminal)?;
    print!("{}", lines::page(&lines::groups(&addresses), &addresses));
    // Not a fixed wait: it ends with the signal.
    while stop.recv_timeout(WATCH_INTERVAL).is_err() {
        demo.expect_running()?;
    }
    println!("\nstopping");
    demo.stop()
}

fn check_calls(workspace: &Workspace, addresses: Addresses, stop: &Stop) -> Result<()> {
    let mut demo = Demo::start(workspace, addresses, start::Output::File)?;
    let mut report = check::Report::default();
    check::calls(&mut report, &lines::groups(&addresses), stop)?;
    reload::check(&mut report, workspace, &addresses);
    report.record("both programs still run", demo.expect_running());
    let gateway_log = demo.log_file();
    report.record("both programs stop cleanly", demo.stop());
    println!("{}", report.summary());
    ensure!(
        report.failed() == 0,
        "the demo does not do what it says; log: {}",
        gateway_log.display()
    );
    Ok(())
}

/// Word of SIGINT and SIGTERM, from here on. Builds hear a Ctrl-C themselves and fail.
fn stop_requests() -> Result<Stop> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if sender.send(()).is_err() {
                break;
            }
        }
    });
    Ok(receiver)
}
