//! Which route serves a request: host, then path, then method, each by the most specific that matches.
//!
//! * Hosts: an exact name goes before `*.suffix` (the longest suffix first; it stands for one label or more), and that
//!   before routes without hosts. A host that has no route for the path leaves it to the next less specific one.
//! * Paths: compared segment by segment from the left, a literal segment goes before a parameter with the longest text
//!   around it, that before a bare parameter, and that before a tail. Parameters and tails need at least one character;
//!   paths are matched as they are given, without decoding.
//! * `/a/{*rest}` also serves `/a/` and `/a`, with an empty `rest`, unless a route with just that path takes the method.
//! * Methods are looked at last, among the routes of that one path: a route without methods takes what the others leave,
//!   and HEAD goes to the route that takes GET unless a route names HEAD.
//!
//! The tables are built once and never change; a match without parameters allocates nothing.

mod methods;
mod normalise;
mod pattern;
#[cfg(test)]
mod properties;
mod tree;

use std::collections::BTreeMap;

use hashbrown::HashMap;
use http::Method;

use crate::config::RouteConfig;
pub use normalise::{PathError, normalise};

use crate::types::PathParameters;
use methods::Target;
use pattern::Pattern;
use tree::{Captures, Paths, PathsBuilder};

/// Finds the route of a request.
#[derive(Debug)]
pub struct Router {
    exact: HashMap<Box<str>, Paths>,
    /// By the suffix without `*.`.
    wildcard: HashMap<Box<str>, Paths>,
    any: Paths,
}

/// Two routes of which neither is more specific, or, when both numbers are the same, a route that cannot be matched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// Number of the earlier route.
    pub first: usize,
    /// Number of the later one.
    pub second: usize,
    /// What both claim, or what is wrong with the route.
    pub reason: String,
}

/// What a router knows about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A route takes it.
    Route {
        /// Number of the route in the configuration.
        index: usize,
        /// What the path gives to its parameters.
        parameters: PathParameters,
    },
    /// Routes have this path, but none this method.
    MethodNotAllowed {
        /// The value of the `Allow` header.
        allow: String,
    },
    /// No route has this path.
    NotFound,
}

impl Router {
    /// Builds the tables.
    ///
    /// # Errors
    /// All pairs of routes that no rule puts in an order: the same host, the same shape of path, a common method.
    pub fn build(routes: &[RouteConfig]) -> Result<Self, Vec<Conflict>> {
        let mut hosts: BTreeMap<&str, PathsBuilder> = BTreeMap::new();
        let mut conflicts = Vec::new();
        for (index, route) in routes.iter().enumerate() {
            match Pattern::parse(&route.path) {
                Ok(pattern) => insert(&mut hosts, index, route, &pattern, &mut conflicts),
                Err(reason) => conflicts.push(Conflict {
                    first: index,
                    second: index,
                    reason,
                }),
            }
        }
        if !conflicts.is_empty() {
            conflicts.sort();
            conflicts.dedup_by_key(|conflict| (conflict.first, conflict.second));
            return Err(conflicts);
        }
        let mut router = Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            any: Paths::default(),
        };
        for (host, paths) in hosts {
            let paths = paths.build();
            match host.strip_prefix("*.") {
                _ if host.is_empty() => router.any = paths,
                Some(suffix) => _ = router.wildcard.insert(suffix.into(), paths),
                None => _ = router.exact.insert(host.into(), paths),
            }
        }
        Ok(router)
    }

    /// The route of a request. `host` is lower case and may carry a port.
    #[must_use]
    pub fn find(&self, host: &str, path: &str, method: &Method) -> Found {
        let mut captures = Captures::default();
        let host = without_port(host);
        let hosts = self
            .exact
            .get(host)
            .into_iter()
            .chain(self.wildcards(host))
            .chain([&self.any]);
        for paths in hosts {
            let Some(methods) = paths.find(path, &mut captures) else {
                continue;
            };
            return match methods.find(method) {
                Some(target) => Found::Route {
                    index: target.index,
                    parameters: parameters(target, &captures, path),
                },
                None => Found::MethodNotAllowed {
                    allow: methods.allow().to_owned(),
                },
            };
        }
        Found::NotFound
    }

    /// The route that a CORS preflight asks about: that of the request it announces, whose method is the value of
    /// `Access-Control-Request-Method`.
    #[must_use]
    pub fn find_preflight(&self, host: &str, path: &str, requested: &Method) -> Found {
        self.find(host, path, requested)
    }

    /// The paths of `*.suffix` hosts, the longest suffix first.
    fn wildcards<'s>(&'s self, host: &'s str) -> impl Iterator<Item = &'s Paths> {
        // Most gateways have no such host; then the name need not be searched for dots.
        let host = if self.wildcard.is_empty() { "" } else { host };
        let dots = host.bytes().enumerate().filter(|(_, byte)| *byte == b'.');
        dots.filter_map(move |(dot, _)| self.wildcard.get(host.get(dot + 1..)?))
    }
}

fn insert<'r>(
    hosts: &mut BTreeMap<&'r str, PathsBuilder>,
    index: usize,
    route: &'r RouteConfig,
    pattern: &Pattern,
    conflicts: &mut Vec<Conflict>,
) {
    let target = Target {
        index,
        names: pattern.names.clone(),
    };
    let mut names: Vec<&str> = route
        .hosts
        .iter()
        .map(|host| host.trim_end_matches('.'))
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        names.push("");
    }
    for host in names {
        let paths = hosts.entry(host).or_default();
        for (first, what) in paths.claims(&pattern.segments).add(&route.methods, &target) {
            let host = if host.is_empty() {
                String::new()
            } else {
                format!(" of host \"{host}\"")
            };
            let reason = format!("both take {what} of path \"{}\"{host}", route.path);
            conflicts.push(Conflict {
                first,
                second: index,
                reason,
            });
        }
        for segments in pattern.shortened() {
            paths
                .claims(&segments)
                .add_shortened(&route.methods, &target);
        }
    }
}

fn parameters(target: &Target, captures: &Captures, path: &str) -> PathParameters {
    // An empty vector allocates nothing. A name without a range is that of a tail that was cut off.
    let ranges = captures
        .ranges()
        .iter()
        .cloned()
        .chain(std::iter::once(path.len()..path.len()));
    PathParameters(target.names.iter().cloned().zip(ranges).collect())
}

/// `example.com:8080` and `example.com.` are `example.com`; the brackets of an IPv6 address stay.
fn without_port(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        // A colon inside the brackets of an address begins no port.
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && !ends_inside_brackets(name) =>
        {
            name
        }
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

fn ends_inside_brackets(name: &str) -> bool {
    name.starts_with('[') && !name.ends_with(']')
}

#[cfg(test)]
mod tests;
