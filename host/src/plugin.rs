//! Plugins: sandboxed components that decide about requests and responses.
//!
//! `component` turns bytes into linked code, `Plugin` adds configuration and grants, `instance` is one live guest,
//! `phases` calls it, `stream` pipes a body through it, `chain` is the ordered plugins of a route. What guests may call is in `host`, over `ports`.

mod bindings;
mod cache;
mod chain;
mod component;
mod convert;
mod cpu;
mod engine;
mod error;
mod host;
mod instance;
mod phases;
mod pool;
mod ports;
mod state;
mod stream;
mod verdict;
mod wasi;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

pub use chain::{Chain, RequestOutcome, ResponseOutcome, Run};
pub use engine::Engine;
pub use error::{CallError, EngineError, FailureReason, LoadError};
pub use pool::Worker;
pub use ports::{
    Cost, Counters, Decision, Held, Identities, KeyName, KeyRing, Outbound, OutboundFailure,
    OutboundFuture, OutboundRequest, RemoteFuture, RemoteState, Services, StoreFailure, Stores,
    Verified,
};
pub use verdict::Reply;

use bindings::exports::postern::plugin::lifecycle::{self, Phases};
use component::Linked;
use instance::Instance;
use pool::Pools;
use state::Shared;

use crate::config::{OnFailure, PluginConfig};
use crate::telemetry::{GuestMetrics, PluginMetrics, PluginPhase};

/// A `configure` shorter than this may run on a worker's stack when further instances are made.
const SHORT_CONFIGURE: Duration = Duration::from_millis(1);
/// The CPU budget up to which a synchronous plugin holds its worker; with more it runs on a fiber (design 4.2).
const INLINE_CPU: Duration = Duration::from_millis(2);

/// A component of a file, by its content; compiled once, however many plugins use it.
#[derive(Clone)]
pub struct Code {
    component: wasmtime::component::Component,
    digest: blake3::Hash,
}

impl Code {
    /// Reads and compiles a file. Takes as long as the compiler does, unless the code is in the cache.
    ///
    /// # Errors
    /// When the file is unreadable or not a component.
    pub fn load(engine: &Engine, file: &std::path::Path) -> Result<Self, LoadError> {
        let bytes = component::read(file)?;
        let digest = blake3::hash(&bytes);
        Ok(Self {
            component: component::compile(engine, &bytes)?,
            digest,
        })
    }

    /// The hash of the file that it was read from.
    #[must_use]
    pub fn digest(&self) -> blake3::Hash {
        self.digest
    }
}

/// The digest of a file as it is now.
///
/// # Errors
/// When the file is unreadable.
pub fn digest(file: &std::path::Path) -> Result<blake3::Hash, LoadError> {
    component::read(file).map(|bytes| blake3::hash(&bytes))
}

/// A configured plugin: code, configuration, grants and budgets, and its instances.
pub struct Plugin {
    shared: Arc<Shared>,
    linked: Linked,
    config: Arc<str>,
    interest: Interest,
    on_failure: OnFailure,
    isolated: bool,
    short_configure: bool,
    pools: Pools,
    digest: blake3::Hash,
}

/// What a plugin wants by value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Interest {
    request: Selection,
    response: Selection,
    max_request_body: usize,
    max_response_body: usize,
    /// Phases that are exported but have nothing to do.
    unused: lifecycle::Phases,
}

/// A choice of headers.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Selection {
    All,
    Only(Vec<HeaderName>),
}

impl Plugin {
    /// Links code with what the configuration grants, and configures a trial instance.
    ///
    /// # Errors
    /// A sentence for the operator; see [`LoadError`].
    pub async fn new(
        engine: &Engine,
        code: &Code,
        config: &PluginConfig,
        services: Services,
        metrics: (Arc<PluginMetrics>, Arc<GuestMetrics>),
        workers: usize,
    ) -> Result<Self, LoadError> {
        let linked = component::link(engine, &code.component, config, services.remote.is_some())?;
        let clock = services.clock.clone();
        let shared = Arc::new(Shared {
            name: Arc::clone(&config.name),
            budget: config.budget.clone(),
            upstreams: config.upstreams.clone(),
            services,
            metrics: metrics.0,
            guest_metrics: metrics.1,
            outbound_under_way: 0.into(),
            heavy: (!linked.suspends && config.budget.cpu > INLINE_CPU).into(),
        });
        let begun = clock.now();
        let (_, interest) = Instance::start(
            &linked,
            &shared,
            &Worker {
                index: 0,
                outbound: Arc::new(pool::NoOutbound),
            },
            &config.config,
            false,
        )
        .await
        .map_err(refused)?;
        let short_configure = clock.now().saturating_sub(begun) < SHORT_CONFIGURE;
        let interest = Interest::check(interest, config.budget.body_size)?;
        Ok(Self {
            linked,
            config: Arc::clone(&config.config),
            interest,
            on_failure: config.on_failure.clone(),
            isolated: config.isolation == crate::config::Isolation::Request,
            short_configure,
            pools: Pools::new(workers),
            digest: code.digest,
            shared,
        })
    }

