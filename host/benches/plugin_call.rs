//! What one call of a standard plugin costs, from the host's request to the edits applied: everything that a plugin adds
//! to an exchange, and nothing else of the gateway.
//!
//! `cargo xtask build-plugins && cargo bench -p postern --bench plugin_call`. Services are the gateway's own, without app's wiring.

use std::cell::Cell;
use std::fs;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use futures_util::FutureExt as _;
use http::HeaderMap;
use postern::body::Body;
use postern::clock::Clock;
use postern::config::{self, Algorithm, Config, LimitRule};
use postern::exchange::Exchange;
use postern::identity::{self, Consumers, KeyRef, Keys, Verification};
use postern::plugin::{
    Chain, Code, Cost, Counters, Decision, Engine, Held, Identities, KeyName, KeyRing, Outbound,
    OutboundFailure, OutboundFuture, OutboundRequest, Plugin, RequestOutcome, Run, Services,
    StoreFailure, Stores, Verified, Worker,
};
use postern::state;
use postern::telemetry::Metrics;
use postern::types::{Consumer, Identity, PathParameters, Peer, RequestId};

/// The gateway's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SECRET: &str = "a secret of the benchmark, 32 bytes or more";

/// Few enough exchanges that they are still in the processor's cache, as one is that was just read.
const BATCH: BatchSize = BatchSize::NumIterations(32);

/// One plugin a table; the reader of configurations checks it like an operator's.
const CONFIG: &str = r#"
version = 1
[listen.any]
address = "127.0.0.1:0"
[upstream.none]
targets = ["http://127.0.0.1:9"]

[consumer.app]
[[consumer.app.jwt]]
issuer = "app"
algorithm = "HS256"
secret = "env:SECRET"

[plugin.headers]
file = "@PLUGINS@/header-transform.wasm"
config.request = { remove = ["x-remove-me"], add = { x-added = "1" } }
[plugin.headers-fresh]
file = "@PLUGINS@/header-transform.wasm"
isolation = "request"
config.request = { remove = ["x-remove-me"], add = { x-added = "1" } }
[plugin.jwt]
file = "@PLUGINS@/jwt.wasm"
grants = ["identity", "keys"]
[plugin.rate-limit]
file = "@PLUGINS@/rate-limit.wasm"
grants = ["identity", "limits"]
config = { by = "address", limits = ["4000000000/minute"], headers = "off" }

[[route]]
name = "any"
path = "/{*rest}"
upstream = "none"
"#;

fn plugin_calls(criterion: &mut Criterion) {
    let bench = Bench::new();
    // Plugins that were interrupted once run on fibers, which have a timeout.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().build().expect("the runtime starts");
    let _entered = runtime.enter();
    let mut group = criterion.benchmark_group("plugin_call");
    for (label, name) in [
        ("header-transform", "headers"),
        ("header-transform, fresh instance", "headers-fresh"),
        ("jwt, HS256", "jwt"),
        ("rate-limit", "rate-limit"),
    ] {
        let chain = Chain::new(vec![bench.plugin(name)]);
        bench.check(&chain, name);
        let interrupted = Cell::new(0);
        group.bench_function(label, |bencher| {
            bencher.iter_batched(
                || bench.exchange(),
                |exchange| {
                    let mut run = Run::default();
                    let phases =
                        chain.request_phases(&bench.worker, &mut run, exchange, Body::empty());
                    let done = phases.now_or_never();
                    if !matches!(done, Some((_, RequestOutcome::Forward(_)))) {
                        interrupted.set(interrupted.get() + 1);
                    }
                    (run, black_box(done))
                },
                BATCH,
            );
        });
        if interrupted.get() > 0 {
            let interrupted = interrupted.get();
            eprintln!(
                "{label}: the machine is busy: {interrupted} calls ran out of time, and those after them were on fibers"
            );
        }
    }
    group.finish();
}

criterion_group!(benches, plugin_calls);
criterion_main!(benches);

struct Bench {
    engine: Engine,
    config: Config,
    services: Services,
    metrics: Metrics,
    worker: Worker,
    clock: Clock,
    peer: Arc<Peer>,
    headers: HeaderMap,
}

