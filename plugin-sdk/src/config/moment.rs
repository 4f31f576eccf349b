//! Moments, as TOML writes them: `2027-01-01T00:00:00Z`.

use std::time::UNIX_EPOCH;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// A date in UTC, with a time or without: `#[serde(default, deserialize_with = "postern_plugin::config::optional_moment")]` on an
/// `Option<u64>`, which becomes milliseconds since 1970.
pub fn optional_moment<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    let expected = || D::Error::custom("expected a date in UTC such as 2027-01-01T00:00:00Z");
    let text = String::deserialize(deserializer).map_err(|_| expected())?;
    parse(&text).map(Some).ok_or_else(expected)
}

fn parse(text: &str) -> Option<u64> {
    // A date alone is its beginning.
    let date_alone = text.len() == "2027-01-01".len();
    let moment = match date_alone {
        true => humantime::parse_rfc3339(&format!("{text}T00:00:00Z")),
        false => humantime::parse_rfc3339(text),
    };
    let since_1970 = moment.ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since_1970.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_moment_says_its_date() {
        assert_eq!(parse("1970-01-02"), Some(86_400_000));
        assert_eq!(parse("2027-01-01T00:00:00Z"), Some(1_798_761_600_000));
        assert_eq!(parse("2027-01-01T00:00:00.5Z"), Some(1_798_761_600_500));
        for bad in [
            "",
            "2027",
            "2027-13-01",
            "2027-01-01T00:00:00",
            "1969-12-31",
            "00:00:00",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
