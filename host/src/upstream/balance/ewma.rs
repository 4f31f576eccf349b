//! How soon a target answers: a moving average that jumps to peaks and comes down slowly, as in Finagle's peak EWMA.
//!
//! One word, read and written by all workers. Two that write at the same time lose one of two measurements, which an average
//! can bear, so that nobody waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// After this time a measurement counts a third of what it did.
const DECAY: f32 = 10.0;
/// What a failure counts as, at least: who fails at once must not look fast.
const FAILURE: Duration = Duration::from_secs(1);
/// What it costs to go to a target that has work but has not answered yet, in seconds.
const UNKNOWN: f32 = 1e9;

/// The average in seconds and the time of the last measurement in milliseconds, 32 bits each.
#[derive(Default)]
pub(in crate::upstream) struct Ewma(AtomicU64);

impl Ewma {
    /// An answer, or a failure, came `elapsed` after the request; it is `now`.
    pub(in crate::upstream) fn observe(&self, elapsed: Duration, failed: bool, now: Duration) {
        let sample = match failed {
            true => elapsed.max(FAILURE),
            false => elapsed,
        };
        // Never 0, which says that nothing is known.
        let sample = sample.as_secs_f32().max(f32::MIN_POSITIVE);
        let (before, at) = unpack(self.0.load(Ordering::Relaxed));
        let average = match before > sample {
            true => sample + (before - sample) * decay(at, now),
            false => sample,
        };
        self.0.store(pack(average, now), Ordering::Relaxed);
    }

    /// What one more request would cost where `in_flight` are under way. Without measurements the past counts less and
    /// less, so that a slow target is tried again.
    pub(in crate::upstream) fn cost(&self, in_flight: u64, now: Duration) -> f32 {
        let (average, at) = unpack(self.0.load(Ordering::Relaxed));
        match (average, in_flight) {
            (0.0, 0) => 0.0,
            (0.0, _) => UNKNOWN + in_flight as f32,
            _ => average * decay(at, now) * (in_flight + 1) as f32,
        }
    }
}

fn millis(now: Duration) -> u32 {
    // The lower bits: what counts are differences.
    (now.as_millis() & u128::from(u32::MAX)) as u32
}

fn pack(average: f32, now: Duration) -> u64 {
    u64::from(average.to_bits()) << 32 | u64::from(millis(now))
}

fn unpack(word: u64) -> (f32, u32) {
    let low = (word & u64::from(u32::MAX)) as u32;
    (f32::from_bits((word >> 32) as u32), low)
}

fn decay(at: u32, now: Duration) -> f32 {
    let passed = millis(now).wrapping_sub(at);
    // Two workers look at the clock one after the other: a little less than nothing may have passed.
    let passed = if passed > u32::MAX / 2 { 0 } else { passed };
    (-(passed as f32) / 1_000.0 / DECAY).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn it_jumps_to_peaks_and_comes_down_slowly() {
        let ewma = Ewma::default();
        ewma.observe(ms(10), false, ms(0));
        ewma.observe(ms(100), false, ms(1));
        assert!((ewma.cost(0, ms(1)) - 0.1).abs() < 1e-3);
        ewma.observe(ms(10), false, ms(1_001));
        let after = ewma.cost(0, ms(1_001));
        assert!(after < 0.1 && after > 0.08, "{after}");
        assert!(
            ewma.cost(0, ms(60_000)) < 0.001,
            "old news counts for little"
        );
    }

    #[test]
    fn work_that_is_under_way_costs() {
        let ewma = Ewma::default();
        ewma.observe(ms(10), false, ms(0));
        assert!((ewma.cost(3, ms(0)) - 0.04).abs() < 1e-4);
    }

    #[test]
    fn who_fails_fast_is_not_fast() {
        let ewma = Ewma::default();
        ewma.observe(ms(1), true, ms(0));
        assert!(ewma.cost(0, ms(0)) > 0.9);
    }

    #[test]
    fn a_new_target_gets_one_request_and_no_flood() {
        let ewma = Ewma::default();
        assert!(ewma.cost(0, ms(0)) == 0.0);
        assert!(ewma.cost(1, ms(0)) > 1e6);
        ewma.observe(Duration::ZERO, false, ms(0));
        assert!(ewma.cost(0, ms(0)) > 0.0);
    }
}
