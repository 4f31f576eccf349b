use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::clock::Clock;
use crate::config::{HashOn, Placement, TargetConfig, UpstreamConfig};
use crate::upstream::care::Attention;
use crate::upstream::dns::Dns;
use crate::upstream::testing::configured;
use crate::upstream::{Exclusion, Outcome};

/// Targets and how they are balanced.
struct World {
    config: UpstreamConfig,
    set: TargetSet,
    clock: Clock,
    turns: Turns,
}

fn make(clock: &Clock) -> impl Fn(crate::config::Endpoint) -> Target {
    let attention = Arc::new(Attention::new(Arc::default()));
    let dns = Dns::nowhere();
    move |endpoint| Target::new(endpoint, 1, clock.clone(), &dns, Arc::clone(&attention))
}

impl World {
    /// An upstream with these lines, and targets at ports from 1.
    fn new(lines: &str, placements: &[Placement]) -> Self {
        let mut config = configured(&format!("targets = [\"http://127.0.0.1:1\"]\n{lines}"));
        config.targets = targets(&config.targets[0], placements);
        let clock = Clock::manual();
        let set = TargetSet::new(&config.targets, &config, None, clock.now(), make(&clock));
        Self {
            config,
            set,
            clock,
            turns: Turns::new(2),
        }
    }

    fn of(placements: &[Placement]) -> Self {
        Self::new("", placements)
    }

    fn target(&self, index: usize) -> &Arc<Target> {
        &self.set.members()[index].target
    }

    fn pick(&self, context: &PickContext<'_>) -> Option<Picked> {
        pick(&self.set, &self.config.balance, &self.turns, context)
    }

    fn port(&self, context: &PickContext<'_>) -> u16 {
        self.pick(context).unwrap().target().endpoint().port
    }

    /// The ports that are picked, one for each pick.
    fn picks(&self, count: usize, tried: &[Arc<Target>]) -> Vec<u16> {
        let context = PickContext {
            tried,
            ..PickContext::default()
        };
        (0..count).map(|_| self.port(&context)).collect()
    }

    fn counts(&self, count: usize, tried: &[Arc<Target>]) -> HashMap<u16, usize> {
        let mut counts = HashMap::new();
        for port in self.picks(count, tried) {
            *counts.entry(port).or_default() += 1;
        }
        counts
    }

    fn bound(&self, affinity: Affinity) -> u16 {
        let context = PickContext {
            affinity: Some(&affinity),
            ..PickContext::default()
        };
        self.port(&context)
    }

    fn replan(&mut self) {
        self.set = self.set.replanned(&self.config, self.clock.now());
    }
}

fn targets(first: &TargetConfig, placements: &[Placement]) -> Vec<TargetConfig> {
    let target = |(port, placement): (u16, &Placement)| {
        let mut target = first.clone();
        target.endpoint.port = port;
        target.placement = placement.clone();
        target
    };
    (1..).zip(placements).map(target).collect()
}

fn weighing(weight: u32) -> Placement {
    Placement {
        weight,
        ..Placement::default()
    }
}

fn in_zone(zone: &str) -> Placement {
    Placement {
        zone: Some(zone.into()),
        ..Placement::default()
    }
}

fn tagged(value: &str) -> Placement {
    Placement {
        tags: [("version".into(), value.into())].into(),
        ..Placement::default()
    }
}

fn is_about(count: usize, expected: usize) -> bool {
    count.abs_diff(expected) <= expected / 10
}

#[test]
fn picks_follow_the_weights() {
    let world = World::of(&[weighing(3), weighing(1)]);
    assert_eq!(world.counts(400, &[]), HashMap::from([(1, 300), (2, 100)]));
}

#[test]
fn workers_begin_at_different_targets() {
    let world = World::of(&[weighing(1), weighing(1)]);
    let first = |worker| {
        world.port(&PickContext {
            worker,
            ..PickContext::default()
        })
    };
    assert_ne!(first(0), first(1));
}

#[test]
fn there_is_no_pick_without_targets() {
    assert!(World::of(&[]).pick(&PickContext::default()).is_none());
}

#[test]
fn a_target_that_cannot_be_used_is_passed_over_before_and_after_the_new_plan() {
    let mut world = World::of(&[weighing(1), weighing(1), weighing(1)]);
    assert!(world.target(1).exclude(Exclusion::Ejected, true));
    assert!(!world.target(1).exclude(Exclusion::Ejected, true));
    assert!(!world.picks(100, &[]).contains(&2));
    world.replan();
    assert_eq!(world.counts(100, &[]), HashMap::from([(1, 50), (3, 50)]));
    assert!(world.target(1).exclude(Exclusion::Ejected, false));
    world.replan();
    assert!(world.picks(3, &[]).contains(&2));
}

