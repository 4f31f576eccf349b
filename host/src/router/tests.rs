//! What the router promises, by example.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::{Conflict, Found, Router};
use crate::config::{OriginConfig, Position, RouteConfig};

pub(super) fn route(hosts: &[&str], path: &str, methods: &[Method]) -> RouteConfig {
    RouteConfig {
        name: path.into(),
        hosts: hosts.iter().map(|host| Arc::from(*host)).collect(),
        path: path.into(),
        methods: methods.to_vec(),
        plugins: Vec::new(),
        origin: OriginConfig::Upstream("upstream".into()),
        timeout: Duration::from_secs(60),
        max_request_body: 0,
        position: Position {
            file: Arc::new(PathBuf::new()),
            span: 0..0,
            key: "route".into(),
        },
    }
}

fn router(paths: &[&str]) -> Router {
    let routes: Vec<_> = paths.iter().map(|path| route(&[], path, &[])).collect();
    Router::build(&routes).unwrap()
}

/// The number of the route and the values of its parameters.
fn find(router: &Router, host: &str, path: &str, method: &Method) -> Option<(usize, Vec<String>)> {
    match router.find(host, path, method) {
        Found::Route { index, parameters } => {
            let value = |(name, range): &(Arc<str>, std::ops::Range<usize>)| {
                format!("{name}={}", &path[range.clone()])
            };
            Some((index, parameters.0.iter().map(value).collect()))
        }
        Found::MethodNotAllowed { .. } | Found::NotFound => None,
    }
}

fn get(router: &Router, path: &str) -> Option<(usize, Vec<String>)> {
    find(router, "host", path, &Method::GET)
}

fn hit(index: usize, parameters: &[&str]) -> Option<(usize, Vec<String>)> {
    Some((
        index,
        parameters.iter().map(|&text| text.to_owned()).collect(),
    ))
}

#[test]
fn a_literal_path_goes_before_a_parameter_and_that_before_a_tail() {
    let router = router(&["/a/b", "/a/{p}", "/a/{*t}", "/{*all}", "/{p}/b"]);
    assert_eq!(get(&router, "/a/b"), hit(0, &[]));
    assert_eq!(get(&router, "/a/x"), hit(1, &["p=x"]));
    assert_eq!(get(&router, "/a/x/y"), hit(2, &["t=x/y"]));
    assert_eq!(get(&router, "/x/b"), hit(4, &["p=x"]));
    assert_eq!(get(&router, "/x/c"), hit(3, &["all=x/c"]));
}

#[test]
fn a_dead_end_in_a_specific_branch_leaves_the_path_to_a_less_specific_one() {
    let router = router(&["/a/b/c", "/{x}/b/{y}", "/{x}/{*t}", "/a/{v}.json/z"]);
    assert_eq!(get(&router, "/a/b/d"), hit(1, &["x=a", "y=d"]));
    assert_eq!(get(&router, "/a/q.json/w"), hit(2, &["x=a", "t=q.json/w"]));
    assert_eq!(get(&router, "/a/q.json/z"), hit(3, &["v=q"]));
}

#[test]
fn the_longest_text_around_a_parameter_goes_first() {
    let router = router(&["/{a}", "/img-{b}", "/img-{c}.png", "/{d}.png"]);
    assert_eq!(get(&router, "/img-1.png"), hit(2, &["c=1"]));
    assert_eq!(get(&router, "/img-1.gif"), hit(1, &["b=1.gif"]));
    assert_eq!(get(&router, "/1.png"), hit(3, &["d=1"]));
    // The parameter needs a character of its own.
    assert_eq!(get(&router, "/img-.png"), hit(1, &["b=.png"]));
    assert_eq!(get(&router, "/.png"), hit(0, &["a=.png"]));
}

#[test]
fn a_tail_also_serves_the_path_before_it() {
    let router = router(&["/api/orders/{*rest}"]);
    assert_eq!(get(&router, "/api/orders/x"), hit(0, &["rest=x"]));
    assert_eq!(get(&router, "/api/orders/x/y/"), hit(0, &["rest=x/y/"]));
    assert_eq!(get(&router, "/api/orders//"), hit(0, &["rest=/"]));
    assert_eq!(get(&router, "/api/orders/"), hit(0, &["rest="]));
    assert_eq!(get(&router, "/api/orders"), hit(0, &["rest="]));
    assert_eq!(get(&router, "/api/ordersx"), None);
    assert_eq!(get(&router, "/api"), None);
}

#[test]
fn a_tail_leaves_the_path_before_it_to_a_route_of_its_own() {
    let router = router(&["/a/{*rest}", "/a", "/{x}/b/{*rest}", "/{x}/b/"]);
    assert_eq!(get(&router, "/a"), hit(1, &[]));
    assert_eq!(get(&router, "/a/"), hit(0, &["rest="]));
    assert_eq!(get(&router, "/c/b/"), hit(3, &["x=c"]));
    assert_eq!(get(&router, "/c/b"), hit(2, &["x=c", "rest="]));
}

#[test]
fn the_path_before_a_tail_is_shared_method_by_method() {
    let routes = [
        route(&[], "/orders/{*rest}", &[Method::GET]),
        route(&[], "/orders", &[Method::POST]),
    ];
    let router = Router::build(&routes).unwrap();
    assert_eq!(
        find(&router, "", "/orders", &Method::GET),
        hit(0, &["rest="])
    );
    assert_eq!(find(&router, "", "/orders", &Method::POST), hit(1, &[]));
}

