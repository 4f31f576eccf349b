//! What upstreams cost by themselves: picking a target by each policy, all that is done for a request besides sending it, and
//! taking a connection out of a pool.
//!
//! `cargo bench -p postern --bench balance`

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use postern::clock::Clock;
use postern::config::{self, Config};
use postern::telemetry::Metrics;
use postern::upstream::{Affinity, Dns, Features, Upstream, Upstreams};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// A configuration with an upstream `u` of these targets and lines.
fn configured(targets: impl Iterator<Item = u16>, lines: &str) -> Config {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("postern.toml");
    let targets = targets.map(|port| format!("\"http://127.0.0.1:{port}\""));
    let targets: Vec<String> = targets.collect();
    let text = format!(
        "version = 1\nlisten.l.address = \"127.0.0.1:0\"\nroute = [{{ name = \"r\", path = \"/\", upstream = \"u\" }}]\n\
         [upstream.u]\ntargets = [{}]\n{lines}\n",
        targets.join(", ")
    );
    std::fs::write(&path, text).expect("a file");
    config::load(&path).expect("it is right")
}

fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime")
}

/// The upstream of a configuration, with one worker.
fn upstreams(runtime: &Runtime, config: &Config) -> Upstreams {
    let dns = Arc::new(Dns::new(&config.dns, runtime.handle().clone()));
    let (clock, metrics) = (Clock::system(), Metrics::new());
    Upstreams::new(&config.upstreams, None, 1, &clock, &metrics, &dns)
}

/// So many targets, at ports that nobody connects to.
fn ports(targets: u16) -> impl Iterator<Item = u16> {
    1..=targets
}

const HASH: &str = "balance = { policy = \"hash\", hash-on = \"header:x-user\" }";
const EWMA: &str = "balance = \"peak-ewma\"";
const LEAST: &str = "balance = \"least-request\"";

/// All that an upstream can have.
const ALL: &str = r#"
balance = { policy = "least-request", slow-start = "10s" }
retry = { retries = 2, on = ["connect-failure", "refused-stream", "reset"], statuses = [503] }
health = { interval = "1s" }
outlier = { consecutive-5xx = 5, consecutive-gateway-errors = 5, failure-percentage = "80%" }
breaker = { slow-after = "2s" }
concurrency = { max-requests = 1000, max-queue = 100, adaptive = true }
"#;

fn bench(
    criterion: &mut Criterion,
    group: &str,
    cases: &[(&str, u16, &str)],
    what: impl Fn(&Upstream, Option<&Affinity>) -> Option<Arc<str>>,
) {
    let name = HeaderName::from_static("x-user");
    let headers = HeaderMap::from_iter([(name, HeaderValue::from_static("user-4711"))]);
    let uri = Uri::from_static("/");
    let runtime = runtime();
    let mut group = criterion.benchmark_group(group);
    for (name, targets, lines) in cases {
        let upstreams = upstreams(&runtime, &configured(ports(*targets), lines));
        let upstream = upstreams.get("u").expect("it is there");
        group.bench_function(*name, |bencher| {
            bencher.iter(|| {
                let affinity = upstream.affinity(&Features {
                    headers: &headers,
                    uri: &uri,
                    client: None,
                    consumer: None,
                });
                black_box(what(upstream, affinity.as_ref()))
            });
        });
    }
    group.finish();
}

fn picks(criterion: &mut Criterion) {
    let cases = [
        ("round-robin, 1 target", 1, ""),
        ("round-robin, 1000 targets", 1_000, ""),
        ("least-request, 1000 targets", 1_000, LEAST),
        ("peak-ewma, 1000 targets", 1_000, EWMA),
        ("hash, 1000 targets", 1_000, HASH),
    ];
    bench(criterion, "pick", &cases, |upstream, affinity| {
        upstream.rehearse_pick(0, affinity)
    });
}

/// The difference between the first case and each other one is what the machinery costs a healthy request.
fn machinery(criterion: &mut Criterion) {
    let cases = [
        ("a single static target", 1, "retry = { retries = 0 }"),
        ("retries and their budget", 1, ""),
        ("and a breaker", 1, "breaker = { slow-after = \"2s\" }"),
        ("all, 3 targets", 3, ALL),
        ("all, 1000 targets", 1_000, ALL),
    ];
    bench(criterion, "request", &cases, |upstream, affinity| {
        let answered = upstream.rehearse(0, affinity);
        assert!(answered.is_some(), "nothing is in its way");
        answered
    });
}

/// A connection is taken out of the pool and put back.
fn pool(criterion: &mut Criterion) {
    let runtime = runtime();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"));
    let listener = listener.expect("there is a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let mut group = criterion.benchmark_group("pool");
    for warm in [1, 64] {
        let lines = format!("warm-connections = {warm}");
        let config = configured(std::iter::once(port), &lines);
        let upstreams = upstreams(&runtime, &config);
        let upstream = upstreams.get("u").expect("it is there");
        let held = runtime.block_on(async {
            let accepting = async {
                let mut held = Vec::new();
                while held.len() < warm {
                    held.push(listener.accept().await.expect("somebody comes"));
                }
                held
            };
            let (held, ()) = tokio::join!(accepting, upstreams.warm(0));
            // Until the connections' own tasks have begun.
            tokio::time::sleep(Duration::from_millis(100)).await;
            held
        });
        group.bench_function(format!("{warm} idle connections"), |bencher| {
            bencher.iter(|| {
                let there = upstream.rehearse_pool(0).now_or_never();
                assert_eq!(black_box(there), Some(true), "it is ready");
            });
        });
        drop(held);
    }
    group.finish();
}

criterion_group!(benches, picks, machinery, pool);
criterion_main!(benches);
