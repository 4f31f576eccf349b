//! The whole: starts everything from a configuration, reloads it, and drains it.

mod assembly;
mod build;
mod handover;
mod inheritance;
mod inspect;
mod key_sets;
mod listeners;
mod reload;
mod remote;
pub mod service_manager;
mod services;
mod status;
mod targets;
mod worker;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

pub use inspect::{Inspection, check, inspect, router};

use build::{Builder, Generation};
pub use handover::{Program, UpgradeError};
pub use inheritance::Inheritance;
use listeners::Listeners;
use reload::Reloader;
use status::Status;
use worker::{Views, WorkerPlan};

use crate::admin;
use crate::clock::Clock;
use crate::config::{Config, ListenAddress, Problems};
use crate::listener::{ListenError, Passed};
use crate::plugin::{Engine, EngineError};
use crate::proxy::Drills;
use crate::shutdown::{self, Drain, DrainSignal};
use crate::telemetry::{AccessLog, Metrics};
use crate::upstream::{self, Dns, UpstreamReport};

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
    /// Listeners cannot be opened.
    #[error("{}", lines(.0))]
    Listen(Vec<ListenError>),
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

fn lines(errors: &[ListenError]) -> String {
    let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// A gateway that serves. Dropping it drains it without waiting.
pub struct Gateway {
    builder: Arc<Builder>,
    control: Option<tokio::runtime::Runtime>,
    workers: Vec<JoinHandle<std::io::Result<()>>>,
    listeners: Arc<Listeners>,
    admin: Option<Admin>,
    status: Arc<Status>,
    reload: mpsc::Sender<()>,
    readiness_delay: Duration,
    drain: Drain,
}

/// The admin listener.
struct Admin {
    asked: SocketAddr,
    address: SocketAddr,
    socket: std::net::TcpListener,
    /// Ends it before the process does: when another process serves in our place.
    end: Drain,
}

impl Gateway {
    /// Starts a gateway: builds, opens sockets, starts workers, watches files.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration, or what the system refuses.
    pub fn start(config: Config, metrics: Arc<Metrics>) -> Result<Self, StartError> {
        Self::start_with(config, metrics, &mut Inheritance::default())
    }

    /// Starts a gateway with sockets that somebody else opened.
    ///
    /// # Errors
    /// As [`Gateway::start`].
    pub fn start_with(
        config: Config,
        metrics: Arc<Metrics>,
        inheritance: &mut Inheritance,
    ) -> Result<Self, StartError> {
        let control = control_runtime()?;
        let (builder, workers) = builder(&config, metrics, control.handle())?;
        let (server, admin) = (config.server.clone(), config.admin.clone());
        let seen = reload::look(&config);
        let generation = control
            .block_on(builder.begin(config, None))
            .map_err(StartError::Config)?;

        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
        let listeners = Arc::new(Listeners::new(Arc::clone(&builder.metrics), senders));
        let plan = listeners
            .prepare(&generation.config.listeners, inheritance)
            .map_err(StartError::Listen)?;
        let admin = admin
            .map(|admin| open_admin(admin.address, inheritance))
            .transpose()?;
        inheritance.close_rest();

        let status = Arc::new(Status::default());
        let (drain, signal) = shutdown::drain();
        let views = Views::new(&generation.snapshot, workers);
        let worker = |(index, listeners)| WorkerPlan {
            index,
            listeners,
            views: views.clone(),
            clock: builder.clock.clone(),
            drain: signal.clone(),
            drain_timeout: server.drain_timeout,
        };
        let workers = spawn(receivers.into_iter().enumerate().map(worker))?;
        listeners.apply(plan);
        let (reload, demands) = mpsc::channel(1);
        status.published(&generation.snapshot);
        builder.published(&generation, None);
        let parts = Parts {
            builder: Arc::clone(&builder),
            views,
            status: Arc::clone(&status),
            listeners: Arc::clone(&listeners),
        };
        let (admin, serving) = admin.map_or((None, None), served);
        control.spawn(background(parts, (generation, seen), demands, serving));
        Ok(Self {
            builder,
            control: Some(control),
            workers,
            listeners,
            admin,
            status,
            reload,
            readiness_delay: server.readiness_delay,
            drain,
        })
    }

    /// Names and addresses of the listeners that serve now.
    #[must_use]
    pub fn listeners(&self) -> Vec<(Arc<str>, ListenAddress)> {
        self.listeners.addresses()
    }

    /// The address of the admin listener.
    #[must_use]
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|admin| admin.address)
    }

    /// What it takes to replace this process by another one that serves in its place.
    #[must_use]
    pub fn handover(&self) -> Handover {
        Handover {
            listeners: Arc::clone(&self.listeners),
            admin: self.admin.as_ref().and_then(|admin| {
                let socket = admin.socket.try_clone().ok()?;
                Some((admin.asked, socket))
            }),
        }
    }

    /// Ends the gateway, because another process serves in its place and accepts from its sockets.
    pub fn retire(self) {
        self.listeners.drain(true);
        if let Some(admin) = &self.admin {
            admin.end.start();
        }
        self.finish();
    }

    /// Asks for a reload of the configuration, whether its file changed or not.
    pub fn reload(&self) {
        // A full channel means that one is due already.
        let _ = self.reload.try_send(());
    }

    /// Ends the gateway: it is no longer ready, and after the readiness delay nothing new is begun and what has begun is
    /// finished, within the drain timeout.
    pub fn drain(self) {
        self.status.draining();
        #[expect(
            clippy::disallowed_methods,
            reason = "this thread has nothing else to do: workers serve on theirs"
        )]
        std::thread::sleep(self.readiness_delay);
        self.listeners.drain(false);
        self.finish();
    }

    fn finish(mut self) {
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
        self.listeners.drain(false);
        self.drain.start();
        if let Some(control) = self.control.take() {
            control.shutdown_background();
        }
    }
}

