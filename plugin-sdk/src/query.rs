//! Query parameters as they stand in a path: all values of a name, and removing them. For the first value alone there is
//! [`crate::exchange::query`].

use std::borrow::Cow;

/// All values of a parameter in a query (what follows the `?`), in order, percent-decoded, `+` read as a space.
pub fn values<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
    pairs(query)
        .filter(move |(key, _)| is_name(key, name))
        .map(|(_, value)| decode(value))
}

/// The path and query without the parameters of these names; none if it has none of them. What remains is byte for byte as
/// it was.
pub fn without<N: AsRef<str>>(path_and_query: &str, names: &[N]) -> Option<String> {
    let (path, query) = path_and_query.split_once('?')?;
    let is_removed = |key: &str| names.iter().any(|name| is_name(key, name.as_ref()));
    if !pairs(query).any(|(key, _)| is_removed(key)) {
        return None;
    }
    let mut rest = String::with_capacity(path_and_query.len());
    rest.push_str(path);
    let mut separator = '?';
    for pair in query.split('&') {
        if !is_removed(key_and_value(pair).0) {
            rest.push(separator);
            rest.push_str(pair);
            separator = '&';
        }
    }
    Some(rest)
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(key_and_value)
}

fn key_and_value(pair: &str) -> (&str, &str) {
    pair.split_once('=').unwrap_or((pair, ""))
}

fn is_name(key: &str, name: &str) -> bool {
    key == name || decode(key) == name
}

fn decode(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        let (byte, used) = match (first, escaped) {
            (_, Some((high, low))) => (high << 4 | low, 3),
            (b'+', None) => (b' ', 1),
            (other, None) => (*other, 1),
        };
        bytes.push(byte);
        rest = &rest[used..];
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all<'a>(query: &'a str, name: &'a str) -> Vec<Cow<'a, str>> {
        values(query, name).collect()
    }

    #[test]
    fn every_value_of_a_name_is_found_however_it_is_written() {
        assert_eq!(all("a=1&b=2&%61=x+y%20z&a", "a"), ["1", "x y z", ""]);
        assert_eq!(all("a=100%&a=%zz&a=%4", "a"), ["100%", "%zz", "%4"]);
        assert_eq!(all("a=%ff", "a"), ["\u{fffd}"]);
        assert!(all("", "a").is_empty());
    }

    #[test]
    fn removing_leaves_the_rest_as_it_was() {
        let cases = [
            ("/p?key=1", Some("/p")),
            ("/p?key=1&a=%20+&b", Some("/p?a=%20+&b")),
            ("/p?a=1&key=2&&k%65y=3&b=?", Some("/p?a=1&&b=?")),
            ("/p?key", Some("/p")),
            ("/p?keys=1&a=key", None),
            ("/key=1", None),
            ("/p?", None),
        ];
        for (path, expected) in cases {
            assert_eq!(without(path, &["key"]).as_deref(), expected, "{path}");
        }
    }
}
