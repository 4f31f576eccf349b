//! Reading single members of a JSON object, and leaving the rest unread.
//!
//! A member that is asked for may stand in the object once: parsers differ in which of two counts (RFC 8725, 2.4), and
//! what this gateway decides by must be what the issuer meant.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A member that is asked for: its JSON as it is written.
pub(crate) type Member<'j> = Option<&'j str>;

/// The members of these names, in their order. `null` counts as absent. None if the text is not one JSON object, or one of
/// the members is there twice.
pub(crate) fn read<'j>(json: &'j str, names: &[Cow<'_, str>]) -> Option<Vec<Member<'j>>> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let values = Object(names).deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    let not_null = |value: &&str| *value != "null";
    Some(
        values
            .into_iter()
            .map(|value| value.map(RawValue::get).filter(not_null))
            .collect(),
    )
}

/// A string, unescaped; none if it is something else.
pub(crate) fn string(json: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'j>(#[serde(borrow)] Cow<'j, str>);
    serde_json::from_str(json).ok().map(|Text(text)| text)
}

/// The elements of an array; none if it is something else.
pub(crate) fn elements(json: &str) -> Option<Vec<&str>> {
    let elements: Vec<&RawValue> = serde_json::from_str(json).ok()?;
    Some(elements.into_iter().map(RawValue::get).collect())
}

/// A number; none if it is something else, or beyond all that can be counted.
pub(crate) fn number(json: &str) -> Option<f64> {
    serde_json::from_str(json).ok()
}

struct Object<'n>(&'n [Cow<'n, str>]);

impl<'j> DeserializeSeed<'j> for Object<'_> {
    type Value = Vec<Option<&'j RawValue>>;

    fn deserialize<D: Deserializer<'j>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'j> Visitor<'j> for Object<'_> {
    type Value = Vec<Option<&'j RawValue>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'j>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = vec![None; self.0.len()];
        while let Some(index) = map.next_key_seed(Name(self.0))? {
            let Some(value) = index.and_then(|index| values.get_mut(index)) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if value.is_some() {
                return Err(A::Error::custom("twice"));
            }
            *value = Some(map.next_value::<&'j RawValue>()?);
        }
        Ok(values)
    }
}

/// Finds which of the names a key is, without keeping it.
struct Name<'n>(&'n [Cow<'n, str>]);

impl<'j> DeserializeSeed<'j> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'j>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|name| name == key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ab(json: &str) -> Option<Vec<Member<'_>>> {
        read(json, &[Cow::Borrowed("a"), Cow::Borrowed("b")])
    }

    #[test]
    fn members_come_as_they_are_written() {
        assert_eq!(
            ab(" {\"x\": {\"a\": 0}, \"b\" : [1, \"]\"] ,\"a\": \"\\n\"} "),
            Some(vec![Some("\"\\n\""), Some("[1, \"]\"]")])
        );
        assert_eq!(ab(r#"{"\u0061":1}"#), Some(vec![Some("1"), None]));
        assert_eq!(ab(r#"{"a":null}"#), Some(vec![None, None]));
    }

    #[test]
    fn a_member_that_counts_stands_once() {
        assert_eq!(ab(r#"{"a":1,"a":1}"#), None);
        assert_eq!(ab(r#"{"a":null,"a":1}"#), None);
        assert_eq!(ab(r#"{"a":1,"\u0061":2}"#), None);
        assert_eq!(ab(r#"{"x":1,"x":2,"a":3}"#), Some(vec![Some("3"), None]));
    }

    #[test]
    fn only_one_whole_object_is_read() {
        for json in [
            "",
            " ",
            "1",
            "[]",
            "null",
            "{",
            "{}}",
            "{} {}",
            "{\"a\":}",
            "{\"a\" 1}",
            "{a:1}",
            "\u{feff}{}",
            "{\"x\":01}",
        ] {
            assert_eq!(ab(json), None, "{json:?}");
        }
    }

    #[test]
    fn values_are_of_one_type() {
        assert_eq!(string(r#""a\/\u00e9""#).as_deref(), Some("a/\u{e9}"));
        assert!(matches!(string("\"plain\""), Some(Cow::Borrowed("plain"))));
        for json in ["1", "[\"a\"]", "{}", "true", r#""\ud800""#] {
            assert_eq!(string(json), None, "{json}");
        }
        assert_eq!(
            elements(r#"[1, "a", [2]]"#),
            Some(vec!["1", "\"a\"", "[2]"])
        );
        assert_eq!(elements("{}"), None);
        assert_eq!(number("-1.5e3"), Some(-1500.0));
        for json in ["\"1\"", "1e999", "null", "[1]", "true"] {
            assert_eq!(number(json), None, "{json}");
        }
    }
}
