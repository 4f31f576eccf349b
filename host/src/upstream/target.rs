//! One address of an upstream, and its connections: each worker has its own.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rand::RngExt;

use super::balance::ewma::Ewma;
use super::balance::hash;
use super::care::{Attention, Care};
use super::dial::Peer;
use super::dns::Dns;
use super::error::UpstreamError;
use super::health::outlier::Counts;
use super::health::streaks::Streaks;
use super::health::{Exclusion, Exclusions};
use super::http1::{self, Connection, Keep, Life, Sender};
use super::http2;
use super::load::Load;
use super::outcome::Outcome;
use super::room::{Permit, Room};
use super::tls::{self, ConnectError, Stream};
use crate::body::Body;
use crate::clock::Clock;
use crate::config::{BalancePolicy, Endpoint, UpstreamConfig, UpstreamProtocol};

/// Most bytes that are read of a response before they are passed on, its head included: what a client that does not read
/// makes us keep, besides what it has been sent. With half as many, a response of 1 MiB costs half as much again.
const MOST_READ: usize = 128 << 10;

/// One address of an upstream. It survives reloads, and its connections with it.
pub struct Target {
    endpoint: Endpoint,
    peer: Peer,
    address: Arc<str>,
    clock: Clock,
    slots: Box<[Slot]>,
    /// What it chose in ALPN.
    agreed: AtomicU8,
    load: Load,
    exclusions: Exclusions,
    /// Attempts that failed.
    failures: AtomicU64,
    /// Of its connections.
    room: Arc<Room>,
    streaks: Streaks,
    ewma: Ewma,
    /// Whether somebody asks how soon it answers.
    measured: AtomicBool,
    /// What whoever looks after it remembers; no worker asks for the lock.
    care: Mutex<Care>,
    attention: Arc<Attention>,
}

/// The names of ALPN (RFC 7301, 6).
const HTTP1: &[u8] = b"http/1.1";
const H2: &[u8] = b"h2";

/// What is known of a target's choice.
const UNKNOWN: u8 = 0;
const CHOSE_HTTP1: u8 = 1;
const CHOSE_H2: u8 = 2;

/// The connections of one worker.
#[repr(align(128))]
#[derive(Default)]
struct Slot {
    idle: http1::Pool,
    multiplexed: http2::Pool,
}

/// Sends requests on the streams of a connection of HTTP/2.
pub(super) type SendStream = hyper::client::conn::http2::SendRequest<Body>;

/// What comes first to whoever waits.
enum Turn {
    /// A connection that somebody else used.
    Used(Connection),
    /// Room for another one.
    Room(Permit),
}

impl Target {
    pub(super) fn new(
        endpoint: Endpoint,
        workers: usize,
        clock: Clock,
        dns: &Arc<Dns>,
        attention: Arc<Attention>,
    ) -> Self {
        let address = endpoint.authority();
        Self {
            peer: Peer::new(&endpoint, dns),
            endpoint,
            address: address.into(),
            clock,
            slots: (0..workers).map(|_| Slot::default()).collect(),
            agreed: AtomicU8::new(UNKNOWN),
            load: Load::default(),
            exclusions: Exclusions::default(),
            failures: AtomicU64::new(0),
            room: Arc::default(),
            streaks: Streaks::default(),
            ewma: Ewma::default(),
            measured: AtomicBool::new(false),
            care: Mutex::default(),
            attention,
        }
    }

    /// `host:port`
    #[must_use]
    pub fn address(&self) -> &Arc<str> {
        &self.address
    }

