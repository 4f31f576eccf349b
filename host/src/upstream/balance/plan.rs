//! What picks are made from: worked out once, when targets or their health change.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::levels::{Candidate, share_out};
use super::maglev::Maglev;
use super::mix;
use super::schedule;
use super::zones::zone_factors;
use crate::config::{BalanceConfig, BalancePolicy, Placement};
use crate::upstream::target_set::Member;

/// A target that begins gets this part of its weight at once: less would tell nothing about it.
const COLD: f64 = 0.1;

/// Who gets requests while neither targets nor their health change.
pub(in crate::upstream) struct Plan {
    /// Of all targets.
    all: Shares,
    /// Of those with each value of the tag that makes subsets.
    subsets: HashMap<Arc<str>, Shares>,
}

/// How requests are shared out among priorities.
pub(super) struct Shares {
    list: Box<[PlannedShare]>,
    /// The places of all members, whether they get requests now or not.
    everybody: Box<[u32]>,
}

/// The targets of one priority.
pub(super) struct PlannedShare {
    /// Of draws from 0 to `u32::MAX`, it has those up to here that no earlier one has.
    up_to: u32,
    /// Whose turn it is: places in the list of members.
    pub(super) cycle: Box<[u32]>,
    /// Whether unusable targets are used, too.
    pub(super) panics: bool,
    /// Where hashes decide: who gets which, and the places of the targets in the list of members.
    pub(super) hashed: Option<Hashed>,
}

/// A table of targets, whether they can be used or not.
pub(super) struct Hashed {
    pub(super) maglev: Arc<Maglev>,
    pub(super) places: Box<[u32]>,
    /// What the table was made of.
    made_of: Vec<(Arc<str>, u32)>,
}

impl Plan {
    /// A plan for members, as they are `now`. Tables that `before` has too are kept.
    pub(in crate::upstream) fn new(
        members: &[Member],
        config: &BalanceConfig,
        now: Duration,
        before: Option<&Self>,
    ) -> Self {
        let everybody: Vec<usize> = (0..members.len()).collect();
        let shares = |indexes: &[usize], before: Option<&Shares>| {
            Planner {
                members,
                config,
                now,
                before,
            }
            .shares(indexes)
        };
        let mut by_value: HashMap<Arc<str>, Vec<usize>> = HashMap::new();
        if let Some(subset) = &config.subset {
            for (index, member) in members.iter().enumerate() {
                if let Some(value) = member.placement.tags.get(&subset.tag) {
                    by_value.entry(Arc::clone(value)).or_default().push(index);
                }
            }
        }
        let subsets = by_value.into_iter().map(|(value, indexes)| {
            let before = before.and_then(|plan| plan.subsets.get(&value));
            (value, shares(&indexes, before))
        });
        Self {
            subsets: subsets.collect(),
            all: shares(&everybody, before.map(|plan| &plan.all)),
        }
    }

    /// Those who share requests of this subset, if there is such a subset.
    pub(super) fn subset(&self, value: &str) -> Option<&Shares> {
        self.subsets.get(value)
    }

    /// All who share requests.
    pub(super) fn all(&self) -> &Shares {
        &self.all
    }
}

impl Shares {
    /// One of them, by chance: each has its part.
    pub(super) fn draw(&self, chance: u64) -> Option<&PlannedShare> {
        match &*self.list {
            [only] => Some(only),
            shares => {
                let draw = (mix(chance) >> 32) as u32;
                let drawn = shares.iter().find(|share| draw <= share.up_to);
                drawn.or(shares.last())
            }
        }
    }

    #[cfg(test)]
    pub(super) fn panic(&self) -> bool {
        self.list.iter().any(|share| share.panics)
    }

    /// The places of all members, whether they get requests now or not.
    pub(super) fn everybody(&self) -> &[u32] {
        &self.everybody
    }
}

struct Planner<'p> {
    members: &'p [Member],
    config: &'p BalanceConfig,
    now: Duration,
    before: Option<&'p Shares>,
}

