//! Reads JSON without making a tree of it: a value is the text it has in the answer, so numbers, escapes and the order
//! of keys go out as they came in, and what nobody filters is copied in one piece.
//!
//! Not `serde_json::value::RawValue`, because that skips values of any depth, and a client's parser may not.

mod text;

use std::borrow::Cow;

pub(crate) use text::string;

/// The deepest nesting that is taken: what the strictest of the common parsers (.NET's) reads by default.
pub(crate) const MAX_DEPTH: usize = 64;

/// The text is not JSON, or too deep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Invalid;

/// A member of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member<'a> {
    /// The key as it is written, with its quotes.
    pub key: &'a str,
    pub value: &'a str,
}

impl<'a> Member<'a> {
    /// The key as it is meant.
    pub(crate) fn name(&self) -> Cow<'a, str> {
        let inner = self.key.get(1..self.key.len() - 1).unwrap_or_default();
        if !inner.contains('\\') {
            return Cow::Borrowed(inner);
        }
        // Half a surrogate pair is JSON and no text: such a key stands for itself.
        text::unescape(inner).map_or(Cow::Borrowed(inner), Cow::Owned)
    }
}

/// The text of the one value that `body` holds.
pub(crate) fn check(body: &[u8]) -> Result<&str, Invalid> {
    let text = std::str::from_utf8(body).map_err(|_| Invalid)?;
    // Some services begin with a byte order mark; parsers may ignore it (RFC 8259, 8.1).
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut cursor = Cursor { text, at: 0 };
    let value = cursor.value(MAX_DEPTH)?;
    cursor.skip_space();
    if cursor.at == text.len() {
        Ok(value)
    } else {
        Err(Invalid)
    }
}

/// Whether a checked value is an object.
pub(crate) fn is_object(value: &str) -> bool {
    value.starts_with('{')
}

/// Whether a checked value is an array.
pub(crate) fn is_array(value: &str) -> bool {
    value.starts_with('[')
}

/// The members of a checked value, none if it is not an object.
pub(crate) fn members(value: &str) -> Vec<Member<'_>> {
    let mut members = Vec::new();
    if is_object(value) {
        let mut cursor = Cursor { text: value, at: 0 };
        let whole = cursor.object(MAX_DEPTH, |key, value| members.push(Member { key, value }));
        debug_assert_eq!(whole, Ok(()), "the value was checked");
    }
    members
}

/// The elements of a checked value, none if it is not an array.
pub(crate) fn elements(value: &str) -> Vec<&str> {
    let mut elements = Vec::new();
    if is_array(value) {
        let mut cursor = Cursor { text: value, at: 0 };
        let whole = cursor.array(MAX_DEPTH, |element| elements.push(element));
        debug_assert_eq!(whole, Ok(()), "the value was checked");
    }
    elements
}

