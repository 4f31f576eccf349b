//! Which targets get requests, and which part of them: priorities, backups, and what to do when too few are left.
//!
//! The rules are Envoy's: each target is trusted to carry 140 % of its part, so a priority spills over to the next one when
//! less than 72 % of it can be used. A priority of which less than the panic threshold can be used, and which no other can
//! help out, uses all its targets: a few must not go down under the load of all, and health may be what is wrong.

use std::collections::BTreeMap;

/// What a target is trusted to carry, compared with its part.
const OVERPROVISIONING: f64 = 1.4;

/// A target, as far as it decides on the share that it gets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    /// Its place in the list of targets.
    pub(super) index: usize,
    /// Its priority, 0 first.
    pub(super) priority: u8,
    /// Whether it is the last resort.
    pub(super) backup: bool,
    /// Whether it can be used.
    pub(super) usable: bool,
}

/// Targets that share requests.
#[derive(Debug, PartialEq)]
pub(super) struct Share {
    /// Its part of all requests, above 0; the parts are 1 together.
    pub(super) part: f64,
    /// The places of its targets, at least one.
    pub(super) indexes: Vec<usize>,
    /// Whether there are unusable ones among them.
    pub(super) panics: bool,
    /// The places of all targets of this priority, usable or not.
    pub(super) all: Vec<usize>,
}

/// Shares out all requests; nobody gets any only where there are no candidates. `threshold` is the part of a priority that
/// must be usable, 0 to 1.
pub(super) fn share_out(candidates: &[Candidate], threshold: f64) -> Vec<Share> {
    let (backups, others): (Vec<_>, Vec<_>) = candidates
        .iter()
        .copied()
        .partition(|candidate| candidate.backup);
    let can_be_used = |list: &[Candidate]| list.iter().any(|candidate| candidate.usable);
    match () {
        () if can_be_used(&others) => among(&others, threshold),
        () if can_be_used(&backups) => among(&backups, threshold),
        // Nobody can be used: all that would be, if they could.
        () if others.is_empty() => among(&backups, threshold),
        () => among(&others, threshold),
    }
}

/// Of candidates of which none is a backup, or all are.
fn among(candidates: &[Candidate], threshold: f64) -> Vec<Share> {
    let mut priorities: BTreeMap<u8, Vec<Candidate>> = BTreeMap::new();
    for candidate in candidates {
        priorities
            .entry(candidate.priority)
            .or_default()
            .push(*candidate);
    }
    let capacity = |list: &[Candidate]| (usable_part(list) * OVERPROVISIONING).min(1.0);
    let total: f64 = priorities.values().map(|list| capacity(list)).sum();
    let mut left: f64 = 1.0;
    let mut shares = Vec::new();
    for list in priorities.values() {
        let panics = total < 1.0 && usable_part(list) < threshold.max(f64::MIN_POSITIVE);
        let part = match total > 0.0 {
            true => (capacity(list) / total.min(1.0)).min(left),
            // Nobody knows better than the order.
            false => left,
        };
        left -= part;
        // What is less than that comes from rounding.
        if part > 1e-9 {
            let indexes = list
                .iter()
                .filter(|candidate| candidate.usable || panics)
                .map(|candidate| candidate.index)
                .collect();
            shares.push(Share {
                part,
                indexes,
                panics,
                all: list.iter().map(|candidate| candidate.index).collect(),
            });
        }
    }
    shares
}

fn usable_part(list: &[Candidate]) -> f64 {
    let usable = list.iter().filter(|candidate| candidate.usable).count();
    usable as f64 / list.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidates(list: &[(u8, bool, bool)]) -> Vec<Candidate> {
        let candidate = |(index, &(priority, backup, usable))| Candidate {
            index,
            priority,
            backup,
            usable,
        };
        list.iter().enumerate().map(candidate).collect()
    }

    fn parts(list: &[(u8, bool, bool)], threshold: f64) -> Vec<(u32, Vec<usize>)> {
        let percent = |share: Share| ((share.part * 100.0).round() as u32, share.indexes);
        let shares = share_out(&candidates(list), threshold);
        shares.into_iter().map(percent).collect()
    }

    #[test]
    fn a_priority_spills_over_when_too_little_of_it_is_left() {
        let (up, down) = ((0, false, true), (0, false, false));
        let next = (1, false, true);
        assert_eq!(
            parts(&[up, up, up, down, next], 0.5),
            [(100, vec![0, 1, 2])]
        );
        assert_eq!(
            parts(&[up, down, next], 0.5),
            [(70, vec![0]), (30, vec![2])]
        );
        assert_eq!(parts(&[down, down, next], 0.5), [(100, vec![2])]);
    }

    #[test]
    fn backups_wait_until_all_others_are_gone() {
        let (up, down) = ((0, false, true), (0, false, false));
        let backup = (0, true, true);
        assert_eq!(parts(&[up, down, down, backup], 0.0), [(100, vec![0])]);
        assert_eq!(parts(&[down, down, backup], 0.5), [(100, vec![2])]);
        assert_eq!(parts(&[backup], 0.5), [(100, vec![0])]);
    }

    #[test]
    fn when_too_few_are_left_all_are_used() {
        let (up, down) = ((0, false, true), (0, false, false));
        assert_eq!(parts(&[up, down, down], 0.5), [(100, vec![0, 1, 2])]);
        assert_eq!(parts(&[up, down, down], 0.3), [(100, vec![0])]);
        assert_eq!(parts(&[down, down], 0.0), [(100, vec![0, 1])]);
        assert_eq!(parts(&[down, (0, true, false)], 0.0), [(100, vec![0])]);
    }

    proptest! {
        #[test]
        fn somebody_gets_every_request_and_nobody_unusable_without_need(
            list in prop::collection::vec((0_u8..4, any::<bool>(), any::<bool>()), 1..30),
            threshold in 0.0..1.0_f64,
        ) {
            let shares = share_out(&candidates(&list), threshold);
            let sum: f64 = shares.iter().map(|share| share.part).sum();
            prop_assert!((sum - 1.0).abs() < 1e-6, "{}", sum);
            let has_usable = list.iter().any(|(_, _, usable)| *usable);
            let mut reaches_usable = false;
            for share in &shares {
                prop_assert!(!share.indexes.is_empty());
                for index in &share.indexes {
                    prop_assert!(list[*index].2 || share.panics);
                    reaches_usable |= list[*index].2;
                }
                if !share.panics {
                    continue;
                }
                let priority = list[share.indexes[0]].0;
                let same: Vec<_> = list.iter().filter(|one| one.0 == priority && one.1 == list[share.indexes[0]].1).collect();
                let usable = same.iter().filter(|one| one.2).count() as f64 / same.len() as f64;
                prop_assert!(usable < threshold || usable == 0.0);
            }
            // Never nobody usable when somebody is.
            prop_assert_eq!(reaches_usable, has_usable);
        }
    }
}
