//! The whole: starts everything from a configuration, reloads it, and drains it.

mod assembly;
mod build;
mod inspect;
mod reload;
mod services;
mod status;
mod worker;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;

pub use inspect::{Inspection, check, inspect, router};

use build::{Builder, Generation};
use reload::Reloader;
use status::Status;
use worker::{Views, WorkerPlan};

use crate::admin;
use crate::clock::Clock;
use crate::config::{Config, ListenerConfig, Problems};
use crate::listener::{ListenError, Listener};
use crate::plugin::{Engine, EngineError};
use crate::shutdown::{self, Drain};
use crate::telemetry::{AccessLog, Metrics};

/// How often what is over is forgotten: idle connections, ended windows.
const SWEEP: Duration = Duration::from_secs(5);
/// How long the control runtime may take to end, after the workers have.
const CONTROL_END: Duration = Duration::from_secs(1);

/// Why the gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(Problems),
    /// Plugins cannot be run at all.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A listener cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The admin listener cannot be opened.
    #[error("[admin] cannot listen on {address}: {source}")]
    Admin {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The access log's file cannot be opened.
    #[error("[access-log] {file} cannot be written: {source}", file = file.display())]
    AccessLog {
        /// Which one.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A thread cannot be started.
    #[error("a thread cannot be started: {0}")]
    Thread(std::io::Error),
}

/// A gateway that serves. Dropping it drains it without waiting.
pub struct Gateway {
    builder: Arc<Builder>,
    control: Option<tokio::runtime::Runtime>,
    workers: Vec<JoinHandle<std::io::Result<()>>>,
    listeners: Vec<(Arc<str>, SocketAddr)>,
    admin: Option<SocketAddr>,
    status: Arc<Status>,
    reload: mpsc::Sender<()>,
    drain: Drain,
}

impl Gateway {
    /// Starts a gateway: builds, opens sockets, starts workers, watches files.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration, or what the system refuses.
    pub fn start(config: Config, metrics: Arc<Metrics>) -> Result<Self, StartError> {
        let control = control_runtime()?;
        let (builder, workers) = builder(&config, metrics)?;
        let builder = Arc::new(builder);
        let (settings, drain_timeout, admin_config) = (
            config.listeners.clone(),
            config.server.drain_timeout,
            config.admin.clone(),
        );
        let seen = reload::look(&config);
        let generation = control
            .block_on(builder.build(config, None))
            .map_err(StartError::Config)?;

        let listeners = open_listeners(settings, &builder.metrics)?;
        let admin = admin_config
            .map(|admin| open_admin(&control, admin.address))
            .transpose()?;

        let status = Arc::new(Status::default());
        let (drain, signal) = shutdown::drain();
        let views = Views::new(&generation.snapshot, workers);
        let plan = |index| WorkerPlan {
            index,
            listeners: listeners.clone(),
            views: views.clone(),
            clock: builder.clock.clone(),
            drain: signal.clone(),
            drain_timeout,
        };
        let workers: Result<_, _> = (0..workers)
            .map(|index| worker::spawn(plan(index)))
            .collect();
        let workers = workers.map_err(StartError::Thread)?;
        let (reload, demands) = mpsc::channel(1);
        let admin_address = admin.as_ref().and_then(|socket| socket.local_addr().ok());
        status.published(&generation.snapshot);
        builder.published(&generation, None);
        let parts = Parts {
            builder: Arc::clone(&builder),
            views,
            status: Arc::clone(&status),
            listeners: listeners.clone(),
        };
        control.spawn(background(parts, (generation, seen), demands, admin));
        Ok(Self {
            builder,
            control: Some(control),
            workers,
            listeners: addresses(&listeners),
            admin: admin_address,
            status,
            reload,
            drain,
        })
    }

    /// Names and addresses of the listeners.
    #[must_use]
    pub fn listeners(&self) -> &[(Arc<str>, SocketAddr)] {
        &self.listeners
    }

    /// The address of the admin listener.
    #[must_use]
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Asks for a reload of the configuration, whether its file changed or not.
    pub fn reload(&self) {
        // A full channel means that one is due already.
        let _ = self.reload.try_send(());
    }

    /// Ends the gateway: nothing new is begun, what has begun is finished, within the drain timeout.
    pub fn drain(mut self) {
        self.status.draining();
        self.drain.start();
        for worker in self.workers.drain(..) {
            match worker.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a worker failed"),
                Err(_) => tracing::error!("a worker panicked"),
            }
        }
        if let Some(control) = self.control.take() {
            control.shutdown_timeout(CONTROL_END);
        }
        self.builder.access_log.flush();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.drain.start();
        if let Some(control) = self.control.take() {
            control.shutdown_background();
        }
    }
}