/// Starts another process with the sockets of this one.
pub struct Handover {
    listeners: Arc<Listeners>,
    admin: Option<(SocketAddr, std::net::TcpListener)>,
}

/// The name under which the admin listener's socket is handed over: none that a listener may have.
const ADMIN: &str = "[admin]";

impl Handover {
    /// Starts `program` and waits until it serves. Returns its process id. Whatever happens, this process serves on.
    ///
    /// # Errors
    /// Why it does not serve.
    pub fn run(self, program: &Program) -> Result<u32, UpgradeError> {
        let mut sockets = Vec::new();
        for listener in self.listeners.current() {
            let passed = listener.pass().map_err(UpgradeError::Sockets)?;
            sockets.push(handover::Parcel {
                name: listener.name().to_string(),
                asked: listener.asked().to_string(),
                passed,
            });
        }
        if let Some((asked, socket)) = self.admin {
            sockets.push(handover::Parcel {
                name: ADMIN.into(),
                asked: asked.to_string(),
                passed: Passed {
                    socket: socket.into(),
                    removes_path: false,
                },
            });
        }
        program.replace(sockets)
    }
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

fn builder(
    config: &Config,
    metrics: Arc<Metrics>,
    control: &Handle,
) -> Result<(Arc<Builder>, usize), StartError> {
    let access_log = Arc::new(
        AccessLog::open(&config.access_log, &metrics).map_err(|source| {
            let file = config.access_log.file.clone();
            let file = file.unwrap_or_else(|| PathBuf::from("standard output"));
            StartError::AccessLog { file, source }
        })?,
    );
    let engine = Engine::new(&config.engine)?;
    let workers = config.server.workers;
    let dns = Arc::new(Dns::new(&config.dns, control.clone()));
    let clock = Clock::system();
    let shared = (workers, dns);
    let builder = Builder::new(engine, metrics, access_log, clock, shared, config);
    Ok((Arc::new(builder), workers))
}

fn spawn(
    plans: impl Iterator<Item = WorkerPlan>,
) -> Result<Vec<JoinHandle<std::io::Result<()>>>, StartError> {
    plans
        .map(worker::spawn)
        .collect::<Result<_, _>>()
        .map_err(StartError::Thread)
}

/// The admin listener, and what serves it: a socket of its own, because the first may be handed over.
fn served(
    (admin, ended): (Admin, DrainSignal),
) -> (Option<Admin>, Option<(std::net::TcpListener, DrainSignal)>) {
    let socket = admin.socket.try_clone();
    (Some(admin), socket.ok().map(|socket| (socket, ended)))
}

fn open_admin(
    asked: SocketAddr,
    inheritance: &mut Inheritance,
) -> Result<(Admin, DrainSignal), StartError> {
    let failed = |source| StartError::Admin {
        address: asked,
        source,
    };
    let socket = match inheritance.take(ADMIN, &ListenAddress::Tcp(asked)) {
        Some(passed) => passed.socket.into(),
        None => admin::open(asked).map_err(failed)?,
    };
    let address = socket.local_addr().map_err(failed)?;
    let (end, ended) = shutdown::drain();
    let admin = Admin {
        asked,
        address,
        socket,
        end,
    };
    Ok((admin, ended))
}

/// What the background work shares with the gateway.
struct Parts {
    builder: Arc<Builder>,
    views: Views,
    status: Arc<Status>,
    listeners: Arc<Listeners>,
}

async fn background(
    parts: Parts,
    (generation, seen): (Generation, reload::Seen),
    demands: mpsc::Receiver<()>,
    admin: Option<(std::net::TcpListener, DrainSignal)>,
) {
    let Parts {
        builder,
        views,
        status,
        listeners,
    } = parts;
    if let Some((socket, ended)) = admin {
        let source = AdminSource {
            builder: Arc::clone(&builder),
            views: views.clone(),
            status: Arc::clone(&status),
            listeners: Arc::clone(&listeners),
        };
        tokio::spawn(serve_admin(socket, source, ended));
    }
    tokio::spawn(sweep(Arc::clone(&builder), views.clone()));
    let serving = views.clone();
    tokio::spawn(upstream::keep(
        move || serving.upstreams(),
        builder.clock.clone(),
    ));
    let reloader = Reloader::new(builder, views, status, listeners, generation, seen);
    reloader.run(demands).await;
}

async fn serve_admin(socket: std::net::TcpListener, source: AdminSource, mut ended: DrainSignal) {
    match TcpListener::from_std(socket) {
        Ok(socket) => tokio::select! {
            () = admin::serve(socket, Arc::new(source)) => {}
            () = ended.draining() => {}
        },
        Err(error) => tracing::error!(%error, "the admin listener cannot be served"),
    }
}

async fn sweep(builder: Arc<Builder>, views: Views) {
    loop {
        tokio::time::sleep(SWEEP).await;
        builder.state.sweep();
        views.upstreams().sweep();
        if let Some(drills) = &builder.drills {
            drills.sweep();
        }
    }
}

struct AdminSource {
    builder: Arc<Builder>,
    views: Views,
    status: Arc<Status>,
    listeners: Arc<Listeners>,
}

impl admin::Source for AdminSource {
    fn drills(&self) -> Option<&Drills> {
        self.builder.drills.as_deref()
    }

    fn report(&self) -> admin::Report {
        let addresses = self.listeners.addresses().into_iter();
        admin::Report {
            listeners: addresses
                .map(|(name, address)| (name.to_string(), address.to_string()))
                .collect(),
            discovery: self.builder.discoveries.report(),
            ..self.status.report()
        }
    }

    fn upstreams(&self) -> BTreeMap<String, UpstreamReport> {
        targets::reports(&self.views.upstreams())
    }

    fn metrics(&self) -> String {
        let upstreams = self.views.upstreams();
        upstreams.observe();
        self.builder.metrics.render() + &targets::metrics(&upstreams)
    }
}

/// Some settings are read once, at the start.
fn warn_of_fixed(before: &Config, after: &Config) {
    let fixed = [
        ("[server]", before.server == after.server),
        ("[admin]", before.admin == after.admin),
        ("[access-log]", before.access_log == after.access_log),
        ("[log]", before.log == after.log),
        ("[state]", before.state == after.state),
        ("[plugins]", before.engine == after.engine),
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
