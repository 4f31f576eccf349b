//! `cargo xtask bench`: measures Postern and nginx at the same work, on the same machine, in turns.
//!
//! The figure that counts is the CPU time that a proxy needs for a request. Throughput would mostly be the load tool's.

mod documents;
mod measure;
mod peer;
mod procfs;
mod report;
mod scenario;
mod template;
mod tools;
mod verify;
mod wrk;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use signal_hook::consts::{SIGINT, SIGTERM};

use self::measure::Run;
use self::peer::Site;
use self::report::Circumstances;
use self::scenario::{Kind, Peer, Scenario};
use self::tools::Tools;
use crate::workspace::Workspace;
use crate::{build_plugins, process};

/// Names the folder of another harness, with a program `run`.
const OTHER_HARNESS: &str = "POSTERN_BENCH";
const DEFAULT_ROUNDS: u32 = 3;
const DEFAULT_SECONDS: u32 = 6;

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Options {
    /// The scenarios to measure, separated by commas: S0, S1, S2, S3, S4a, S5 [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = scenario::find)]
    scenarios: Option<Vec<&'static Scenario>>,
    /// How often each proxy has its turn in a scenario [default: 3]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// How long each run is measured, after 2 seconds of warm-up [default: 6]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: Option<u32>,
    /// Write all runs to this file, after each run.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables to this file.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Measure this program and build nothing; plugins are taken from the target directory.
    #[arg(long, value_name = "PATH")]
    bin: Option<PathBuf>,
    /// Arguments of the harness that POSTERN_BENCH names.
    #[arg(last = true)]
    args: Vec<String>,
}

const AFTER_HELP: &str = "\
Scenarios:
  S0   plain proxy, 1 KiB of JSON
  S1   header transform
  S2   chain: CORS, JWT, a limit for each of 64 consumers, header transform (Postern only)
  S3   aggregation of three documents (Postern only)
  S4a  64 KiB response body
  S5   64 KiB request body

The proxy, with one worker, runs on core 0; wrk and the upstream run on core 1. Everything is on the loopback
interface and on free ports. Needs the Debian packages nginx-light and wrk, and a machine that does nothing else.

Examples:
  cargo xtask bench
  cargo xtask bench --scenarios S0,S1,S2 --rounds 5 --markdown bench.md --json bench.json
  cargo xtask bench --bin target/release/postern --rounds 1 --seconds 2

When POSTERN_BENCH names the folder of another harness, its program `run` is started instead, with OURS_BIN and
OURS_PEER in its environment and the arguments after `--`:
  POSTERN_BENCH=../bench cargo xtask bench -- --peers ours,nginx --scenarios S1";

impl Options {
    fn measures_itself(&self) -> bool {
        self.scenarios.is_some()
            || self.rounds.is_some()
            || self.seconds.is_some()
            || self.json.is_some()
            || self.markdown.is_some()
    }

    fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(DEFAULT_ROUNDS)
    }

    fn seconds(&self) -> u32 {
        self.seconds.unwrap_or(DEFAULT_SECONDS)
    }

    /// In the order of the report, each once.
    fn scenarios(&self) -> Vec<&'static Scenario> {
        let asked = |scenario: &&Scenario| {
            let name = scenario.name;
            let names = self.scenarios.as_ref();
            names.is_none_or(|names| names.iter().any(|asked| asked.name == name))
        };
        scenario::ALL.iter().filter(asked).collect()
    }
}

/// Whether somebody wants us to stop. Builds hear a Ctrl-C themselves and fail.
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    fn listen() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
        }
        Ok(Self(flag))
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn check(&self) -> Result<()> {
        ensure!(!self.is_set(), "interrupted");
        Ok(())
    }
}

/// Measures, or lets another harness measure.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    if let Some(harness) = std::env::var_os(OTHER_HARNESS) {
        ensure!(
            !options.measures_itself(),
            "{OTHER_HARNESS} is set: give the harness its options after `--`"
        );
        return run_other(workspace, options, Path::new(&harness));
    }
    ensure!(
        options.args.is_empty(),
        "arguments after `--` are for another harness, and {OTHER_HARNESS} does not name one"
    );
    // Before minutes of building, not after them.
    let mut tools = Tools::find(PathBuf::new())?;
    let stop = Stop::listen()?;
    tools.postern = build(workspace, options)?;
    stop.check()?;

    let circumstances = circumstances(&tools, options)?;
    let runs = measure_all(workspace, &tools, options, &circumstances, &stop)?;
    println!("{}", report::tables(&runs));
    if let Some(file) = &options.markdown {
        write(file, &report::markdown(&circumstances, &runs))?;
    }
    let failed = runs.iter().filter(|run| run.outcome.is_err()).count();
    ensure!(failed == 0, "{failed} of {} runs failed", runs.len());
    Ok(())
}

/// Builds the plugins and the gateway, unless told what to measure.
fn build(workspace: &Workspace, options: &Options) -> Result<PathBuf> {
    if let Some(program) = &options.bin {
        return program
            .canonicalize()
            .with_context(|| format!("no program {}", program.display()));
    }
    build_plugins::run(workspace)?;
    process::run(workspace.cargo().args([
        "build",
        "--release",
        "-p",
        "postern",
        "--bin",
        "postern",
    ]))?;
    Ok(workspace.target.join("release/postern"))
}

fn run_other(workspace: &Workspace, options: &Options, harness: &Path) -> Result<()> {
    let program = harness.join("run");
    let program = program.canonicalize().with_context(|| {
        format!(
            "{OTHER_HARNESS} names {}, which has no program `run`",
            harness.display()
        )
    })?;
    let postern = build(workspace, options)?;
    process::run(
        Command::new(program)
            .args(&options.args)
            .env("OURS_BIN", postern)
            .env("OURS_PEER", workspace.root.join("bench/postern")),
    )
}

fn measure_all(
    workspace: &Workspace,
    tools: &Tools,
    options: &Options,
    circumstances: &Circumstances,
    stop: &Stop,
) -> Result<Vec<Run>> {
    let mut site = Site::set_up(workspace, tools)?;
    let mut runs = Vec::new();
    for scenario in options.scenarios() {
        if scenario.kind == Kind::Chain {
            verify::check_limit(&site, Peer::Postern).context("the chain does not limit")?;
        }
        for round in 1..=options.rounds() {
            for peer in Peer::ALL
                .into_iter()
                .filter(|peer| peer.does(scenario.kind))
            {
                let run = measure::run(&mut site, scenario, peer, round, options.seconds(), stop)?;
                println!("{}", report::line(&run));
                runs.push(run);
                if let Some(file) = &options.json {
                    write(file, &format!("{:#}\n", report::json(circumstances, &runs)))?;
                }
            }
        }
    }
    site.tear_down()?;
    Ok(runs)
}

fn circumstances(tools: &Tools, options: &Options) -> Result<Circumstances> {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, name)| name);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Ok(Circumstances {
        processor: processor.to_owned(),
        cores: std::thread::available_parallelism()?.into(),
        kernel: kernel.trim().to_owned(),
        versions: tools.versions().into(),
        rounds: options.rounds(),
        seconds: options.seconds(),
        time: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    })
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
