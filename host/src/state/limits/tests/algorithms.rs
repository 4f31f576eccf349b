//! Sliding windows and buckets.

use super::*;

fn rule(algorithm: LimitAlgorithm, amount: u64, window_ms: u64) -> LimitRule {
    LimitRule {
        limit: limit(amount, window_ms),
        algorithm,
        burst: amount,
    }
}

fn sliding(amount: u64, window_ms: u64) -> LimitRule {
    rule(LimitAlgorithm::SlidingWindow, amount, window_ms)
}

fn bucket(amount: u64, window_ms: u64, burst: u64) -> LimitRule {
    LimitRule {
        burst,
        ..rule(LimitAlgorithm::TokenBucket, amount, window_ms)
    }
}

/// Allowed, remaining, reset and retry in milliseconds.
type Seen = (bool, u64, u64, u64);

fn decide(limits: &Limits, rule: LimitRule, cost: u64, now: u64) -> Seen {
    let decisions = limits.decide(("p", "k"), &[rule], cost, false, ms(now));
    let one = decisions.expect("it is in range")[0];
    (one.allowed, one.remaining, one.reset_ms(), one.retry_ms())
}

fn granted(limits: &Limits, rule: LimitRule, times: std::ops::Range<u64>) -> usize {
    times.filter(|now| decide(limits, rule, 1, *now).0).count()
}

#[test]
fn a_sliding_window_counts_a_part_of_the_last_one() {
    let (limits, ten) = (Limits::new(KEYS), sliding(10, 1_000));
    for left in (0..10).rev() {
        assert_eq!(decide(&limits, ten, 1, 0), (true, left, 2_000, 0));
    }
    // 100 ms into the next window, nine of the ten still count.
    assert_eq!(decide(&limits, ten, 1, 999), (false, 0, 1_001, 101));
    assert_eq!(decide(&limits, ten, 1, 1_099), (false, 0, 1_001 - 100, 1));
    assert_eq!(decide(&limits, ten, 1, 1_100), (true, 0, 1_900, 0));
    assert_eq!(decide(&limits, ten, 1, 1_100), (false, 0, 1_900, 100));
    assert_eq!(decide(&limits, ten, 4, 1_100), (false, 0, 1_900, 400));
    // The one of then is a tenth of one when the next window is nearly over.
    assert_eq!(decide(&limits, ten, 9, 2_900), (true, 0, 1_100, 0));
    assert_eq!(limits.keys(), 1);
    limits.sweep(ms(4_000));
    assert_eq!(limits.keys(), 0);
}

#[test]
fn no_sliding_window_grants_twice_the_amount_around_its_end() {
    let (fixed, slides) = (Limits::new(KEYS), Limits::new(KEYS));
    let ten = LimitRule::from(limit(10, 1_000));
    // The first request long before the others: they come at the end of its window, and after it.
    for (limits, rule, expected) in [(&fixed, ten, 19), (&slides, sliding(10, 1_000), 9)] {
        assert!(decide(limits, rule, 1, 0).0);
        let burst = granted(limits, rule, 980..1_020);
        assert_eq!(burst, expected, "{rule:?}");
    }
}

#[test]
fn a_bucket_grants_its_burst_at_once_and_then_fills_evenly() {
    let limits = Limits::new(KEYS);
    let rule = bucket(10, 1_000, 5);
    for left in (0..5).rev() {
        let (allowed, remaining, ..) = decide(&limits, rule, 1, 0);
        assert_eq!((allowed, remaining), (true, left));
    }
    assert_eq!(decide(&limits, rule, 1, 0), (false, 0, 500, 100));
    assert_eq!(decide(&limits, rule, 3, 50), (false, 0, 450, 250));
    assert_eq!(
        decide(&limits, rule, 6, 50).3,
        450,
        "never; when it is full"
    );
    assert_eq!(granted(&limits, rule, 51..1_051), 10);
    // Idle, it is full again and forgotten.
    limits.sweep(ms(2_000));
    assert_eq!(limits.keys(), 0);
    assert_eq!(decide(&limits, rule, 5, 2_000), (true, 0, 500, 0));
}

