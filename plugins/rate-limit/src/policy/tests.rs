use super::*;

fn outcome(remaining: u64, reset_ms: u64) -> Outcome {
    let allowed = remaining > 0;
    Outcome {
        allowed,
        remaining,
        reset_ms,
        retry_ms: if allowed { 0 } else { reset_ms },
    }
}

fn scoped() -> Shape {
    Shape {
        scope: Some("orders".to_owned()),
        ..Shape::default()
    }
}

fn limits(texts: &[&str]) -> Result<Vec<Limit>, String> {
    let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
    parse_limits(&texts)
}

#[test]
fn limits_are_an_amount_and_a_window() {
    let cases = [
        ("1/second", 1, 1_000),
        ("5/sec", 5, 1_000),
        ("100/minute", 100, 60_000),
        (" 100 / min ", 100, 60_000),
        ("4294967295/hour", 4_294_967_295, 3_600_000),
        ("9/day", 9, 86_400_000),
        ("10/10s", 10, 10_000),
        ("10/1h 30m", 10, 5_400_000),
        ("10/250ms", 10, 250),
        ("10/31days", 10, 2_678_400_000),
    ];
    for (text, amount, window_ms) in cases {
        assert_eq!(
            limits(&[text]),
            Ok(vec![Limit { amount, window_ms }]),
            "{text}"
        );
    }
}

#[test]
fn what_is_no_limit_is_refused_with_its_place() {
    let bad = [
        "",
        "/",
        "100",
        "100/",
        "/minute",
        "0/minute",
        "-1/minute",
        "+1/minute",
        "1.5/minute",
        "1e3/minute",
        "100/month",
        "100/10",
        "100/0s",
        "100/1us",
        "100/32days",
        "4294967296/day",
        "a/minute",
        "1/1/1",
    ];
    for text in bad {
        let error = limits(&["1/day", text]).expect_err(text);
        assert!(error.starts_with("limits[1]: expected "), "{text}: {error}");
        assert!(error.contains(&format!("{text:?}")), "{text}: {error}");
    }
    assert!(limits(&["1/minute", "2/60s"]).is_err_and(|error| error.contains("window of another")));
    let nine: Vec<String> = (1..=9).map(|index| format!("1/{index}s")).collect();
    assert_eq!(
        parse_limits(&nine),
        Err(String::from("limits: expected at most 8"))
    );
}

#[test]
fn windows_have_short_names() {
    let names = [
        (1_000, "second"),
        (60_000, "minute"),
        (3_600_000, "hour"),
        (86_400_000, "day"),
        (10_000, "10s"),
        (90_000, "90s"),
        (300_000, "5m"),
        (7_200_000, "2h"),
        (604_800_000, "7d"),
        (1_500, "1500ms"),
    ];
    for (window_ms, name) in names {
        assert_eq!(
            Name::new(
                &Limit {
                    amount: 1,
                    window_ms
                },
                None
            )
            .window,
            name
        );
    }
}

#[test]
fn the_standard_headers_list_every_limit() {
    let limits = vec![
        Limit {
            amount: 10,
            window_ms: 1_500,
        },
        Limit {
            amount: 100,
            window_ms: 60_000,
        },
    ];
    let decisions = [outcome(9, 1_001), outcome(0, 12_000)];
    let told =
        Policy::new(limits.clone(), &Shape::default()).headers(Headers::Standard, &decisions);
    let expected = [
        HeaderEdit::append(
            "ratelimit-policy",
            "\"1500ms\";q=10;w=2, \"minute\";q=100;w=60",
        ),
        HeaderEdit::append("ratelimit", "\"1500ms\";r=9;t=2, \"minute\";r=0;t=12"),
    ];
    assert_eq!(told, expected);
    let told = Policy::new(limits, &scoped()).headers(Headers::Standard, &decisions);
    let expected = [
        HeaderEdit::append(
            "ratelimit-policy",
            "\"orders-1500ms\";q=10;w=2, \"orders-minute\";q=100;w=60",
        ),
        HeaderEdit::append(
            "ratelimit",
            "\"orders-1500ms\";r=9;t=2, \"orders-minute\";r=0;t=12",
        ),
    ];
    assert_eq!(told, expected);
}

#[test]
fn the_older_headers_show_every_window_and_the_tightest() {
    let limits = vec![
        Limit {
            amount: 5,
            window_ms: 1_000,
        },
        Limit {
            amount: 100,
            window_ms: 60_000,
        },
    ];
    let policy = Policy::new(limits, &scoped());
    let told = policy.headers(Headers::Legacy, &[outcome(4, 700), outcome(4, 0)]);
    let expected = [
        ("x-ratelimit-limit-second", "5"),
        ("x-ratelimit-remaining-second", "4"),
        ("x-ratelimit-limit-minute", "100"),
        ("x-ratelimit-remaining-minute", "4"),
        ("ratelimit-limit", "100"),
        ("ratelimit-remaining", "4"),
        ("ratelimit-reset", "1"),
    ]
    .map(|(name, value)| HeaderEdit::set(name, value));
    assert_eq!(told, expected);
    let both = policy.headers(Headers::Both, &[outcome(4, 700), outcome(4, 0)]);
    assert_eq!(both.len(), 9);
    assert!(policy.headers(Headers::Off, &[]).is_empty());
}

#[test]
fn a_refused_client_waits_for_the_last_of_the_limits_that_refused() {
    let minute = outcome(0, 12_001);
    let second = outcome(0, 0);
    let day = outcome(7, 80_000_000);
    assert_eq!(retry_after(&[second, minute, day]), 13);
    assert_eq!(retry_after(&[second, day]), 1);
}

#[test]
fn numbers_are_decimal() {
    for number in [0, 7, 10, 4_294_967_295, u64::MAX] {
        let mut text = String::new();
        push_number(&mut text, number);
        assert_eq!(text, number.to_string());
    }
}