fn open_listeners(
    configs: Vec<ListenerConfig>,
    metrics: &Metrics,
) -> Result<Vec<Arc<Listener>>, ListenError> {
    let open = |config: ListenerConfig| {
        let metrics = metrics.listener(&config.name);
        Listener::open(config, metrics).map(Arc::new)
    };
    configs.into_iter().map(open).collect()
}

/// Everything that is not serving runs here: compiling, reloading, the admin listener.
fn control_runtime() -> Result<tokio::runtime::Runtime, StartError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("postern-control")
        .enable_all()
        .build()
        .map_err(StartError::Thread)
}

fn builder(config: &Config, metrics: Arc<Metrics>) -> Result<(Builder, usize), StartError> {
    let access_log = Arc::new(
        AccessLog::open(&config.access_log, &metrics).map_err(|source| {
            let file = config.access_log.file.clone();
            let file = file.unwrap_or_else(|| PathBuf::from("standard output"));
            StartError::AccessLog { file, source }
        })?,
    );
    let engine = Engine::new(&config.engine)?;
    let workers = config.server.workers;
    Ok((
        Builder::new(engine, metrics, access_log, Clock::system(), workers),
        workers,
    ))
}

fn open_admin(
    control: &tokio::runtime::Runtime,
    address: SocketAddr,
) -> Result<TcpListener, StartError> {
    let _runtime = control.enter();
    admin::open(address).map_err(|source| StartError::Admin { address, source })
}

/// What the background work shares with the gateway.
struct Parts {
    builder: Arc<Builder>,
    views: Views,
    status: Arc<Status>,
    listeners: Vec<Arc<Listener>>,
}

async fn background(
    parts: Parts,
    (generation, seen): (Generation, reload::Seen),
    demands: mpsc::Receiver<()>,
    admin: Option<TcpListener>,
) {
    let Parts {
        builder,
        views,
        status,
        listeners,
    } = parts;
    if let Some(socket) = admin {
        let source = AdminSource {
            builder: Arc::clone(&builder),
            status: Arc::clone(&status),
        };
        tokio::spawn(admin::serve(socket, Arc::new(source)));
    }
    tokio::spawn(sweep(Arc::clone(&builder), views.clone()));
    let reloader = Reloader::new(builder, (views, listeners), status, generation, seen);
    reloader.run(demands).await;
}

fn addresses(listeners: &[Arc<Listener>]) -> Vec<(Arc<str>, SocketAddr)> {
    let address = |listener: &Arc<Listener>| (Arc::clone(listener.name()), listener.address());
    listeners.iter().map(address).collect()
}

async fn sweep(builder: Arc<Builder>, views: Views) {
    loop {
        tokio::time::sleep(SWEEP).await;
        builder.state.sweep();
        views.upstreams().sweep();
    }
}

struct AdminSource {
    builder: Arc<Builder>,
    status: Arc<Status>,
}

impl admin::Source for AdminSource {
    fn report(&self) -> admin::Report {
        self.status.report()
    }

    fn metrics(&self) -> String {
        self.builder.metrics.render()
    }
}

/// Some settings are read once, at the start.
fn warn_of_fixed(before: &Config, after: &Config) {
    // TLS of listeners is not fixed.
    let plain = |config: &Config| -> Vec<ListenerConfig> {
        let mut listeners = config.listeners.clone();
        listeners
            .iter_mut()
            .for_each(|listener| listener.tls = None);
        listeners
    };
    let fixed = [
        ("[server]", before.server == after.server),
        ("[admin]", before.admin == after.admin),
        ("[access-log]", before.access_log == after.access_log),
        ("[log]", before.log == after.log),
        ("[plugins]", before.engine == after.engine),
        ("[listen]", plain(before) == plain(after)),
    ];
    for (table, _) in fixed.iter().filter(|(_, same)| !same) {
        tracing::warn!("{table} changed: this takes effect when the gateway is started again");
    }
}

/// Loads a configuration file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path) -> Result<Config, StartError> {
    crate::config::load(path).map_err(StartError::Config)
}