#[test]
fn a_bucket_has_exactly_its_tokens_also_where_they_do_not_divide_the_window() {
    for (amount, window) in [(7, 60_000), (3, 1_000), (997, 1_000), (1_000_003, 60_000)] {
        let limits = Limits::new(KEYS);
        let rule = bucket(amount, window, amount);
        assert!(decide(&limits, rule, amount - 1, 5).0);
        assert!(decide(&limits, rule, 1, 5).0, "{amount} in {window}");
        assert!(!decide(&limits, rule, 1, 5).0, "{amount} in {window}");
    }
}

#[test]
fn what_is_spent_counts_whatever_is_left() {
    let algorithms = [
        LimitAlgorithm::FixedWindow,
        LimitAlgorithm::SlidingWindow,
        LimitAlgorithm::TokenBucket,
    ];
    for algorithm in algorithms {
        let (limits, rule) = (Limits::new(KEYS), rule(algorithm, 10, 1_000));
        let charge = |cost, now| {
            let decisions = limits.decide(("p", "k"), &[rule], cost, true, ms(now));
            decisions.expect("it is in range")[0].remaining
        };
        assert_eq!(charge(4, 0), 6);
        assert_eq!(charge(100, 0), 0, "{algorithm:?}");
        assert!(!decide(&limits, rule, 1, 999).0);
        // No debt is for ever.
        assert!(decide(&limits, rule, 1, 2_001).0, "{algorithm:?}");
    }
}

#[test]
fn counters_of_each_algorithm_are_apart_and_decided_together() {
    let limits = Limits::new(KEYS);
    let rules = [
        LimitRule::from(limit(3, 1_000)),
        sliding(2, 1_000),
        bucket(5, 1_000, 5),
    ];
    let take = || {
        let decisions = limits
            .decide(("p", "k"), &rules, 1, false, ms(0))
            .expect("they are in range");
        let one = |it: &Decision| (it.allowed, it.remaining);
        decisions.iter().map(one).collect::<Vec<_>>()
    };
    assert_eq!(take(), [(true, 2), (true, 1), (true, 4)]);
    assert_eq!(take(), [(true, 1), (true, 0), (true, 3)]);
    assert_eq!(take(), [(true, 1), (false, 0), (true, 3)]);
}

#[test]
fn a_bucket_out_of_range_is_named() {
    let limits = Limits::new(KEYS);
    let month = 31 * 86_400_000;
    for rule in [
        bucket(1, 1_000, 0),
        bucket(1, month, 2),
        bucket(1, 1, 1 << 32),
    ] {
        let error = limits.decide(("p", "k"), &[rule], 1, false, ms(0));
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("limit 1: a bucket holds"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever waits as long as he is told to is served, and not a millisecond earlier.
    #[test]
    fn whoever_comes_when_told_to_is_served(
        algorithm in prop::sample::select(vec![
            LimitAlgorithm::FixedWindow, LimitAlgorithm::SlidingWindow, LimitAlgorithm::TokenBucket,
        ]),
        amount in 1u64..20,
        window in prop::sample::select(vec![10u64, 97, 1_000]),
        calls in prop::collection::vec((0u64..60, 1u64..4), 1..60),
    ) {
        let (limits, rule) = (Limits::new(KEYS), rule(algorithm, amount, window));
        let mut now = 0;
        for (passed, cost) in calls {
            now += passed;
            let (allowed, _, _, retry) = decide(&limits, rule, cost, now);
            if allowed || cost > amount {
                continue;
            }
            // A look tells whether it would be served then, and changes nothing.
            let fits = |then: u64| {
                let decisions = limits.decide(("p", "k"), &[rule], 0, false, ms(then)).expect("it is in range");
                decisions[0].remaining >= cost
            };
            prop_assert!(retry > 0);
            prop_assert!(fits(now + retry), "{rule:?} at {now} after {retry}");
            prop_assert!(retry == 1 || !fits(now + retry - 1), "{rule:?} at {now} before {retry}");
        }
    }
}
