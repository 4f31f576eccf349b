#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::clock::Clock;
use crate::config::{Endpoint, Placement, TargetConfig};
use crate::upstream::Exclusion;
use crate::upstream::dns::Dns;

fn config(port: usize, placement: Placement) -> TargetConfig {
    let endpoint = Endpoint {
        host: "127.0.0.1".into(),
        port: u16::try_from(port).unwrap(),
        tls: None,
    };
    TargetConfig {
        endpoint,
        placement,
    }
}

fn weighing(weight: u32) -> Placement {
    Placement {
        weight,
        ..Placement::default()
    }
}

fn set(placements: &[Placement]) -> TargetSet {
    let configs = placements.iter().enumerate();
    let configs: Vec<_> = configs
        .map(|(index, placement)| config(index + 1, placement.clone()))
        .collect();
    TargetSet::new(&configs, None, (1, &Clock::manual()), &Dns::nowhere())
}

fn target(set: &TargetSet, index: usize) -> &Arc<Target> {
    &set.members()[index].target
}

/// The ports that are picked, one for each pick.
fn picks(set: &TargetSet, count: usize, tried: &[Arc<Target>]) -> Vec<u16> {
    let turns = Turns::new(1);
    let context = PickContext {
        tried,
        ..PickContext::default()
    };
    let pick = |_| {
        pick(set, &turns, &context)
            .unwrap()
            .target()
            .endpoint()
            .port
    };
    (0..count).map(pick).collect()
}

fn counted(picks: &[u16]) -> HashMap<u16, usize> {
    let mut counts = HashMap::new();
    for port in picks {
        *counts.entry(*port).or_default() += 1;
    }
    counts
}

#[test]
fn picks_follow_the_weights() {
    let set = set(&[weighing(3), weighing(1)]);
    let counts = counted(&picks(&set, 400, &[]));
    assert_eq!(counts, HashMap::from([(1, 300), (2, 100)]));
}

#[test]
fn workers_begin_at_different_targets() {
    let set = set(&[weighing(1), weighing(1)]);
    let turns = Turns::new(2);
    let first = |worker| {
        let context = PickContext {
            worker,
            ..PickContext::default()
        };
        pick(&set, &turns, &context)
            .unwrap()
            .target()
            .endpoint()
            .port
    };
    assert_ne!(first(0), first(1));
}

#[test]
fn there_is_no_pick_without_targets() {
    let turns = Turns::new(1);
    assert!(pick(&set(&[]), &turns, &PickContext::default()).is_none());
}

#[test]
fn a_target_that_cannot_be_used_is_passed_over_before_and_after_the_new_plan() {
    let set = set(&[weighing(1), weighing(1), weighing(1)]);
    assert!(target(&set, 1).exclude(Exclusion::Ejected, true));
    assert!(!target(&set, 1).exclude(Exclusion::Ejected, true));
    assert!(!picks(&set, 100, &[]).contains(&2));
    let set = set.replanned();
    assert_eq!(
        counted(&picks(&set, 100, &[])),
        HashMap::from([(1, 50), (3, 50)])
    );
    assert!(target(&set, 1).exclude(Exclusion::Ejected, false));
    assert!(picks(&set.replanned(), 3, &[]).contains(&2));
}

#[test]
fn another_target_is_picked_than_those_that_were_tried() {
    let set = set(&[weighing(1), weighing(100), weighing(1)]);
    let tried = [Arc::clone(target(&set, 1)), Arc::clone(target(&set, 0))];
    assert_eq!(
        counted(&picks(&set, 100, &tried)),
        HashMap::from([(3, 100)])
    );
    // Where all were tried, one that can be used; where none can, another one.
    let all: Vec<_> = set
        .members()
        .iter()
        .map(|member| Arc::clone(&member.target))
        .collect();
    target(&set, 1).exclude(Exclusion::CheckFailed, true);
    assert!(!picks(&set, 100, &all).contains(&2));
    for index in [0, 2] {
        target(&set, index).exclude(Exclusion::CheckFailed, true);
    }
    let set = set.replanned();
    assert_eq!(
        counted(&picks(&set, 100, &tried)),
        HashMap::from([(3, 100)])
    );
    assert_eq!(picks(&set, 9, &all).len(), 9);
}

#[test]
fn the_next_priority_gets_what_the_first_cannot_carry() {
    let next = Placement {
        priority: 1,
        ..Placement::default()
    };
    let set = set(&[weighing(1), weighing(1), next]);
    assert!(!picks(&set, 100, &[]).contains(&3));
    target(&set, 0).exclude(Exclusion::CheckFailed, true);
    let counts = counted(&picks(&set.replanned(), 10_000, &[]));
    assert!((6_800..7_200).contains(&counts[&2]), "{counts:?}");
    assert!((2_800..3_200).contains(&counts[&3]), "{counts:?}");
}

#[test]
fn requests_are_under_way_until_the_pick_is_dropped() {
    let set = set(&[weighing(1)]);
    let turns = Turns::new(1);
    let picked = pick(&set, &turns, &PickContext::default()).unwrap();
    assert_eq!(target(&set, 0).in_flight(), 1);
    picked.report(Outcome::ConnectFailure, Duration::ZERO);
    drop(picked);
    let target = target(&set, 0);
    assert_eq!(
        (target.in_flight(), target.picks(), target.failures()),
        (0, 1, 1)
    );
}

#[test]
fn targets_that_stay_are_the_same_whatever_their_place() {
    let first = set(&[weighing(1), weighing(1)]);
    let configs = [config(2, weighing(9)), config(3, weighing(1))];
    let second = TargetSet::new(
        &configs,
        Some(&first),
        (1, &Clock::manual()),
        &Dns::nowhere(),
    );
    assert!(Arc::ptr_eq(target(&first, 1), target(&second, 0)));
    assert_eq!(second.members()[0].placement.weight, 9);
    assert!(!Arc::ptr_eq(target(&first, 0), target(&second, 1)));
}

proptest! {
    #[test]
    fn of_many_targets_a_usable_untried_one_is_picked_if_there_is_one(
        targets in prop::collection::vec((1_u32..100, 0_u8..3, any::<bool>(), any::<bool>(), any::<bool>()), 1..30),
        replan in any::<bool>(),
    ) {
        let placements: Vec<_> = targets.iter().map(|&(weight, priority, backup, ..)| Placement {
            weight,
            priority,
            backup,
            ..Placement::default()
        }).collect();
        let mut set = set(&placements);
        let mut tried = Vec::new();
        for (index, (.., down, was_tried)) in targets.iter().enumerate() {
            target(&set, index).exclude(Exclusion::Ejected, *down);
            if *was_tried {
                tried.push(Arc::clone(target(&set, index)));
            }
        }
        if replan {
            set = set.replanned();
        }
        let untried = targets.iter().any(|(.., down, tried)| !down && !tried);
        // Where a priority panics, unusable ones are picked on purpose.
        let panics = set.plan().shares.iter().any(|share| share.panics);
        for port in picks(&set, 100, &tried) {
            let (.., down, was_tried) = targets[usize::from(port) - 1];
            prop_assert!(!untried || !was_tried);
            prop_assert!(!untried || panics || !down);
        }
    }
}
