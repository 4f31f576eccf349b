//! `cargo xtask`: everything that the project does to itself, as one program with one file per command.
//!
//! CI and the README call nothing else, so what works for a newcomer is what CI tests.

mod bench;
mod build_plugins;
mod call;
mod ci;
mod demo;
mod fuzz;
mod process;
mod test;
mod token;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Postern's own commands",
    version
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build everything, start the shop example behind Postern, and print calls to try; the quick start.
    Demo(demo::Options),
    /// Compile the plugins to `target/plugins/NAME.wasm`.
    BuildPlugins,
    /// Build the plugins and run all tests. Arguments after `--` go to the test runner.
    Test(test::Options),
    /// What CI runs: format, lints, licences, tests, and the demo's calls.
    Ci,
    /// Try input that nobody thought of, for a while.
    Fuzz(fuzz::Options),
    /// Measure Postern and nginx side by side: CPU per request, on this machine.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = Workspace::find().and_then(|workspace| match cli.command {
        Command::Demo(options) => demo::run(&workspace, &options),
        Command::BuildPlugins => build_plugins::run(&workspace),
        Command::Test(options) => test::run(&workspace, &options),
        Command::Ci => ci::run(&workspace),
        Command::Fuzz(options) => fuzz::run(&workspace, &options),
        Command::Bench(options) => bench::run(&workspace, &options),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
