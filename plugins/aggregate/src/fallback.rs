//! A value of the configuration, kept as the JSON text that goes into the document.

use std::fmt::{self, Display};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::json;

/// JSON text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fallback(pub String);

impl<'de> Deserialize<'de> for Fallback {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Writer)
    }
}

struct Writer;

impl<'de> Visitor<'de> for Writer {
    type Value = Fallback;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Fallback, E> {
        plain(value)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Fallback, E> {
        plain(value)
    }

    fn visit_u64<E>(self, value: u64) -> Result<Fallback, E> {
        plain(value)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Fallback, E> {
        if value.is_finite() {
            plain(value)
        } else {
            Err(E::custom("expected a number that JSON has"))
        }
    }

    fn visit_str<E>(self, value: &str) -> Result<Fallback, E> {
        Ok(Fallback(json::string(value)))
    }

    fn visit_unit<E>(self) -> Result<Fallback, E> {
        plain("null")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Fallback, A::Error> {
        let mut elements = Vec::new();
        while let Some(Fallback(element)) = list.next_element()? {
            elements.push(element);
        }
        Ok(Fallback(format!("[{}]", elements.join(","))))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Fallback, A::Error> {
        let mut members = Vec::new();
        while let Some((key, Fallback(value))) = table.next_entry::<String, Fallback>()? {
            members.push(format!("{}:{value}", json::string(&key)));
        }
        Ok(Fallback(format!("{{{}}}", members.join(","))))
    }
}

fn plain<E>(value: impl Display) -> Result<Fallback, E> {
    Ok(Fallback(value.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::Fallback;

    fn read(value: &Value) -> Value {
        let Fallback(text) = postern_plugin::config::parse(&value.to_string()).expect("is a value");
        serde_json::from_str(&text).expect("is JSON")
    }

    #[test]
    fn numbers_and_texts_stay_what_they_are() {
        let value =
            json!({ "a": [1, -2, 0.25, true, null], "b": { "c\"": "d\n" }, "e": {}, "f": [] });
        assert_eq!(read(&value), value);
    }

    proptest! {
        #[test]
        fn any_table_is_kept(value in crate::tests::any_object()) {
            prop_assert_eq!(read(&value), value);
        }
    }
}
