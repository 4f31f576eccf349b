//! Listeners: sockets, and the connections that come in on them.

mod accept;
mod activity;
mod connection;
mod frames;
mod http3;
mod interim;
mod janitor;
mod limits;
mod proxy_protocol;
mod socket;
mod stream;
mod strict;
mod tls;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use socket2::Socket;

pub use accept::{Acceptor, Handler};
pub use http3::QuicAcceptor;
use http3::Udp;
use limits::{Complaint, Connections};
use tls::Tls;

use crate::clock::Clock;
use crate::config::{ListenAddress, ListenTlsConfig, ListenerConfig};
use crate::shutdown::{self, Drain, DrainSignal};
use crate::telemetry::ListenerMetrics;

/// An open socket, and how its connections are treated; shared by all workers.
pub struct Listener {
    name: Arc<str>,
    /// As the configuration says it: port 0 is still 0 here.
    asked: ListenAddress,
    address: ListenAddress,
    /// None when it was closed. Each worker has a duplicate.
    socket: Mutex<Option<Socket>>,
    /// Whether others accept from this socket as well, and will when we no longer do.
    shared: AtomicBool,
    /// Whether the file of a socket with a path is ours to remove.
    removes_path: bool,
    settings: ArcSwap<Settings>,
    /// None when clients do not speak HTTP/3.
    udp: Option<Udp>,
    /// None when clients do not speak TLS.
    tls: ArcSwapOption<Tls>,
    metrics: Arc<ListenerMetrics>,
    connections: Arc<Connections>,
    /// About connections that cannot be accepted.
    complaint: Complaint,
    drain: Drain,
    draining: DrainSignal,
}

/// How connections are treated that are accepted from now on. Those that are open keep what they began with.
struct Settings {
    config: ListenerConfig,
    trusted_proxies: Arc<[ipnet::IpNet]>,
    /// None when clients do not speak HTTP/3.
    quic: Option<Quic>,
}

/// How clients speak HTTP/3.
struct Quic {
    tls: Arc<Tls>,
    config: Arc<quinn::ServerConfig>,
}

impl Settings {
    fn new(config: ListenerConfig, tls: Option<Arc<Tls>>) -> Self {
        let trusted_proxies = config.trusted_proxies.clone().into();
        let quic = tls.filter(|_| config.http3).map(|tls| Quic {
            config: Arc::new(tls.quic(&config)),
            tls,
        });
        Self {
            config,
            trusted_proxies,
            quic,
        }
    }
}

/// A socket cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "listener {name:?} cannot listen on {}{address}: {source}{}",
    if *udp { "UDP " } else { "" },
    hint(source)
)]
pub struct ListenError {
    name: Arc<str>,
    address: ListenAddress,
    /// Whether it is the socket for HTTP/3.
    udp: bool,
    source: std::io::Error,
}

fn hint(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::AddrInUse => {
            "; another process listens there (`ss -lntuxp` shows which), or choose another address"
        }
        std::io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need the capability CAP_NET_BIND_SERVICE, and paths a directory that may be written"
        }
        std::io::ErrorKind::AddrNotAvailable => "; this machine does not have that address",
        _ => "",
    }
}

