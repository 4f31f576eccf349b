use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::*;

fn config() -> BreakerConfig {
    BreakerConfig {
        window: Duration::from_secs(10),
        failure_rate: 500_000,
        slow_after: Some(Duration::from_secs(1)),
        slow_rate: 1_000_000,
        min_requests: 10,
        open_for: Duration::from_secs(5),
        probes: 3,
    }
}

const QUICK: Duration = Duration::from_millis(10);

fn call(breaker: &Breaker, failed: bool, took: Duration, now: Duration) -> Option<Change> {
    let (pass, change) = breaker.admit(now);
    pass.and_then(|pass| pass.ended(failed, took, now))
        .or(change)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A breaker that opened at the 100th second.
fn opened() -> Breaker {
    let breaker = Breaker::new(config());
    for _ in 0..9 {
        assert_eq!(call(&breaker, true, QUICK, seconds(100)), None, "too few");
    }
    let change = call(&breaker, true, QUICK, seconds(100));
    let (calls, failed, slow) = (10, 10, 0);
    assert_eq!(
        change,
        Some(Change::Opened {
            calls,
            failed,
            slow
        })
    );
    breaker
}

#[test]
fn it_opens_at_its_failure_rate() {
    let breaker = Breaker::new(config());
    for index in 0..100 {
        let change = call(&breaker, index % 3 == 0, QUICK, seconds(1));
        assert_eq!(change, None, "a third is less than a half");
    }
    let changes = (0..100).filter_map(|_| call(&breaker, true, QUICK, seconds(2)));
    assert_eq!(changes.count(), 1);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn it_opens_when_all_are_slow() {
    let breaker = Breaker::new(config());
    let changes: Vec<_> = (0..10)
        .filter_map(|_| call(&breaker, false, seconds(1), seconds(1)))
        .collect();
    let (calls, failed, slow) = (10, 0, 10);
    assert_eq!(
        changes,
        [Change::Opened {
            calls,
            failed,
            slow
        }]
    );
}

#[test]
fn old_failures_are_forgotten() {
    let breaker = Breaker::new(config());
    for second in 0..100 {
        assert_eq!(call(&breaker, true, QUICK, seconds(second * 2)), None);
    }
}

#[test]
fn open_lets_nothing_through_until_its_time_is_over() {
    let breaker = opened();
    assert!(breaker.admit(seconds(105) - QUICK).0.is_none());
    let (first, change) = breaker.admit(seconds(105));
    assert_eq!(change, Some(Change::HalfOpened));
    let others: Vec<_> = (0..5)
        .filter_map(|_| breaker.admit(seconds(105)).0)
        .collect();
    assert_eq!(others.len(), 2, "three are let through to see");
    let passes = first.into_iter().chain(others);
    let changes: Vec<_> = passes
        .filter_map(|pass| pass.ended(false, QUICK, seconds(106)))
        .collect();
    assert_eq!(changes, [Change::Closed]);
    assert_eq!(
        call(&breaker, true, QUICK, seconds(106)),
        None,
        "what was before is forgotten"
    );
}

#[test]
fn one_bad_call_opens_it_again() {
    for (failed, took) in [(true, QUICK), (false, seconds(2))] {
        let breaker = opened();
        let pass = breaker.admit(seconds(110)).0.unwrap();
        assert_eq!(
            pass.ended(failed, took, seconds(112)),
            Some(Change::Reopened)
        );
        assert!(breaker.admit(seconds(116)).0.is_none(), "again for 5 s");
        assert!(breaker.admit(seconds(117)).0.is_some());
    }
}

#[test]
fn calls_from_before_a_change_say_nothing_after_it() {
    let breaker = Breaker::new(config());
    let early: Vec<_> = (0..50)
        .filter_map(|_| breaker.admit(seconds(100)).0)
        .collect();
    let changes = (0..10).filter_map(|_| call(&breaker, true, QUICK, seconds(100)));
    assert_eq!(changes.count(), 1);
    let probe = breaker.admit(seconds(106)).0.unwrap();
    for pass in early {
        assert_eq!(pass.ended(true, QUICK, seconds(106)), None);
    }
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    drop(probe);
}

#[test]
fn a_call_that_nobody_waits_for_gives_its_place_back() {
    let breaker = opened();
    for _ in 0..10 {
        assert!(breaker.admit(seconds(106)).0.is_some());
    }
}

#[test]
fn words_are_unpacked_as_they_were_packed() {
    for state in [
        BreakerState::Closed,
        BreakerState::Open,
        BreakerState::HalfOpen,
    ] {
        let (generation, admitted, good) = (u32::MAX - 1, 1_000, 999);
        let word = Word {
            generation,
            state,
            admitted,
            good,
        };
        let back = Word::unpack(word.pack());
        assert_eq!(
            (back.generation, back.state, back.admitted, back.good),
            (generation, state, admitted, good)
        );
    }
}

/// Threads that call, fail and hang up at random: at no time are more let through half-open than there may be.
#[test]
fn threads_never_let_too_many_through() {
    use std::sync::atomic::AtomicU32;
    let breaker = opened();
    let most = AtomicU32::new(0);
    let under_way = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let (breaker, most, under_way) = (&breaker, &most, &under_way);
            scope.spawn(move || {
                let mut random = SmallRng::seed_from_u64(seed);
                for _ in 0..20_000 {
                    let Some(pass) = breaker.admit(seconds(106)).0 else {
                        continue;
                    };
                    let count = under_way.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(count, Ordering::SeqCst);
                    under_way.fetch_sub(1, Ordering::SeqCst);
                    // Never told: it stays half-open.
                    if random.random_bool(0.5) {
                        std::thread::yield_now();
                    }
                    drop(pass);
                }
            });
        }
    });
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    let most = most.into_inner();
    assert!((1..=3).contains(&most), "{most}");
}

