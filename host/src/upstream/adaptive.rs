//! A limit of concurrency that finds itself: it grows while answers come as fast as they ever did, and shrinks when they
//! begin to wait for each other (the gradient of the latency, as in Netflix's and Envoy's limiters).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use super::window::nanos;

/// How often the limit is looked at anew.
const INTERVAL: Duration = Duration::from_millis(250);
/// With fewer answers than that, it is looked at later.
const MIN_SAMPLES: u64 = 10;
/// Latency may be so much above the baseline before anything is wrong.
const TOLERANCE: f64 = 1.5;
/// The limit shrinks by no more than half at a time.
const LEAST_GRADIENT: f64 = 0.5;
/// What failures do to the limit.
const AFTER_FAILURES: f64 = 0.9;
/// A share of failures that is a sign of overload.
const FAILURE_SHARE: f64 = 0.1;
/// How much of a new limit is taken over at once.
const SMOOTHING: f64 = 0.3;
/// How fast the baseline follows when a service has become slower for good: within minutes, or a crowd would pass for it.
const DRIFT: f64 = 0.0005;

/// The limit of one upstream.
#[derive(Debug)]
pub(super) struct Adaptive {
    least: usize,
    most: usize,
    /// As `f64`.
    limit: AtomicU64,
    /// Latency without a crowd in microseconds, as `f64`; 0 while unknown.
    baseline: AtomicU64,
    /// When it is looked at next, in nanoseconds.
    next: AtomicU64,
    micros: AtomicU64,
    samples: AtomicU64,
    failures: AtomicU64,
    busiest: AtomicUsize,
}

impl Adaptive {
    pub(super) fn new(least: usize, most: usize) -> Self {
        let begin = (least.max(20)).min(most);
        Self {
            least,
            most,
            limit: AtomicU64::new((begin as f64).to_bits()),
            baseline: AtomicU64::default(),
            next: AtomicU64::default(),
            micros: AtomicU64::default(),
            samples: AtomicU64::default(),
            failures: AtomicU64::default(),
            busiest: AtomicUsize::default(),
        }
    }

    pub(super) fn limit(&self) -> usize {
        f64::from_bits(self.limit.load(Relaxed)) as usize
    }

    /// A request was answered after `took`, or failed, when so many were under way.
    pub(super) fn sample(&self, took: Duration, failed: bool, under_way: usize, now: Duration) {
        match failed {
            true => self.failures.fetch_add(1, Relaxed),
            false => self.micros.fetch_add(nanos(took) / 1_000, Relaxed),
        };
        let samples = self.samples.fetch_add(1, Relaxed) + 1;
        self.busiest.fetch_max(under_way, Relaxed);
        let next = self.next.load(Relaxed);
        if samples < MIN_SAMPLES || nanos(now) < next {
            return;
        }
        let later = nanos(now.saturating_add(INTERVAL));
        // One of those who come at this time does it.
        if self
            .next
            .compare_exchange(next, later, Relaxed, Relaxed)
            .is_ok()
        {
            self.adapt();
        }
    }

    fn adapt(&self) {
        let samples = self.samples.swap(0, Relaxed);
        let failures = self.failures.swap(0, Relaxed);
        let micros = self.micros.swap(0, Relaxed);
        let busiest = self.busiest.swap(0, Relaxed);
        let limit = f64::from_bits(self.limit.load(Relaxed));
        let answered = samples.saturating_sub(failures);
        let wanted = if failures as f64 > samples as f64 * FAILURE_SHARE || answered == 0 {
            limit * AFTER_FAILURES
        } else {
            let latency = (micros as f64 / answered as f64).max(1.0);
            let gradient = TOLERANCE * self.follow(latency) / latency;
            let wanted = limit * gradient.clamp(LEAST_GRADIENT, 1.0) + limit.sqrt();
            // A limit that nobody comes near says nothing about what would happen above it.
            let is_used = busiest as f64 * 2.0 >= limit;
            if is_used || wanted < limit {
                wanted
            } else {
                limit
            }
        };
        let limit =
            (limit + (wanted - limit) * SMOOTHING).clamp(self.least as f64, self.most as f64);
        self.limit.store(limit.to_bits(), Relaxed);
    }

    /// The baseline, which follows at once to the fast side and slowly to the other.
    fn follow(&self, latency: f64) -> f64 {
        let known = f64::from_bits(self.baseline.load(Relaxed));
        let baseline = match known {
            0.0 => latency,
            known if latency < known => latency,
            known => known + (latency - known) * DRIFT,
        };
        self.baseline.store(baseline.to_bits(), Relaxed);
        baseline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service that answers `capacity` requests at once in 10 ms each; what is more, waits. Clients send as much as they
    /// are let. Returns the limit after some time.
    fn settle(adaptive: &Adaptive, capacity: usize, demand: usize, rounds: u64) -> usize {
        let begin = Duration::from_nanos(adaptive.next.load(Relaxed));
        for round in 0..rounds {
            let under_way = adaptive.limit().min(demand);
            let crowd = (under_way as f64 / capacity as f64).max(1.0);
            let took = Duration::from_millis(10).mul_f64(crowd);
            let now = begin + Duration::from_millis(300 * round);
            for _ in 0..MIN_SAMPLES {
                adaptive.sample(took, false, under_way, now);
            }
        }
        adaptive.limit()
    }

    #[test]
    fn it_finds_what_a_service_can_do() {
        for capacity in [20, 50, 100, 400] {
            let adaptive = Adaptive::new(4, 10_000);
            // Before the crowd comes, it has seen what an answer takes.
            settle(&adaptive, capacity, 5, 10);
            let limit = settle(&adaptive, capacity, 100_000, 200);
            let most = capacity as f64 * 2.5;
            assert!(
                limit >= capacity && (limit as f64) < most,
                "{limit} for {capacity}"
            );
        }
    }

    #[test]
    fn it_does_not_grow_while_nobody_needs_it() {
        let adaptive = Adaptive::new(4, 10_000);
        assert_eq!(settle(&adaptive, 1_000, 3, 500), 20);
    }

    #[test]
    fn failures_shrink_it_to_its_least() {
        let adaptive = Adaptive::new(4, 100);
        for round in 0..1_000 {
            let now = Duration::from_millis(100 * round);
            (0..4).for_each(|_| adaptive.sample(Duration::from_millis(1), true, 20, now));
        }
        assert_eq!(adaptive.limit(), 4);
    }

    #[test]
    fn it_recovers_when_a_service_does() {
        let adaptive = Adaptive::new(4, 1_000);
        settle(&adaptive, 100, 10, 10);
        settle(&adaptive, 100, 100_000, 100);
        let bad = settle(&adaptive, 10, 100_000, 50);
        assert!(bad < 50, "{bad}");
        let good = settle(&adaptive, 100, 100_000, 200);
        assert!(good >= 100, "{good}");
    }
}