/// A socket that somebody else opened for us.
#[derive(Debug)]
pub struct Passed {
    /// The socket.
    pub socket: Socket,
    /// Whether the file of a socket with a path is ours to remove when we no longer listen on it.
    pub removes_path: bool,
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
        let opened =
            socket::open(&config).and_then(|socket| Ok((socket::address(&socket)?, socket)));
        match opened {
            Ok((address, socket)) => {
                let udp = bind_udp(&config, &address, false)?;
                Ok(Self::new(config, (address, udp), socket, true, metrics))
            }
            Err(source) => Err(error(&config, source)),
        }
    }

    /// Takes over a socket that somebody else opened, whatever its address is.
    ///
    /// # Errors
    /// When it is not a stream socket that listens.
    pub fn adopt(
        config: ListenerConfig,
        passed: Passed,
        metrics: Arc<ListenerMetrics>,
    ) -> Result<Self, ListenError> {
        let Passed {
            socket,
            removes_path,
        } = passed;
        match socket::adopt(&socket).and_then(|()| socket::address(&socket)) {
            Ok(address) => {
                let udp = bind_udp(&config, &address, true)?;
                let addresses = (address, udp);
                Ok(Self::new(config, addresses, socket, removes_path, metrics))
            }
            Err(source) => Err(error(&config, source)),
        }
    }

    /// A listener with other settings, perhaps of another name, on the same socket.
    ///
    /// # Errors
    /// When this one is closed already.
    pub fn succeed(
        &self,
        config: ListenerConfig,
        metrics: Arc<ListenerMetrics>,
    ) -> Result<Self, ListenError> {
        let socket = self.share().map_err(|source| error(&config, source))?;
        let address = self.address.clone();
        let udp = bind_udp(&config, &address, true)?;
        Ok(Self::new(
            config,
            (address, udp),
            socket,
            self.removes_path,
            metrics,
        ))
    }

    fn new(
        config: ListenerConfig,
        (address, udp): (ListenAddress, Option<Udp>),
        socket: Socket,
        removes_path: bool,
        metrics: Arc<ListenerMetrics>,
    ) -> Self {
        let (drain, draining) = shutdown::drain();
        let tls = config.tls.clone();
        let settings = Settings::new(config.clone(), None);
        let listener = Self {
            name: Arc::clone(&config.name),
            asked: config.address.clone(),
            address,
            socket: Mutex::new(Some(socket)),
            shared: AtomicBool::new(false),
            removes_path,
            settings: ArcSwap::from_pointee(settings),
            udp,
            tls: ArcSwapOption::empty(),
            connections: Connections::new(Arc::clone(&metrics)),
            metrics,
            complaint: Complaint::default(),
            drain,
            draining,
        };
        listener.set_tls(tls.as_ref());
        listener.set(config);
        listener
    }

    /// From here on, connections that are accepted are spoken to in this way.
    fn set_tls(&self, config: Option<&ListenTlsConfig>) {
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
        &self.name
    }

    /// The address, with the port that the system chose if it was to choose one.
    #[must_use]
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// The address as it was asked for.
    #[must_use]
    pub fn asked(&self) -> &ListenAddress {
        &self.asked
    }

    /// Whether it speaks HTTP/3.
    #[must_use]
    pub fn speaks_http3(&self) -> bool {
        self.udp.is_some()
    }

    /// From now on, connections that are accepted are treated like this. The address must be the same, and so must be
    /// whether HTTP/3 is spoken.
    pub fn update(&self, config: ListenerConfig) {
        if let ListenAddress::Unix(path) = &self.address
            && let Err(error) = socket::set_mode(path, config.socket_mode)
        {
            tracing::error!(listener = %self.name, %error, "the permissions of {} stay as they are", self.address);
        }
        self.set_tls(config.tls.as_ref());
        self.set(config);
    }

    fn set(&self, config: ListenerConfig) {
        let settings = Settings::new(config, self.tls());
        self.settings.store(Arc::new(settings));
    }

    /// Accepts nothing new, and finishes what has begun.
    pub fn drain(&self) {
        self.drain.start();
    }

    /// From now on others accept from the socket, too: what waits in its queue is theirs, and so is its file.
    pub fn hand_over(&self) {
        self.shared.store(true, Ordering::Release);
    }

    /// A socket to be passed to another process.
    ///
    /// # Errors
    /// When it is closed.
    pub fn pass(&self) -> std::io::Result<Passed> {
        Ok(Passed {
            socket: self.share()?,
            removes_path: self.removes_path,
        })
    }

    fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Acquire)
    }

    /// A duplicate of the socket.
    fn share(&self) -> std::io::Result<Socket> {
        match &*self.lock() {
            Some(socket) => socket.try_clone(),
            None => Err(std::io::ErrorKind::NotConnected.into()),
        }
    }

    /// Gives the socket up. Connections keep their listener, and must not keep the port with it: clients would connect
    /// to it, and nobody would answer.
    fn close(&self) {
        let closed = self.lock().take();
        if closed.is_some()
            && self.removes_path
            && !self.is_shared()
            && let ListenAddress::Unix(path) = &self.address
        {
            // Whoever removed it before us has done what we wanted.
            let _ = std::fs::remove_file(path);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Socket>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.close();
    }
}

/// The socket for HTTP/3, if it is spoken. Where we `follow` somebody on the address, it is bound when it is free.
fn bind_udp(
    config: &ListenerConfig,
    address: &ListenAddress,
    follow: bool,
) -> Result<Option<Udp>, ListenError> {
    match address {
        ListenAddress::Tcp(address) if config.http3 => {
            let failed = |source| ListenError {
                udp: true,
                ..error(config, source)
            };
            Udp::bind(*address, follow).map(Some).map_err(failed)
        }
        ListenAddress::Tcp(_) | ListenAddress::Unix(_) => Ok(None),
    }
}

fn error(config: &ListenerConfig, source: std::io::Error) -> ListenError {
    ListenError {
        name: Arc::clone(&config.name),
        address: config.address.clone(),
        udp: false,
        source,
    }
}
