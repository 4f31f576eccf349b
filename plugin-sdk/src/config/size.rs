//! Sizes with units, such as `"256KiB"`.

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// A size with a unit, `"1B"` to `"1GiB"`: `#[serde(default, deserialize_with = "postern_plugin::config::optional_size")]` on an
/// `Option<u32>`.
pub fn optional_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let expected =
        || D::Error::custom("expected a size such as \"256KiB\", at least 1 byte and at most 1GiB");
    let text = String::deserialize(deserializer).map_err(|_| expected())?;
    parse(&text).map(Some).ok_or_else(expected)
}

fn parse(text: &str) -> Option<u32> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let factor: u32 = match unit.trim_start() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    let bytes = number.parse::<u32>().ok()?.checked_mul(factor)?;
    (1..=1 << 30).contains(&bytes).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_size_is_a_number_and_a_unit() {
        assert_eq!(parse("256KiB"), Some(256 << 10));
        assert_eq!(parse("1 MiB"), Some(1 << 20));
        assert_eq!(parse("1B"), Some(1));
        for bad in [
            "",
            "1",
            "KiB",
            "1kb",
            "-1B",
            "0B",
            "2GiB",
            "99999999999B",
            "1.5MiB",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
