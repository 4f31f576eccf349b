//! An exchange: one request and its response, with all facts about it, as plain data.
//!
//! It stands on the lowest floor because router, plugins and upstreams note facts in it, and the access log reads them.
//! Dropping it ends the exchange, however it ended: that is when it is recorded.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::types::{Identity, PathParameters, Peer, RequestId, Source};

/// Learns of every exchange when it ends.
pub trait Recorder: Send + Sync {
    /// Called once per exchange, on the worker that served it, when the response body ended or was dropped.
    fn record(&self, exchange: &Exchange);
}

/// One of the attempts to have a request answered by an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The target, `host:port`.
    pub target: Arc<str>,
    /// The status of its answer, or a word for what came instead.
    pub outcome: Box<str>,
    /// From its beginning to the head of the answer.
    pub took: Duration,
}

/// All facts about one request and its response.
#[derive(Clone)]
pub struct Exchange {
    /// Names the exchange in logs.
    pub id: RequestId,
    /// When its head had been read, on `clock`.
    pub started: Duration,
    /// When what was measured last had ended: one look at the clock ends one measurement and begins the next.
    pub mark: Duration,
    /// Whose time this is.
    pub clock: Clock,
    /// The other end of the connection.
    pub peer: Arc<Peer>,
    /// The client's address after trusted-proxy processing.
    pub client: IpAddr,
    /// Whether the client spoke TLS, to us or to a trusted proxy.
    pub secure: bool,
    /// The request as it stands: edits of plugins are made here. Headers are moved out when it is forwarded, unless
    /// a response phase may want them. The authority is here, not in a `host` header.
    pub request: http::request::Parts,
    /// Host and optional port, lower case.
    pub authority: Arc<str>,
    /// The declared length of the request body.
    pub content_length: Option<u64>,
    /// Whether the request has a body.
    pub has_body: bool,
    /// Whether the client asked for trailers.
    pub takes_trailers: bool,
    /// The route, once found.
    pub route: Option<Arc<str>>,
    /// Number of the route in its snapshot: metrics are looked up by it.
    pub route_index: Option<usize>,
    /// What the path gave to the route's parameters.
    pub parameters: PathParameters,
    /// The path that was matched: `parameters` are ranges of it, also after an edit of the path.
    pub matched_uri: http::Uri,
    /// Who it belongs to.
    pub identity: Option<Identity>,
    /// Notes of plugins.
    pub notes: Vec<(String, Vec<u8>)>,
    /// What is held until it ends: places among those that are under way at once.
    pub held: Vec<Arc<dyn Send + Sync>>,
    /// Outbound requests that plugins made.
    pub outbound_calls: u32,
    /// Whether it is a call of gRPC.
    pub grpc: bool,
    /// The status of gRPC that ended it.
    pub grpc_status: Option<u16>,
    /// The upstream that it was sent to.
    pub upstream: Option<Arc<str>>,
    /// The target that it was sent to, `host:port`.
    pub target: Option<Arc<str>>,
    /// All attempts at it, where not the first one was the only one.
    pub attempts: Vec<Attempt>,
    /// Whether it may be given to yet another service: none has seen it, or its method allows it.
    pub may_repeat: bool,
    /// Who answered in the place of its origin: a word.
    pub fallback: Option<&'static str>,
    /// From the forwarded head to the response's head.
    pub upstream_time: Option<Duration>,
    /// The answer's status; none while there is no answer, and if the client went away before it.
    pub status: Option<u16>,
    /// Where the answer was made.
    pub source: Option<Source>,
    /// Why the gateway or a plugin answered: a stable word.
    pub code: Option<Arc<str>>,
    /// Details of a failure, for the log only.
    pub detail: Option<String>,
    /// Counts the bytes of the request body as they arrive, where there is one.
    pub request_bytes: Option<Arc<AtomicU64>>,
    /// Bytes of the response body that were handed to the connection.
    pub response_bytes: u64,
    /// Whether the response body came to its end.
    pub complete: bool,
    /// Learns of the end.
    pub recorder: Option<Arc<dyn Recorder>>,
}

impl Exchange {
    /// The facts as they are now, for a body that goes on while the exchange itself is elsewhere. Nobody records them.
    #[must_use]
    pub fn facts(&self) -> Box<Self> {
        let mut facts = Box::new(self.clone());
        facts.recorder = None;
        facts.held = Vec::new();
        facts
    }

    /// Time since the beginning.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.clock.now().saturating_sub(self.started)
    }

    /// The value of a path parameter, percent-decoded.
    #[must_use]
    pub fn path_parameter(&self, name: &str) -> Option<String> {
        let raw = self.parameters.get(name, self.matched_uri.path())?;
        Some(
            percent_encoding::percent_decode_str(raw)
                .decode_utf8_lossy()
                .into_owned(),
        )
    }

    /// Bytes of the request body that have arrived.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.request_bytes
            .as_ref()
            .map_or(0, |bytes| bytes.load(Ordering::Relaxed))
    }

    /// Name of the route, empty while there is none.
    #[must_use]
    pub fn route_name(&self) -> &str {
        self.route.as_deref().unwrap_or_default()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(recorder) = self.recorder.take() {
            recorder.record(self);
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("id", &self.id)
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}