proptest! {
    /// Whatever happens: open lets nothing through, and it opens only where the calls that it counts are bad enough.
    #[test]
    fn it_never_opens_for_nothing(
        steps in prop::collection::vec((0_u64..2_000, any::<bool>(), 0_u64..1_500), 1..300)
    ) {
        let breaker = Breaker::new(config());
        let mut now = Duration::ZERO;
        let mut counted: Vec<(u64, bool, bool)> = Vec::new();
        for (pause, failed, took) in steps {
            now += Duration::from_millis(pause);
            let before = breaker.state();
            let (pass, change) = breaker.admit(now);
            prop_assert!(change.is_none() || before == BreakerState::Open);
            let Some(pass) = pass else {
                prop_assert_eq!(before, BreakerState::Open);
                continue;
            };
            let took = Duration::from_millis(took);
            let slow = took >= seconds(1);
            let change = pass.ended(failed, took, now);
            if before != BreakerState::Closed {
                if change == Some(Change::Closed) {
                    counted.clear();
                }
                continue;
            }
            counted.push((now.as_secs(), failed, slow));
            let recent = counted.iter().filter(|call| call.0 + 10 > now.as_secs());
            let (mut calls, mut failures, mut slows) = (0, 0, 0);
            for (_, failed, slow) in recent {
                calls += 1;
                failures += u64::from(*failed);
                slows += u64::from(*slow);
            }
            let is_bad = (failed || slow) && calls >= 10 && (failures * 2 >= calls || slows == calls);
            let expected = is_bad.then_some(Change::Opened { calls, failed: failures, slow: slows });
            prop_assert_eq!(change, expected);
        }
    }
}

#[test]
fn bodies_that_break_off_count_where_their_heads_were_counted() {
    let breaker = Breaker::new(config());
    for _ in 0..10 {
        assert_eq!(call(&breaker, false, QUICK, seconds(1)), None);
    }
    assert_eq!(breaker.changed(), None);
    let generation = breaker.generation();
    let changes: Vec<_> = (0..6)
        .map(|_| breaker.broke(generation, seconds(2)))
        .collect();
    let (calls, failed, slow) = (10, 5, 0);
    let opened = Change::Opened {
        calls,
        failed,
        slow,
    };
    assert_eq!(changes, [None, None, None, None, Some(opened), None]);
    assert_eq!(breaker.changed(), Some(seconds(2)));
}

#[test]
fn a_request_to_see_whose_body_breaks_off_was_no_good() {
    let breaker = opened();
    let before = breaker.generation();
    assert_eq!(
        call(&breaker, false, QUICK, seconds(105)),
        Some(Change::HalfOpened)
    );
    assert_eq!(breaker.changed(), Some(seconds(105)));
    assert_eq!(
        breaker.broke(before, seconds(106)),
        None,
        "its head is from before"
    );
    assert_eq!(
        breaker.broke(breaker.generation(), seconds(106)),
        Some(Change::Reopened)
    );
    assert_eq!(breaker.state(), BreakerState::Open);
    assert!(
        breaker.admit(seconds(110)).0.is_none(),
        "for as long as the first time"
    );
}
