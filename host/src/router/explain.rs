//! Why a route takes a request, or does not: for the person who asks `postern explain`.
//!
//! Each route is asked alone, by the router itself, so that the answer cannot differ from what happens.

use std::fmt;

use super::{Conditions, Found, Head, Router, hosts_of, without_port};
use crate::config::{ConditionConfig, PathConfig, RouteConfig, TestConfig};

/// Why a route does not take a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It is for other hosts.
    Host,
    /// It is for other paths.
    Path,
    /// It is for other methods.
    Method,
    /// It wants something else of a header; in words.
    Header(String),
    /// It wants something else of a query parameter; in words.
    Query(String),
    /// It matches, but the route that was found goes first: by what.
    Outranked(Rule),
    /// It matches, but a more specific host or path has routes, and these are for other methods.
    Shadowed,
}

/// By what one route goes before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// It has a higher priority.
    Priority,
    /// Its host is more specific.
    Host,
    /// Its path is more specific.
    Path,
    /// It names the method.
    Method,
    /// It has more conditions, or more exact ones.
    Conditions,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Priority => "a higher priority",
            Self::Host => "a more specific host",
            Self::Path => "a more specific path",
            Self::Method => "the method by its name",
            Self::Conditions => "more or more exact conditions",
        })
    }
}

/// Why `route` does not take a request that `found`, if any, takes.
#[must_use]
pub fn why_not(route: &RouteConfig, found: Option<&RouteConfig>, head: &Head<'_>) -> Why {
    let any = RouteConfig {
        hosts: Vec::new(),
        methods: Vec::new(),
        headers: Vec::new(),
        query: Vec::new(),
        ..route.clone()
    };
    let host = RouteConfig {
        hosts: route.hosts.clone(),
        path: PathConfig::Pattern("/{*rest}".into()),
        ..any.clone()
    };
    if !takes(&host, head) {
        return Why::Host;
    }
    if !takes(&any, head) {
        return Why::Path;
    }
    let method = RouteConfig {
        methods: route.methods.clone(),
        ..any
    };
    if !takes(&method, head) {
        return Why::Method;
    }
    if let Some(wanted) = route
        .headers
        .iter()
        .find(|one| !holds(std::slice::from_ref(one), &[], head))
    {
        return Why::Header(in_words(wanted));
    }
    if let Some(wanted) = route
        .query
        .iter()
        .find(|one| !holds(&[], std::slice::from_ref(one), head))
    {
        return Why::Query(in_words(wanted));
    }
    match found {
        Some(found) => Why::Outranked(rule(found, route, head)),
        None => Why::Shadowed,
    }
}

fn takes(route: &RouteConfig, head: &Head<'_>) -> bool {
    let router = Router::build(std::slice::from_ref(route));
    router.is_ok_and(|router| matches!(router.find(head), Found::Route { .. }))
}

fn holds(headers: &[ConditionConfig], query: &[ConditionConfig], head: &Head<'_>) -> bool {
    Conditions::new(headers, query)
        .is_ok_and(|conditions| conditions.hold(head.headers, head.query))
}

/// A condition as a person says it.
#[must_use]
pub fn in_words(condition: &ConditionConfig) -> String {
    let ConditionConfig { name, test } = condition;
    match test {
        TestConfig::Exact(text) => format!("{name} is {text:?}"),
        TestConfig::Regex(text) => format!("{name} matches {text:?}"),
        TestConfig::Present => format!("{name} is present"),
        TestConfig::Absent => format!("{name} is absent"),
    }
}

fn rule(first: &RouteConfig, second: &RouteConfig, head: &Head<'_>) -> Rule {
    let host = without_port(head.host);
    let rank = |route: &RouteConfig| {
        hosts_of(route)
            .into_iter()
            .filter_map(|name| specific(name, host))
            .max()
    };
    if first.priority != second.priority {
        Rule::Priority
    } else if rank(first) != rank(second) {
        Rule::Host
    } else if first.path != second.path {
        Rule::Path
    } else if first.methods.contains(head.method) != second.methods.contains(head.method) {
        Rule::Method
    } else {
        Rule::Conditions
    }
}

/// How specific a route's host is for that of a request; none if it is for others.
fn specific(name: &str, host: &str) -> Option<usize> {
    match name.strip_prefix('*') {
        _ if name.is_empty() => Some(0),
        Some(suffix) => host.ends_with(suffix).then_some(suffix.len()),
        None => (name == host).then_some(usize::MAX),
    }
}