#[test]
fn an_exact_host_goes_before_a_wildcard_and_that_before_any_host() {
    let routes = [
        route(&["api.example.com"], "/a", &[]),
        route(&["*.example.com"], "/{*p}", &[]),
        route(&["*.com"], "/{*p}", &[]),
        route(&[], "/{*p}", &[]),
    ];
    let router = Router::build(&routes).unwrap();
    let index = |host, path| find(&router, host, path, &Method::GET).unwrap().0;
    assert_eq!(index("api.example.com", "/a"), 0);
    assert_eq!(
        index("api.example.com", "/b"),
        1,
        "a host without the path leaves it to the next"
    );
    assert_eq!(index("x.y.example.com", "/a"), 1);
    assert_eq!(index("example.com", "/a"), 2, "a wildcard needs a label");
    assert_eq!(index("com", "/a"), 3);
    assert_eq!(index("", "/a"), 3);
}

#[test]
fn ports_and_the_final_dot_of_a_host_do_not_matter() {
    let routes = [
        route(&["a.example"], "/", &[]),
        route(&["[::1]"], "/", &[]),
        route(&["*.b"], "/", &[]),
    ];
    let router = Router::build(&routes).unwrap();
    for (host, expected) in [
        ("a.example", Some(0)),
        ("a.example:8080", Some(0)),
        ("a.example.", Some(0)),
        ("a.example.:8080", Some(0)),
        ("[::1]", Some(1)),
        ("[::1]:8080", Some(1)),
        ("x.b:1", Some(2)),
        ("a.example:http", None),
        (":", None),
        ("[", None),
    ] {
        assert_eq!(
            find(&router, host, "/", &Method::GET).map(|found| found.0),
            expected,
            "{host}"
        );
    }
}

#[test]
fn a_path_without_the_method_names_the_methods_it_has() {
    let routes = [
        route(&["a"], "/x", &[Method::POST, Method::GET]),
        route(&["a"], "/x", &[Method::DELETE]),
        route(&[], "/x", &[]),
    ];
    let router = Router::build(&routes).unwrap();
    let allow = "DELETE, GET, HEAD, POST".to_owned();
    assert_eq!(
        router.find("a", "/x", &Method::PUT),
        Found::MethodNotAllowed { allow }
    );
    assert_eq!(router.find("a", "/y", &Method::PUT), Found::NotFound);
    assert_eq!(router.find("a", "*", &Method::OPTIONS), Found::NotFound);
    assert_eq!(router.find("a", "", &Method::CONNECT), Found::NotFound);
    assert_eq!(find(&router, "b", "/x", &Method::PUT), hit(2, &[]));
}

#[test]
fn a_preflight_finds_the_route_of_the_request_that_it_announces() {
    let routes = [
        route(&[], "/x", &[Method::GET]),
        route(&[], "/x", &[Method::PUT]),
    ];
    let router = Router::build(&routes).unwrap();
    assert!(matches!(
        router.find_preflight("a", "/x", &Method::PUT),
        Found::Route { index: 1, .. }
    ));
    assert!(matches!(
        router.find_preflight("a", "/x", &Method::DELETE),
        Found::MethodNotAllowed { .. }
    ));
}

#[test]
fn all_conflicts_are_reported_once() {
    let routes = [
        route(&["a", "b"], "/x/{p}", &[Method::GET]),
        route(&["b", "a", "a"], "/x/{q}", &[Method::POST, Method::GET]),
        route(&[], "/x/{p}", &[Method::GET]),
        route(&[], "no-slash", &[]),
        route(&[], "/y", &[]),
        route(&[], "/y", &[]),
    ];
    let conflicts = Router::build(&routes).unwrap_err();
    let conflict = |first, second, reason: &str| Conflict {
        first,
        second,
        reason: reason.to_owned(),
    };
    assert_eq!(
        conflicts,
        [
            conflict(
                0,
                1,
                "both take method GET of path \"/x/{q}\" of host \"a\""
            ),
            conflict(3, 3, "path \"no-slash\" does not begin with \"/\""),
            conflict(4, 5, "both take every method of path \"/y\""),
        ]
    );
}

#[test]
fn names_of_parameters_are_those_of_the_route_that_was_found() {
    let routes = [
        route(&[], "/x/{get}", &[Method::GET]),
        route(&[], "/x/{put}/y", &[]),
        route(&[], "/x/{any}", &[]),
    ];
    let router = Router::build(&routes).unwrap();
    assert_eq!(find(&router, "", "/x/1", &Method::GET), hit(0, &["get=1"]));
    assert_eq!(find(&router, "", "/x/1", &Method::PUT), hit(2, &["any=1"]));
    assert_eq!(
        find(&router, "", "/x/1/y", &Method::PUT),
        hit(1, &["put=1"])
    );
}

#[test]
fn a_path_of_nothing_but_slashes_does_not_blow_up() {
    let router = router(&["/{a}/{b}/{*c}", "/{a}/x{b}/{c}/{d}/{e}"]);
    assert_eq!(get(&router, &"/".repeat(100_000)), None);
    let long = "/x".repeat(100_000);
    assert_eq!(get(&router, &long).unwrap().0, 0);
}
