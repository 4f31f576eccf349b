//! Which route serves a request: priority, then host, then path, then method, then conditions, each by the most specific
//! that matches.
//!
//! * Priorities: the routes of a higher one are all asked before those of a lower one.
//! * Hosts: an exact name goes before `*.suffix` (the longest suffix first; it stands for one label or more), and that
//!   before routes without hosts. A host that has no route for the path leaves it to the next less specific one.
//! * Paths: one without parameters goes before regular expressions, those before patterns. Patterns are compared segment by
//!   segment from the left, a literal segment goes before a parameter with the longest text around it, that before a
//!   bare parameter, and that before a tail. Parameters and tails need at least one character; paths come in their
//!   normal form (`normalise`) and are matched without decoding.
//! * `/a/{*rest}` also serves `/a/` and `/a`, with an empty `rest`, unless a route with just that path takes the method.
//! * Methods are looked at among the routes of that one path: a route without methods takes what the others leave,
//!   and HEAD goes to the route that takes GET unless a route names HEAD.
//! * Conditions: more go before fewer, exact ones before loose ones. A route whose conditions do not hold is as if it were
//!   not there.
//!
//! The tables are built once and never change; a match without parameters and conditions allocates nothing.

mod conditions;
pub mod explain;
mod hosts;
mod methods;
mod normalise;
mod overlap;
mod pattern;
#[cfg(test)]
mod properties;
mod regexes;
mod tree;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, Method};

pub use conditions::{Conditions, Test};
pub use hosts::without_port;
pub use normalise::{PathError, normalise};

use crate::config::{PathConfig, RouteConfig, whole_regex};
use crate::types::PathParameters;
use hosts::{Hosts, HostsBuilder};
use methods::{Hit, Target};
use overlap::Overlaps;
use pattern::{MAX_PARAMETERS, Pattern};
use tree::Captures;

/// Finds the route of a request.
#[derive(Debug)]
pub struct Router {
    /// By priority, the highest first.
    levels: Vec<Hosts>,
}

/// What of a request decides on its route.
#[derive(Debug, Clone, Copy)]
pub struct Head<'r> {
    /// Lower case; it may carry a port.
    pub host: &'r str,
    /// In its normal form.
    pub path: &'r str,
    /// What follows the `?`.
    pub query: Option<&'r str>,
    /// The method.
    pub method: &'r Method,
    /// The headers.
    pub headers: &'r HeaderMap,
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
    /// All pairs of routes that no rule puts in an order: the same priority and host, paths that can be the same, a common
    /// method, as many conditions. And routes that could never be matched.
    pub fn build(routes: &[RouteConfig]) -> Result<Self, Vec<Conflict>> {
        let mut builder = Builder::default();
        for (index, route) in routes.iter().enumerate() {
            if let Err(reason) = builder.add(index, route) {
                builder.refuse(index, reason);
            }
        }
        let Builder {
            levels,
            mut conflicts,
            ..
        } = builder;
        let mut built = Vec::new();
        for level in levels.into_values() {
            match level.build() {
                Ok(hosts) => built.push(hosts),
                Err(reason) => conflicts.push(Conflict {
                    first: 0,
                    second: 0,
                    reason,
                }),
            }
        }
        if conflicts.is_empty() {
            return Ok(Self { levels: built });
        }
        conflicts.sort();
        conflicts.dedup_by_key(|conflict| (conflict.first, conflict.second));
        Err(conflicts)
    }

    /// The route of a request.
    #[must_use]
    pub fn find(&self, head: &Head<'_>) -> Found {
        let mut captures = Captures::default();
        let host = without_port(head.host);
        let mut refused = None;
        for level in &self.levels {
            match level.find(host, head, &mut captures) {
                Some(Hit::Route(target)) => {
                    return Found::Route {
                        index: target.index,
                        parameters: parameters(target, &captures, head.path),
                    };
                }
                Some(Hit::MethodNotAllowed(allow)) => {
                    refused.get_or_insert(allow);
                    captures = Captures::default();
                }
                None => {}
            }
        }
        match refused {
            Some(allow) => Found::MethodNotAllowed { allow },
            None => Found::NotFound,
        }
    }
}