impl Planner<'_> {
    fn shares(&self, indexes: &[usize]) -> Shares {
        let candidate = |index: &usize| {
            let member = self.members.get(*index)?;
            Some(Candidate {
                index: *index,
                priority: member.placement.priority,
                backup: member.placement.backup,
                usable: member.target.is_usable(),
            })
        };
        let candidates: Vec<Candidate> = indexes.iter().filter_map(candidate).collect();
        let threshold = f64::from(self.config.panic_threshold) / 1e6;
        let mut up_to = 0.0;
        let shares = share_out(&candidates, threshold).into_iter().enumerate();
        let planned = shares.map(|(number, share)| {
            up_to += share.part;
            let weights = self.weights(&share.indexes, &share.all);
            let cycle = schedule::cycle(&weights);
            let place = |turn: &usize| share.indexes.get(*turn).and_then(|index| place(*index));
            PlannedShare {
                up_to: (up_to * f64::from(u32::MAX)) as u32,
                cycle: cycle.iter().filter_map(place).collect(),
                panics: share.panics,
                hashed: self.hashed(&share.all, number),
            }
        });
        Shares {
            list: planned.collect(),
            everybody: indexes.iter().filter_map(|index| place(*index)).collect(),
        }
    }

    /// What each of these targets weighs now, where `all` are those of the same priority.
    fn weights(&self, indexes: &[usize], all: &[usize]) -> Vec<f64> {
        let placement = |index: usize| self.members.get(index).map(|member| &member.placement);
        let zones = (!self.config.zones.is_empty()).then(|| {
            let placed = |list: &[usize]| -> Vec<&Placement> {
                list.iter().filter_map(|index| placement(*index)).collect()
            };
            zone_factors(&self.config.zones, &placed(indexes), &placed(all))
        });
        let weight = |index: &usize| {
            let Some(member) = self.members.get(*index) else {
                return 1.0;
            };
            let weight = f64::from(member.placement.weight) * self.warmth(member);
            match &zones {
                None => weight,
                Some(zones) => {
                    let factor = zones.get(&member.placement.zone).copied();
                    // Nobody is left out by rounding.
                    weight * factor.unwrap_or(1.0).max(1e-6)
                }
            }
        };
        indexes.iter().map(weight).collect()
    }

    /// The part of its weight that a target has while it warms up.
    fn warmth(&self, member: &Member) -> f64 {
        let (Some(window), Some(since)) = (self.config.slow_start, member.target.warm_since())
        else {
            return 1.0;
        };
        let passed = self.now.saturating_sub(since).as_secs_f64();
        (passed / window.as_secs_f64()).clamp(COLD, 1.0)
    }

    fn hashed(&self, all: &[usize], number: usize) -> Option<Hashed> {
        if !matches!(self.config.policy, BalancePolicy::Hash(_)) {
            return None;
        }
        let entry = |index: &usize| {
            let member = self.members.get(*index)?;
            let address = Arc::clone(member.target.address());
            Some((address, member.placement.weight, place(*index)?))
        };
        let mut entries: Vec<(Arc<str>, u32, u32)> = all.iter().filter_map(entry).collect();
        // Other nodes may know the targets in another order.
        entries.sort();
        let places = entries.iter().map(|(_, _, place)| *place).collect();
        let made_of = entries.into_iter().map(|(name, weight, _)| (name, weight));
        let made_of: Vec<(Arc<str>, u32)> = made_of.collect();
        let before = self
            .before
            .and_then(|shares| shares.list.get(number)?.hashed.as_ref());
        let maglev = match before.filter(|before| before.made_of == made_of) {
            Some(before) => Arc::clone(&before.maglev),
            None => {
                let named = made_of.iter().map(|(name, weight)| (&**name, *weight));
                Arc::new(Maglev::new(named)?)
            }
        };
        Some(Hashed {
            maglev,
            places,
            made_of,
        })
    }
}

fn place(index: usize) -> Option<u32> {
    u32::try_from(index).ok()
}
