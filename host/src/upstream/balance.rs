//! Balancing: which target gets a request.
//!
//! Picking takes no lock and computes little: what can be known beforehand is in the plan, which is made anew when targets
//! or their health change. Between the change and the new plan, targets that cannot be used are passed over one by one.

pub(super) mod ewma;
mod levels;
mod maglev;
mod plan;
mod schedule;
mod zones;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::affinity::Affinity;
use super::outcome::Outcome;
use super::target::Target;
use super::target_set::TargetSet;
use crate::config::{BalanceConfig, BalancePolicy};
pub(super) use maglev::hash;
pub(super) use plan::Plan;
use plan::{PlannedShare, Shares};

/// Turns that are tried before all targets are looked at.
const TURNS: usize = 8;

/// What a pick depends on.
#[derive(Clone, Copy, Default)]
pub(super) struct PickContext<'a> {
    /// The worker that asks.
    pub(super) worker: usize,
    /// What the request is bound to, if it is bound to anything.
    pub(super) affinity: Option<&'a Affinity>,
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

/// Picks a target of a set: one that can be used and that was not tried, if there is one; and one that was tried, or that
/// should not be used, rather than none. There is none where there are no targets, or none for the request's subset.
pub(super) fn pick(
    set: &TargetSet,
    config: &BalanceConfig,
    turns: &Turns,
    context: &PickContext<'_>,
) -> Option<Picked> {
    let turn = turns.next(context.worker);
    // Workers draw from different places of one row of numbers.
    let chance = (turn as u64).wrapping_add((context.worker as u64) << 40);
    let hash = context.affinity.and_then(|affinity| affinity.hash);
    let picking = Picking {
        set,
        config,
        context,
        turn,
        chance,
        hash,
    };
    if let Some(sticky) = context
        .affinity
        .and_then(|affinity| set.by_id(affinity.target?))
    {
        let target = &set.members().get(sticky)?.target;
        if picking.suits(target) {
            return Some(Picked::new(target));
        }
    }
    let shares = picking.shares()?;
    let share = match (&config.policy, hash) {
        (BalancePolicy::Hash(_), Some(hash)) => shares.draw(hash)?,
        _ => shares.draw(chance)?,
    };
    let found = picking.by_policy(share);
    found
        .or_else(|| picking.any(shares, share))
        .map(Picked::new)
}

struct Picking<'p> {
    set: &'p TargetSet,
    config: &'p BalanceConfig,
    context: &'p PickContext<'p>,
    turn: usize,
    chance: u64,
    hash: Option<u64>,
}

impl<'p> Picking<'p> {
    fn shares(&self) -> Option<&'p Shares> {
        let plan = self.set.plan();
        let Some(subset) = &self.config.subset else {
            return Some(plan.all());
        };
        let value = self
            .context
            .affinity
            .and_then(|affinity| affinity.subset.as_deref());
        let found = value.and_then(|value| plan.subset(value));
        found.or(subset.otherwise_any.then(|| plan.all()))
    }

    fn by_policy(&self, share: &PlannedShare) -> Option<&'p Arc<Target>> {
        match (&self.config.policy, self.hash) {
            (BalancePolicy::RoundRobin, _) => self.in_turn(share),
            (BalancePolicy::LeastRequest, _) => self.of_two(share, |target, weight| {
                (target.in_flight() + 1) as f32 / weight
            }),
            (BalancePolicy::PeakEwma, _) => {
                self.of_two(share, |target, weight| target.cost() / weight)
            }
            (BalancePolicy::Hash(_), Some(hash)) => self.hashed(share, hash),
            // There is nothing to be bound by.
            (BalancePolicy::Hash(_), None) => self.in_turn(share),
        }
    }

    fn in_turn(&self, share: &PlannedShare) -> Option<&'p Arc<Target>> {
        let length = share.cycle.len();
        (0..TURNS.min(length)).find_map(|offset| {
            let place = self.turn.wrapping_add(offset) % length;
            let target = self.target(share.cycle.get(place)?)?;
            self.suits_share(target, share).then_some(target)
        })
    }

    /// The cheaper one of two at random. Targets of more weight are drawn more often, and may have more work.
    fn of_two(
        &self,
        share: &PlannedShare,
        cost: impl Fn(&Target, f32) -> f32,
    ) -> Option<&'p Arc<Target>> {
        let length = share.cycle.len();
        if length < 2 {
            return self.in_turn(share);
        }
        (0..TURNS as u64).find_map(|attempt| {
            let random = mix(self.chance.wrapping_add(attempt << 56));
            let first = scale(random >> 32, length);
            // Another place than the first.
            let second = (first + 1 + scale(random & u64::from(u32::MAX), length - 1)) % length;
            let drawn = |place: usize| {
                let index = share.cycle.get(place)?;
                let member = self.set.members().get(*index as usize)?;
                let suits = self.suits_share(&member.target, share);
                suits.then_some((&member.target, member.placement.weight as f32))
            };
            match (drawn(first), drawn(second)) {
                (Some((one, weight)), Some((two, other))) => {
                    Some(if cost(two, other) < cost(one, weight) {
                        two
                    } else {
                        one
                    })
                }
                (one, two) => one.or(two).map(|(target, _)| target),
            }
        })
    }

    /// The target of a hash, or the next one of its row that suits.
    fn hashed(&self, share: &PlannedShare, hash: u64) -> Option<&'p Arc<Target>> {
        let hashed = share.hashed.as_ref()?;
        (0..TURNS as u64).find_map(|attempt| {
            let number = hashed.maglev.find(hash, attempt);
            let target = self.target(hashed.places.get(number)?)?;
            self.suits_share(target, share).then_some(target)
        })
    }

    /// Any target, the better ones first: of the share, of the others that get such requests, and of all of these those
    /// that can be used and were not tried.
    fn any(&self, shares: &'p Shares, share: &'p PlannedShare) -> Option<&'p Arc<Target>> {
        let (later, first) = share.cycle.split_at(self.turn % share.cycle.len().max(1));
        let places = first.iter().chain(later).chain(shares.everybody());
        let all = || places.clone().filter_map(|place| self.target(place));
        all()
            .find(|target| self.suits(target))
            .or_else(|| all().find(|target| target.is_usable()))
            .or_else(|| all().find(|target| !self.is_tried(target)))
            .or_else(|| all().next())
    }

    fn target(&self, place: &u32) -> Option<&'p Arc<Target>> {
        let member = self.set.members().get(*place as usize);
        member.map(|member| &member.target)
    }

    fn suits(&self, target: &Arc<Target>) -> bool {
        target.is_usable() && !self.is_tried(target)
    }

    fn suits_share(&self, target: &Arc<Target>, share: &PlannedShare) -> bool {
        (share.panics || target.is_usable()) && !self.is_tried(target)
    }

    fn is_tried(&self, target: &Arc<Target>) -> bool {
        let mut tried = self.context.tried.iter();
        tried.any(|tried| Arc::ptr_eq(tried, target))
    }
}

/// 32 bits at random as a number below `length`.
fn scale(random: u64, length: usize) -> usize {
    usize::try_from((random * length as u64) >> 32).unwrap_or_default()
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