    /// The plugin's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.shared.name
    }

    /// The hash of its code.
    #[must_use]
    pub fn digest(&self) -> blake3::Hash {
        self.digest
    }

    /// The metrics that its guests defined: to be published when it serves.
    #[must_use]
    pub fn guest_metrics(&self) -> &Arc<GuestMetrics> {
        &self.shared.guest_metrics
    }

    /// Whether it can be the `responder` of a route.
    #[must_use]
    pub fn is_responder(&self) -> bool {
        self.linked.exports.responder.is_some()
    }

    /// Whether it can be in a route's chain.
    #[must_use]
    pub fn has_phases(&self) -> bool {
        let exports = &self.linked.exports;
        let request = exports.request.is_some() || exports.request_body.is_some();
        let response = exports.response.is_some() || exports.response_body.is_some();
        let streams = exports.request_stream.is_some() || exports.response_stream.is_some();
        request || response || streams
    }

    /// The phases that are called.
    pub fn phases(&self) -> impl Iterator<Item = PluginPhase> {
        let all = [
            PluginPhase::Request,
            PluginPhase::RequestBody,
            PluginPhase::RequestStream,
            PluginPhase::Response,
            PluginPhase::ResponseBody,
            PluginPhase::ResponseStream,
            PluginPhase::Respond,
        ];
        all.into_iter().filter(|phase| self.calls(*phase))
    }

    fn sees_requests(&self) -> bool {
        self.calls(PluginPhase::Request)
            || self.calls(PluginPhase::RequestBody)
            || self.streams_requests()
    }

    fn sees_responses(&self) -> bool {
        self.calls(PluginPhase::Response)
            || self.calls(PluginPhase::ResponseBody)
            || self.streams_responses()
    }

    fn streams_requests(&self) -> bool {
        self.calls(PluginPhase::RequestStream)
    }

    fn streams_responses(&self) -> bool {
        self.calls(PluginPhase::ResponseStream)
    }

    /// Whether a phase is exported and has something to do.
    fn calls(&self, phase: PluginPhase) -> bool {
        let (exports, unused) = (&self.linked.exports, self.interest.unused);
        match phase {
            PluginPhase::Request => exports.request.is_some() && !unused.contains(Phases::REQUEST),
            PluginPhase::RequestBody => {
                exports.request_body.is_some() && !unused.contains(Phases::REQUEST_BODY)
            }
            PluginPhase::Response => {
                exports.response.is_some() && !unused.contains(Phases::RESPONSE)
            }
            PluginPhase::ResponseBody => {
                exports.response_body.is_some() && !unused.contains(Phases::RESPONSE_BODY)
            }
            PluginPhase::RequestStream | PluginPhase::RequestChunk => {
                exports.request_stream.is_some() && !unused.contains(Phases::REQUEST_STREAM)
            }
            PluginPhase::ResponseStream | PluginPhase::ResponseChunk => {
                exports.response_stream.is_some() && !unused.contains(Phases::RESPONSE_STREAM)
            }
            PluginPhase::Respond => exports.responder.is_some(),
        }
    }
}

fn refused(error: CallError) -> LoadError {
    match error.reason {
        FailureReason::Error => LoadError::Configuration(error.detail),
        _ if error.backtrace.is_empty() => LoadError::Start(error.detail),
        _ => LoadError::Start(format!(
            "{} (in {})",
            error.detail,
            error.backtrace.join(" < ")
        )),
    }
}

impl Interest {
    fn check(interest: lifecycle::Interest, limit: usize) -> Result<Self, LoadError> {
        let size = |wanted: u64| usize::try_from(wanted).unwrap_or(usize::MAX).min(limit);
        Ok(Self {
            request: Selection::check(interest.request_headers)?,
            response: Selection::check(interest.response_headers)?,
            max_request_body: size(interest.max_request_body),
            max_response_body: size(interest.max_response_body),
            unused: interest.unused,
        })
    }
}

impl Selection {
    fn check(selection: lifecycle::HeaderSelection) -> Result<Self, LoadError> {
        match selection {
            lifecycle::HeaderSelection::None => Ok(Self::Only(Vec::new())),
            lifecycle::HeaderSelection::All => Ok(Self::All),
            lifecycle::HeaderSelection::Only(names) => {
                let names = names.iter().map(|name| {
                    HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
                        LoadError::Start(format!(
                            "it wants a header {name:?}, which is not a header name"
                        ))
                    })
                });
                Ok(Self::Only(names.collect::<Result<_, _>>()?))
            }
        }
    }
}
