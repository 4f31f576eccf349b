//! What the router promises, by example.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::{HeaderMap, Method};

use super::{Conflict, Found, Head, Router};
use crate::config::{ConditionConfig, OriginConfig, PathConfig, Position, RouteConfig, TestConfig};
use crate::types::Importance;

pub(super) fn route(hosts: &[&str], path: &str, methods: &[Method]) -> RouteConfig {
    RouteConfig {
        name: path.into(),
        hosts: hosts.iter().map(|host| Arc::from(*host)).collect(),
        path: match path.strip_prefix("~ ") {
            Some(regex) => PathConfig::Regex(regex.into()),
            None => PathConfig::Pattern(path.into()),
        },
        methods: methods.to_vec(),
        headers: Vec::new(),
        query: Vec::new(),
        priority: 0,
        plugins: Vec::new(),
        path_change: None,
        canary: Vec::new(),
        mirror: None,
        retry: None,
        fallback: Vec::new(),
        fault: None,
        importance: Importance::Normal,
        deadline_header: None,
        origin: OriginConfig::Upstream("upstream".into()),
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

impl<'r> Head<'r> {
    /// `GET` of a path, without anything else.
    pub(super) fn of(host: &'r str, path: &'r str) -> Self {
        static HEADERS: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);
        Self {
            host,
            path,
            query: None,
            method: &Method::GET,
            headers: &HEADERS,
        }
    }

    pub(super) fn with_method(self, method: &'r Method) -> Self {
        Self { method, ..self }
    }
}

fn router(paths: &[&str]) -> Router {
    let routes: Vec<_> = paths.iter().map(|path| route(&[], path, &[])).collect();
    Router::build(&routes).unwrap()
}

/// The number of the route and the values of its parameters.
fn find(router: &Router, host: &str, path: &str, method: &Method) -> Option<(usize, Vec<String>)> {
    match router.find(&Head::of(host, path).with_method(method)) {
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
        router.find(&Head::of("a", "/x").with_method(&Method::PUT)),
        Found::MethodNotAllowed { allow }
    );
    assert_eq!(
        router.find(&Head::of("a", "/y").with_method(&Method::PUT)),
        Found::NotFound
    );
    assert_eq!(
        router.find(&Head::of("a", "*").with_method(&Method::OPTIONS)),
        Found::NotFound
    );
    assert_eq!(
        router.find(&Head::of("a", "").with_method(&Method::CONNECT)),
        Found::NotFound
    );
    assert_eq!(find(&router, "b", "/x", &Method::PUT), hit(2, &[]));
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

fn with(route: RouteConfig, priority: i32, header: Option<&str>) -> RouteConfig {
    let test = |value: &str| ConditionConfig {
        name: "x".into(),
        test: TestConfig::Exact(value.into()),
    };
    RouteConfig {
        priority,
        headers: header.map(test).into_iter().collect(),
        ..route
    }
}

#[test]
fn expressions_go_after_literal_paths_and_before_patterns() {
    let router = router(&[
        "/a/b",
        "~ /a/(?<x>[a-z])(/(.*))?",
        "/a/{p}",
        "/a/b/{*rest}",
        "~ /[0-9]+",
    ]);
    assert_eq!(get(&router, "/a/b"), hit(0, &[]));
    assert_eq!(get(&router, "/a/c"), hit(1, &["x=c", "2=", "3="]));
    assert_eq!(get(&router, "/a/c/d"), hit(1, &["x=c", "2=/d", "3=d"]));
    assert_eq!(get(&router, "/a/C"), hit(2, &["p=C"]));
    // A tail that is cut off is no literal path.
    assert_eq!(get(&router, "/a/b/"), hit(1, &["x=b", "2=/", "3="]));
    assert_eq!(get(&router, "/17"), hit(4, &[]));
    assert_eq!(get(&router, "/17/"), None);
}

#[test]
fn expressions_that_share_paths_are_ordered_by_method_conditions_and_priority() {
    let routes = [
        route(&[], "~ /a.*", &[Method::GET]),
        route(&[], "~ /.*a", &[Method::POST]),
        route(&[], "~ /ab*a", &[]),
        with(route(&[], "~ /a[a-z]a", &[Method::GET]), 0, Some("1")),
        with(route(&[], "~ /(aa|bb)", &[]), 1, None),
    ];
    let router = Router::build(&routes).unwrap();
    let find = |path, method: &Method| find(&router, "", path, method).map(|found| found.0);
    assert_eq!(find("/aba", &Method::GET), Some(0));
    assert_eq!(find("/aba", &Method::HEAD), Some(0));
    assert_eq!(find("/aba", &Method::POST), Some(1));
    assert_eq!(find("/aba", &Method::PUT), Some(2));
    assert_eq!(find("/aa", &Method::POST), Some(4));
    let refused = router.find(&Head::of("", "/axa").with_method(&Method::PUT));
    let allow = "GET, HEAD, POST".to_owned();
    assert_eq!(refused, Found::MethodNotAllowed { allow });
    let mut headers = HeaderMap::new();
    headers.insert("x", http::HeaderValue::from_static("1"));
    let found = router.find(&Head {
        headers: &headers,
        ..Head::of("", "/aba")
    });
    assert!(matches!(found, Found::Route { index: 3, .. }), "{found:?}");
}

#[test]
fn expressions_that_cannot_be_ordered_are_a_conflict() {
    let routes = [
        route(&["a"], "~ /u/[0-9]+", &[]),
        route(&["a", "b"], "~ /u/[0-9a-f]+", &[]),
        route(&["a"], "~ /u/[g-z]+", &[]),
        route(&["b"], "~ /u/[0-9a-f]+", &[]),
        route(&["c"], "~ /u/[0-9]+", &[]),
        with(route(&["a"], "~ /u/[0-9]+", &[]), 5, None),
    ];
    let conflicts = Router::build(&routes).unwrap_err();
    let pairs: Vec<_> = conflicts
        .iter()
        .map(|one| (one.first, one.second))
        .collect();
    assert_eq!(pairs, [(0, 1), (1, 3)]);
    assert_eq!(
        conflicts[0].reason,
        "both take every method of some path of host \"a\""
    );
}

#[test]
fn a_higher_priority_goes_before_everything() {
    let routes = [
        route(&["a.b"], "/x", &[Method::GET]),
        with(route(&[], "/{*all}", &[Method::PUT]), 1, None),
        with(route(&[], "/{*all}", &[]), -1, None),
        with(route(&["*.b"], "/x", &[Method::GET]), 2, Some("1")),
    ];
    let router = Router::build(&routes).unwrap();
    let find = |path, method: &Method| find(&router, "a.b", path, method).unwrap();
    assert_eq!(find("/x", &Method::GET), (0, vec![]));
    assert_eq!(find("/x", &Method::PUT), (1, vec!["all=x".to_owned()]));
    assert_eq!(find("/x", &Method::POST), (2, vec!["all=x".to_owned()]));
    assert_eq!(find("/y", &Method::GET), (2, vec!["all=y".to_owned()]));
}

#[test]
fn a_path_whose_conditions_do_not_hold_is_left_to_the_next() {
    let routes = [
        with(route(&["a"], "/x/{y}/z", &[]), 0, Some("1")),
        with(route(&["a"], "/{x}/{*t}", &[Method::POST]), 0, Some("2")),
        route(&[], "/{*all}", &[]),
    ];
    let router = Router::build(&routes).unwrap();
    let find = |value: Option<&'static str>| {
        let mut headers = HeaderMap::new();
        headers.extend(value.map(|value| {
            (
                http::HeaderName::from_static("x"),
                http::HeaderValue::from_static(value),
            )
        }));
        router.find(&Head {
            headers: &headers,
            ..Head::of("a", "/x/1/z")
        })
    };
    let parameters = |found: Found| match found {
        Found::Route { index, parameters } => (index, parameters.0.len()),
        other => panic!("{other:?}"),
    };
    assert_eq!(parameters(find(Some("1"))), (0, 1));
    assert!(matches!(find(Some("2")), Found::MethodNotAllowed { .. }));
    assert_eq!(parameters(find(None)), (2, 1));
}
