//! How an upstream and its targets are, for operators.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::target::Target;
use super::target_set::Member;
use super::{Exclusion, Upstream};
use crate::config::Placement;

/// How an upstream is.
#[derive(Debug, Clone, Serialize)]
pub struct UpstreamReport {
    /// Its circuit breaker, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerReport>,
    /// Its limit of requests at once, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ConcurrencyReport>,
    /// How many requests may be sent again now, before the budget is used up.
    pub retry_budget_left: u64,
    /// Requests under way, over all targets.
    pub in_flight: u64,
    /// Its targets, each once.
    pub targets: Vec<TargetReport>,
}

/// How a circuit breaker is.
#[derive(Debug, Clone, Serialize)]
pub struct BreakerReport {
    /// `closed`, `open` or `half-open`.
    pub state: &'static str,
    /// How long it has been in this state, in milliseconds; none when it was never in another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}

/// How a limit of requests at once is.
#[derive(Debug, Clone, Serialize)]
pub struct ConcurrencyReport {
    /// Most requests at once, as it is now.
    pub limit: usize,
    /// Whether the limit finds itself.
    pub adaptive: bool,
    /// Requests that have a place.
    pub taken: usize,
    /// Requests that wait for one.
    pub waiting: usize,
    /// Most requests that may wait.
    pub max_queue: usize,
}

/// How a target of an upstream is.
#[derive(Debug, Clone, Serialize)]
pub struct TargetReport {
    /// Its address.
    pub target: Arc<str>,
    /// `usable`, `ejected`, or `failing`: its health checks fail.
    pub state: &'static str,
    /// Why it is ejected, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ejected_by: Option<&'static str>,
    /// How long it stays ejected, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ejected_for_ms: Option<u64>,
    /// Why its last health check failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_failure: Option<String>,
    /// Requests under way, tunnels included.
    pub in_flight: u64,
    /// Requests so far.
    pub requests: u64,
    /// Requests so far that gave no response, one that broke off, or one with status 5xx.
    pub failures: u64,
    /// Its connections.
    pub connections: ConnectionsReport,
    /// Its part of the sum of all weights of its priority.
    pub weight: u32,
    /// Targets of a higher number get what those of lower ones cannot carry.
    pub priority: u8,
    /// Whether it is used only when no other target can be.
    pub backup: bool,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<Arc<str>>,
}

/// The connections of a target, those of tunnels and of health checks not counted.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ConnectionsReport {
    /// All of them.
    pub total: usize,
    /// With a request under way, or not yet ready for one.
    pub active: usize,
    /// Waiting for requests.
    pub idle: usize,
    /// Requests that wait for one.
    pub waiting: usize,
}

impl Upstream {
    /// How it is.
    #[must_use]
    pub fn report(&self) -> UpstreamReport {
        let now = self.clock.now();
        let set = self.current();
        let placements = placements(set.members());
        let report = |target: &Arc<Target>| {
            let placement = placements.get(&Arc::as_ptr(target)).cloned();
            target.report(placement.unwrap_or_default(), now)
        };
        let targets: Vec<TargetReport> = set.targets().iter().map(report).collect();
        let protection = &self.protection;
        UpstreamReport {
            breaker: protection.breaker().map(|breaker| BreakerReport {
                state: breaker.state().as_str(),
                for_ms: breaker
                    .changed()
                    .map(|then| millis(now.saturating_sub(then))),
            }),
            concurrency: protection.limiter().map(|limiter| ConcurrencyReport {
                limit: limiter.limit(),
                adaptive: limiter.config().adaptive,
                taken: limiter.taken(),
                waiting: limiter.waiting(),
                max_queue: limiter.config().max_queue,
            }),
            retry_budget_left: protection.budget().left(now),
            in_flight: targets.iter().map(|target| target.in_flight).sum(),
            targets,
        }
    }
}

impl Target {
    fn report(&self, placement: Placement, now: Duration) -> TargetReport {
        let care = self.care();
        let ejection = care.ejection();
        let (total, idle) = (self.connections(), self.idle_connections());
        TargetReport {
            target: Arc::clone(self.address()),
            state: match self.is_usable() {
                true => "usable",
                false if self.is_excluded(Exclusion::CheckFailed) => "failing",
                false => "ejected",
            },
            ejected_by: ejection.map(|(_, reason)| reason.as_str()),
            ejected_for_ms: ejection.map(|(until, _)| millis(until.saturating_sub(now))),
            check_failure: care.failure().map(str::to_owned),
            in_flight: self.in_flight(),
            requests: self.picks(),
            failures: self.failures(),
            connections: ConnectionsReport {
                total,
                active: total.saturating_sub(idle),
                idle: idle.min(total),
                waiting: self.waiting(),
            },
            weight: placement.weight,
            priority: placement.priority,
            backup: placement.backup,
            zone: placement.zone,
        }
    }
}

/// Where each target stands. One that is listed more than once has the weights of all its places.
fn placements(members: &[Member]) -> HashMap<*const Target, Placement> {
    let mut placements: HashMap<*const Target, Placement> = HashMap::new();
    for member in members {
        let weight = member.placement.weight;
        placements
            .entry(Arc::as_ptr(&member.target))
            .and_modify(|placement| placement.weight = placement.weight.saturating_add(weight))
            .or_insert_with(|| member.placement.clone());
    }
    placements
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