#[test]
fn another_target_is_picked_than_those_that_were_tried() {
    let mut world = World::of(&[weighing(1), weighing(100), weighing(1)]);
    let tried = [Arc::clone(world.target(1)), Arc::clone(world.target(0))];
    assert_eq!(world.counts(100, &tried), HashMap::from([(3, 100)]));
    // Where all were tried, one that can be used; where none can, another one.
    let all = world.set.targets().to_vec();
    world.target(1).exclude(Exclusion::CheckFailed, true);
    assert!(!world.picks(100, &all).contains(&2));
    for index in [0, 2] {
        world.target(index).exclude(Exclusion::CheckFailed, true);
    }
    world.replan();
    assert_eq!(world.counts(100, &tried), HashMap::from([(3, 100)]));
    assert_eq!(world.picks(9, &all).len(), 9);
}

#[test]
fn the_next_priority_gets_what_the_first_cannot_carry() {
    let next = Placement {
        priority: 1,
        ..Placement::default()
    };
    let mut world = World::of(&[weighing(1), weighing(1), next]);
    assert!(!world.picks(100, &[]).contains(&3));
    world.target(0).exclude(Exclusion::CheckFailed, true);
    world.replan();
    let counts = world.counts(10_000, &[]);
    assert!(
        is_about(counts[&2], 7_000) && is_about(counts[&3], 3_000),
        "{counts:?}"
    );
}

#[test]
fn a_backup_is_tried_rather_than_a_target_again() {
    let backup = Placement {
        backup: true,
        ..Placement::default()
    };
    let world = World::of(&[weighing(1), backup]);
    assert_eq!(world.counts(10, &[]), HashMap::from([(1, 10)]));
    let tried = [Arc::clone(world.target(0))];
    assert_eq!(world.counts(10, &tried), HashMap::from([(2, 10)]));
}

#[test]
fn requests_are_under_way_until_the_pick_is_dropped() {
    let world = World::of(&[weighing(1)]);
    let picked = world.pick(&PickContext::default()).unwrap();
    let target = world.target(0);
    assert_eq!(target.in_flight(), 1);
    picked.report(Outcome::ConnectFailure, Duration::ZERO);
    drop(picked);
    assert_eq!(
        (target.in_flight(), target.picks(), target.failures()),
        (0, 1, 1)
    );
}

#[test]
fn targets_that_stay_are_the_same_whatever_their_place() {
    let world = World::of(&[weighing(1), weighing(1)]);
    let mut configs = world.config.targets.clone();
    configs.remove(0);
    configs[0].placement.weight = 9;
    configs.push(configs[0].clone());
    configs[1].endpoint.port = 3;
    let now = world.clock.now();
    let next = TargetSet::new(
        &configs,
        &world.config,
        Some(&world.set),
        now,
        make(&world.clock),
    );
    assert!(Arc::ptr_eq(world.target(1), &next.members()[0].target));
    assert_eq!(next.members()[0].placement.weight, 9);
    assert_eq!(next.targets().len(), 2);
}

#[test]
fn least_request_avoids_those_that_have_work() {
    let world = World::new("balance = \"least-request\"", &vec![weighing(1); 10]);
    let busy: Vec<_> = (0..100).map(|_| Picked::new(world.target(0))).collect();
    let counts = world.counts(10_000, &[]);
    assert_eq!(counts.get(&1), None, "one of two is always less busy");
    drop(busy);
    let counts = world.counts(10_000, &[]);
    assert!(
        (1..=10).all(|port| counts[&port].abs_diff(1_000) < 300),
        "{counts:?}"
    );
}

#[test]
fn least_request_gives_more_to_those_with_more_weight() {
    let world = World::new("balance = \"least-request\"", &[weighing(3), weighing(1)]);
    // All requests stay under way.
    let picked: Vec<_> = (0..400)
        .map(|_| world.pick(&PickContext::default()))
        .collect();
    assert!(is_about(
        usize::try_from(world.target(0).in_flight()).unwrap(),
        300
    ));
    drop(picked);
}

#[test]
fn peak_ewma_avoids_those_that_answer_late() {
    let world = World::new("balance = \"peak-ewma\"", &vec![weighing(1); 4]);
    let answers = |index, after| {
        let outcome = Outcome::Answered {
            status: http::StatusCode::OK,
            grpc: None,
        };
        Picked::new(world.target(index)).report(outcome, Duration::from_millis(after));
    };
    for (index, after) in [5, 5, 500, 5].into_iter().enumerate() {
        answers(index, after);
    }
    assert_eq!(world.counts(1_000, &[]).get(&3), None);
    // Old news: it is tried again.
    world.clock.advance(Duration::from_secs(200));
    for index in [0, 1, 3] {
        answers(index, 5);
    }
    assert!(world.counts(1_000, &[]).contains_key(&3));
}

