//! The router against a slow and obvious reference.

use std::cmp::Reverse;

use http::Method;
use proptest::prelude::*;

use super::tests::route;
use super::{Found, Head, Router};
use crate::config::RouteConfig;

/// How specific one segment of a match is; greater goes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Tail,
    Parameter {
        around: usize,
        prefix: usize,
        text: Reverse<String>,
    },
    Literal,
}

/// Matches one pattern against one path: the rank of each segment, or nothing.
fn ranks(pattern: &[&str], path: &[&str]) -> Option<Vec<Rank>> {
    let (Some((segment, patterns)), Some((value, values))) =
        (pattern.split_first(), path.split_first())
    else {
        return (pattern.is_empty() && path.is_empty()).then(Vec::new);
    };
    if segment.starts_with("{*") {
        return (!path.join("/").is_empty()).then(|| vec![Rank::Tail]);
    }
    let rank = match (segment.find('{'), segment.find('}')) {
        (Some(open), Some(close)) => {
            let (prefix, suffix) = (&segment[..open], &segment[close + 1..]);
            let fits = value.starts_with(prefix)
                && value.ends_with(suffix)
                && value.len() > prefix.len() + suffix.len();
            let text = Reverse(format!("{prefix}\0{suffix}"));
            fits.then(|| Rank::Parameter {
                around: prefix.len() + suffix.len(),
                prefix: prefix.len(),
                text,
            })?
        }
        _ => (segment == value).then_some(Rank::Literal)?,
    };
    let mut all = vec![rank];
    all.extend(ranks(patterns, values)?);
    Some(all)
}

/// How specific a host of a route is for the host of a request; greater goes first.
fn host_rank(pattern: &str, host: &str) -> Option<usize> {
    match pattern.strip_prefix('*') {
        Some(suffix) if host.ends_with(suffix) && host.len() > suffix.len() => Some(suffix.len()),
        Some(_) => None,
        None => (pattern == host).then_some(usize::MAX),
    }
}

/// A match: host, path, and whether the pattern is a route's own (or lacks its tail).
type Score = (usize, Vec<Rank>, bool);

fn scores(route: &RouteConfig, host: &str, path: &str) -> Vec<Score> {
    let mut hosts: Vec<usize> = route
        .hosts
        .iter()
        .filter_map(|pattern| host_rank(pattern, host))
        .collect();
    if route.hosts.is_empty() {
        hosts.push(0);
    }
    let mut patterns = vec![(route.path.to_string(), true)];
    if let Some((before, _)) = route.path.to_string().split_once("/{*") {
        patterns.push((format!("{before}/"), false));
        patterns.push((before.to_owned(), false));
    }
    let path: Vec<&str> = path.split('/').collect();
    let mut scores = Vec::new();
    for (pattern, own) in &patterns {
        let pattern: Vec<&str> = pattern.split('/').collect();
        if let Some(ranks) = ranks(&pattern, &path) {
            scores.extend(hosts.iter().map(|host| (*host, ranks.clone(), *own)));
        }
    }
    scores
}

#[derive(Debug, PartialEq)]
enum Expected {
    Route(usize),
    MethodNotAllowed,
    NotFound,
}

fn reference(routes: &[RouteConfig], host: &str, path: &str, method: &Method) -> Expected {
    let all = routes.iter().enumerate().flat_map(|(index, route)| {
        scores(route, host, path)
            .into_iter()
            .map(move |score| (score, index, route))
    });
    let all: Vec<_> = all.collect();
    let Some(best) = all
        .iter()
        .map(|((host, ranks, _), ..)| (*host, ranks.clone()))
        .max()
    else {
        return Expected::NotFound;
    };
    let best: Vec<_> = all
        .iter()
        .filter(|((host, ranks, _), ..)| *host == best.0 && *ranks == best.1)
        .collect();
    for own in [true, false] {
        let here = || best.iter().filter(|((_, _, score), ..)| *score == own);
        let named = |method: &Method| here().find(|(.., route)| route.methods.contains(method));
        let get = || named(&Method::GET).filter(|_| *method == Method::HEAD);
        let any = || here().find(|(.., route)| route.methods.is_empty());
        if let Some((_, index, _)) = named(method).or_else(get).or_else(any) {
            return Expected::Route(*index);
        }
    }
    Expected::MethodNotAllowed
}

fn method() -> impl Strategy<Value = Method> {
    prop::sample::select(vec![Method::GET, Method::HEAD, Method::POST])
}

fn routes() -> impl Strategy<Value = Vec<RouteConfig>> {
    let segment = prop::sample::select(vec!["", "a", "b", "ab", "{}", "a{}", "{}b", "a{}b"]);
    let tail = prop::option::weighted(0.3, Just("{*tail}"));
    let path = (prop::collection::vec(segment, 0..4), tail).prop_map(|(segments, tail)| {
        let name = |(number, text): (usize, &str)| text.replace("{}", &format!("{{p{number}}}"));
        let mut segments: Vec<String> = segments.into_iter().enumerate().map(name).collect();
        segments.extend(tail.map(str::to_owned));
        format!("/{}", segments.join("/"))
    });
    let host = prop::sample::select(vec!["a.b.c", "b.c", "*.b.c", "*.c"]);
    let hosts = prop::collection::vec(host, 0..3);
    let methods = prop::collection::vec(method(), 0..3);
    let one =
        (hosts, path, methods).prop_map(|(hosts, path, methods)| route(&hosts, &path, &methods));
    // Routes that conflict with earlier ones are left out.
    prop::collection::vec(one, 1..12).prop_map(|candidates| {
        let mut routes: Vec<RouteConfig> = Vec::new();
        for candidate in candidates {
            routes.push(candidate);
            if Router::build(&routes).is_err() {
                routes.pop();
            }
        }
        routes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_router_finds_what_the_reference_finds(
        routes in routes(),
        requests in prop::collection::vec((
            prop::sample::select(vec!["a.b.c", "b.c", "x.b.c", "c", "z"]),
            prop::collection::vec(prop::sample::select(vec!["", "a", "b", "ab", "acb", "c"]), 1..5),
            method(),
        ), 20),
    ) {
        let router = Router::build(&routes).unwrap();
        for (host, segments, method) in requests {
            let path = format!("/{}", segments.join("/"));
            let found = match router.find(&Head::of(host, &path).with_method(&method)) {
                Found::Route { index, parameters } => {
                    let values = parameters.0.iter().map(|(name, range)| (name, &path[range.clone()]));
                    let mut rebuilt = routes[index].path.to_string();
                    for (name, value) in values {
                        rebuilt = rebuilt.replace(&format!("{{{name}}}"), value).replace(&format!("{{*{name}}}"), value);
                    }
                    // The values put into the pattern give the path again, but for the slash before an empty tail.
                    prop_assert!(rebuilt == path || rebuilt == format!("{path}/"), "{rebuilt} is not {path}");
                    Expected::Route(index)
                }
                Found::MethodNotAllowed { .. } => Expected::MethodNotAllowed,
                Found::NotFound => Expected::NotFound,
            };
            prop_assert_eq!(found, reference(&routes, host, &path, &method), "{} {}{}", method, host, path);
        }
    }
}
