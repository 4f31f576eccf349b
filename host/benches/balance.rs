//! What it costs to pick a target, and to judge what came of the request: by policy, among one and among a thousand.
//!
//! `cargo bench -p postern --bench balance`

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Uri};
use postern::clock::Clock;
use postern::config::{self, Config};
use postern::telemetry::Metrics;
use postern::upstream::{Dns, Features, Upstreams};

/// A configuration with an upstream `u` of so many targets and these lines.
fn configured(targets: usize, lines: &str) -> Config {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("postern.toml");
    let targets: Vec<String> = (1..=targets)
        .map(|port| format!("\"http://127.0.0.1:{port}\""))
        .collect();
    let text = format!(
        "version = 1\nlisten.l.address = \"127.0.0.1:0\"\nroute = [{{ name = \"r\", path = \"/\", upstream = \"u\" }}]\n\
         [upstream.u]\ntargets = [{}]\n{lines}\n",
        targets.join(", ")
    );
    std::fs::write(&path, text).expect("a file");
    config::load(&path).expect("it is right")
}

fn picks(criterion: &mut Criterion) {
    let hash = "balance = { policy = \"hash\", hash-on = \"header:x-user\" }";
    let cases = [
        ("round-robin, 1 target", 1, ""),
        ("round-robin, 1000 targets", 1_000, ""),
        (
            "least-request, 1000 targets",
            1_000,
            "balance = \"least-request\"",
        ),
        ("peak-ewma, 1000 targets", 1_000, "balance = \"peak-ewma\""),
        ("hash, 1000 targets", 1_000, hash),
    ];
    let headers = HeaderMap::from_iter([(
        http::HeaderName::from_static("x-user"),
        HeaderValue::from_static("user-4711"),
    )]);
    let uri = Uri::from_static("/");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let mut group = criterion.benchmark_group("pick");
    for (name, targets, lines) in cases {
        let config = configured(targets, lines);
        let dns = Arc::new(Dns::new(&config.dns, runtime.handle().clone()));
        let (clock, metrics) = (Clock::system(), Metrics::new());
        let upstreams = Upstreams::new(&config.upstreams, None, 1, &clock, &metrics, &dns);
        let upstream = upstreams.get("u").expect("it is there");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let affinity = upstream.affinity(&Features {
                    headers: &headers,
                    uri: &uri,
                    client: None,
                    consumer: None,
                });
                black_box(upstream.rehearse(0, affinity.as_ref()))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, picks);
criterion_main!(benches);
