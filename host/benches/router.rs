//! What it costs to find a route among 10,000, to build their tables, and to look at a path.
//!
//! `cargo bench -p postern --bench router`

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Method};
use postern::config::{
    ConditionConfig, OriginConfig, PathConfig, Position, RouteConfig, TestConfig,
};
use postern::router::{Head, Router, normalise};
use postern::types::EncodedInPath;

fn route(n: usize) -> RouteConfig {
    let (hosts, path): (Vec<Arc<str>>, String) = match n % 4 {
        0 => (vec![], format!("/service-{n}/{{*rest}}")),
        1 => (
            vec![format!("h{n}.test").into()],
            "/{id}/items/{item}".into(),
        ),
        2 => (vec![], format!("/common/{{id}}/x{n}")),
        _ => (vec![], format!("/exact-{n}")),
    };
    let condition = ConditionConfig {
        name: "x-version".into(),
        test: TestConfig::Exact("2".into()),
    };
    RouteConfig {
        name: format!("r{n}").into(),
        hosts,
        path: PathConfig::Pattern(path.into()),
        methods: vec![Method::GET],
        headers: if n % 8 == 3 { vec![condition] } else { vec![] },
        query: vec![],
        priority: 0,
        plugins: vec![],
        path_change: None,
        origin: OriginConfig::Upstream("u".into()),
        canary: vec![],
        mirror: None,
        retry: None,
        fallback: Vec::new(),
        fault: None,
        importance: postern::types::Importance::Normal,
        deadline_header: None,
        timeout: Duration::from_secs(60),
        read_timeout: None,
        total_timeout: None,
        max_request_body: 0,
        upgrade: Vec::new(),
        tunnel_idle_timeout: Duration::ZERO,
        position: Position {
            file: Arc::new(PathBuf::new()),
            span: 0..0,
            key: "route".into(),
        },
    }
}

fn bench(criterion: &mut Criterion) {
    let routes: Vec<RouteConfig> = (0..10_000).map(route).collect();
    let router = Router::build(&routes).expect("no route stands in another's way");
    criterion.bench_function("build 10,000 routes", |bencher| {
        bencher.iter(|| Router::build(black_box(&routes)));
    });
    let mut headers = HeaderMap::new();
    headers.insert("x-version", HeaderValue::from_static("2"));
    for (name, host, path) in [
        ("exact", "any.test", "/exact-9999"),
        ("header condition", "any.test", "/exact-9995"),
        ("tail", "any.test", "/service-5000/orders/17"),
        (
            "parameter below a shared one",
            "any.test",
            "/common/17/x5002",
        ),
        ("two parameters of a host", "h5001.test:8080", "/17/items/4"),
        ("none", "any.test", "/nothing/of/the/kind"),
    ] {
        let head = Head {
            host,
            path,
            query: None,
            method: &Method::GET,
            headers: &headers,
        };
        criterion.bench_function(&format!("match: {name}"), |bencher| {
            bencher.iter(|| router.find(black_box(&head)));
        });
    }
    for path in ["/api/orders/17/items", "/api//orders/./17/../18/%7eitems"] {
        criterion.bench_function(&format!("normalise {path}"), |bencher| {
            bencher.iter(|| {
                normalise(black_box(path), EncodedInPath::default()).map(|path| path.len())
            });
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
