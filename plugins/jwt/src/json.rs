//! Single members of a JSON object, as they are written; `serde_json` checks the rest without keeping it, and without
//! recursion.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A member that was asked for: its JSON as it is written.
pub(crate) type Member<'j> = Option<&'j str>;

/// The members of these names, in their order. `null` counts as absent. None if the text is not one JSON object.
///
/// None too if one of the members is there twice: readers differ in which of two counts (RFC 8725, 2.4), and what the
/// gateway decides by must be what the issuer meant.
pub(crate) fn members<'j>(json: &'j str, names: &[Cow<'_, str>]) -> Option<Vec<Member<'j>>> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let mut found = Members(names).deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    for value in &mut found {
        value.take_if(|value| *value == "null");
    }
    Some(found)
}

/// A string, unescaped; none if the value is something else.
pub(crate) fn string(value: &str) -> Option<Cow<'_, str>> {
    serde_json::from_str(value).ok().map(|Text(text)| text)
}

/// The elements of an array; none if the value is something else.
pub(crate) fn elements(value: &str) -> Option<Vec<&str>> {
    let elements: Vec<&RawValue> = serde_json::from_str(value).ok()?;
    Some(elements.into_iter().map(RawValue::get).collect())
}

/// A number, as exact as dates need; none if the value is something else, or too large for the type.
pub(crate) fn number(value: &str) -> Option<f64> {
    serde_json::from_str(value).ok()
}

/// Borrowed where there is nothing to unescape, which `Cow` alone never is.
#[derive(Deserialize)]
struct Text<'j>(#[serde(borrow)] Cow<'j, str>);

/// The names that are looked for. Not a derived struct, which would also read an array, and whose names cannot be configured.
struct Members<'n>(&'n [Cow<'n, str>]);

impl<'j> DeserializeSeed<'j> for Members<'_> {
    type Value = Vec<Member<'j>>;

    fn deserialize<D: Deserializer<'j>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'j> Visitor<'j> for Members<'_> {
    type Value = Vec<Member<'j>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'j>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = vec![None; self.0.len()];
        while let Some(Text(key)) = map.next_key()? {
            let index = self.0.iter().position(|name| *name == key);
            let Some(place) = index.and_then(|index| found.get_mut(index)) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let value = map.next_value::<&RawValue>()?;
            if place.replace(value.get()).is_some() {
                return Err(A::Error::custom("a member is there twice"));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