impl Bench {
    fn new() -> Self {
        let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/plugins");
        assert!(
            plugins.join("header-transform.wasm").is_file(),
            "run `cargo xtask build-plugins` first"
        );
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin_call.toml");
        let text = CONFIG.replace("@PLUGINS@", plugins.to_str().expect("the path is text"));
        fs::write(&file, text).expect("the file is written");
        let config =
            config::load_with(&file, &|_| Some(SECRET.into())).expect("the configuration is right");
        let clock = Clock::system();
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
        Self {
            engine: Engine::new(&config.engine).expect("the engine starts"),
            services: services(&config, &clock),
            config,
            metrics: Metrics::new(),
            worker: Worker {
                index: 0,
                outbound: Arc::new(Nowhere),
            },
            clock,
            peer: Arc::new(Peer::new(
                "any".into(),
                SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000)),
                local,
                Arc::new([]),
            )),
            headers: headers(),
        }
    }

    fn plugin(&self, name: &str) -> Arc<Plugin> {
        let config = self
            .config
            .plugins
            .iter()
            .find(|plugin| *plugin.name == *name)
            .expect("it is configured");
        let code = Code::load(&self.engine, &config.file).expect("it compiles");
        let metrics = (self.metrics.plugin(name), self.metrics.prepare_guest(name));
        let plugin = Plugin::new(
            &self.engine,
            &code,
            config,
            self.services.clone(),
            metrics,
            1,
        );
        Arc::new(run_now(plugin).expect("it starts"))
    }

    /// What comes from the connection: 12 headers, of which no plugin asks for more than two.
    fn exchange(&self) -> Box<Exchange> {
        let request = http::Request::builder()
            .uri("/api/orders/4711?page=2")
            .body(())
            .expect("it is a request");
        let (mut request, ()) = request.into_parts();
        request.headers = self.headers.clone();
        Box::new(Exchange {
            id: RequestId::generate(),
            takes_trailers: false,
            grpc: false,
            grpc_status: None,
            started: self.clock.now(),
            mark: self.clock.now(),
            clock: self.clock.clone(),
            peer: Arc::clone(&self.peer),
            client: IpAddr::from([192, 0, 2, 1]),
            secure: false,
            matched_uri: request.uri.clone(),
            request,
            authority: "shop.example".into(),
            content_length: None,
            has_body: false,
            route: Some("any".into()),
            route_index: Some(0),
            parameters: PathParameters::default(),
            identity: None,
            notes: Vec::new(),
            held: Vec::new(),
            outbound_calls: 0,
            upstream: None,
            target: None,
            attempts: Vec::new(),
            may_repeat: true,
            fallback: None,
            upstream_time: None,
            status: None,
            source: None,
            code: None,
            detail: None,
            request_bytes: None,
            response_bytes: 0,
            complete: false,
            recorder: None,
        })
    }

    /// A benchmark of a plugin that fails would look good.
    fn check(&self, chain: &Chain, name: &str) {
        let mut run = Run::default();
        let (exchange, outcome) =
            run_now(chain.request_phases(&self.worker, &mut run, self.exchange(), Body::empty()));
        assert!(
            matches!(outcome, RequestOutcome::Forward(_)),
            "{name} lets the request pass"
        );
        let headers = &exchange.request.headers;
        match name {
            "jwt" => assert_eq!(
                exchange
                    .identity
                    .as_ref()
                    .map(|found| &*found.consumer.name),
                Some("app")
            ),
            "headers" | "headers-fresh" => {
                assert_eq!(
                    headers.get("x-added").map(http::HeaderValue::as_bytes),
                    Some(&b"1"[..])
                );
                assert!(!headers.contains_key("x-remove-me"));
            }
            _ => {}
        }
    }
}

