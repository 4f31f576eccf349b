//! `postern run`: serves until a signal says otherwise.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::{self, Gateway};
use crate::telemetry::{Logging, Metrics};

pub(super) fn run(path: &Path) -> ExitCode {
    let config = match app::load(path) {
        Ok(config) => config,
        Err(error) => return super::refuse(&error),
    };
    let metrics = Arc::new(Metrics::new());
    let logging = match Logging::start(&config.log, &metrics) {
        Ok(logging) => logging,
        Err(error) => return super::fail(super::EXIT_CONFIG, format_args!("[log] {error}")),
    };
    let gateway = match Gateway::start(config, metrics) {
        Ok(gateway) => gateway,
        Err(error) => return super::refuse(&error),
    };
    for (name, address) in gateway.listeners() {
        tracing::info!(listener = %name, "listening on {address}");
    }
    if let Some(address) = gateway.admin() {
        tracing::info!("admin on {address}");
    }
    match wait_for_end(&gateway) {
        Ok(signal) => tracing::info!("{signal}: draining"),
        Err(error) => {
            return super::fail(
                super::EXIT_START,
                format_args!("signals cannot be received: {error}"),
            );
        }
    }
    gateway.drain();
    tracing::info!("drained");
    logging.flush();
    ExitCode::SUCCESS
}

/// Waits for SIGTERM or SIGINT, and reloads at SIGHUP. A second one of the former ends the process at once.
fn wait_for_end(gateway: &Gateway) -> std::io::Result<&'static str> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let (name, terminate, interrupt) = runtime.block_on(first_signal(gateway))?;
    runtime.spawn(exit_on_second(terminate, interrupt));
    // The runtime must live on to hear the second signal; the process ends soon.
    std::mem::forget(runtime);
    Ok(name)
}

async fn first_signal(gateway: &Gateway) -> std::io::Result<(&'static str, Signal, Signal)> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = hangup.recv() => gateway.reload(),
            _ = terminate.recv() => return Ok(("SIGTERM", terminate, interrupt)),
            _ = interrupt.recv() => return Ok(("SIGINT", terminate, interrupt)),
        }
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
