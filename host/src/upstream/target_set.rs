//! The targets of an upstream at one moment, and everything about them that picking wants precomputed.
//!
//! A set never changes: another one takes its place when targets come, go, or change their health. Requests that go to a
//! target which is no longer there end in peace, because they hold it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::balance::Plan;
use super::target::Target;
use crate::config::{Endpoint, Placement, TargetConfig, UpstreamConfig};

/// All targets of an upstream, and who of them gets requests now.
pub(super) struct TargetSet {
    members: Arc<[Member]>,
    /// Each target once, however often it is listed.
    targets: Arc<[Arc<Target>]>,
    /// Places of targets by their numbers, where cookies name them.
    ids: Arc<HashMap<u64, usize>>,
    plan: Plan,
}

/// A target of a set.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) target: Arc<Target>,
    pub(super) placement: Placement,
}

impl TargetSet {
    /// The targets of a configuration; those that `kept` has too are taken over, with their connections and their health.
    /// Others are made, and warm up if there were targets before.
    pub(super) fn new(
        configs: &[TargetConfig],
        upstream: &UpstreamConfig,
        kept: Option<&Self>,
        now: Duration,
        make: impl Fn(Endpoint) -> Target,
    ) -> Self {
        let kept = kept.filter(|set| !set.targets.is_empty());
        let mut known: HashMap<Endpoint, Arc<Target>> = HashMap::new();
        for target in kept.iter().flat_map(|set| &*set.targets) {
            known.insert(target.endpoint().clone(), Arc::clone(target));
        }
        let member = |config: &TargetConfig| {
            let target = known
                .entry(config.endpoint.clone())
                .or_insert_with_key(|endpoint| {
                    let target = make(endpoint.clone());
                    if kept.is_some() {
                        target.care().warm_up(now);
                    }
                    Arc::new(target)
                });
            target.configure(upstream);
            Member {
                target: Arc::clone(target),
                placement: config.placement.clone(),
            }
        };
        let members: Arc<[Member]> = configs.iter().map(member).collect();
        let mut seen = HashSet::new();
        let all = members.iter().map(|member| &member.target);
        let targets = all
            .filter(|target| seen.insert(Arc::as_ptr(target)))
            .cloned();
        let ids = members
            .iter()
            .enumerate()
            .filter(|_| upstream.sticky.is_some());
        Self {
            targets: targets.collect(),
            ids: Arc::new(
                ids.map(|(place, member)| (member.target.id(), place))
                    .collect(),
            ),
            plan: Plan::new(&members, &upstream.balance, now, None),
            members,
        }
    }

    /// The same targets, planned anew: their health has changed.
    pub(super) fn replanned(&self, upstream: &UpstreamConfig, now: Duration) -> Self {
        Self {
            members: Arc::clone(&self.members),
            targets: Arc::clone(&self.targets),
            ids: Arc::clone(&self.ids),
            plan: Plan::new(&self.members, &upstream.balance, now, Some(&self.plan)),
        }
    }

    /// Its members, in the order of the configuration.
    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// Its targets, each once.
    pub(super) fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }

    /// The place of the target with this number.
    pub(super) fn by_id(&self, id: u64) -> Option<usize> {
        self.ids.get(&id).copied()
    }

    /// Who gets requests now.
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }
}