fn headers() -> HeaderMap {
    let claims = serde_json::json!({ "iss": "app", "sub": "user-4711", "exp": 4_102_444_800_u64 });
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key)
        .expect("the token is signed");
    let authorization = format!("Bearer {token}");
    [
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        ),
        (
            "accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        ),
        ("accept-language", "en-US,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("authorization", &authorization),
        ("referer", "https://shop.example/orders"),
        ("cookie", "session=0123456789abcdef; theme=dark"),
        ("sec-fetch-dest", "empty"),
        ("sec-fetch-mode", "cors"),
        ("sec-fetch-site", "same-origin"),
        ("x-remove-me", "1"),
        ("if-none-match", "\"abc\""),
    ]
    .into_iter()
    .map(|(name, value)| {
        let name = http::HeaderName::try_from(name).expect("it is a name");
        (
            name,
            http::HeaderValue::from_str(value).expect("it is a value"),
        )
    })
    .collect()
}

/// Nothing here waits: a future that is not ready at once is a mistake of the benchmark.
fn run_now<F: Future>(future: F) -> F::Output {
    future.now_or_never().expect("nothing waits")
}

fn services(config: &Config, clock: &Clock) -> Services {
    let keys = Keys::build(&config.keys, &config.consumers, clock);
    Services {
        remote: None,
        identities: Arc::new(People(Consumers::build(&config.consumers, clock))),
        keys: Arc::new(Ring(keys.expect("the keys are right"))),
        counters: Arc::new(Limits(state::Limits::new(1000), clock.clone())),
        stores: Arc::new(NoStore),
        tiers: Arc::new(config.tiers.clone()),
        clock: clock.clone(),
    }
}

struct People(Consumers);

impl Identities for People {
    fn find_api_key(&self, key: &str) -> Option<Identity> {
        self.0.find_api_key(key)
    }

    fn find_issuer(&self, issuer: &str) -> Option<Identity> {
        self.0.find_issuer(issuer)
    }

    fn by_name(&self, name: &str) -> Option<Arc<Consumer>> {
        self.0.by_name(name)
    }
}

struct Ring(Keys);

impl KeyRing for Ring {
    fn verify(
        &self,
        key: KeyName<'_>,
        id: Option<&str>,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Verified {
        let key = match key {
            KeyName::Set(name) => KeyRef::Set(name),
            KeyName::Issuer(issuer) => KeyRef::Issuer(issuer),
        };
        match self.0.verify(key, id, algorithm, message, signature) {
            Verification::Valid => Verified::Valid,
            _ => Verified::BadSignature,
        }
    }

    fn sha256(&self, data: &[u8]) -> [u8; 32] {
        identity::sha256(data)
    }
}

struct Limits(state::Limits, Clock);

impl Counters for Limits {
    fn take(
        &self,
        namespace: &str,
        key: &str,
        rules: &[LimitRule],
        cost: Cost,
    ) -> Result<Vec<Decision>, String> {
        let (place, now) = ((namespace, key), self.1.now());
        let decisions = self
            .0
            .decide(place, rules, cost.amount, cost.is_spent, now)
            .map_err(|error| error.to_string())?;
        let export = |decision: &state::Decision| Decision {
            allowed: decision.allowed,
            limit: decision.limit,
            remaining: decision.remaining,
            reset: decision.reset,
            retry: decision.retry,
        };
        Ok(decisions.iter().map(export).collect())
    }

    fn enter(&self, _: &str, _: &str, _: u64) -> Option<Held> {
        None
    }
}

struct NoStore;

impl Stores for NoStore {
    fn get(&self, _: &str, _: &str) -> Result<Option<(Bytes, u64)>, StoreFailure> {
        Ok(None)
    }

    fn set(&self, _: &str, _: &str, _: Bytes, _: Option<Duration>) -> Result<(), StoreFailure> {
        Err(StoreFailure::TooLarge)
    }

    fn compare_and_set(
        &self,
        _: &str,
        _: &str,
        _: Option<u64>,
        _: Bytes,
        _: Option<Duration>,
    ) -> Result<u64, StoreFailure> {
        Err(StoreFailure::Conflict)
    }

    fn delete(&self, _: &str, _: &str) -> Result<(), StoreFailure> {
        Ok(())
    }

    fn add(&self, _: &str, _: &str, _: i64, _: Option<Duration>) -> Result<i64, StoreFailure> {
        Err(StoreFailure::Conflict)
    }
}

struct Nowhere;

impl Outbound for Nowhere {
    fn send(&self, _: OutboundRequest) -> OutboundFuture {
        Box::pin(async { Err(OutboundFailure::Timeout) })
    }
}
