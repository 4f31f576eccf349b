//! Pauses between attempts that fail.

use std::time::Duration;

use rand::RngExt;

/// Before the first repetition.
const FIRST: Duration = Duration::from_millis(500);
/// However often it failed.
const LONGEST: Duration = Duration::from_secs(30);

/// Pauses that double, of which chance takes up to a half: what failed at once for many is not repeated at once by all.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Backoff {
    /// The next pause.
    pub(super) fn next(&mut self) -> Duration {
        let whole = self.0;
        self.0 = (whole * 2).min(LONGEST);
        whole.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_are_never_short() {
        let mut backoff = Backoff::default();
        for power in 0..20 {
            let whole = (FIRST * 2_u32.pow(power.min(10))).min(LONGEST);
            let pause = backoff.next();
            assert!(pause <= whole && pause >= whole / 2, "{power}: {pause:?}");
        }
    }
}
