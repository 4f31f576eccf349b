//! HTTP/3 (RFC 9114): a UDP socket beside the TCP one, whose QUIC connections are all served by the first worker.
//!
//! Packets of one connection must reach the same endpoint, whatever address the client has meanwhile; one endpoint for each
//! listener makes that true without help of the kernel. For the same reason nobody takes a UDP socket over: whoever gives it
//! up finishes what has begun there, and only then another binds it. Until then clients are served over TCP.

mod body;
mod exchange;
mod frames;
mod section;
mod transport;
mod udp;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h3::error::Code;
use h3::quic::StreamId;
use h3::server::RequestResolver;
use quinn::crypto::rustls::HandshakeData;
use quinn::{Endpoint, EndpointConfig, Incoming, TokioRuntime, VarInt};
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::accept::Handler;
use super::activity::Order;
use super::janitor::Janitor;
use super::limits::Place;
use super::{Listener, Settings};
use crate::shutdown::{TaskGuard, Tasks};
use crate::telemetry::{ConnectionRefusal, HandshakeOutcome};
use crate::types::Peer;
use exchange::{End, Shared};
use transport::{Control, Stopped, Transport};
pub(super) use udp::Udp;

/// The name of HTTP/3 in ALPN.
pub(super) const H3: &[u8] = b"h3";
/// Handshakes under way from which on a client must show first that it gets packets at the address that it sends from
/// (RFC 9000, 8.1.2): others could fill our memory with made-up addresses.
const TRUSTING: usize = 100;
/// Requests that were taken back count for so long.
const WINDOW: Duration = Duration::from_secs(10);
/// What is left of connections when they are closed: the packets that say so.
const PARTING: Duration = Duration::from_secs(1);
/// A field section may be encoded in a few bytes more than count for its size.
const ENCODING: u64 = 2;

/// The QUIC side of a listener.
pub struct QuicAcceptor {
    listener: Arc<Listener>,
    janitor: Arc<Janitor>,
}

impl QuicAcceptor {
    /// That of a listener, if it speaks HTTP/3.
    #[must_use]
    pub fn new(listener: Arc<Listener>) -> Option<Self> {
        listener.udp.as_ref()?;
        Some(Self {
            listener,
            janitor: Arc::default(),
        })
    }

    /// Accepts connections until the listener's drain begins, and waits for them to end, no longer than `drain_timeout`.
    /// Each is served by a task of its own.
    pub async fn run<H: Handler>(self, handler: H, drain_timeout: Duration) {
        let Some(endpoint) = self.open().await else {
            return;
        };
        let mut drain = self.listener.draining.clone();
        let janitor = tokio::spawn(Arc::clone(&self.janitor).run(Arc::clone(&self.listener)));
        let tasks = Tasks::default();
        loop {
            tokio::select! {
                incoming = endpoint.accept() => match incoming {
                    Some(incoming) => self.admit(incoming, &handler, tasks.guard()),
                    None => break,
                },
                () = drain.draining() => break,
            }
        }
        if let Some(udp) = &self.listener.udp {
            udp.withdraw();
        }
        let refuse = async {
            while let Some(incoming) = endpoint.accept().await {
                incoming.refuse();
            }
        };
        tokio::select! {
            ended = tokio::time::timeout(drain_timeout, tasks.finished()) => if ended.is_err() {
                let listener = self.listener.name();
                tracing::warn!(%listener, timeout = ?drain_timeout, "drain timeout: open HTTP/3 connections are cut off");
                self.janitor.cut();
            },
            () = refuse => {}
        }
        endpoint.close(VarInt::from_u32(0), b"");
        // Whoever has not heard of it by then finds out for himself.
        let _ = tokio::time::timeout(PARTING, endpoint.wait_idle()).await;
        janitor.abort();
    }

    /// The endpoint, when its address is free.
    async fn open(&self) -> Option<Endpoint> {
        let (udp, mut drain) = (self.listener.udp.as_ref()?, self.listener.draining.clone());
        let socket = tokio::select! {
            socket = udp.bound(self.listener.name()) => socket?,
            () = drain.draining() => return None,
        };
        let settings = self.listener.settings.load();
        let config = settings.quic.as_ref().map(|quic| (*quic.config).clone());
        let runtime = Arc::new(TokioRuntime);
        match Endpoint::new(EndpointConfig::default(), config, socket, runtime) {
            Ok(endpoint) => {
                udp.announce();
                Some(endpoint)
            }
            Err(error) => {
                tracing::error!(listener = %self.listener.name(), %error, "HTTP/3 is not served");
                None
            }
        }
    }

