//! Limits by example, against a naive model, and under many threads.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;

mod algorithms;

const KEYS: usize = 100_000;

fn limit(amount: u64, window_ms: u64) -> LimitConfig {
    LimitConfig {
        amount,
        window: Duration::from_millis(window_ms),
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Limits {
    /// In fixed windows.
    fn take(
        &self,
        namespace: &str,
        key: &str,
        limits: &[LimitConfig],
        cost: u64,
        now: Duration,
    ) -> Result<Decisions, LimitError> {
        let rules: Vec<LimitRule> = limits.iter().copied().map(LimitRule::from).collect();
        self.decide((namespace, key), &rules, cost, false, now)
    }
}

/// Takes one and gives the first decision.
fn take(limits: &Limits, key: &str, limit: LimitConfig, now: u64) -> Decision {
    limits.take("plugin", key, &[limit], 1, ms(now)).unwrap()[0]
}

#[test]
fn a_window_begins_with_the_first_request_and_ends_after_its_length() {
    let limits = Limits::new(KEYS);
    let two = limit(2, 1_000);
    let decision = take(&limits, "k", two, 500);
    assert_eq!(
        decision,
        Decision {
            allowed: true,
            limit: two,
            remaining: 1,
            reset: ms(1_000),
            retry: ms(0)
        }
    );
    let decision = take(&limits, "k", two, 1_499);
    assert_eq!(
        decision,
        Decision {
            allowed: true,
            limit: two,
            remaining: 0,
            reset: ms(1),
            retry: ms(0)
        }
    );
    let decision = take(&limits, "k", two, 1_499);
    assert_eq!(
        decision,
        Decision {
            allowed: false,
            limit: two,
            remaining: 0,
            reset: ms(1),
            retry: ms(1)
        }
    );
    let decision = take(&limits, "k", two, 1_500);
    assert_eq!(
        decision,
        Decision {
            allowed: true,
            limit: two,
            remaining: 1,
            reset: ms(1_000),
            retry: ms(0)
        }
    );
}

#[test]
fn refused_requests_do_not_prolong_the_window() {
    let limits = Limits::new(KEYS);
    let one = limit(1, 100);
    assert!(take(&limits, "k", one, 0).allowed);
    assert!((1..100).all(|now| !take(&limits, "k", one, now).allowed));
    assert!(take(&limits, "k", one, 100).allowed);
}

#[test]
fn either_all_limits_count_or_none() {
    let limits = Limits::new(KEYS);
    let both = [limit(10, 1_000), limit(1, 100)];
    let take = |now| limits.take("plugin", "k", &both, 1, ms(now)).unwrap();
    let state = |decisions: &Decisions| {
        decisions
            .iter()
            .map(|one| (one.allowed, one.remaining))
            .collect::<Vec<_>>()
    };
    assert_eq!(state(&take(0)), [(true, 9), (true, 0)]);
    assert_eq!(state(&take(1)), [(true, 9), (false, 0)]);
    assert_eq!(state(&take(100)), [(true, 8), (true, 0)]);
}

#[test]
fn a_cost_counts_as_a_whole() {
    let limits = Limits::new(KEYS);
    let ten = [limit(10, 1_000)];
    let take = |cost| limits.take("plugin", "k", &ten, cost, ms(0)).unwrap()[0];
    assert!(take(7).allowed);
    assert_eq!((take(4).allowed, take(4).remaining), (false, 3));
    assert_eq!((take(0).allowed, take(0).remaining), (true, 3));
    assert!(take(3).allowed);
    assert!(!take(u64::MAX).allowed);
}

#[test]
fn looking_and_being_refused_begin_no_window_and_take_no_room() {
    let limits = Limits::new(KEYS);
    let one = [limit(1, 1_000)];
    assert_eq!(
        limits.take("p", "k", &one, 0, ms(0)).unwrap()[0].reset,
        ms(1_000)
    );
    assert!(!limits.take("p", "k", &one, 2, ms(0)).unwrap()[0].allowed);
    assert_eq!(limits.keys(), 0);
    assert_eq!(take(&limits, "k", one[0], 999).reset, ms(1_000));
}

#[test]
fn namespaces_and_keys_are_apart() {
    let limits = Limits::new(KEYS);
    let one = [limit(1, 1_000)];
    for (namespace, key) in [
        ("a", "bc"),
        ("ab", "c"),
        ("abc", ""),
        ("", "abc"),
        ("a", "b"),
    ] {
        assert!(
            limits.take(namespace, key, &one, 1, ms(0)).unwrap()[0].allowed,
            "{namespace} {key}"
        );
    }
    assert!(!limits.take("ab", "c", &one, 1, ms(0)).unwrap()[0].allowed);
}

#[test]
fn a_changed_amount_goes_on_and_a_changed_window_begins_anew() {
    let limits = Limits::new(KEYS);
    assert!(take(&limits, "k", limit(1, 1_000), 0).allowed);
    assert!(!take(&limits, "k", limit(1, 1_000), 1).allowed);
    let decision = take(&limits, "k", limit(3, 1_000), 2);
    assert_eq!(
        (decision.allowed, decision.remaining, decision.reset),
        (true, 1, ms(998))
    );
    assert!(take(&limits, "k", limit(1, 2_000), 3).allowed);
    assert!(
        !take(&limits, "k", limit(1, 1_000), 4).allowed,
        "the counter of the other window is still there"
    );
}

#[test]
fn limits_with_the_same_window_share_a_counter() {
    let limits = Limits::new(KEYS);
    let both = [limit(5, 1_000), limit(3, 1_000)];
    let take = || limits.take("p", "k", &both, 1, ms(0)).unwrap();
    for left in [(4, 2), (3, 1), (2, 0)] {
        let decisions = take();
        assert_eq!((decisions[0].remaining, decisions[1].remaining), left);
    }
    assert_eq!(
        take().iter().map(|one| one.allowed).collect::<Vec<_>>(),
        [true, false]
    );
}

#[test]
fn what_is_out_of_range_is_named() {
    let limits = Limits::new(KEYS);
    let error = |key: &str, list: &[LimitConfig]| {
        limits
            .take("p", key, list, 1, ms(0))
            .unwrap_err()
            .to_string()
    };
    let good = limit(1, 1_000);
    assert_eq!(
        error(&"k".repeat(513), &[good]),
        "a key has at most 512 bytes, this has 513"
    );
    assert_eq!(
        error("k", &[good; 9]),
        "at most 8 limits are checked at once, these are 9"
    );
    assert_eq!(
        error("k", &[good, limit(0, 1_000)]),
        "limit 2: the amount is 1 to 4294967295, this is 0"
    );
    assert!(error("k", &[limit(1 << 32, 1_000)]).starts_with("limit 1: the amount"));
    assert_eq!(
        error("k", &[limit(1, 0)]),
        "limit 1: the window is 1 ms to 31 days, this is 0ns"
    );
    assert!(error("k", &[limit(1, 31 * 86_400_000 + 1)]).starts_with("limit 1: the window"));
    assert!(
        limits
            .take(
                "p",
                "k",
                &[limit(u64::from(u32::MAX), 31 * 86_400_000); 8],
                1,
                ms(0)
            )
            .is_ok()
    );
    assert!(limits.take("p", "k", &[], 1, ms(0)).unwrap().is_empty());
}

#[test]
fn exactly_the_amount_is_allowed_to_many_threads() {
    let limits = Limits::new(KEYS);
    let both = [limit(10_000, 60_000), limit(50_000, 120_000)];
    let allowed = AtomicU64::new(0);
    let start = std::sync::Barrier::new(64);
    std::thread::scope(|scope| {
        for thread in 0..64u64 {
            let (limits, allowed, start) = (&limits, &allowed, &start);
            scope.spawn(move || {
                start.wait();
                for turn in 0..400 {
                    // Threads see slightly different times.
                    let now = ms(1_000 + (thread * 7 + turn) % 50);
                    let decisions = limits.take("plugin", "shared", &both, 1, now).unwrap();
                    if decisions.iter().all(|one| one.allowed) {
                        allowed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(allowed.load(Ordering::Relaxed), 10_000);
}

#[test]
fn a_million_invented_keys_neither_grow_the_memory_nor_deny_anybody() {
    let limits = Limits::new(10_000);
    let one = limit(1, 60_000);
    for number in 0..1_000_000u64 {
        let now = number / 1_000;
        assert!(take(&limits, &format!("flood-{number}"), one, now).allowed);
    }
    assert!(limits.keys() <= 10_000);
    assert!(limits.keys() > 9_000, "room is used: {}", limits.keys());
    assert!(take(&limits, "honest", one, 1_000).allowed);
    assert!(!take(&limits, "honest", one, 1_000).allowed);
    let room: usize = limits
        .shards
        .iter()
        .map(|shard| shard.lock().unwrap().room())
        .sum();
    assert!(room <= 60_000, "{room}");
}

#[test]
fn closed_entries_go_before_open_ones() {
    // One shard of four keys.
    let limits = Limits::new(4);
    let (short, long) = (limit(5, 10), limit(5, 10_000));
    take(&limits, "long", long, 0);
    for key in ["a", "b", "c"] {
        take(&limits, key, short, 0);
    }
    take(&limits, "new", long, 10);
    assert_eq!(limits.keys(), 2, "all closed ones of the sample are gone");
    assert_eq!(take(&limits, "long", long, 10).remaining, 3);
}

#[test]
fn a_sweep_forgets_idle_keys_and_gives_memory_back() {
    let limits = Limits::new(KEYS);
    for number in 0..50_000 {
        take(
            &limits,
            &format!("{number}"),
            limit(1, 1_000 + number % 2 * 1_000),
            0,
        );
    }
    limits.sweep(ms(1_500));
    assert_eq!(limits.keys(), 25_000);
    assert!(take(&limits, "0", limit(1, 1_000), 1_500).allowed);
    assert!(!take(&limits, "1", limit(1, 2_000), 1_500).allowed);
    limits.sweep(ms(10_000));
    assert_eq!(limits.keys(), 0);
    // The second sweep, because the first still had entries to move.
    limits.sweep(ms(10_000));
    let room: usize = limits
        .shards
        .iter()
        .map(|shard| shard.lock().unwrap().room())
        .sum();
    assert!(room < 50_000 / 2, "{room}");
}

/// What the limiter promises, in the plainest way: by key and window, when it begun and what was counted.
#[derive(Default)]
struct Model(HashMap<(String, u64), (u64, u64)>);

impl Model {
    fn take(
        &mut self,
        key: &str,
        limits: &[(u64, u64)],
        cost: u64,
        now: u64,
    ) -> Vec<(bool, u64, u64)> {
        for (_, window) in limits {
            let counter = self.0.entry((key.to_owned(), *window)).or_default();
            if counter.1 == 0 || now >= counter.0 + window {
                *counter = (now, 0);
            }
        }
        let counter = |model: &Self, window: u64| model.0[&(key.to_owned(), window)];
        let before: Vec<u64> = limits
            .iter()
            .map(|(_, window)| counter(self, *window).1)
            .collect();
        let fits: Vec<bool> = limits
            .iter()
            .zip(&before)
            .map(|((amount, _), used)| used + cost <= *amount)
            .collect();
        if fits.iter().all(|fits| *fits) {
            for ((_, window), used) in limits.iter().zip(&before) {
                self.0.get_mut(&(key.to_owned(), *window)).unwrap().1 = used + cost;
            }
        }
        let decision = |((amount, window), fits): (&(u64, u64), bool)| {
            let (begun, used) = counter(self, *window);
            (fits, amount.saturating_sub(used), begun + window - now)
        };
        limits.iter().zip(fits).map(decision).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_limiter_decides_as_a_naive_model_does(
        calls in prop::collection::vec((
            0u64..40,
            prop::sample::select(vec!["a", "b", "c"]),
            prop::collection::vec((1u64..6, prop::sample::select(vec![10u64, 25, 60, 100])), 1..4),
            0u64..4,
            any::<bool>(),
        ), 1..120),
    ) {
        let limits = Limits::new(KEYS);
        let mut model = Model::default();
        let mut now = 0;
        for (passed, key, list, cost, sweep) in calls {
            now += passed;
            if sweep {
                limits.sweep(ms(now));
            }
            let configs: Vec<_> = list.iter().map(|(amount, window)| limit(*amount, *window)).collect();
            let decisions = limits.take("p", key, &configs, cost, ms(now)).unwrap();
            let found: Vec<_> = decisions.iter().map(|one| (one.allowed, one.remaining, one.reset_ms())).collect();
            prop_assert_eq!(found, model.take(key, &list, cost, now));
        }
    }
}
