//! What is made of the server's answers. What the server does is tested with a server: `tests/tests/shared_state.rs`.

use super::*;
use crate::config::LimitConfig;

fn rule(amount: u64) -> LimitRule {
    let window = Duration::from_secs(60);
    LimitConfig { amount, window }.into()
}

#[test]
fn an_answer_becomes_decisions() {
    let rules = [rule(10), rule(3)];
    let answer = [1, 6, 50_000, 0, 0, 1, 20_000, 19_000];
    let found = decisions(&rules, &answer).unwrap();
    let one = |it: &Decision| (it.allowed, it.remaining, it.reset_ms(), it.retry_ms());
    let found: Vec<_> = found.iter().map(one).collect();
    assert_eq!(found, [(true, 6, 50_000, 0), (false, 1, 20_000, 19_000)]);
}

#[test]
fn an_answer_to_another_question_is_none() {
    for wrong in [&[][..], &[1], &[1, 4, 5], &[1, 4, 5, 6, 7]] {
        let answer = decisions(&[rule(10)], wrong);
        assert_eq!(answer.unwrap_err(), unexpected(), "{wrong:?}");
    }
    let text = Value::BulkString(b"many".to_vec());
    assert_eq!(read::<u64>(text).unwrap_err(), unexpected());
}

#[test]
fn versions_fit_what_counts_them() {
    assert!((0..1_000).all(|_| i64::try_from(new_version()).is_ok()));
    assert_eq!(
        millis(Duration::from_micros(1)),
        1,
        "zero would be for ever"
    );
    assert_eq!(millis(Duration::ZERO), 0);
}