#[test]
fn equal_hashes_meet_the_same_target_while_it_can_be_used() {
    let lines = "balance = { policy = \"hash\", hash-on = \"header:x-user\" }";
    let mut world = World::new(lines, &vec![weighing(1); 10]);
    assert_eq!(
        world.config.balance.policy,
        BalancePolicy::Hash(HashOn::Header("x-user".parse().unwrap()))
    );
    let bound = |world: &World, key: u64| {
        world.bound(Affinity {
            hash: Some(hash(&key.to_be_bytes(), 0)),
            ..Affinity::default()
        })
    };
    let before: Vec<u16> = (0..1_000).map(|key| bound(&world, key)).collect();
    assert_eq!(
        before,
        (0..1_000).map(|key| bound(&world, key)).collect::<Vec<_>>()
    );
    world.target(4).exclude(Exclusion::Ejected, true);
    world.replan();
    for (key, port) in (0..).zip(before) {
        let after = bound(&world, key);
        assert!(
            after != 5 && (port == 5 || port == after),
            "{key}: {port} became {after}"
        );
    }
}

#[test]
fn a_sticky_target_is_kept_until_it_cannot_be_used() {
    let lines = "sticky = { secret = \"env:STICKY\" }";
    let world = World::new(lines, &vec![weighing(1); 3]);
    let affinity = Affinity {
        target: Some(world.target(1).id()),
        ..Affinity::default()
    };
    assert!((0..10).all(|_| world.bound(affinity.clone()) == 2));
    world.target(1).exclude(Exclusion::Ejected, true);
    assert!((0..10).all(|_| world.bound(affinity.clone()) != 2));
}

#[test]
fn a_subset_is_of_the_targets_with_the_tag() {
    let lines = "balance = { subset-header = \"x-version\", subset-tag = \"version\" }";
    let placements = [tagged("1"), tagged("2"), tagged("2"), weighing(1)];
    let mut world = World::new(lines, &placements);
    let wants = |value: &str| Affinity {
        subset: Some(value.into()),
        ..Affinity::default()
    };
    assert!((0..20).all(|_| (2..=3).contains(&world.bound(wants("2")))));
    assert!(
        (0..20).any(|_| world.bound(wants("9")) == 4),
        "by default any will do"
    );
    if let Some(subset) = &mut world.config.balance.subset {
        subset.otherwise_any = false;
    }
    let affinity = wants("9");
    let context = PickContext {
        affinity: Some(&affinity),
        ..PickContext::default()
    };
    assert!(world.pick(&context).is_none());
    assert!(world.pick(&PickContext::default()).is_none());
}

#[test]
fn zones_have_their_parts() {
    let lines = "balance = { zones = { near = 3, far = 1 } }";
    let placements = [in_zone("near"), in_zone("far"), in_zone("far")];
    let counts = World::new(lines, &placements).counts(8_000, &[]);
    assert!(
        is_about(counts[&1], 6_000) && is_about(counts[&2], 1_000),
        "{counts:?}"
    );
}

#[test]
fn a_target_that_begins_gets_its_part_little_by_little() {
    let mut world = World::new(
        "balance = { slow-start = \"10s\" }",
        &[weighing(1), weighing(1)],
    );
    world.target(1).care().warm_up(Duration::ZERO);
    let mut parts = Vec::new();
    for _ in 0..4 {
        world.replan();
        parts.push(world.counts(10_000, &[])[&2]);
        world.clock.advance(Duration::from_millis(3_400));
    }
    // 0.1, 0.34, 0.68 and 1 of the weight.
    let expected = [909, 2_537, 4_048, 5_000];
    let are_about = parts
        .iter()
        .zip(expected)
        .all(|(part, expected)| is_about(*part, expected));
    assert!(are_about, "{parts:?}");
}

proptest! {
    #[test]
    fn of_many_targets_a_usable_untried_one_is_picked_if_there_is_one(
        targets in prop::collection::vec((1_u32..100, 0_u8..3, any::<bool>(), any::<bool>(), any::<bool>()), 1..30),
        replan in any::<bool>(),
        policy in prop::sample::select(vec!["round-robin", "least-request", "peak-ewma"]),
    ) {
        let placements: Vec<_> = targets.iter().map(|&(weight, priority, backup, ..)| Placement {
            weight,
            priority,
            backup,
            ..Placement::default()
        }).collect();
        let mut world = World::new(&format!("balance = \"{policy}\""), &placements);
        let mut tried = Vec::new();
        for (index, (.., down, was_tried)) in targets.iter().enumerate() {
            world.target(index).exclude(Exclusion::Ejected, *down);
            if *was_tried {
                tried.push(Arc::clone(world.target(index)));
            }
        }
        if replan {
            world.replan();
        }
        let untried = targets.iter().any(|(.., down, tried)| !down && !tried);
        // Where a priority panics, unusable ones are picked on purpose.
        let panics = world.set.plan().all().panic();
        for port in world.picks(100, &tried) {
            let (.., down, was_tried) = targets[usize::from(port) - 1];
            prop_assert!(!untried || !was_tried);
            prop_assert!(!untried || panics || !down);
        }
    }
}
