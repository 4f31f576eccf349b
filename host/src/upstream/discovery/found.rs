//! From what a source finds to targets.

use std::collections::HashSet;
use std::sync::Arc;

use crate::config::{Endpoint, Placement, TargetConfig, UpstreamTls};

/// More targets of one upstream are a mistake somewhere.
const MAX_TARGETS: usize = 10_000;

/// A target as a source finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Name or address, without brackets.
    pub(super) host: Arc<str>,
    pub(super) port: u16,
    /// Whose certificate it shows, if not the host's.
    pub(super) name: Option<Arc<str>>,
    /// Whether it is spoken to over TLS, where the source says so; if not, the configuration does.
    pub(super) secure: Option<bool>,
    pub(super) placement: Placement,
}

/// Targets, and why some that were found are not among them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Targets {
    pub(super) targets: Vec<TargetConfig>,
    pub(super) problem: Option<String>,
}

/// Targets in one order, each once, however they were found.
pub(super) fn targets(found: Vec<Found>, tls: Option<&UpstreamTls>) -> Targets {
    let (count, mut refused) = (found.len(), Vec::new());
    let mut seen = HashSet::new();
    let mut targets: Vec<TargetConfig> = Vec::new();
    for found in found.into_iter().take(MAX_TARGETS) {
        match endpoint(&found, tls) {
            Ok(endpoint) if seen.insert(place(&endpoint)) => targets.push(TargetConfig {
                endpoint,
                placement: found.placement,
            }),
            Ok(_) => {}
            Err(reason) => refused.push(reason),
        }
    }
    targets.sort_by_cached_key(|target| place(&target.endpoint));
    let problem = match refused.first() {
        _ if count > MAX_TARGETS => Some(format!("{count} targets, only {MAX_TARGETS} are used")),
        Some(first) => Some(format!("{} target(s) left out: {first}", refused.len())),
        None => None,
    };
    Targets { targets, problem }
}

/// What tells targets apart.
pub(super) fn place(endpoint: &Endpoint) -> (Arc<str>, u16) {
    (Arc::clone(&endpoint.host), endpoint.port)
}

fn endpoint(found: &Found, tls: Option<&UpstreamTls>) -> Result<Endpoint, String> {
    let Found { host, port, .. } = found;
    let tls = match (found.secure, tls) {
        (Some(false), _) | (None, None) => None,
        (Some(true) | None, Some(tls)) => {
            let name = found.name.as_ref().unwrap_or(host);
            let tls = tls.of_target(name);
            Some(tls.ok_or_else(|| format!("no certificate can be for {name:?}"))?)
        }
        (Some(true), None) => {
            return Err(format!(
                "{host}:{port} is `https://`, and the upstream has no `tls` table"
            ));
        }
    };
    Ok(Endpoint {
        host: Arc::clone(host),
        port: *port,
        tls,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(host: &str, port: u16) -> Found {
        Found {
            host: host.into(),
            port,
            name: None,
            secure: None,
            placement: Placement::default(),
        }
    }

    fn hosts(targets: &Targets) -> Vec<String> {
        let shown =
            |target: &TargetConfig| format!("{}:{}", target.endpoint.host, target.endpoint.port);
        targets.targets.iter().map(shown).collect()
    }

    #[test]
    fn the_order_in_which_targets_are_found_is_nothing() {
        let (one, two) = (found("10.0.0.1", 1), found("10.0.0.2", 1));
        let forth = targets(vec![one.clone(), two.clone(), one.clone()], None);
        assert_eq!(forth, targets(vec![two, one], None));
        assert_eq!(hosts(&forth), ["10.0.0.1:1", "10.0.0.2:1"]);
        assert_eq!(forth.problem, None);
    }

    #[test]
    fn a_target_over_tls_needs_a_table_that_says_how() {
        let secure = Found {
            secure: Some(true),
            ..found("10.0.0.1", 443)
        };
        let made = targets(vec![secure, found("10.0.0.2", 80)], None);
        assert_eq!(hosts(&made), ["10.0.0.2:80"]);
        let problem = made.problem.unwrap();
        assert!(problem.starts_with("1 target(s) left out"), "{problem}");
    }

    #[test]
    fn there_is_a_most() {
        let many = (0..10_001)
            .map(|port| found(&format!("h{port}"), 1))
            .collect();
        let made = targets(many, None);
        assert_eq!(made.targets.len(), MAX_TARGETS);
        assert!(made.problem.is_some());
    }
}
