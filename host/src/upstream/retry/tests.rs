use http::{Method, StatusCode};
use proptest::prelude::*;

use super::*;
use crate::config::RetryConditions;

const MS: Duration = Duration::from_millis(1);

fn policy() -> RetryConfig {
    RetryConfig {
        retries: 2,
        on: RetryConditions {
            connect_failure: true,
            refused_stream: true,
            reset: true,
            timeout: true,
        },
        statuses: vec![503],
        grpc_statuses: vec![14],
        backoff: MS * 25,
        max_backoff: MS * 60,
        max_retry_after: MS * 2_000,
        ..RetryConfig::default()
    }
}

fn facts() -> Facts {
    Facts {
        now: Duration::ZERO,
        retry_after: None,
        elsewhere: true,
        random: 1.0,
    }
}

fn answered(status: u16) -> Outcome {
    let status = StatusCode::from_u16(status).unwrap();
    Outcome::Answered { status, grpc: None }
}

fn course<'a>(policy: &'a RetryConfig, method: &Method) -> Course<'a> {
    Course::new(policy, None, method, None)
}

#[test]
fn what_may_have_been_seen_is_repeated_only_where_the_method_allows_it() {
    let policy = policy();
    for (method, is_repeatable) in [
        (Method::GET, true),
        (Method::HEAD, true),
        (Method::PUT, true),
        (Method::DELETE, true),
        (Method::OPTIONS, true),
        (Method::TRACE, true),
        (Method::POST, false),
        (Method::PATCH, false),
        (Method::CONNECT, false),
        (Method::from_bytes(b"PURGE").unwrap(), false),
    ] {
        for (end, is_seen) in [
            (Outcome::ConnectFailure, false),
            (Outcome::Refused, false),
            (Outcome::Reset, true),
            (Outcome::Timeout, true),
            (answered(503), true),
        ] {
            let again = course(&policy, &method).again(end, facts()).is_ok();
            assert_eq!(again, is_repeatable || !is_seen, "{method} after {end:?}");
        }
        assert_eq!(
            course(&policy, &method).again(Outcome::Unrelated, facts()),
            Err(Denial::Final)
        );
    }
}

#[test]
fn the_operator_may_name_methods_but_no_tunnel() {
    let policy = RetryConfig {
        methods: vec![Method::POST, Method::CONNECT],
        ..policy()
    };
    assert!(
        course(&policy, &Method::POST)
            .again(Outcome::Reset, facts())
            .is_ok()
    );
    assert!(
        course(&policy, &Method::PATCH)
            .again(Outcome::Reset, facts())
            .is_err()
    );
    assert!(
        course(&policy, &Method::CONNECT)
            .again(Outcome::Reset, facts())
            .is_err()
    );
}

#[test]
fn only_what_was_asked_for_is_repeated() {
    let policy = RetryConfig::default();
    let again = |end| course(&policy, &Method::GET).again(end, facts()).is_ok();
    assert!(again(Outcome::ConnectFailure) && again(Outcome::Refused));
    assert!(!again(Outcome::Reset) && !again(Outcome::Timeout) && !again(answered(503)));
    let policy = self::policy();
    let again = |end| course(&policy, &Method::GET).again(end, facts()).is_ok();
    assert!(!again(answered(500)) && !again(answered(200)));
    let status = StatusCode::OK;
    let grpc = |code| Outcome::Answered {
        status,
        grpc: Some(code),
    };
    assert!(again(grpc(14)) && !again(grpc(0)) && !again(grpc(13)));
}

#[test]
fn no_more_often_than_allowed() {
    let policy = policy();
    let mut course = course(&policy, &Method::GET);
    let attempts = (0..10).filter(|_| course.again(Outcome::ConnectFailure, facts()).is_ok());
    assert_eq!(attempts.count(), 2);
    assert!(!course.wants_copy(), "there is no next time");
}

#[test]
fn another_target_is_asked_at_once_and_the_same_one_later() {
    let policy = policy();
    let pause = |end, elsewhere, repeated| {
        let mut course = course(&policy, &Method::GET);
        course.repeated = repeated;
        course
            .again(
                end,
                Facts {
                    elsewhere,
                    ..facts()
                },
            )
            .unwrap()
    };
    assert_eq!(pause(Outcome::Reset, true, 0), Duration::ZERO);
    assert_eq!(pause(Outcome::Reset, false, 0), MS * 25);
    assert_eq!(pause(Outcome::Reset, true, 1), MS * 50, "it doubles");
    assert_eq!(
        pause(answered(503), true, 0),
        MS * 25,
        "it answered: it is not gone"
    );
    let mut course = course(&policy, &Method::GET);
    course.repeated = 1;
    let none = Facts {
        random: 0.0,
        ..facts()
    };
    assert_eq!(
        course.again(answered(503), none),
        Ok(Duration::ZERO),
        "full jitter"
    );
}

#[test]
fn retry_after_is_honoured_within_bounds() {
    let policy = policy();
    let pause = |wish| {
        let retry_after = Some(wish);
        course(&policy, &Method::GET).again(
            answered(503),
            Facts {
                retry_after,
                ..facts()
            },
        )
    };
    assert_eq!(pause(MS * 1_000), Ok(MS * 1_000));
    assert_eq!(pause(MS), Ok(MS * 25), "no sooner than without");
    assert_eq!(pause(MS * 2_001), Err(Denial::Final));
}

#[test]
fn nothing_begins_after_the_deadline() {
    let policy = policy();
    let mut course = Course::new(&policy, None, &Method::GET, Some(MS * 100));
    let at = |now| Facts {
        now,
        elsewhere: false,
        ..facts()
    };
    assert!(course.again(Outcome::Reset, at(MS * 75)).is_err());
    assert!(course.again(Outcome::Reset, at(MS * 74)).is_ok());
}

#[test]
fn the_budget_pays_for_what_burdens_a_service() {
    let policy = RetryConfig {
        retries: 1_000,
        ..policy()
    };
    let budget = Budget::new(0, 1);
    let mut course = Course::new(&policy, Some(&budget), &Method::GET, None);
    let paid = (0..100).filter(|_| course.again(Outcome::Reset, facts()).is_ok());
    assert_eq!(paid.count(), 10, "one a second for ten seconds");
    assert_eq!(course.again(answered(503), facts()), Err(Denial::Budget));
    assert!(!course.hedge(Duration::ZERO));
    assert!(
        course.again(Outcome::ConnectFailure, facts()).is_ok(),
        "it reached nobody"
    );
}

proptest! {
    /// The pause is never longer than the longest back-off, or than the service asked for within its bounds.
    #[test]
    fn pauses_are_bounded(repeated in 0_u32..64, random in 0.0..=1.0, wish in prop::option::of(0_u64..5_000)) {
        let policy = RetryConfig { retries: 100, ..policy() };
        let mut course = course(&policy, &Method::GET);
        course.repeated = repeated;
        let retry_after = wish.map(Duration::from_millis);
        if let Ok(pause) = course.again(answered(503), Facts { random, retry_after, ..facts() }) {
            let wished = wish.map(Duration::from_millis).unwrap_or_default();
            prop_assert!(wished <= policy.max_retry_after);
            prop_assert!(pause >= wished && pause <= policy.max_backoff.max(wished));
        } else {
            prop_assert!(wish.is_some_and(|wish| wish > 2_000));
        }
    }
}
