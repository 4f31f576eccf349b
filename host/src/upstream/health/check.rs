//! When checks that pass or fail make a difference: a pure state machine.

/// What a target's checks have said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::upstream) struct Checked {
    /// Whether it is known to fail. A target is trusted until its checks fail.
    failing: bool,
    /// Checks in a row that said the opposite.
    against: u32,
}

impl Checked {
    /// A check passed or failed. Whether the target is failing from here on, where that is new: after `fall` failures in
    /// a row it is, after `rise` passes in a row it is not.
    pub(in crate::upstream) fn observe(
        &mut self,
        passed: bool,
        rise: u32,
        fall: u32,
    ) -> Option<bool> {
        if passed != self.failing {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let enough = if self.failing { rise } else { fall };
        if self.against < enough {
            return None;
        }
        self.failing = !self.failing;
        self.against = 0;
        Some(self.failing)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_takes_as_many_in_a_row_as_the_operator_says() {
        let mut checked = Checked::default();
        let results = [
            false, false, true, false, false, false, true, false, true, true,
        ];
        let changes: Vec<Option<bool>> = results
            .iter()
            .map(|passed| checked.observe(*passed, 2, 3))
            .collect();
        let mut expected = vec![None; 10];
        expected[5] = Some(true);
        expected[9] = Some(false);
        assert_eq!(changes, expected);
    }

    proptest! {
        /// Against a plain model: the state is the last one that was said often enough in a row.
        #[test]
        fn rise_and_fall_are_exact(
            results in prop::collection::vec(any::<bool>(), 0..200),
            rise in 1_u32..5,
            fall in 1_u32..5,
        ) {
            let mut checked = Checked::default();
            let mut failing = false;
            for end in 1..=results.len() {
                let change = checked.observe(results[end - 1], rise, fall);
                let needed = if failing { rise } else { fall } as usize;
                let last: Vec<bool> = results[..end].iter().rev().take_while(|one| **one == failing).copied().collect();
                let since_change = last.len();
                // A change ends the row that led to it, because the next one is of the other kind.
                let expected = (since_change >= needed).then_some(!failing);
                prop_assert_eq!(change, expected);
                failing = expected.unwrap_or(failing);
            }
        }
    }
}
