//! Balancing: which target gets a request.
//!
//! Picking takes no lock and computes little: what can be known beforehand is in the plan, which is made anew when targets
//! or their health change. Between the change and the new plan, targets that cannot be used are passed over one by one.

mod levels;
mod schedule;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::outcome::Outcome;
use super::target::Target;
use super::target_set::{Member, TargetSet};
use levels::{Candidate, share_out};

/// A priority of which less than this can be used, uses all its targets. Three targets that lose two go on with the one.
const PANIC_THRESHOLD: f64 = 0.25;
/// Turns that are tried before all targets are looked at.
const TURNS: usize = 8;

/// What a pick depends on.
#[derive(Clone, Copy, Default)]
pub(super) struct PickContext<'a> {
    /// The worker that asks.
    pub(super) worker: usize,
    /// Targets that this request has been sent to: another one is picked, if there is one.
    pub(super) tried: &'a [Arc<Target>],
}

/// A target that was picked for one attempt. The attempt is under way until this is dropped.
pub(super) struct Picked {
    target: Arc<Target>,
}

impl Picked {
    fn new(target: &Arc<Target>) -> Self {
        target.load().enter();
        let target = Arc::clone(target);
        Self { target }
    }

    /// The target.
    pub(super) fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// What came of the attempt, `elapsed` after it began. To be called once, when the response's head is there or will
    /// not come.
    pub(super) fn report(&self, outcome: Outcome, elapsed: Duration) {
        self.target.judge(outcome, elapsed);
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.target.load().leave();
    }
}

/// How many picks each worker has made.
pub(super) struct Turns(Box<[Turn]>);

/// On a cache line of its own: one worker writes it.
#[repr(align(128))]
struct Turn(AtomicUsize);

impl Turns {
    pub(super) fn new(workers: usize) -> Self {
        // Workers begin at different targets, so that a start does not send all first requests to one.
        let turns = (0..workers).map(|worker| Turn(AtomicUsize::new(worker)));
        Self(turns.collect())
    }

    /// One more pick of this worker: how many it has made before, from some start.
    fn next(&self, worker: usize) -> usize {
        self.0
            .get(worker)
            .map_or(0, |turn| turn.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// Who gets requests while neither targets nor their health change.
pub(super) struct Plan {
    shares: Box<[PlannedShare]>,
}

struct PlannedShare {
    /// Of draws from 0 to `u32::MAX`, it has those up to here that no earlier one has.
    up_to: u32,
    /// Whose turn it is: places in the list of members.
    cycle: Box<[u32]>,
    /// Whether unusable targets are used, too.
    panics: bool,
}

impl Plan {
    pub(super) fn new(members: &[Member]) -> Self {
        let candidate = |(index, member): (usize, &Member)| Candidate {
            index,
            priority: member.placement.priority,
            backup: member.placement.backup,
            usable: member.target.is_usable(),
        };
        let candidates: Vec<Candidate> = members.iter().enumerate().map(candidate).collect();
        let weight = |index: &usize| {
            members
                .get(*index)
                .map_or(1.0, |member| f64::from(member.placement.weight))
        };
        let mut sum = 0.0;
        let shares = share_out(&candidates, PANIC_THRESHOLD);
        let planned = shares.into_iter().map(|share| {
            sum += share.part;
            let weights: Vec<f64> = share.indexes.iter().map(weight).collect();
            let cycle = schedule::cycle(&weights);
            let member = |turn: &usize| {
                share
                    .indexes
                    .get(*turn)
                    .and_then(|i| u32::try_from(*i).ok())
            };
            PlannedShare {
                up_to: (sum * f64::from(u32::MAX)) as u32,
                cycle: cycle.iter().filter_map(member).collect(),
                panics: share.panics,
            }
        });
        Self {
            shares: planned.collect(),
        }
    }

    fn share(&self, chance: u64) -> Option<&PlannedShare> {
        match &*self.shares {
            [only] => Some(only),
            shares => {
                let draw = (mix(chance) >> 32) as u32;
                let drawn = shares.iter().find(|share| draw <= share.up_to);
                drawn.or(shares.last())
            }
        }
    }
}

/// Picks a target of a set: one that can be used and that was not tried, if there is one; and one that was tried, or that
/// should not be used, rather than none.
pub(super) fn pick(set: &TargetSet, turns: &Turns, context: &PickContext<'_>) -> Option<Picked> {
    let turn = turns.next(context.worker);
    // Workers draw from different places of one row of numbers.
    let chance = (turn as u64).wrapping_add((context.worker as u64) << 40);
    let share = set.plan().share(chance)?;
    let is_tried =
        |target: &Arc<Target>| context.tried.iter().any(|tried| Arc::ptr_eq(tried, target));
    for offset in 0..TURNS.min(share.cycle.len()) {
        let place = turn.wrapping_add(offset) % share.cycle.len();
        let index = share.cycle.get(place).copied().unwrap_or_default() as usize;
        let target = &set.members().get(index)?.target;
        if (share.panics || target.is_usable()) && !is_tried(target) {
            return Some(Picked::new(target));
        }
    }
    let (later, first) = share.cycle.split_at(turn % share.cycle.len().max(1));
    let rest = first.iter().chain(later);
    let of_share = rest.filter_map(|index| set.members().get(*index as usize));
    let all = || {
        of_share
            .clone()
            .chain(set.members())
            .map(|member| &member.target)
    };
    let found = all()
        .find(|target| target.is_usable() && !is_tried(target))
        .or_else(|| all().find(|target| target.is_usable()))
        .or_else(|| all().find(|target| !is_tried(target)))
        .or_else(|| all().next());
    found.map(Picked::new)
}

/// Spreads the bits of a counter (the finaliser of SplitMix64, by Sebastiano Vigna): as good as chance for a balancer.
fn mix(counter: u64) -> u64 {
    let mut bits = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests;
