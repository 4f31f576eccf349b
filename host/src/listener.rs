//! Listeners: sockets, and the connections that come in on them.

mod accept;
mod activity;
mod connection;
mod janitor;
mod stream;
mod tls;

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use socket2::{Domain, Protocol, Socket, Type};

pub use accept::{Acceptor, Handler};

use crate::clock::Clock;
use crate::config::{ListenTlsConfig, ListenerConfig};
use crate::telemetry::ListenerMetrics;
use tls::Tls;

/// Connections that the kernel may hold for us until we accept them.
const BACKLOG: i32 = 4_096;

/// An open socket and its settings, shared by all workers.
pub struct Listener {
    config: ListenerConfig,
    /// None when it was closed. Each worker has a duplicate.
    socket: Mutex<Option<TcpListener>>,
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    trusted_proxies: Arc<[ipnet::IpNet]>,
    metrics: Arc<ListenerMetrics>,
    /// None when clients do not speak TLS.
    tls: ArcSwapOption<Tls>,
}

/// A socket cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "listener {name:?} cannot listen on {address}: {source}{}",
    hint(source)
)]
pub struct ListenError {
    name: Arc<str>,
    address: SocketAddr,
    source: std::io::Error,
}

fn hint(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::AddrInUse => {
            "; another process listens there (`ss -ltnp` shows which), or choose another port"
        }
        std::io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need the capability CAP_NET_BIND_SERVICE"
        }
        std::io::ErrorKind::AddrNotAvailable => "; this machine does not have that address",
        _ => "",
    }
}

impl Listener {
    /// Opens the socket.
    ///
    /// # Errors
    /// When the address is taken, or not ours to take.
    pub fn open(
        config: ListenerConfig,
        metrics: Arc<ListenerMetrics>,
    ) -> Result<Self, ListenError> {
        let failed = |source| ListenError {
            name: Arc::clone(&config.name),
            address: config.address,
            source,
        };
        let socket = bind(config.address).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let trusted_proxies = config.trusted_proxies.clone().into();
        let tls = config.tls.clone();
        let listener = Self {
            config,
            socket: Mutex::new(Some(socket)),
            address,
            connections: Arc::default(),
            trusted_proxies,
            metrics,
            tls: ArcSwapOption::empty(),
        };
        listener.set_tls(tls.as_ref());
        Ok(listener)
    }

    /// From here on, connections that are accepted are spoken to in this way.
    pub fn set_tls(&self, config: Option<&ListenTlsConfig>) {
        let previous = self.tls.load_full();
        let Some(config) = config else {
            self.metrics.certificates(std::iter::empty());
            return self.tls.store(None);
        };
        if previous
            .as_ref()
            .is_some_and(|previous| previous.is(config))
        {
            return;
        }
        self.tls
            .store(Some(Arc::new(Tls::new(config, previous.as_deref()))));
        let now = Clock::system().unix_ms() / 1_000;
        for certificate in &config.certificates {
            if u64::try_from(certificate.not_after).is_ok_and(|end| end < now) {
                let file = certificate.file.display();
                tracing::warn!(listener = %self.name(), "the certificate in {file} has expired");
            }
        }
        let files = config.certificates.iter().map(|certificate| {
            let file = certificate.file.to_str().unwrap_or_default();
            (file, certificate.not_after)
        });
        self.metrics.certificates(files);
    }

    fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.load_full()
    }

    /// `NAME`
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.config.name
    }

    /// The address, with the port that the system chose if it was to choose one.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A duplicate of the socket, for a worker.
    fn share(&self) -> std::io::Result<TcpListener> {
        match &*self.lock() {
            Some(socket) => socket.try_clone(),
            None => Err(std::io::ErrorKind::NotConnected.into()),
        }
    }

    /// Gives the socket up. Connections keep their listener, and must not keep the port with it: clients would connect
    /// to it, and nobody would answer.
    fn close(&self) {
        self.lock().take();
    }

    fn lock(&self) -> MutexGuard<'_, Option<TcpListener>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for connections in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
