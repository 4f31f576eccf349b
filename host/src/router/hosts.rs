//! The routes of one priority, by their hosts.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::Head;
use super::methods::Hit;
use super::tree::{Captures, Paths, PathsBuilder};

/// The routes of one priority, while they are collected. Routes without hosts are under the empty name.
#[derive(Debug, Default)]
pub(super) struct HostsBuilder<'r>(BTreeMap<&'r str, PathsBuilder>);

impl<'r> HostsBuilder<'r> {
    /// The routes of a host.
    pub(super) fn paths(&mut self, host: &'r str) -> &mut PathsBuilder {
        self.0.entry(host).or_default()
    }

    /// The finished table.
    ///
    /// # Errors
    /// A sentence, when the regular expressions of a host are too large together.
    pub(super) fn build(self) -> Result<Hosts, String> {
        let mut hosts = Hosts::default();
        for (host, paths) in self.0 {
            let paths = paths.build()?;
            match host.strip_prefix("*.") {
                _ if host.is_empty() => hosts.any = paths,
                Some(suffix) => _ = hosts.wildcard.insert(suffix.into(), paths),
                None => _ = hosts.exact.insert(host.into(), paths),
            }
        }
        Ok(hosts)
    }
}

/// The routes of one priority.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    exact: HashMap<Box<str>, Paths>,
    /// By the suffix without `*.`.
    wildcard: HashMap<Box<str>, Paths>,
    any: Paths,
}

impl Hosts {
    /// What the most specific host that has a route for the request says.
    pub(super) fn find<'s>(
        &'s self,
        host: &'s str,
        head: &Head<'_>,
        captures: &mut Captures,
    ) -> Option<Hit<'s>> {
        let exact = self.exact.get(host).into_iter();
        let mut hosts = exact.chain(self.wildcards(host)).chain([&self.any]);
        hosts.find_map(|paths| paths.find(head, captures))
    }

    /// The paths of `*.suffix` hosts, the longest suffix first.
    fn wildcards<'s>(&'s self, host: &'s str) -> impl Iterator<Item = &'s Paths> {
        // Most gateways have no such host; then the name need not be searched for dots.
        let host = if self.wildcard.is_empty() { "" } else { host };
        let dots = host.bytes().enumerate().filter(|(_, byte)| *byte == b'.');
        dots.filter_map(move |(dot, _)| self.wildcard.get(host.get(dot + 1..)?))
    }
}

/// `example.com:8080` and `example.com.` are `example.com`; the brackets of an IPv6 address stay.
#[must_use]
pub fn without_port(host: &str) -> &str {
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