/// Walks over a text, checking it (RFC 8259).
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn take(&mut self, byte: u8) -> Result<(), Invalid> {
        if self.peek() != Some(byte) {
            return Err(Invalid);
        }
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<&'a str, Invalid> {
        self.skip_space();
        let begin = self.at;
        match self.peek() {
            Some(b'"') => self.string()?,
            Some(b'{') => self.object(depth, |_, _| ())?,
            Some(b'[') => self.array(depth, |_| ())?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.literal("true")?,
            Some(b'f') => self.literal("false")?,
            Some(b'n') => self.literal("null")?,
            _ => return Err(Invalid),
        }
        self.since(begin)
    }

    fn since(&self, begin: usize) -> Result<&'a str, Invalid> {
        self.text.get(begin..self.at).ok_or(Invalid)
    }

    fn object(
        &mut self,
        depth: usize,
        mut member: impl FnMut(&'a str, &'a str),
    ) -> Result<(), Invalid> {
        let depth = depth.checked_sub(1).ok_or(Invalid)?;
        self.take(b'{')?;
        self.skip_space();
        if self.take(b'}').is_ok() {
            return Ok(());
        }
        loop {
            self.skip_space();
            let begin = self.at;
            self.string()?;
            let key = self.since(begin)?;
            self.skip_space();
            self.take(b':')?;
            member(key, self.value(depth)?);
            if self.ends(b'}')? {
                return Ok(());
            }
        }
    }

    fn array(&mut self, depth: usize, mut element: impl FnMut(&'a str)) -> Result<(), Invalid> {
        let depth = depth.checked_sub(1).ok_or(Invalid)?;
        self.take(b'[')?;
        self.skip_space();
        if self.take(b']').is_ok() {
            return Ok(());
        }
        loop {
            element(self.value(depth)?);
            if self.ends(b']')? {
                return Ok(());
            }
        }
    }

    /// Takes a comma, or the end.
    fn ends(&mut self, end: u8) -> Result<bool, Invalid> {
        self.skip_space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(false)
            }
            _ => self.take(end).map(|()| true),
        }
    }

    fn literal(&mut self, literal: &str) -> Result<(), Invalid> {
        literal.bytes().try_for_each(|byte| self.take(byte))
    }

    fn string(&mut self) -> Result<(), Invalid> {
        self.take(b'"')?;
        loop {
            match self.peek().ok_or(Invalid)? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => self.escape()?,
                0..=0x1f => return Err(Invalid),
                _ => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<(), Invalid> {
        self.at += 1;
        let escaped = self.peek().ok_or(Invalid)?;
        self.at += 1;
        match escaped {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => (0..4).try_for_each(|_| {
                let digit = self.peek().filter(u8::is_ascii_hexdigit);
                self.at += 1;
                digit.map(drop).ok_or(Invalid)
            }),
            _ => Err(Invalid),
        }
    }

    fn number(&mut self) -> Result<(), Invalid> {
        let _ = self.take(b'-');
        if self.take(b'0').is_err() {
            self.digits()?;
        }
        if self.take(b'.').is_ok() {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// At least one.
    fn digits(&mut self) -> Result<(), Invalid> {
        let begin = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > begin {
            Ok(())
        } else {
            Err(Invalid)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_value_is_its_text_without_space_around() {
        assert_eq!(check(b" \n{\"a\" : 1.10}\t"), Ok("{\"a\" : 1.10}"));
        assert_eq!(check("\u{feff}[]".as_bytes()), Ok("[]"));
        assert_eq!(check(br#""\ud83d\ude00 \/""#), Ok(r#""\ud83d\ude00 \/""#));
    }

    #[test]
    fn what_is_not_one_json_value_is_invalid() {
        let bad = [
            "",
            " ",
            "{",
            "[1,]",
            "[1 2]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "'a'",
            "\"a",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "nul",
            "truex",
            "{} {}",
            "NaN",
            "\"\\u12",
        ];
        for text in bad {
            assert_eq!(check(text.as_bytes()), Err(Invalid), "{text:?}");
        }
        assert_eq!(check(b"\"\xff\""), Err(Invalid));
    }

    #[test]
    fn a_value_may_be_64_deep() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(check(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert_eq!(check(nested(MAX_DEPTH + 1).as_bytes()), Err(Invalid));
        assert_eq!(check(nested(500_000).as_bytes()), Err(Invalid));
    }

    #[test]
    fn members_and_elements_are_slices_of_the_text() {
        let object = members(r#"{ "a" : [1, 2] , "b\u0041":{"c":0} }"#);
        let found: Vec<_> = object
            .iter()
            .map(|member| (member.name(), member.value))
            .collect();
        assert_eq!(found, [("a".into(), "[1, 2]"), ("bA".into(), r#"{"c":0}"#)]);
        assert_eq!(elements(r#"[1, "x", [] ]"#), ["1", "\"x\"", "[]"]);
        assert!(members("[]").is_empty() && elements("{}").is_empty());
    }

    #[test]
    fn half_a_surrogate_pair_in_a_key_stands_for_itself() {
        let member = members(r#"{"\ud800":1}"#)[0];
        assert_eq!(member.name(), "\\ud800");
    }

    proptest! {
        #[test]
        fn any_text_is_judged_as_serde_json_judges_it(text in r#"[\[\]{},:"\\u0-9a-f.eE+ tr-]{0,24}"#) {
            let expected = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(check(text.as_bytes()).is_ok(), expected, "{:?}", text);
        }

        #[test]
        fn members_are_those_of_the_tree(value in crate::tests::any_object()) {
            let text = serde_json::to_string_pretty(&value).expect("is JSON");
            let found = members(check(text.as_bytes()).expect("is JSON"));
            let parse = |text| serde_json::from_str::<Value>(text).expect("is JSON");
            let found = found.iter().map(|member| (member.name().into_owned(), parse(member.value)));
            prop_assert_eq!(Value::Object(found.collect()), value);
        }
    }
}