/// Tables while they are filled.
#[derive(Default)]
struct Builder<'r> {
    levels: BTreeMap<Reverse<i32>, HostsBuilder<'r>>,
    overlaps: Overlaps,
    conflicts: Vec<Conflict>,
}

impl<'r> Builder<'r> {
    fn refuse(&mut self, index: usize, reason: String) {
        self.conflicts.push(Conflict {
            first: index,
            second: index,
            reason,
        });
    }

    fn add(&mut self, index: usize, route: &'r RouteConfig) -> Result<(), String> {
        let has_conditions = !(route.headers.is_empty() && route.query.is_empty());
        let conditions = has_conditions
            .then(|| Conditions::new(&route.headers, &route.query).map(Arc::new))
            .transpose()?;
        let mut target = Target {
            index,
            names: Arc::from([]),
            regex: None,
            conditions,
        };
        match &route.path {
            PathConfig::Pattern(text) => {
                let pattern = Pattern::parse(text)?;
                target.names = Arc::clone(&pattern.names);
                for host in hosts_of(route) {
                    self.add_pattern(host, route, &pattern, &target);
                }
            }
            PathConfig::Regex(text) => {
                target.names = group_names(text)?;
                for host in hosts_of(route) {
                    self.add_regex(host, route, text, &target);
                }
            }
        }
        Ok(())
    }

    fn add_pattern(
        &mut self,
        host: &'r str,
        route: &RouteConfig,
        pattern: &Pattern,
        target: &Target,
    ) {
        let level = self.levels.entry(Reverse(route.priority)).or_default();
        let paths = level.paths(host);
        let claims = paths.claims(&pattern.segments);
        for (first, what) in claims.add(&route.methods, target, |_| true) {
            let reason = format!(
                "both take {what} of path \"{}\"{}",
                route.path,
                of_host(host)
            );
            self.conflicts.push(Conflict {
                first,
                second: target.index,
                reason,
            });
        }
        for segments in pattern.shortened() {
            paths
                .claims(&segments)
                .add_shortened(&route.methods, target);
        }
    }

    fn add_regex(&mut self, host: &'r str, route: &RouteConfig, text: &str, target: &Target) {
        let level = self.levels.entry(Reverse(route.priority)).or_default();
        let regexes = &mut level.paths(host).regexes;
        let target = Target {
            regex: Some(regexes.number(text)),
            ..target.clone()
        };
        let mut claims = std::mem::take(&mut regexes.claims);
        let overlaps = &mut self.overlaps;
        let overlap = |other: &Target| {
            let other = other
                .regex
                .map(|number| regexes.text(number))
                .unwrap_or_default();
            other == text || overlaps.overlap(other, text)
        };
        for (first, what) in claims.add(&route.methods, &target, overlap) {
            let reason = format!("both take {what} of some path{}", of_host(host));
            self.conflicts.push(Conflict {
                first,
                second: target.index,
                reason,
            });
        }
        regexes.claims = claims;
    }
}

/// The hosts of a route, each once; the empty name where it is for every host.
fn hosts_of(route: &RouteConfig) -> Vec<&str> {
    let hosts = route.hosts.iter().map(|host| host.trim_end_matches('.'));
    let mut hosts: Vec<&str> = hosts.collect();
    hosts.sort_unstable();
    hosts.dedup();
    if hosts.is_empty() {
        hosts.push("");
    }
    hosts
}

fn of_host(host: &str) -> String {
    match host {
        "" => String::new(),
        host => format!(" of host \"{host}\""),
    }
}

/// The names of an expression's groups; one without a name is called by its number.
fn group_names(text: &str) -> Result<Arc<[Arc<str>]>, String> {
    let regex = whole_regex(text)?;
    let names = regex.capture_names().enumerate().skip(1);
    let names: Vec<Arc<str>> = names
        .map(|(number, name)| name.map_or_else(|| number.to_string().into(), Arc::from))
        .collect();
    if names.len() > MAX_PARAMETERS {
        return Err(format!("\"{text}\" has more than {MAX_PARAMETERS} groups"));
    }
    Ok(names.into())
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

#[cfg(test)]
mod tests;