    fn admit<H: Handler>(&self, incoming: Incoming, handler: &H, guard: TaskGuard) {
        let (listener, settings) = (
            Arc::clone(&self.listener),
            self.listener.settings.load_full(),
        );
        let Some(quic) = &settings.quic else {
            return incoming.refuse();
        };
        if quic.tls.handshakes_under_way() >= TRUSTING && incoming.may_retry() {
            // The error is that it may not.
            let _ = incoming.retry();
            return;
        }
        let client = incoming.remote_address();
        let Some(place) = listener.connections.enter(settings.config.max_connections) else {
            refuse(&listener, client, ConnectionRefusal::MaxConnections);
            return incoming.refuse();
        };
        let Some(handshake) = quic.tls.begin_handshake(&listener.metrics) else {
            return incoming.refuse();
        };
        let Ok(connecting) = incoming.accept_with(Arc::clone(&quic.config)) else {
            return listener.metrics.handshake(HandshakeOutcome::Failed);
        };
        let (handler, activity) = (handler.clone(), self.janitor.admit(&settings.config));
        let how = (listener, settings);
        tokio::spawn(async move {
            let (mut place, how) = (place, how);
            let connected = connected(&how, connecting).await;
            drop(handshake);
            if let Some(connection) = connected
                && let Some(peer) = introduce(&how, &connection, &mut place)
            {
                let shared = Shared {
                    config: how.1.config.clone(),
                    handler,
                    peer: Arc::new(peer),
                    activity,
                };
                serve(connection, shared).await;
            }
            drop((place, guard));
        });
    }
}

/// A listener, and how its connections are treated.
type How = (Arc<Listener>, Arc<Settings>);

/// The connection, if its handshake comes to a good end in time.
async fn connected(
    (listener, settings): &How,
    connecting: quinn::Connecting,
) -> Option<quinn::Connection> {
    let limit = settings.quic.as_ref()?.tls.handshake_timeout();
    let client = connecting.remote_address();
    let (connection, outcome) = match tokio::time::timeout(limit, connecting).await {
        Ok(Ok(connection)) => (Some(connection), HandshakeOutcome::Done),
        Ok(Err(error)) => {
            tracing::debug!(%client, %error, "QUIC handshake failed");
            (None, HandshakeOutcome::Failed)
        }
        Err(_) => (None, HandshakeOutcome::Timeout),
    };
    listener.metrics.handshake(outcome);
    connection
}

/// Who connected, if it may.
fn introduce(
    (listener, settings): &How,
    connection: &quinn::Connection,
    place: &mut Place,
) -> Option<Peer> {
    let peer = peer(listener, settings, connection)?;
    // The handshake has shown that the address is the client's. All behind a trusted proxy come from its address.
    if let Some(max) = settings.config.max_connections_per_address
        && !peer.trusted
        && !place.belongs_to(peer.ip(), max)
    {
        let why = ConnectionRefusal::MaxConnectionsPerAddress;
        refuse(listener, peer.address, why);
        close(connection, Code::H3_EXCESSIVE_LOAD);
        return None;
    }
    Some(peer)
}

fn refuse(listener: &Listener, client: std::net::SocketAddr, why: ConnectionRefusal) {
    let client = client.ip().to_canonical();
    listener.connections.refuse(listener.name(), client, why);
}

/// Who connected, with what the handshake told.
fn peer(listener: &Listener, settings: &Settings, connection: &quinn::Connection) -> Option<Peer> {
    let tls = &settings.quic.as_ref()?.tls;
    let address = connection.remote_address();
    let mut local = listener.udp.as_ref().map_or(address, Udp::address);
    if let Some(ip) = connection.local_ip() {
        local.set_ip(ip);
    }
    let config = &settings.config;
    let mut peer = Peer::new(
        Arc::clone(&config.name),
        address,
        local,
        Arc::clone(&settings.trusted_proxies),
    )
    .allowing(config.allow_encoded);
    let data = connection.handshake_data();
    let data = data.and_then(|data| data.downcast::<HandshakeData>().ok());
    let name = data.and_then(|data| data.server_name);
    let chain = connection.peer_identity();
    let chain = chain.and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
    let certificate = chain.as_ref().and_then(|chain| chain.first());
    peer.tls = Some(Box::new(tls.peer("TLSv1.3", name.as_deref(), certificate)));
    Some(peer)
}

