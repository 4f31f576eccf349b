//! Which ids of clients are taken over.

/// The longest id that log lines and other services should have to carry; also the limit of the gateway.
const MAX_ID_BYTES: usize = 128;

/// The client's id, if there is exactly one and it is safe in a log line: 1 to 128 visible ASCII characters.
pub(crate) fn acceptable<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<&'a str> {
    let value = values.next()?;
    let is_single = values.next().is_none();
    let is_safe =
        (1..=MAX_ID_BYTES).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(value)
        .ok()
        .filter(|_| is_single && is_safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(value: &[u8]) -> Option<&str> {
        acceptable([value].into_iter())
    }

    #[test]
    fn an_id_is_1_to_128_visible_ascii_characters() {
        assert_eq!(one(b"01J-abc/7:x"), Some("01J-abc/7:x"));
        assert_eq!(one(&[b'a'; 128]).map(str::len), Some(128));
        for bad in [
            &b""[..],
            &[b'a'; 129],
            b"two words",
            b"tab\t",
            "\u{e4}".as_bytes(),
            b"\x1b[31m",
        ] {
            assert_eq!(one(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn two_ids_are_none() {
        assert_eq!(acceptable([&b"a"[..], b"b"].into_iter()), None);
        assert_eq!(acceptable(std::iter::empty()), None);
    }
}
