//! Quantities as they are written in the file: durations, sizes, limits.
//!
//! A number without a unit is refused: nobody remembers whether a timeout was in seconds or milliseconds.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::resolved::LimitConfig;
use super::values::{Refusal, from_text};

/// What a duration looks like, for messages.
pub(super) const DURATION: &str = "a duration like \"250ms\"";
/// What a size looks like, for messages.
pub(super) const SIZE: &str = "a size like \"8KiB\"";
/// What a limit looks like, for messages.
pub(super) const LIMIT: &str = "a limit like \"100/minute\"";

/// The longest window of a limit; the counters keep a window as milliseconds in a bounded time.
const MAX_WINDOW: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// `"250ms"`, `"2s"`, `"1m"`, `"1m 30s"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DurationText(pub(super) Duration);

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, DURATION, |text| duration(text).map(Self))
    }
}

/// `"512B"`, `"8KiB"`, `"1MiB"`, `"2GiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SizeText(pub(super) u64);

impl<'de> Deserialize<'de> for SizeText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, SIZE, |text| size(text).map(Self))
    }
}

/// `"100/minute"`, `"10/10s"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LimitText(pub(super) LimitConfig);

impl<'de> Deserialize<'de> for LimitText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, LIMIT, |text| limit(text).map(Self))
    }
}

fn duration(text: &str) -> Result<Duration, Refusal> {
    let expected = || Refusal::expected(DURATION, text);
    if is_number(text) {
        return Err(expected().help(unit_of_duration(text)));
    }
    humantime::parse_duration(text).map_err(|_| expected().help("units: us, ms, s, m, h, days"))
}

/// The hint for a duration that is a bare number.
pub(super) fn unit_of_duration(number: &str) -> String {
    format!("add the unit: \"{number}ms\" or \"{number}s\"")
}

/// The hint for a size that is a bare number.
pub(super) fn unit_of_size(number: &str) -> String {
    format!("add the unit: \"{number}B\", \"{number}KiB\" or \"{number}MiB\"")
}

fn size(text: &str) -> Result<u64, Refusal> {
    let expected = || Refusal::expected(SIZE, text);
    let digits = text.len()
        - text
            .trim_start_matches(|character: char| character.is_ascii_digit())
            .len();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(expected().help("units: B, KiB, MiB, GiB"));
    }
    let factor: u64 = match unit.trim_start() {
        "" => return Err(expected().help(unit_of_size(number))),
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => return Err(expected().help(nearest_unit(number, other))),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| Refusal::new(format!("the size \"{text}\" is too large")))?;
    number
        .checked_mul(factor)
        .ok_or_else(|| Refusal::new(format!("the size \"{text}\" is too large")))
}

fn nearest_unit(number: &str, unit: &str) -> String {
    match unit.to_ascii_lowercase().as_str() {
        "b" | "byte" | "bytes" => format!("write \"{number}B\""),
        "k" | "kb" | "ki" | "kib" => format!("write \"{number}KiB\" (1024 bytes each)"),
        "m" | "mb" | "mi" | "mib" => format!("write \"{number}MiB\" (1024 KiB each)"),
        "g" | "gb" | "gi" | "gib" => format!("write \"{number}GiB\" (1024 MiB each)"),
        _ => "units: B, KiB, MiB, GiB".into(),
    }
}

fn limit(text: &str) -> Result<LimitConfig, Refusal> {
    let expected = || Refusal::expected(LIMIT, text);
    let windows =
        "write requests/window; windows: second, minute, hour, day, or a duration such as 10s";
    let Some((amount, window)) = text.split_once('/') else {
        return Err(expected().help(windows));
    };
    let amount = amount.trim();
    if !is_number(amount) {
        return Err(expected().help(windows));
    }
    let amount: u32 = amount.parse().map_err(|_| {
        Refusal::new(format!(
            "a limit allows at most {} requests, found \"{text}\"",
            u32::MAX
        ))
    })?;
    if amount == 0 {
        return Err(Refusal::new(format!(
            "a limit allows at least one request, found \"{text}\""
        ))
        .help("to close a route, remove it"));
    }
    let window = match window.trim() {
        "second" | "sec" => Duration::from_secs(1),
        "minute" | "min" => Duration::from_secs(60),
        "hour" => Duration::from_secs(60 * 60),
        "day" => Duration::from_secs(24 * 60 * 60),
        other => duration(other).map_err(|_| expected().help(windows))?,
    };
    if window < Duration::from_millis(1) || window > MAX_WINDOW {
        return Err(Refusal::new(format!(
            "the window of a limit is 1ms to 31 days, found \"{text}\""
        )));
    }
    if !window.subsec_nanos().is_multiple_of(1_000_000) {
        return Err(Refusal::new(format!(
            "the window of a limit is whole milliseconds, found \"{text}\""
        )));
    }
    Ok(LimitConfig {
        amount: u64::from(amount),
        window,
    })
}

fn is_number(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|character| character.is_ascii_digit() || character == '.')
}

/// A size as an operator would write it.
pub(super) fn show_size(bytes: u64) -> String {
    for (unit, factor) in [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit_of(amount: u64, seconds: u64) -> LimitConfig {
        LimitConfig {
            amount,
            window: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(duration("1m 30s").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("0s").unwrap(), Duration::ZERO);
        for wrong in [
            "",
            "0",
            "250",
            "1.5",
            "ms",
            "2 parsecs",
            "-1s",
            "99999999999999999999h",
            "18446744073709551615days",
        ] {
            let refusal = duration(wrong).unwrap_err().to_string();
            assert!(
                refusal.starts_with("expected a duration like \"250ms\", found "),
                "{refusal}"
            );
        }
    }

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(size("0B").unwrap(), 0);
        assert_eq!(size("8KiB").unwrap(), 8 * 1024);
        assert_eq!(size("1 MiB").unwrap(), 1024 * 1024);
        assert!(
            size("8KB")
                .unwrap_err()
                .to_string()
                .contains("write \"8KiB\"")
        );
        assert!(size("8").unwrap_err().to_string().contains("\"8KiB\""));
        for wrong in ["", "KiB", "-1KiB", "1.5MiB", "1TiB"] {
            assert!(
                size(wrong)
                    .unwrap_err()
                    .to_string()
                    .starts_with("expected a size"),
                "{wrong}"
            );
        }
        assert!(
            size("99999999999999999999B")
                .unwrap_err()
                .to_string()
                .contains("too large")
        );
        assert!(
            size("18446744073709551615KiB")
                .unwrap_err()
                .to_string()
                .contains("too large")
        );
    }

    #[test]
    fn a_size_is_shown_as_it_would_be_written() {
        for text in ["0B", "1B", "8KiB", "1MiB", "3GiB", "1025B"] {
            assert_eq!(show_size(size(text).unwrap()), text);
        }
    }

    #[test]
    fn limits_have_an_amount_and_a_window() {
        assert_eq!(limit("100/minute").unwrap(), limit_of(100, 60));
        assert_eq!(limit("10/10s").unwrap(), limit_of(10, 10));
        assert_eq!(limit("1/31days").unwrap(), limit_of(1, 31 * 24 * 60 * 60));
        for wrong in [
            "100",
            "/minute",
            "x/minute",
            "1/fortnight",
            "0/s",
            "1/0s",
            "1/32days",
            "4294967296/day",
            "1/1500us",
            "1/10",
        ] {
            assert!(limit(wrong).is_err(), "{wrong}");
        }
    }
}
