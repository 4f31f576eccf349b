//! How many requests of an upstream may be sent again: a share of those that there were, so that a service in trouble
//! is not given more to do by those who want to help.
//!
//! An attempt that reached nobody is no burden to anybody, so that going on to another target costs nothing here.

use std::time::Duration;

use super::window::Window;

/// What the share is of: the requests of so long.
pub(super) const MEMORY: Duration = Duration::from_secs(10);

const REQUESTS: usize = 0;
const REPEATED: usize = 1;

/// The budget of one upstream.
#[derive(Debug)]
pub(super) struct Budget {
    window: Window<2>,
    /// Of a million requests, so many may be sent again.
    per_million: u64,
    /// So many at least, in [`MEMORY`].
    least: u64,
}

impl Budget {
    /// Of a share, and so many a second at least.
    pub(super) fn new(per_million: u32, least_per_second: u32) -> Self {
        Self {
            window: Window::new(MEMORY),
            per_million: per_million.into(),
            least: u64::from(least_per_second) * MEMORY.as_secs(),
        }
    }

    /// A request came.
    pub(super) fn request(&self, now: Duration) {
        self.window.add(REQUESTS, now);
    }

    /// Whether one more may be sent again, which is then counted.
    pub(super) fn take(&self, now: Duration) -> bool {
        // Counted before it is looked at: of two that ask at once, both may be refused, but never one too many allowed.
        self.window.add(REPEATED, now);
        let is_allowed = self.window.sum(REPEATED, now) <= self.allowed(now);
        if !is_allowed {
            self.window.remove(REPEATED, now);
        }
        is_allowed
    }

    /// How many may be sent again before it is used up.
    pub(super) fn left(&self, now: Duration) -> u64 {
        self.allowed(now)
            .saturating_sub(self.window.sum(REPEATED, now))
    }

    fn allowed(&self, now: Duration) -> u64 {
        self.least + self.window.sum(REQUESTS, now) * self.per_million / 1_000_000
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_share_of_the_requests_and_a_minimum() {
        let budget = Budget::new(200_000, 1);
        let now = Duration::from_secs(100);
        for _ in 0..100 {
            budget.request(now);
        }
        let taken = (0..100).filter(|_| budget.take(now)).count();
        assert_eq!((taken, budget.left(now)), (10 + 20, 0));
        let later = now + MEMORY;
        assert_eq!(budget.left(later), 10);
        assert_eq!(
            (0..100).filter(|_| budget.take(later)).count(),
            10,
            "the requests are forgotten"
        );
    }

    #[test]
    fn no_budget_allows_nothing() {
        let budget = Budget::new(0, 0);
        budget.request(Duration::ZERO);
        assert!(!budget.take(Duration::ZERO));
    }

    #[test]
    fn threads_never_take_more_than_there_is() {
        let budget = Arc::new(Budget::new(100_000, 0));
        let now = Duration::from_secs(1);
        (0..1_000).for_each(|_| budget.request(now));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let budget = Arc::clone(&budget);
                std::thread::spawn(move || (0..1_000).filter(|_| budget.take(now)).count())
            })
            .collect();
        let taken: usize = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum();
        assert!((1..=100).contains(&taken), "{taken}");
    }

    proptest! {
        /// Whenever one is allowed, those of the last while are no more than the share of its requests and the minimum.
        #[test]
        fn at_no_time_more_than_the_share(
            steps in prop::collection::vec((0_u64..3_000, 0_u64..50, 0_u64..50), 1..100),
            share in 0_u32..=1_000_000,
            least in 0_u32..5,
        ) {
            let budget = Budget::new(share, least);
            let (mut now, mut requests, mut taken) = (0, Vec::new(), Vec::new());
            for (pause, asked, wanted) in steps {
                now += pause;
                let time = Duration::from_millis(now);
                for _ in 0..asked {
                    budget.request(time);
                    requests.push(now);
                }
                for _ in 0..wanted {
                    if budget.take(time) {
                        taken.push(now);
                        let recent = |all: &[u64]| all.iter().filter(|at| *at / 1_000 + 10 > now / 1_000).count() as u64;
                        let allowed = u64::from(least) * 10 + recent(&requests) * u64::from(share) / 1_000_000;
                        prop_assert!(recent(&taken) <= allowed);
                    }
                }
            }
        }
    }
}
