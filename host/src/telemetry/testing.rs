//! What the tests of telemetry share.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::Clock;
use crate::exchange::Exchange;
use crate::types::{Consumer, Identity, PathParameters, Peer, RequestId, Source};

/// Memory that can be written to and read.
#[derive(Debug, Clone, Default)]
pub(super) struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// 2026-01-02T03:04:05.678Z.
pub(super) fn clock() -> Clock {
    let clock = Clock::manual();
    clock.advance(Duration::from_millis(1_767_323_045_678));
    clock
}

/// A request that was routed and answered by an upstream.
pub(super) fn exchange(clock: &Clock) -> Exchange {
    let (request, ()) = http::Request::get("/api/orders/17?full")
        .body(())
        .unwrap()
        .into_parts();
    let address = SocketAddr::from(([192, 0, 2, 7], 40_000));
    let consumer = Consumer::new("mobile-app".into(), None, Vec::new(), None);
    Exchange {
        id: RequestId::Generated(0x0123_4567_89ab_cdef),
        started: clock.now(),
        mark: clock.now(),
        clock: clock.clone(),
        peer: Arc::new(Peer::new("public".into(), address, address, Arc::from([]))),
        client: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 3)),
        secure: false,
        matched_uri: request.uri.clone(),
        request,
        authority: "shop.example:8080".into(),
        content_length: None,
        has_body: true,
        takes_trailers: false,
        route: Some("orders".into()),
        route_index: Some(0),
        parameters: PathParameters::default(),
        identity: Some(Identity {
            consumer: Arc::new(consumer),
            credential_id: "mobile-app".into(),
            anonymous: false,
        }),
        notes: Vec::new(),
        held: Vec::new(),
        outbound_calls: 0,
        grpc: false,
        grpc_status: None,
        upstream: Some("orders".into()),
        target: Some("127.0.0.1:7001".into()),
        attempts: Vec::new(),
        may_repeat: true,
        fallback: None,
        upstream_time: Some(Duration::from_micros(1_002)),
        status: Some(200),
        source: Some(Source::Upstream),
        code: None,
        detail: None,
        request_bytes: Some(Arc::new(AtomicU64::new(12))),
        response_bytes: 3_456,
        complete: true,
        recorder: None,
    }
}

/// A request that reached nothing, from a client that went away.
pub(super) fn aborted(clock: &Clock) -> Exchange {
    let mut exchange = exchange(clock);
    exchange.id = RequestId::Adopted("from-\"client\"".into());
    exchange.route = None;
    exchange.route_index = None;
    exchange.identity = None;
    exchange.upstream = None;
    exchange.target = None;
    exchange.upstream_time = None;
    exchange.status = None;
    exchange.source = None;
    exchange.request_bytes = None;
    exchange.response_bytes = 0;
    exchange.complete = false;
    exchange
}

/// Compares with a file of `tests/fixtures/telemetry`; `BLESS=1` writes it instead.
pub(super) fn assert_golden(name: &str, found: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/telemetry")
        .join(name);
    if std::env::var_os("BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(
        found,
        expected,
        "{} differs; BLESS=1 rewrites it",
        path.display()
    );
}
