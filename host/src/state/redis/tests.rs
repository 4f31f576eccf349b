//! What is made of the server's answers. What the server does is tested with a server: `tests/tests/shared_state.rs`.

use super::*;

fn limit(amount: u64) -> LimitConfig {
    LimitConfig {
        amount,
        window: Duration::from_secs(60),
    }
}

#[test]
fn an_answer_becomes_decisions() {
    let limits = [limit(10), limit(3)];
    let granted = decisions(&limits, 1, &[1, 4, 50_000, 3, 20_000]).unwrap();
    let seen = |decisions: &Decisions| -> Vec<(bool, u64, u64)> {
        let one = |it: &Decision| (it.allowed, it.remaining, it.reset_ms());
        decisions.iter().map(one).collect()
    };
    assert_eq!(seen(&granted), [(true, 6, 50_000), (true, 0, 20_000)]);
    // The last one that was granted used up the second limit: it is still granted.
    let refused = decisions(&limits, 1, &[0, 4, 50_000, 3, 20_000]).unwrap();
    assert_eq!(seen(&refused), [(true, 6, 50_000), (false, 0, 20_000)]);
}

#[test]
fn an_answer_to_another_question_is_none() {
    for wrong in [&[][..], &[1], &[1, 4], &[1, 4, 5, 6, 7]] {
        let answer = decisions(&[limit(10)], 1, wrong);
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
