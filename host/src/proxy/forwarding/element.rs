//! One element of `Forwarded` (RFC 7239, 4), and lists that are read from their end.

use std::borrow::Cow;

/// What an element says, quotes taken off.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element<'t> {
    /// `for`: an address, `unknown`, or a name that only its author understands.
    pub(super) node: Option<Cow<'t, str>>,
    /// `host`
    pub(super) host: Option<Cow<'t, str>>,
    /// `proto`
    pub(super) proto: Option<Cow<'t, str>>,
}

impl<'t> Element<'t> {
    /// None if it is malformed: a pair without `=`, a value that is no token and no quoted text, a name given twice.
    pub(super) fn parse(text: &'t str) -> Option<Self> {
        let mut element = Self::default();
        for pair in split_from_end(text, b';').map(str::trim) {
            if pair.is_empty() {
                continue;
            }
            let (name, raw) = pair.split_once('=')?;
            let value = value(raw)?;
            let slot = match name {
                name if name.eq_ignore_ascii_case("for") => &mut element.node,
                name if name.eq_ignore_ascii_case("host") => &mut element.host,
                name if name.eq_ignore_ascii_case("proto") => &mut element.proto,
                name if name.bytes().all(is_token) => continue,
                _ => return None,
            };
            if slot.replace(value).is_some() {
                return None;
            }
        }
        Some(element)
    }
}

/// A token or a quoted string (RFC 9110, 5.6).
fn value(raw: &str) -> Option<Cow<'_, str>> {
    let Some(quoted) = raw.strip_prefix('"') else {
        // Colons and brackets must be quoted; many do not, and nothing else can be meant.
        let legal = |byte| is_token(byte) || matches!(byte, b':' | b'[' | b']');
        return (!raw.is_empty() && raw.bytes().all(legal)).then_some(Cow::Borrowed(raw));
    };
    let inner = quoted.strip_suffix('"')?;
    if !inner.contains(['\\', '"']) {
        return Some(Cow::Borrowed(inner));
    }
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.push(characters.next()?),
            '"' => return None,
            other => text.push(other),
        }
    }
    Some(Cow::Owned(text))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The parts of `text` between delimiters that are not in quotes, the last one first.
///
/// From the end, because that was written by a proxy and is well-formed: an open quote that a client wrote further to the
/// left cannot swallow it.
pub(super) fn split_from_end(text: &str, delimiter: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (before, part) = match last_delimiter(text.as_bytes(), delimiter) {
            Some(at) => (text.get(..at), text.get(at + 1..)?),
            None => (None, text),
        };
        rest = before;
        Some(part)
    })
}

fn last_delimiter(text: &[u8], delimiter: u8) -> Option<usize> {
    let mut quoted = false;
    for (at, byte) in text.iter().enumerate().rev() {
        if *byte == b'"' && !(quoted && is_escaped(text, at)) {
            quoted = !quoted;
        } else if *byte == delimiter && !quoted {
            return Some(at);
        }
    }
    None
}

/// Whether an odd number of backslashes stands before a place.
fn is_escaped(text: &[u8], at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\');
    backslashes.count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<&str> {
        split_from_end(text, b',').collect()
    }

    #[test]
    fn lists_are_split_from_their_end_outside_of_quotes() {
        assert_eq!(parts("a,b, c"), [" c", "b", "a"]);
        assert_eq!(parts(r#"for="a,b",c"#), ["c", r#"for="a,b""#]);
        assert_eq!(parts(r#"x="a\",b",c"#), ["c", r#"x="a\",b""#]);
        assert_eq!(parts(""), [""]);
    }

    #[test]
    fn an_open_quote_swallows_nothing_that_stands_after_it() {
        assert_eq!(parts(r#"for="x,for=192.0.2.1"#)[0], "for=192.0.2.1");
        assert_eq!(parts(r#"for="\", for=192.0.2.1"#)[0], " for=192.0.2.1");
    }

    #[test]
    fn elements_are_pairs_in_any_order_and_case() {
        let element = Element::parse(r#"Proto=https; by=_us;FOR="[2001:db8::1]:47";host="a:1""#);
        let element = element.expect("it is well-formed");
        assert_eq!(element.node.as_deref(), Some("[2001:db8::1]:47"));
        assert_eq!(element.proto.as_deref(), Some("https"));
        assert_eq!(element.host.as_deref(), Some("a:1"));
        let escaped = Element::parse(r#"for="a\"b\\""#).expect("it is well-formed");
        assert_eq!(escaped.node.as_deref(), Some("a\"b\\"));
        for malformed in [
            "for",
            "for=",
            "for=a b",
            "for=\"a",
            "for=a\"b",
            "for=a;for=b",
            "f r=a",
            "for=\"a\"b\"",
            "for=\"a\\\"",
        ] {
            assert_eq!(Element::parse(malformed), None, "{malformed}");
        }
    }
}
