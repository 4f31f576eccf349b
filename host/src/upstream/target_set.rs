//! The targets of an upstream at one moment, and everything about them that picking wants precomputed.
//!
//! A set never changes: another one takes its place when targets come, go, or change their health. Requests that go to a
//! target which is no longer there end in peace, because they hold it.

use std::collections::HashMap;
use std::sync::Arc;

use super::balance::Plan;
use super::dns::Dns;
use super::target::Target;
use crate::clock::Clock;
use crate::config::{Placement, TargetConfig};

/// All targets of an upstream, and who of them gets requests now.
pub(super) struct TargetSet {
    members: Box<[Member]>,
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
    pub(super) fn new(
        configs: &[TargetConfig],
        kept: Option<&Self>,
        (workers, clock): (usize, &Clock),
        dns: &Arc<Dns>,
    ) -> Self {
        let kept = kept.iter().flat_map(|set| &*set.members);
        let mut known: HashMap<_, _> = kept
            .map(|member| (member.target.endpoint().clone(), Arc::clone(&member.target)))
            .collect();
        let member = |config: &TargetConfig| {
            let endpoint = config.endpoint.clone();
            let target = known.entry(endpoint).or_insert_with_key(|endpoint| {
                let endpoint = endpoint.clone();
                Arc::new(Target::new(endpoint, workers, clock.clone(), dns))
            });
            Member {
                target: Arc::clone(target),
                placement: config.placement.clone(),
            }
        };
        Self::of(configs.iter().map(member).collect())
    }

    /// The same targets, planned anew: their health has changed.
    pub(super) fn replanned(&self) -> Self {
        Self::of(self.members.clone())
    }

    fn of(members: Box<[Member]>) -> Self {
        Self {
            plan: Plan::new(&members),
            members,
        }
    }

    /// Its targets, in the order of the configuration.
    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// Who gets requests now.
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }
}
