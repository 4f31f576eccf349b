//! A configuration of 10,000 routes: loaded and searched within bounds. They are wide, because tests run on busy machines and
//! without optimisation; `cargo bench -p postern --bench router` has the figures.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method};
use postern::config;
use postern::router::{Found, Head, Router};

const ROUTES: usize = 10_000;
/// The aim is a second.
const LOAD: Duration = Duration::from_secs(20);
/// The aim is a microsecond.
const MATCH: Duration = Duration::from_micros(50);

/// Routes of all kinds: on hosts of their own and on one that all share, with parameters, tails, conditions.
fn configuration() -> String {
    let mut text = String::from("version = 1\nlisten.a.address = \"127.0.0.1:0\"\n");
    for upstream in 0..100 {
        writeln!(
            text,
            "[upstream.u{upstream}]\ntargets = [\"http://127.0.0.1:1\"]"
        )
        .unwrap();
    }
    for n in 0..ROUTES {
        let keys = match n % 5 {
            0 => format!("path = \"/service-{n}/{{*rest}}\""),
            1 => format!("hosts = [\"h{n}.test\"]\npath = \"/{{id}}/items/{{item}}\""),
            2 => format!("hosts = [\"*.h{n}.test\"]\npath = \"/exact\""),
            3 => format!("path = \"/common/{{id}}/x{n}\"\nmethods = [\"GET\"]"),
            _ => format!("path = \"/tenant-{n}\"\nheaders = {{ x-tenant = \"{n}\" }}"),
        };
        let upstream = n % 100;
        writeln!(
            text,
            "[[route]]\nname = \"r{n}\"\n{keys}\nupstream = \"u{upstream}\""
        )
        .unwrap();
    }
    text
}

#[test]
fn ten_thousand_routes_are_loaded_and_searched_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("postern.toml");
    std::fs::write(&path, configuration()).unwrap();
    let begun = Instant::now();
    let config = config::load(&path).unwrap();
    let router = Router::build(&config.routes).unwrap();
    let loaded = begun.elapsed();
    assert!(loaded < LOAD, "{loaded:?}");

    let begun = Instant::now();
    for n in 0..ROUTES {
        let (host, path) = match n % 5 {
            0 => ("any.test".to_owned(), format!("/service-{n}/a/b")),
            1 => (format!("h{n}.test"), "/7/items/8".to_owned()),
            2 => (format!("a.h{n}.test:80"), "/exact".to_owned()),
            3 => ("any.test".to_owned(), format!("/common/17/x{n}")),
            _ => ("any.test".to_owned(), format!("/tenant-{n}")),
        };
        let mut headers = HeaderMap::new();
        headers.insert("x-tenant", n.into());
        let head = Head {
            host: &host,
            path: &path,
            query: None,
            method: &Method::GET,
            headers: &headers,
        };
        let found = router.find(&head);
        assert!(
            matches!(found, Found::Route { index, .. } if index == n),
            "{n}: {found:?}"
        );
    }
    let each = begun.elapsed() / u32::try_from(ROUTES).unwrap();
    assert!(each < MATCH, "{each:?}");
}
