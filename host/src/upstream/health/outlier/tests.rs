use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn config() -> OutlierConfig {
    OutlierConfig {
        consecutive_5xx: 5,
        base_ejection_time: 30 * SECOND,
        max_ejection_time: 300 * SECOND,
        max_ejected: 500_000,
        success_rate_stdev_factor: 1_900,
        failure_percentage: 850_000,
        ..OutlierConfig::default()
    }
}

fn records(count: usize) -> Vec<Record> {
    vec![Record::default(); count]
}

fn eject(records: &mut [Record], index: usize, now: Duration) -> Option<Duration> {
    match strike(&config(), records, index, Reason::Consecutive5xx, now)? {
        Change::Ejected { period, .. } => Some(period),
        Change::Returned { .. } => None,
    }
}

#[test]
fn each_further_ejection_lasts_longer_up_to_a_limit() {
    let mut records = records(4);
    let mut now = Duration::ZERO;
    for times in 1..=12 {
        let period = eject(&mut records, 0, now);
        assert_eq!(period, Some((30 * SECOND * times).min(300 * SECOND)));
        assert_eq!(eject(&mut records, 0, now), None, "it is ejected already");
        now += 300 * SECOND;
        assert_eq!(
            expire(&config(), &mut records, now),
            [Change::Returned { index: 0 }]
        );
    }
}

#[test]
fn past_ejections_are_forgotten_one_by_one() {
    let mut records = records(4);
    for _ in 0..3 {
        eject(&mut records, 0, Duration::ZERO);
        absolve(&mut records, 0);
    }
    for _ in 0..2 {
        compare(&config(), &mut records, &[Counts::default(); 4], SECOND);
    }
    assert_eq!(eject(&mut records, 0, SECOND), Some(60 * SECOND));
}

#[test]
fn an_ejection_ends_exactly_when_it_should() {
    let mut records = records(2);
    eject(&mut records, 1, SECOND);
    assert!(
        expire(
            &config(),
            &mut records,
            31 * SECOND - Duration::from_nanos(1)
        )
        .is_empty()
    );
    assert_eq!(
        expire(&config(), &mut records, 31 * SECOND),
        [Change::Returned { index: 1 }]
    );
}

#[test]
fn the_only_target_is_never_ejected() {
    assert_eq!(eject(&mut records(1), 0, Duration::ZERO), None);
}

#[test]
fn one_may_always_be_ejected_and_no_more_than_the_share() {
    let few = OutlierConfig {
        max_ejected: 100_000,
        ..config()
    };
    assert_eq!(
        [2, 9, 10, 19, 20].map(|count| allowed(&few, count)),
        [1, 1, 1, 1, 2]
    );
    let mut records = records(4);
    assert!(eject(&mut records, 0, Duration::ZERO).is_some());
    assert!(eject(&mut records, 1, Duration::ZERO).is_some());
    assert!(eject(&mut records, 2, Duration::ZERO).is_none());
}

#[test]
fn a_success_rate_far_below_the_others_ejects() {
    let of = |failures| Counts {
        requests: 1_000,
        failures,
    };
    let mut six = records(6);
    let counts = [of(5), of(3), of(0), of(4), of(2), of(300)];
    let changes = compare(&config(), &mut six, &counts, SECOND);
    assert!(matches!(
        changes[..],
        [Change::Ejected {
            index: 5,
            reason: Reason::SuccessRate,
            ..
        }]
    ));
    // Four are too few to compare, and an interval without requests says nothing.
    assert!(compare(&config(), &mut records(4), &counts[2..], SECOND).is_empty());
    let mut six = records(6);
    for record in &mut six {
        record.seen = of(0);
    }
    assert!(compare(&config(), &mut six, &[of(0); 6], SECOND).is_empty());
}

#[test]
fn who_fails_nearly_always_is_ejected_without_comparing() {
    let of = |requests, failures| Counts { requests, failures };
    let mut two = records(2);
    let changes = compare(&config(), &mut two, &[of(50, 43), of(50, 42)], SECOND);
    assert!(matches!(
        changes[..],
        [Change::Ejected {
            index: 0,
            reason: Reason::FailurePercentage,
            ..
        }]
    ));
    assert!(compare(&config(), &mut records(2), &[of(49, 49), of(0, 0)], SECOND).is_empty());
}

#[test]
fn when_targets_go_the_oldest_ejections_end() {
    let mut records = records(6);
    for (index, at) in [(0, 3), (1, 1), (2, 2)] {
        eject(&mut records, index, at * SECOND);
    }
    records.truncate(4);
    assert_eq!(
        expire(&config(), &mut records, 3 * SECOND),
        [Change::Returned { index: 1 }]
    );
}

#[derive(Debug, Clone)]
enum Step {
    Strike(usize),
    Absolve(usize),
    Compare(Vec<(u64, u64)>),
    Pass(u64),
    Resize(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_usize..12).prop_map(Step::Strike),
        1 => (0_usize..12).prop_map(Step::Absolve),
        1 => prop::collection::vec((0_u64..300, 0_u64..300), 12).prop_map(Step::Compare),
        2 => (0_u64..60).prop_map(Step::Pass),
        1 => (1_usize..12).prop_map(Step::Resize),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever happens: no more than the share, no ejection longer than the longest, and everybody comes back.
    #[test]
    fn ejections_keep_their_limits(
        share in 0_u32..=1_000_000,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let config = OutlierConfig { max_ejected: share, ..config() };
        let mut records = records(8);
        let mut totals = vec![Counts::default(); 12];
        let mut now = Duration::ZERO;
        for step in steps {
            match step {
                Step::Strike(index) => {
                    strike(&config, &mut records, index, Reason::Consecutive5xx, now);
                }
                Step::Absolve(index) => {
                    absolve(&mut records, index);
                }
                Step::Compare(counts) => {
                    for (total, (requests, failures)) in totals.iter_mut().zip(counts) {
                        total.requests += requests;
                        total.failures += failures.min(requests);
                    }
                    compare(&config, &mut records, &totals, now);
                }
                Step::Pass(seconds) => now += Duration::from_secs(seconds),
                Step::Resize(count) => records.resize(count, Record::default()),
            }
            expire(&config, &mut records, now);
            let most = if records.len() == 1 { 0 } else { allowed(&config, records.len()) };
            prop_assert!(ejected(&records) <= most);
            for record in &records {
                if let Some(until) = record.until {
                    prop_assert!(until > now && until <= now + config.max_ejection_time);
                }
            }
        }
        expire(&config, &mut records, now + config.max_ejection_time);
        prop_assert_eq!(ejected(&records), 0);
    }
}