/// Serves a connection to its end.
async fn serve<H: Handler>(quic: quinn::Connection, shared: Shared<H>) {
    let (shared, control) = (Arc::new(shared), Control::default());
    let most = shared.config.max_header_bytes as u64;
    let (transport, stops) = Transport::new(quic.clone(), most * ENCODING, control.clone());
    let mut builder = h3::server::builder();
    builder.max_field_section_size(most).send_grease(false);
    let begun = tokio::select! {
        begun = builder.build::<_, Bytes>(transport) => begun,
        () = shared.activity.finish_ordered() => return close(&quic, Code::H3_NO_ERROR),
    };
    match begun {
        Ok(mut connection) => {
            let resets = Resets::new(shared.config.frames.resets);
            let requests = Requests {
                shared,
                stops,
                control,
                resets,
                tasks: JoinSet::new(),
            };
            let code = requests.run(&mut connection).await;
            // Before the library does, which knows no other code than that all is well.
            close(&quic, code);
        }
        Err(error) => {
            tracing::debug!(client = %shared.peer.address, %error, "connection ended");
            close(&quic, Code::H3_INTERNAL_ERROR);
        }
    }
}

fn close(quic: &quinn::Connection, code: Code) {
    let code = VarInt::from_u64(code.value()).unwrap_or(VarInt::MAX);
    quic.close(code, b"");
}

/// The requests of a connection.
struct Requests<H> {
    shared: Arc<Shared<H>>,
    /// One for each request that came, in their order.
    stops: mpsc::UnboundedReceiver<(StreamId, Stopped)>,
    control: Control,
    resets: Resets,
    tasks: JoinSet<End>,
}

impl<H: Handler> Requests<H> {
    fn begin(&mut self, request: RequestResolver<Transport, Bytes>) {
        let id = request.frame_stream.id();
        // The library may have rejected some that came before.
        while let Ok((stream, stopped)) = self.stops.try_recv() {
            if stream == id {
                let shared = Arc::clone(&self.shared);
                self.tasks.spawn(exchange::run(request, stopped, shared));
                return;
            }
        }
    }

    /// Serves them until the connection ends, or is to be closed with a code. Those that are still under way then are given
    /// up: their client is gone.
    async fn run(mut self, connection: &mut h3::server::Connection<Transport, Bytes>) -> Code {
        let client = self.shared.peer.address;
        let activity = Arc::clone(&self.shared.activity);
        let (mut ordered, mut accepted) = (Order::None, false);
        loop {
            if ordered >= Order::Finish && self.tasks.is_empty() {
                return Code::H3_NO_ERROR;
            }
            tokio::select! {
                request = connection.accept() => match request {
                    Ok(Some(request)) => {
                        accepted = true;
                        self.begin(request);
                    }
                    Ok(None) => return Code::H3_NO_ERROR,
                    Err(error) => {
                        tracing::debug!(%client, %error, "connection ended");
                        return Code::H3_NO_ERROR;
                    }
                },
                Some(ended) = self.tasks.join_next() => {
                    if matches!(ended, Ok(End::TakenBack)) && !self.resets.count(Instant::now()) {
                        tracing::debug!(%client, "too many requests were taken back");
                        return Code::H3_EXCESSIVE_LOAD;
                    }
                }
                order = activity.order_after(ordered) => {
                    ordered = order;
                    // What has begun is finished, and the client is told how much that is (RFC 9114, 5.2). At first it may
                    // still ask, as far as it has done so already; before its first request there is nothing to tell.
                    let more = match order {
                        Order::Close => return Code::H3_NO_ERROR,
                        Order::Finish => {
                            self.control.reject();
                            1
                        }
                        Order::Last | Order::None if accepted => self.shared.config.max_streams as usize,
                        Order::Last | Order::None => continue,
                    };
                    if connection.shutdown(more).await.is_err() {
                        return Code::H3_NO_ERROR;
                    }
                }
            }
        }
    }
}

/// Requests that a client takes back: each may have cost us a whole exchange (CVE-2023-44487).
struct Resets {
    limit: u32,
    left: u32,
    since: Instant,
}

impl Resets {
    fn new(limit: u32) -> Self {
        Self {
            limit,
            left: limit,
            since: Instant::now(),
        }
    }

    /// One more. Whether there may be as many.
    fn count(&mut self, now: Instant) -> bool {
        if self.left == 0 && now - self.since >= WINDOW {
            self.since = now;
            self.left = self.limit;
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_taken_back_are_counted_within_a_window() {
        let mut resets = Resets::new(3);
        let start = resets.since;
        for _ in 0..3 {
            assert!(resets.count(start));
        }
        assert!(!resets.count(start + WINDOW / 2));
        assert!(resets.count(start + WINDOW));
    }
}
