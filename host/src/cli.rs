//! The command line: one file for each subcommand.

mod check;
mod consumers;
mod drill;
mod explain;
mod key;
mod routes;
mod run;
mod table;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Exit code for a configuration that is wrong.
const EXIT_CONFIG: u8 = 2;
/// Exit code for everything else that keeps the gateway from starting.
const EXIT_START: u8 = 1;

/// An API gateway programmed with sandboxed WebAssembly plugins.
#[derive(Debug, Parser)]
#[command(name = "postern", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// The same as `postern run --config FILE`.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT; SIGHUP reloads the configuration.
    Run(ConfigArgs),
    /// Check a configuration and its plugins, without opening sockets.
    Check(ConfigArgs),
    /// Print the table of routes, without loading plugins.
    Routes(ConfigArgs),
    /// Say which route, plugins and upstream a request would meet, and why no other route.
    Explain(explain::Request),
    /// Print the table of consumers and their credentials, without what is secret.
    Consumers(ConfigArgs),
    /// Make API keys.
    #[command(subcommand)]
    Key(key::Command),
    /// Print a token (JWT) of a consumer whose secret the configuration knows, for development.
    Token(token::Request),
    /// Hold requests of a running gateway, or let them fail, for some minutes; `allow-drills` must allow it.
    Drill(drill::Request),
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "postern.toml")]
    config: PathBuf,
}

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match (cli.command, cli.config) {
        (Some(Command::Run(args)), None) => run::run(&args.config),
        (None, Some(config)) => run::run(&config),
        (Some(Command::Check(args)), None) => check::check(&args.config),
        (Some(Command::Routes(args)), None) => routes::routes(&args.config),
        (Some(Command::Explain(request)), None) => explain::explain(&request),
        (Some(Command::Consumers(args)), None) => consumers::consumers(&args.config),
        (Some(Command::Key(command)), None) => key::key(&command),
        (Some(Command::Token(request)), None) => token::token(&request),
        (Some(Command::Drill(request)), None) => drill::drill(&request),
        (Some(_), Some(_)) => fail(
            EXIT_CONFIG,
            "name the configuration after the command: postern run --config FILE",
        ),
        // clap shows the help then.
        (None, None) => ExitCode::from(EXIT_CONFIG),
    }
}

#[expect(clippy::print_stderr, reason = "the command line speaks to a person")]
fn fail(code: u8, message: impl std::fmt::Display) -> ExitCode {
    eprintln!("postern: {message}");
    ExitCode::from(code)
}

/// Says what keeps the gateway from starting.
fn refuse(error: &crate::app::StartError) -> ExitCode {
    match error {
        crate::app::StartError::Config(problems) => {
            let count = problems.len();
            let noun = if count == 1 { "problem" } else { "problems" };
            fail(
                EXIT_CONFIG,
                format_args!("{count} {noun} in the configuration\n\n{problems}"),
            )
        }
        other => fail(EXIT_START, other),
    }
}
