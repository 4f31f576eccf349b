//! `postern run`: serves until a signal says otherwise.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use crate::app::{self, Gateway, Inheritance, Program, UpgradeError, service_manager};
use crate::telemetry::{Logging, Metrics};

pub(super) fn run(path: &Path) -> ExitCode {
    // Before anything else opens files: inherited ones are known by their numbers.
    let mut inheritance = match Inheritance::receive() {
        Ok(inheritance) => inheritance,
        Err(error) => {
            return super::fail(
                super::EXIT_START,
                format_args!("inherited sockets cannot be used: {error}"),
            );
        }
    };
    let program = Program::this();
    let config = match app::load(path) {
        Ok(config) => config,
        Err(error) => return super::refuse(&error),
    };
    // Before anybody is told that we serve: until then, a signal would end the process.
    let (runtime, signals) = match listen_to_signals() {
        Ok(listening) => listening,
        Err(error) => {
            return super::fail(
                super::EXIT_START,
                format_args!("signals cannot be received: {error}"),
            );
        }
    };
    let metrics = Arc::new(Metrics::new());
    let logging = match Logging::start(&config.log, &metrics) {
        Ok(logging) => logging,
        Err(error) => return super::fail(super::EXIT_CONFIG, format_args!("[log] {error}")),
    };
    let gateway = match Gateway::start_with(config, metrics, &mut inheritance) {
        Ok(gateway) => gateway,
        Err(error) => return super::refuse(&error),
    };
    if let Some(address) = gateway.admin() {
        tracing::info!("admin on {address}");
    }
    if let Err(error) = inheritance.ready() {
        return super::fail(
            super::EXIT_START,
            format_args!("the process that was to be replaced is gone: {error}"),
        );
    }
    service_manager::ready();
    let end = wait_for_end(&gateway, program, runtime, signals);
    drain(gateway, &end);
    tracing::info!("drained");
    logging.flush();
    ExitCode::SUCCESS
}

/// Why the gateway ends.
enum End {
    /// This signal came.
    Signal(&'static str),
    /// This process serves in its place.
    Replaced(u32),
}

/// What the process listens to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    upgrade: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }
}

/// Serves what has begun, and nothing new.
fn drain(gateway: Gateway, end: &End) {
    match end {
        End::Signal(signal) => {
            tracing::info!("{signal}: draining");
            service_manager::stopping();
            gateway.drain();
        }
        End::Replaced(process) => {
            tracing::info!("process {process} serves: draining");
            service_manager::replaced_by(*process);
            gateway.retire();
        }
    }
}

/// Signals that come from here on are kept until somebody waits for them.
fn listen_to_signals() -> std::io::Result<(Runtime, Signals)> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let signals = {
        let _entered = runtime.enter();
        Signals::new()?
    };
    Ok((runtime, signals))
}

/// Waits for SIGTERM or SIGINT, reloads at SIGHUP, and has itself replaced at SIGUSR2. A second one of the former ends the
/// process at once.
fn wait_for_end(
    gateway: &Gateway,
    program: Result<Program, UpgradeError>,
    runtime: Runtime,
    mut signals: Signals,
) -> End {
    let end = runtime.block_on(end(gateway, &program, &mut signals));
    runtime.spawn(exit_on_second(signals.terminate, signals.interrupt));
    // The runtime must live on to hear the second signal; the process ends soon.
    std::mem::forget(runtime);
    end
}

async fn end(
    gateway: &Gateway,
    program: &Result<Program, UpgradeError>,
    signals: &mut Signals,
) -> End {
    let mut upgrade: Option<JoinHandle<Result<u32, UpgradeError>>> = None;
    loop {
        tokio::select! {
            _ = signals.hangup.recv() => gateway.reload(),
            _ = signals.terminate.recv() => return End::Signal("SIGTERM"),
            _ = signals.interrupt.recv() => return End::Signal("SIGINT"),
            _ = signals.upgrade.recv(), if upgrade.is_none() => match program {
                Ok(program) => {
                    tracing::info!("SIGUSR2: starting the process that is to replace this one");
                    let (handover, program) = (gateway.handover(), program.clone());
                    upgrade = Some(tokio::task::spawn_blocking(move || handover.run(&program)));
                }
                Err(error) => tracing::error!("not replaced: {error}"),
            },
            outcome = ended(&mut upgrade) => match outcome {
                Ok(process) => return End::Replaced(process),
                Err(error) => tracing::error!("not replaced, this process serves on: {error}"),
            },
        }
    }
}

/// The outcome of an upgrade. Waits for ever while there is none.
async fn ended(upgrade: &mut Option<JoinHandle<Result<u32, UpgradeError>>>) -> Result<u32, String> {
    let Some(running) = upgrade else {
        return std::future::pending().await;
    };
    let outcome = running.await;
    *upgrade = None;
    match outcome {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "whoever asks twice does not want to wait for what is still open"
)]
async fn exit_on_second(mut terminate: Signal, mut interrupt: Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::warn!("second signal: open connections are cut off");
    std::process::exit(1);
}
