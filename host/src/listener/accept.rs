//! The accept loop of one worker on one listener.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};

use super::Listener;
use super::connection;
use super::janitor::Janitor;
use super::stream::{Rewound, Socket};
use crate::proxy::ExchangeBody;
use crate::shutdown::{DrainSignal, Seat, TaskGuard};
use crate::types::Peer;

/// After an error of the machine (no descriptors, no memory): accepting again at once would only spin.
const PRESSURE_PAUSE: Duration = Duration::from_millis(50);

/// Serves requests; one for each worker.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Serves one request of a peer.
    fn handle(
        &self,
        request: Request<Incoming>,
        peer: Arc<Peer>,
    ) -> impl Future<Output = Response<ExchangeBody>> + Send;
}

/// One worker's share of a listener.
pub struct Acceptor {
    pub(super) listener: Arc<Listener>,
    socket: TcpListener,
    janitor: Arc<Janitor>,
}

impl Acceptor {
    /// A worker's share. Must be called on the worker's runtime.
    ///
    /// # Errors
    /// When the socket cannot be registered with the runtime.
    pub fn new(listener: Arc<Listener>) -> std::io::Result<Self> {
        let socket = TcpListener::from_std(listener.share()?)?;
        let janitor = Janitor::new(&listener.config);
        Ok(Self {
            listener,
            socket,
            janitor,
        })
    }

    /// Accepts connections until the drain begins. Each is served by a task of its own that holds a guard.
    pub async fn run<H: Handler>(self, handler: H, mut drain: DrainSignal, guard: TaskGuard) {
        tokio::spawn(Arc::clone(&self.janitor).run(drain.clone()));
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = drain.draining() => return self.listener.close(),
            };
            match accepted {
                Ok((stream, address)) => self.admit(stream, address, &handler, &guard),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!(listener = %self.listener.name(), %error, "connections cannot be accepted");
                    tokio::time::sleep(PRESSURE_PAUSE).await;
                }
            }
        }
    }

    fn admit<H: Handler>(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        handler: &H,
        guard: &TaskGuard,
    ) {
        let listener = Arc::clone(&self.listener);
        let Some(place) = Place::take(&listener) else {
            tracing::warn!(listener = %listener.name(), %address, "connection refused: max-connections are open");
            return;
        };
        let local = stream.local_addr().unwrap_or(listener.address);
        // Without this, the last segment of a response waits for a delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        let peer = Peer::new(
            Arc::clone(listener.name()),
            address,
            local,
            Arc::clone(&listener.trusted_proxies),
        )
        .allowing(listener.config.allow_encoded);
        let (handler, activity) = (handler.clone(), self.janitor.admit());
        let seat = Seat::new((place, guard.clone()));
        let stream = Rewound::new(Socket::Tcp(stream));
        tokio::spawn(async move {
            connection::serve(stream, &listener, handler, peer, activity, seat).await;
        });
    }
}

/// Errors of the connection that would have been accepted, not of the listener.
fn is_of_one_connection(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
    )
}

/// One of a listener's `max-connections`.
struct Place {
    open: Arc<AtomicUsize>,
    listener: Arc<Listener>,
}

impl Place {
    fn take(listener: &Arc<Listener>) -> Option<Self> {
        let open = Arc::clone(&listener.connections);
        if open.fetch_add(1, Ordering::Relaxed) >= listener.config.max_connections {
            open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        listener.metrics.opened();
        Some(Self {
            open,
            listener: Arc::clone(listener),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.listener.metrics.closed();
    }
}
