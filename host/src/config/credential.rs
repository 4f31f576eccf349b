//! How credentials are written: digests of API keys, and the dates from which they count no more.

use serde::{Deserialize, Deserializer, de};
use toml::value::{Datetime, Offset};

use super::secret::KeyDigest;
use super::values::{Refusal, from_text};

/// What a digest looks like, for messages.
const HASH: &str = "a digest like \"sha256:\" and 64 hexadecimal digits";

/// `"sha256:9f86d081..."`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyHash(pub(super) KeyDigest);

/// `2027-01-01`, `2027-01-01T12:00:00+01:00`: milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expiry(pub(super) u64);

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, HASH, |text| key_hash(text).map(Self))
    }
}

/// What is refused is not shown: somebody may have written the key itself.
fn key_hash(text: &str) -> Result<KeyDigest, Refusal> {
    let refusal = || {
        Refusal::new(format!("expected {HASH}"))
            .help("`postern key new` makes a key and prints its digest")
    };
    let digits = text.strip_prefix("sha256:").ok_or_else(refusal)?;
    let mut digest = [0; 32];
    if digits.len() != 2 * digest.len() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(refusal());
    }
    for (index, byte) in digest.iter_mut().enumerate() {
        let pair = digits.get(2 * index..2 * index + 2).unwrap_or_default();
        *byte = u8::from_str_radix(pair, 16).map_err(|_| refusal())?;
    }
    Ok(KeyDigest::new(digest))
}

impl<'de> Deserialize<'de> for Expiry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = || Refusal::new("expected a date like 2027-01-01, without quotes");
        let date =
            Datetime::deserialize(deserializer).map_err(|_| de::Error::custom(expected()))?;
        unix_ms(&date).map(Self).map_err(de::Error::custom)
    }
}

/// A date without a time is the beginning of that day in UTC.
fn unix_ms(datetime: &Datetime) -> Result<u64, Refusal> {
    let Some(date) = datetime.date else {
        return Err(Refusal::new(
            "expected a date like 2027-01-01, found only a time",
        ));
    };
    let time = match (datetime.time, datetime.offset) {
        (None, _) => String::from("00:00:00"),
        (Some(time), Some(_)) => format!(
            "{:02}:{:02}:{:02}",
            time.hour,
            time.minute,
            time.second.unwrap_or_default()
        ),
        (Some(_), None) => {
            return Err(
                Refusal::new("the time does not say its offset from UTC").help(format!(
                    "write \"{datetime}Z\" if it is in UTC, without the quotes"
                )),
            );
        }
    };
    let minutes = match datetime.offset {
        Some(Offset::Custom { minutes }) => i64::from(minutes),
        Some(Offset::Z) | None => 0,
    };
    let text = format!("{:04}-{:02}-{:02}T{time}Z", date.year, date.month, date.day);
    let since_1970 = humantime::parse_rfc3339(&text)
        .ok()
        .and_then(|moment| moment.duration_since(std::time::UNIX_EPOCH).ok())
        .and_then(|since| u64::try_from(since.as_millis()).ok());
    since_1970
        .and_then(|since| since.checked_add_signed(-minutes * 60_000))
        .ok_or_else(|| Refusal::new("expected a date after 1970"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expiry(text: &str) -> Result<u64, String> {
        let datetime: Datetime = text.parse().unwrap();
        unix_ms(&datetime).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn dates_are_moments() {
        assert_eq!(expiry("1970-01-02"), Ok(86_400_000));
        assert_eq!(expiry("2027-01-01"), Ok(1_798_761_600_000));
        assert_eq!(expiry("2027-01-01T00:00:00Z"), Ok(1_798_761_600_000));
        assert_eq!(expiry("2027-01-01 01:30:00+01:30"), Ok(1_798_761_600_000));
        assert_eq!(expiry("2026-12-31T22:00:00-02:00"), Ok(1_798_761_600_000));
        assert_eq!(expiry("2028-02-29"), Ok(1_835_395_200_000));
    }

    #[test]
    fn a_time_needs_its_offset_and_its_date() {
        for (text, told) in [
            ("2027-01-01T00:00:00", "does not say its offset"),
            ("00:00:00", "found only a time"),
            ("1969-12-31", "after 1970"),
        ] {
            let error = expiry(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn a_digest_is_whole_and_never_shown() {
        let digits = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let digest = key_hash(&format!("sha256:{digits}")).unwrap();
        assert_eq!((digest.reveal()[0], digest.reveal()[31]), (0xba, 0xad));
        assert_eq!(format!("{digest:?}"), "***");
        let upper = format!("sha256:{}", digits.to_ascii_uppercase());
        assert_eq!(key_hash(&upper).unwrap(), digest);
        for wrong in [
            "",
            "the-key-itself",
            digits,
            &format!("sha512:{digits}"),
            &format!("sha256:{}", &digits[1..]),
            &format!("sha256:{digits}0"),
            &format!("sha256:g{}", &digits[1..]),
            &format!("sha256:+{}", &digits[1..]),
        ] {
            let error = key_hash(wrong).unwrap_err().to_string();
            assert!(wrong.is_empty() || !error.contains(wrong), "{error}");
        }
    }
}
