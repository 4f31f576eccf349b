//! Consistent hashing after Maglev (Eisenbud et al., NSDI 2016): a table in which each target has a part by its weight, and
//! which hardly changes when targets come and go.
//!
//! All nodes of a gateway make the same table of the same targets. Health does not change it: a request whose target cannot
//! be used looks further, and those of other targets stay where they are. The crates that do this are for socket addresses
//! only, or without weights.

/// Places of the table for each target: with a hundred, parts differ by about one per cent (section 5.3 of the paper).
const PLACES: usize = 100;
/// Prime sizes, each about twice the one before: the number of targets may grow without another size.
const SIZES: [usize; 12] = [
    127, 251, 509, 1_021, 2_053, 4_099, 8_209, 16_411, 32_771, 65_537, 131_101, 262_147,
];

/// Who gets what.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Maglev {
    /// Numbers of targets.
    table: Box<[u32]>,
}

impl Maglev {
    /// A table for targets, each with a name and a weight above 0; none for no target.
    pub(super) fn new<'n>(targets: impl Iterator<Item = (&'n str, u32)>) -> Option<Self> {
        let mut rows: Vec<Row> = Vec::new();
        let named: Vec<(&str, u32)> = targets.collect();
        let wanted = named.len() * PLACES;
        let size = SIZES.into_iter().find(|size| *size >= wanted);
        let size = size.unwrap_or(SIZES[SIZES.len() - 1]) as u64;
        let most = f64::from(named.iter().map(|(_, weight)| *weight).max()?);
        for (name, weight) in named {
            rows.push(Row {
                next: hash(name.as_bytes(), 1) % size,
                skip: hash(name.as_bytes(), 2) % (size - 1) + 1,
                weight: f64::from(weight) / most,
                due: 0.0,
            });
        }
        let mut table: Vec<Option<u32>> = vec![None; usize::try_from(size).ok()?];
        let mut left = table.len();
        let mut round = 0.0;
        while left > 0 {
            round += 1.0;
            for (number, row) in (0_u32..).zip(&mut rows) {
                // The heaviest has a turn in each round, one of half its weight in every second.
                if round * row.weight < row.due + 1.0 {
                    continue;
                }
                row.due += 1.0;
                if left > 0 {
                    row.take(&mut table, number, size);
                    left -= 1;
                }
            }
        }
        let table = table.into_iter().flatten().collect();
        Some(Self { table })
    }

    /// The target of a hash. Others of its places are found by other attempts.
    pub(super) fn find(&self, hash: u64, attempt: u64) -> usize {
        let place = super::mix(hash.wrapping_add(attempt)) % self.table.len().max(1) as u64;
        let found = usize::try_from(place)
            .ok()
            .and_then(|place| self.table.get(place));
        found.map_or(0, |number| *number as usize)
    }
}

/// A target while the table is filled: its next place, and how far it is to the one after.
struct Row {
    next: u64,
    skip: u64,
    weight: f64,
    due: f64,
}

impl Row {
    /// Takes the first place of its row that is free.
    fn take(&mut self, table: &mut [Option<u32>], number: u32, size: u64) {
        loop {
            let place = usize::try_from(self.next)
                .ok()
                .and_then(|place| table.get_mut(place));
            self.next = (self.next + self.skip) % size;
            if let Some(free @ None) = place {
                *free = Some(number);
                return;
            }
        }
    }
}

/// FNV-1a of a seed and bytes, mixed: the same on every machine and in every version, as clients stay with their targets.
pub(in crate::upstream) fn hash(bytes: &[u8], seed: u64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ super::mix(seed);
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    super::mix(hash)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(weights: &[u32]) -> Maglev {
        let names: Vec<String> = (0..weights.len())
            .map(|n| format!("10.0.0.{n}:80"))
            .collect();
        Maglev::new(
            names
                .iter()
                .map(String::as_str)
                .zip(weights.iter().copied()),
        )
        .expect("targets")
    }

    fn parts(maglev: &Maglev, count: usize) -> Vec<usize> {
        let mut parts = vec![0; count];
        for number in &maglev.table {
            parts[*number as usize] += 1;
        }
        parts
    }

    #[test]
    fn parts_follow_the_weights() {
        let parts = parts(&of(&[1, 2, 1]), 3);
        let size: usize = parts.iter().sum();
        for (part, fair) in parts.iter().zip([0.25, 0.5, 0.25]) {
            assert!(
                (*part as f64 / size as f64 - fair).abs() < 0.01,
                "{parts:?}"
            );
        }
        assert!(Maglev::new(std::iter::empty()).is_none());
    }

    #[test]
    fn when_a_target_goes_few_others_change() {
        let names: Vec<String> = (0..20).map(|n| format!("10.0.0.{n}:80")).collect();
        let all = Maglev::new(names.iter().map(|name| (&**name, 1))).expect("targets");
        let without = names.iter().filter(|name| **name != names[7]);
        let fewer = Maglev::new(without.map(|name| (&**name, 1))).expect("targets");
        let moved = (0..10_000_u64).filter(|key| {
            let hash = hash(&key.to_be_bytes(), 0);
            let (before, after) = (all.find(hash, 0), fewer.find(hash, 0));
            before != 7 && before != if after >= 7 { after + 1 } else { after }
        });
        let moved = moved.count();
        assert!(
            moved < 1_000,
            "{moved} of 10,000 keys of other targets moved"
        );
    }

    #[test]
    fn the_table_is_the_same_on_every_machine_and_in_every_version() {
        assert_eq!(hash(b"10.0.0.1:80", 1), HASH);
        let maglev = of(&[1, 1, 1]);
        let found: Vec<usize> = (0..8).map(|key| maglev.find(hash(&[key], 0), 0)).collect();
        assert_eq!(found, FOUND);
    }

    const HASH: u64 = 16_706_924_614_243_309_542;
    const FOUND: [usize; 8] = [1, 0, 1, 0, 1, 1, 0, 2];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn everybody_has_a_fair_part(weights in prop::collection::vec(1_u32..20, 1..40)) {
            let maglev = of(&weights);
            let parts = parts(&maglev, weights.len());
            let sum: u32 = weights.iter().sum();
            for (part, weight) in parts.iter().zip(&weights) {
                let fair = maglev.table.len() as f64 * f64::from(*weight) / f64::from(sum);
                prop_assert!((*part as f64 - fair).abs() <= 2.0 + fair * 0.02, "{} of {}", part, fair);
            }
        }
    }
}
