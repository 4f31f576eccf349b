//! Smooth weighted round robin as a table: whose turn it is, for one whole cycle.
//!
//! The order is that of earliest deadlines: of `w` turns a target has its first half a period after the start, so that
//! turns of each target are as far apart as they can be. Making it costs time when the targets change, and nothing then.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// The longest cycle, unless there are more targets: weights whose sum is larger are rounded.
const MAX_CYCLE: usize = 16_384;
/// Turns of a target on average where weights are fractions: they are rounded to about one per cent.
const TURNS_OF_FRACTIONS: usize = 128;

/// The next turn of one entry: it is due at `(2 * taken + 1) / weight`.
#[derive(PartialEq, Eq)]
struct Due {
    taken: u64,
    weight: u64,
    index: usize,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        let (own, others) = (2 * self.taken + 1, 2 * other.taken + 1);
        // Compared as fractions.
        (own * other.weight)
            .cmp(&(others * self.weight))
            .then(self.index.cmp(&other.index))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A cycle in which each index has as many turns as its weight, reduced to the smallest whole numbers. All weights are
/// above 0.
pub(super) fn cycle(weights: &[f64]) -> Vec<usize> {
    let turns = turns(weights);
    let length: u64 = turns.iter().sum();
    if length == turns.len() as u64 {
        return (0..turns.len()).collect();
    }
    let due = |(index, &weight): (usize, &u64)| {
        Reverse(Due {
            taken: 0,
            weight,
            index,
        })
    };
    let mut heap: BinaryHeap<Reverse<Due>> = turns.iter().enumerate().map(due).collect();
    let mut cycle = Vec::new();
    for _ in 0..length {
        let Some(mut next) = heap.peek_mut() else {
            break;
        };
        cycle.push(next.0.index);
        next.0.taken += 1;
    }
    cycle
}

/// Weights as whole numbers without a common factor, none of them 0.
fn turns(weights: &[f64]) -> Vec<u64> {
    let sum: f64 = weights.iter().sum();
    let most = weights.len().max(MAX_CYCLE) as f64;
    let is_whole = weights.iter().all(|weight| weight.fract() == 0.0);
    let turns: Vec<u64> = match is_whole {
        true => weights.iter().map(|weight| *weight as u64).collect(),
        false => {
            let length = weights.len().saturating_mul(TURNS_OF_FRACTIONS) as f64;
            scaled(weights, length.min(most) / sum)
        }
    };
    let divisor = turns.iter().copied().fold(0, gcd).max(1);
    let turns: Vec<u64> = turns.iter().map(|turns| turns / divisor).collect();
    match turns.iter().sum::<u64>() as f64 > most {
        true => scaled(weights, most / sum),
        false => turns,
    }
}

fn scaled(weights: &[f64], factor: f64) -> Vec<u64> {
    let scaled = |weight: &f64| (weight * factor).round().max(1.0) as u64;
    weights.iter().map(scaled).collect()
}

fn gcd(one: u64, two: u64) -> u64 {
    match two {
        0 => one,
        _ => gcd(two, one % two),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_order_is_smooth() {
        assert_eq!(cycle(&[1.0, 1.0, 1.0]), [0, 1, 2]);
        assert_eq!(cycle(&[4.0, 2.0, 2.0]), [0, 1, 2, 0]);
        assert_eq!(cycle(&[3.0, 1.0]), [0, 0, 1, 0]);
        assert_eq!(cycle(&[0.5, 0.5]).len(), 2);
        assert!(cycle(&[]).is_empty());
    }

    #[test]
    fn large_weights_are_rounded_and_nobody_is_left_out() {
        let cycle = cycle(&[10_000.0, 9_999.0, 1.0]);
        assert!(cycle.len() <= MAX_CYCLE + 1);
        assert_eq!(cycle.iter().filter(|index| **index == 2).count(), 1);
    }

    proptest! {
        #[test]
        fn each_has_its_turns_spread_over_the_cycle(weights in prop::collection::vec(1_u32..50, 1..40)) {
            let divisor = weights.iter().copied().map(u64::from).fold(0, gcd);
            let cycle = cycle(&weights.iter().copied().map(f64::from).collect::<Vec<_>>());
            for (index, weight) in weights.iter().enumerate() {
                let turns = (u64::from(*weight) / divisor) as usize;
                let at: Vec<usize> = (0..cycle.len()).filter(|turn| cycle[*turn] == index).collect();
                prop_assert_eq!(at.len(), turns);
                // Nowhere in the cycle is it ahead or behind by more than two turns.
                for (taken, turn) in at.iter().enumerate() {
                    let fair = *turn as f64 * turns as f64 / cycle.len() as f64;
                    prop_assert!((taken as f64 - fair).abs() <= 2.0);
                }
            }
        }
    }
}
