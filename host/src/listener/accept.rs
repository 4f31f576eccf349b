//! The accept loop of one worker on one listener.

use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response};

use super::activity::{Activity, Order};
use super::connection;
use super::janitor::Janitor;
use super::limits::Place;
use super::proxy_protocol::{self, Endpoints, HeaderError};
use super::socket::{self, Accepted, Waiting};
use super::stream::Rewound;
use super::{Listener, Settings};
use crate::body::Arriving;
use crate::proxy::ExchangeBody;
use crate::shutdown::{DrainSignal, Seat, TaskGuard, Tasks};
use crate::telemetry::ConnectionRefusal;
use crate::types::Peer;

/// After an error of the machine (no descriptors, no memory): accepting again at once would only spin.
const PRESSURE_PAUSE: Duration = Duration::from_millis(50);
/// Connections that are still taken from the queue when a drain begins: as many as it holds.
const MAX_QUEUED: usize = 4_096;

/// Serves requests; one for each worker.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Serves one request of a peer.
    fn handle(
        &self,
        request: Request<Arriving>,
        peer: Arc<Peer>,
    ) -> impl Future<Output = Response<ExchangeBody>> + Send;
}

/// One worker's share of a listener.
pub struct Acceptor {
    listener: Arc<Listener>,
    waiting: Waiting,
    janitor: Arc<Janitor>,
}

impl Acceptor {
    /// A worker's share. Must be called on the worker's runtime.
    ///
    /// # Errors
    /// When the socket cannot be registered with the runtime.
    pub fn new(listener: Arc<Listener>) -> Result<Self> {
        let waiting = Waiting::new(listener.share()?)?;
        Ok(Self {
            listener,
            waiting,
            janitor: Arc::default(),
        })
    }

    /// Accepts connections until the listener's drain begins, and waits for them to end, no longer than `drain_timeout`.
    /// Each is served by a task of its own.
    pub async fn run<H: Handler>(self, handler: H, drain_timeout: Duration) {
        let mut drain = self.listener.draining.clone();
        let janitor = tokio::spawn(Arc::clone(&self.janitor).run(Arc::clone(&self.listener)));
        let tasks = Tasks::default();
        self.accept(&handler, &mut drain, &tasks).await;
        self.take_queued(&handler, &tasks);
        let Self {
            listener,
            waiting,
            janitor: connections,
        } = self;
        listener.close();
        drop(waiting);
        if tokio::time::timeout(drain_timeout, tasks.finished())
            .await
            .is_err()
        {
            tracing::warn!(listener = %listener.name(), timeout = ?drain_timeout, "drain timeout: open connections are cut off");
            connections.cut();
        }
        janitor.abort();
    }

    async fn accept<H: Handler>(&self, handler: &H, drain: &mut DrainSignal, tasks: &Tasks) {
        loop {
            let accepted = tokio::select! {
                accepted = self.waiting.accept() => accepted,
                () = drain.draining() => return,
            };
            match accepted {
                Ok(accepted) => self.admit(accepted, handler, tasks.guard()),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if let Some(unsaid) = self.listener.complaint.due(Instant::now()) {
                        let listener = self.listener.name();
                        tracing::error!(%listener, %error, unsaid, "connections cannot be accepted");
                    }
                    tokio::time::sleep(PRESSURE_PAUSE).await;
                }
            }
        }
    }

    /// Closing a socket resets the connections that wait in its queue, and their clients believe that they are connected.
    fn take_queued<H: Handler>(&self, handler: &H, tasks: &Tasks) {
        if self.listener.is_shared() {
            return;
        }
        let Ok(socket) = self.waiting.duplicate() else {
            return;
        };
        for _ in 0..MAX_QUEUED {
            match socket::accept_queued(&socket) {
                Ok(Some(accepted)) => self.admit(accepted, handler, tasks.guard()),
                Ok(None) => return,
                Err(error) if is_of_one_connection(&error) => {}
                Err(_) => return,
            }
        }
    }

    fn admit<H: Handler>(&self, accepted: Accepted, handler: &H, guard: TaskGuard) {
        let listener = Arc::clone(&self.listener);
        let settings = listener.settings.load_full();
        let Some(mut place) = listener.connections.enter(settings.config.max_connections) else {
            let client = accepted.peer.ip().to_canonical();
            return listener.connections.refuse(
                listener.name(),
                client,
                ConnectionRefusal::MaxConnections,
            );
        };
        let (handler, activity) = (handler.clone(), self.janitor.admit(&settings.config));
        tokio::spawn(async move {
            let ends = Endpoints {
                source: accepted.peer,
                destination: accepted.local,
            };
            let mut stream = Rewound::new(accepted.stream);
            match introduce(&settings, &mut stream, ends, &mut place, &activity).await {
                Ok(peer) => {
                    let how = (&*listener, &*settings);
                    let seat = Seat::new((place, guard));
                    connection::serve(stream, how, handler, peer, activity, seat).await;
                }
                Err(Some(refusal)) => {
                    let client = ends.source.ip().to_canonical();
                    listener
                        .connections
                        .refuse(listener.name(), client, refusal);
                }
                Err(None) => {}
            }
        });
    }
}

/// Finds out who connected, and whether it may. An error without a reason is a connection that went before it said anything.
async fn introduce(
    settings: &Settings,
    stream: &mut Rewound,
    mut ends: Endpoints,
    place: &mut Place,
    activity: &Arc<Activity>,
) -> std::result::Result<Peer, Option<ConnectionRefusal>> {
    let config = &settings.config;
    if config.proxy_protocol {
        let trusted = &settings.trusted_proxies;
        let proxy = ends.source.ip().to_canonical();
        if !trusted.is_empty() && !trusted.iter().any(|range| range.contains(&proxy)) {
            return Err(Some(ConnectionRefusal::ProxyProtocol));
        }
        let header = tokio::time::timeout(config.header_timeout, proxy_protocol::read(stream));
        let header = tokio::select! {
            header = header => header,
            () = activity.finish_ordered() => {
                // The janitor is as impatient as we are; it finishes connections in a drain, too.
                let overdue = activity.ordered() == Order::Close;
                return Err(overdue.then_some(ConnectionRefusal::ProxyProtocol));
            }
        };
        match header {
            Ok(Ok(said)) => ends = said.unwrap_or(ends),
            // Such as a health check that only connects.
            Ok(Err(HeaderError::Silent | HeaderError::Io(_))) => return Err(None),
            Ok(Err(error)) => {
                tracing::debug!(listener = %config.name, %proxy, %error, "connection refused");
                return Err(Some(ConnectionRefusal::ProxyProtocol));
            }
            Err(_) => return Err(Some(ConnectionRefusal::ProxyProtocol)),
        }
    }
    let mut peer = Peer::new(
        Arc::clone(&config.name),
        ends.source,
        ends.destination,
        Arc::clone(&settings.trusted_proxies),
    )
    .allowing(config.allow_encoded);
    peer.https_port = config.redirect_https;
    // All clients behind a trusted proxy come from its address.
    if let Some(max) = config.max_connections_per_address
        && !peer.trusted
        && !place.belongs_to(peer.ip(), max)
    {
        return Err(Some(ConnectionRefusal::MaxConnectionsPerAddress));
    }
    Ok(peer)
}

/// Errors of the connection that would have been accepted, not of the listener.
fn is_of_one_connection(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
    )
}