    /// Where it is: targets with the same endpoint are the same target.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether requests may be sent to it.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.exclusions.is_empty()
    }

    /// Whether this keeps requests from it.
    #[must_use]
    pub fn is_excluded(&self, exclusion: Exclusion) -> bool {
        self.exclusions.has(exclusion)
    }

    /// From here on this keeps requests from it, or does not any more. Whether that is new: the set is to be planned anew then.
    pub(super) fn exclude(&self, exclusion: Exclusion, holds: bool) -> bool {
        self.exclusions.set(exclusion, holds)
    }

    /// Requests under way.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.load.in_flight()
    }

    /// Requests so far.
    #[must_use]
    pub fn picks(&self) -> u64 {
        self.load.total()
    }

    /// Requests so far that gave no response, or one with status 5xx.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(super) fn load(&self) -> &Load {
        &self.load
    }

    /// Learns what came of an attempt.
    pub(super) fn judge(&self, outcome: Outcome, elapsed: Duration) {
        let failed = outcome.is_failure() || outcome.is_grpc_error();
        if failed {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        if self.streaks.note(outcome) {
            self.attention.call();
        }
        if self.measured.load(Ordering::Relaxed) && outcome != Outcome::Unrelated {
            self.ewma.observe(elapsed, failed, self.clock.now());
        }
    }

    /// The body of a response broke off whose head was good.
    pub(super) fn broke(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        if self.streaks.broke() {
            self.attention.call();
        }
    }

    /// The body of a response has come to its end.
    pub(super) fn proved(&self) {
        self.streaks.proved();
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// From here on the rules of this upstream hold.
    pub(super) fn configure(&self, upstream: &UpstreamConfig) {
        self.streaks.limit(&upstream.outlier);
        let measured = upstream.balance.policy == BalancePolicy::PeakEwma;
        self.measured.store(measured, Ordering::Relaxed);
    }

    /// What one more request costs, by how soon it answers and what it has under way.
    pub(super) fn cost(&self) -> f32 {
        self.ewma.cost(self.in_flight(), self.clock.now())
    }

    /// A number for cookies: the same on every node, whatever the order of targets.
    pub(super) fn id(&self) -> u64 {
        hash(self.address.as_bytes(), 3)
    }

    pub(super) fn streaks(&self) -> &Streaks {
        &self.streaks
    }

    pub(super) fn care_lock(&self) -> &Mutex<Care> {
        &self.care
    }

    pub(super) fn warm_since(&self) -> Option<Duration> {
        self.care().warm_since()
    }

    /// Requests that have ended, and failures.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            requests: self.picks().saturating_sub(self.in_flight()),
            failures: self.failures(),
        }
    }

    /// The connection that was used last, or none that is usable.
    pub(super) async fn reuse(&self, worker: usize, keep: Keep) -> Option<Connection> {
        self.slots
            .get(worker)?
            .idle
            .take(keep, self.clock.now())
            .await
    }

    /// A new connection of HTTP/1, or where there is no room for it, whichever comes back first.
    pub(super) async fn connect(
        &self,
        worker: usize,
        config: &UpstreamConfig,
    ) -> Result<Connection, UpstreamError> {
        let permit = match self.room.enter(config.pool.max_connections) {
            Some(permit) => permit,
            None => match self.wait(worker, config).await? {
                Turn::Used(connection) => return Ok(connection),
                Turn::Room(permit) => permit,
            },
        };
        let stream = self.dial(config.connect_timeout, &[HTTP1]).await?;
        self.speak_http1(stream, permit, config).await
    }

    /// Waits for a connection: there are as many as there may be.
    async fn wait(&self, worker: usize, config: &UpstreamConfig) -> Result<Turn, UpstreamError> {
        let full = || self.full();
        let slot = self.slots.get(worker).ok_or_else(full)?;
        let _place = self.room.queue(config.pool.max_waiting).ok_or_else(full)?;
        let here = slot.idle.wait();
        let waiting = async {
            loop {
                // Asked for first, so that nothing is missed that happens while we look.
                let mut freed = std::pin::pin!(self.room.freed());
                let mut returned = std::pin::pin!(here.returned());
                freed.as_mut().enable();
                returned.as_mut().enable();
                if let Some(connection) = self.reuse(worker, Keep::of(config)).await {
                    return Turn::Used(connection);
                }
                if let Some(permit) = self.room.enter(config.pool.max_connections) {
                    return Turn::Room(permit);
                }
                self.evict(worker);
                tokio::select! {
                    () = freed => {}
                    () = returned => {}
                }
            }
        };
        let waited = tokio::time::timeout(config.connect_timeout, waiting).await;
        waited.map_err(|_| full())
    }

    /// Closes a connection that another worker has no use for now. Whether there was one.
    fn evict(&self, worker: usize) -> bool {
        let mut others = self.others(worker);
        let evicted = others.any(|slot| slot.idle.evict() || slot.multiplexed.evict());
        // A worker may have idle connections of the other version.
        evicted
            || self
                .slots
                .get(worker)
                .is_some_and(|slot| slot.multiplexed.evict() || slot.idle.evict())
    }

    fn others(&self, worker: usize) -> impl Iterator<Item = &Slot> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(move |(index, slot)| (index != worker).then_some(slot))
    }

    async fn speak_http1(
        &self,
        stream: Stream,
        permit: Permit,
        config: &UpstreamConfig,
    ) -> Result<Connection, UpstreamError> {
        let (sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(MOST_READ)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|source| UpstreamError::of(source, &self.address))?;
        let address = Arc::clone(&self.address);
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(target = %address, %error, "connection to upstream ended");
            }
            drop(permit);
        });
        let sender = Sender::new(sender, self.life(config));
        Ok(Connection { sender, idle: None })
    }

    /// How long a connection that begins now is used. Not all end at once that began at once.
    fn life(&self, config: &UpstreamConfig) -> Life {
        let age = config.pool.max_connection_age.map(|age| {
            let share = rand::rng().random_range(0.9..=1.0);
            self.clock.now() + age.mul_f64(share)
        });
        Life {
            until: age.unwrap_or(Duration::MAX),
            requests: config.pool.max_requests_per_connection.unwrap_or(u64::MAX),
        }
    }

    /// A stream of HTTP/2, on a connection that has room for it or on a new one.
    pub(super) async fn stream(
        &self,
        worker: usize,
        config: &UpstreamConfig,
    ) -> Result<(SendStream, http2::Place), UpstreamError> {
        let limit = config.connect_timeout;
        let timeout = || self.timed_out(limit);
        let pool = &self.slots.get(worker).ok_or_else(timeout)?.multiplexed;
        let pick = || pool.pick(config.max_streams, &self.clock);
        if let Some(found) = pick() {
            return Ok(found);
        }
        let opening = async {
            let _turn = pool.connecting().await;
            loop {
                if let Some(found) = pick() {
                    return Ok(found);
                }
                let Some(permit) = self.room_or_stream(worker, config).await? else {
                    continue;
                };
                let stream = self.dial(limit, &[H2]).await?;
                if self.is_secure() && tls::protocol(&stream) != Some(H2) {
                    self.agreed.store(UNKNOWN, Ordering::Relaxed);
                    return Err(self.no_http2());
                }
                let carried = (permit, self.life(config), self.clock.now());
                pool.open(TokioIo::new(stream), config, &self.address, carried)
                    .await?;
            }
        };
        tokio::time::timeout(limit, opening)
            .await
            .unwrap_or_else(|_| match self.is_full(config) {
                true => Err(self.full()),
                false => Err(timeout()),
            })
    }

    /// Room for a connection of HTTP/2; none when a stream has ended instead, and made room for another.
    async fn room_or_stream(
        &self,
        worker: usize,
        config: &UpstreamConfig,
    ) -> Result<Option<Permit>, UpstreamError> {
        if let Some(permit) = self.room.enter(config.pool.max_connections) {
            return Ok(Some(permit));
        }
        let full = || self.full();
        let pool = &self.slots.get(worker).ok_or_else(full)?.multiplexed;
        let _place = self.room.queue(config.pool.max_waiting).ok_or_else(full)?;
        let mut freed = std::pin::pin!(self.room.freed());
        let mut ended = std::pin::pin!(pool.ended());
        freed.as_mut().enable();
        ended.as_mut().enable();
        if pool.has_room(config.max_streams) {
            return Ok(None);
        }
        if let Some(permit) = self.room.enter(config.pool.max_connections) {
            return Ok(Some(permit));
        }
        // A connection that many share may never be idle: another one ends with the streams that it has.
        if !self.evict(worker) {
            self.others(worker).any(|slot| slot.multiplexed.give_up());
        }
        tokio::select! {
            () = freed => {}
            () = ended => {}
        }
        Ok(self.room.enter(config.pool.max_connections))
    }

    fn is_full(&self, config: &UpstreamConfig) -> bool {
        config
            .pool
            .max_connections
            .is_some_and(|most| self.room.open() >= most)
    }

    /// Whether a target that speaks TLS chose HTTP/2 when it was asked (RFC 7301). It is asked with the first connection.
    pub(super) async fn chose_http2(
        &self,
        worker: usize,
        config: &UpstreamConfig,
    ) -> Result<bool, UpstreamError> {
        let limit = config.connect_timeout;
        let Some(slot) = self.slots.get(worker) else {
            return Ok(false);
        };
        if let known @ (CHOSE_HTTP1 | CHOSE_H2) = self.agreed.load(Ordering::Relaxed) {
            return Ok(known == CHOSE_H2);
        }
        let Some(permit) = self.room_or_stream(worker, config).await? else {
            return Ok(true);
        };
        let stream = self.dial(limit, &[H2, HTTP1]).await?;
        let is_h2 = tls::protocol(&stream) == Some(H2);
        if is_h2 {
            let carried = (permit, self.life(config), self.clock.now());
            let pool = &slot.multiplexed;
            let opening = pool.open(TokioIo::new(stream), config, &self.address, carried);
            let opened = tokio::time::timeout(limit, opening).await;
            opened.unwrap_or_else(|_| Err(self.timed_out(limit)))?;
        } else {
            let connection = self.speak_http1(stream, permit, config).await?;
            slot.idle.put_unused(connection.sender, self.clock.now());
        }
        let chosen = if is_h2 { CHOSE_H2 } else { CHOSE_HTTP1 };
        self.agreed.store(chosen, Ordering::Relaxed);
        Ok(is_h2)
    }

    pub(super) fn is_secure(&self) -> bool {
        self.endpoint.tls.is_some()
    }

    fn no_http2(&self) -> UpstreamError {
        UpstreamError::Tls {
            target: Arc::clone(&self.address),
            source: std::io::Error::other("it does not speak HTTP/2"),
        }
    }

    fn timed_out(&self, limit: Duration) -> UpstreamError {
        UpstreamError::ConnectTimeout {
            target: Arc::clone(&self.address),
            limit,
        }
    }

    /// A connection, which offers these protocols if it speaks TLS.
    pub(super) async fn dial(
        &self,
        limit: Duration,
        offered: &[&[u8]],
    ) -> Result<Stream, UpstreamError> {
        let failed = |error| {
            let target = Arc::clone(&self.address);
            match error {
                ConnectError::Tcp(source) => UpstreamError::Connect { target, source },
                ConnectError::Tls(source) => UpstreamError::Tls { target, source },
            }
        };
        let connecting = tls::connect(&self.peer, self.endpoint.tls.as_ref(), offered);
        match tokio::time::timeout(limit, connecting).await {
            Ok(connected) => connected.map_err(failed),
            Err(_) => Err(self.timed_out(limit)),
        }
    }

    /// Keeps a connection that has done its work, unless somebody without one waits on another worker.
    pub(super) fn keep(&self, worker: usize, sender: Sender, keep: Keep) {
        let Some(slot) = self.slots.get(worker) else {
            return;
        };
        let here = slot.idle.waiting();
        let elsewhere = self.room.waiting().saturating_sub(here);
        // By turns, if some wait here as well: closing it makes room for theirs.
        if elsewhere > 0 && (here == 0 || self.load.total().is_multiple_of(2)) {
            return;
        }
        slot.idle.put(sender, keep, self.clock.now());
    }

    /// Opens the connections that a worker is to have before they are needed.
    pub(super) async fn warm(&self, worker: usize, config: &UpstreamConfig) {
        let Some(slot) = self.slots.get(worker) else {
            return;
        };
        let speaks_http2 = match config.protocol {
            UpstreamProtocol::H2 => Ok(true),
            UpstreamProtocol::Auto if self.is_secure() => self.chose_http2(worker, config).await,
            UpstreamProtocol::Auto | UpstreamProtocol::Http1 => Ok(false),
        };
        let warmed = match speaks_http2 {
            // One carries many requests.
            Ok(true) => self.stream(worker, config).await.map(drop),
            Ok(false) => self.warm_http1(slot, config).await,
            Err(error) => Err(error),
        };
        if let Err(error) = warmed {
            tracing::debug!(target = %self.address, %error, "no connection ahead of requests");
        }
    }

    async fn warm_http1(&self, slot: &Slot, config: &UpstreamConfig) -> Result<(), UpstreamError> {
        for _ in slot.idle.idle()..config.pool.warm_connections.min(config.max_idle) {
            let Some(permit) = self.room.enter(config.pool.max_connections) else {
                return Ok(());
            };
            let stream = self.dial(config.connect_timeout, &[HTTP1]).await?;
            let connection = self.speak_http1(stream, permit, config).await?;
            slot.idle.put_unused(connection.sender, self.clock.now());
        }
        Ok(())
    }

    /// Closes connections that have been idle for too long, of all workers.
    pub(super) fn sweep(&self, keep: Keep) {
        let now = self.clock.now();
        for slot in &self.slots {
            slot.multiplexed.sweep(now, keep.idle_timeout);
            slot.idle.sweep(keep, now);
        }
    }

    /// Idle connections of all workers.
    #[must_use]
    pub fn idle_connections(&self) -> usize {
        let idle = |slot: &Slot| slot.idle.idle() + slot.multiplexed.idle();
        self.slots.iter().map(idle).sum()
    }

    /// Connections of all workers.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.room.open()
    }

    /// Requests that wait for a connection.
    pub(super) fn waiting(&self) -> usize {
        self.room.waiting()
    }

    fn full(&self) -> UpstreamError {
        UpstreamError::PoolFull {
            target: Arc::clone(&self.address),
        }
    }
}
