//! JSON as text: `serde_json` checks it and finds its parts, and nothing makes a tree of it. So numbers, escapes and the
//! order of keys go out as they came in, and what nobody filters is copied in one piece.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

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
    /// The key as it is meant. Half a surrogate pair is JSON and no text: such a key stands for itself.
    pub(crate) fn name(&self) -> Cow<'a, str> {
        /// Borrowed where there is nothing to unescape, which `Cow` alone never is.
        #[derive(Deserialize)]
        struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

        serde_json::from_str(self.key).map_or(Cow::Borrowed(self.key), |Text(name)| name)
    }
}

/// The text of the one value that `body` holds.
pub(crate) fn check(body: &[u8]) -> Result<&str, Invalid> {
    let text = std::str::from_utf8(body).map_err(|_| Invalid)?;
    // Some services begin with a byte order mark; parsers may ignore it (RFC 8259, 8.1).
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let value: &RawValue = serde_json::from_str(text).map_err(|_| Invalid)?;
    if depth(value.get()) > MAX_DEPTH {
        return Err(Invalid);
    }
    Ok(value.get())
}

/// How deep a checked value is: what `serde_json` keeps as text may be of any depth, its own limit is for trees.
fn depth(value: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            // To the end of the string, which a quote after a backslash is not.
            b'"' => {
                while bytes.find(|byte| matches!(byte, b'"' | b'\\')) == Some(b'\\') {
                    bytes.next();
                }
            }
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// A text as JSON.
pub(crate) fn string(text: &str) -> String {
    serde_json::to_string(text).expect("every text has a form in JSON")
}

/// Whether a checked value is an object.
pub(crate) fn is_object(value: &str) -> bool {
    value.starts_with('{')
}

/// Whether a checked value is an array.
pub(crate) fn is_array(value: &str) -> bool {
    value.starts_with('[')
}

/// The members of a checked value, none if it is not an object. A key that is there twice is twice among them.
pub(crate) fn members(value: &str) -> Vec<Member<'_>> {
    serde_json::from_str(value).map_or_else(|_| Vec::new(), |Members(members)| members)
}

/// The elements of a checked value, none if it is not an array.
pub(crate) fn elements(value: &str) -> Vec<&str> {
    let elements: Vec<&RawValue> = serde_json::from_str(value).unwrap_or_default();
    elements.into_iter().map(RawValue::get).collect()
}

struct Members<'a>(Vec<Member<'a>>);

impl<'a> Deserialize<'a> for Members<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'a> Visitor<'a> for InOrder {
            type Value = Members<'a>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    let (key, value) = (key.get(), value.get());
                    members.push(Member { key, value });
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
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
        for text in ["", " ", "{", "[1,]", "{a:1}", "\"a", "01", "{} {}", "NaN"] {
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
        let beside = format!(r#"["[\"[", {}0]"#, "[[]],".repeat(MAX_DEPTH));
        assert_eq!(depth(&beside), 3);
        assert_eq!(depth(&format!(r#"{{"\\":{}}}"#, nested(3))), 4);
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
        assert_eq!(member.name(), r#""\ud800""#);
    }

    proptest! {
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
