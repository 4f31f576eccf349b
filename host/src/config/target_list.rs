//! Lists of targets in files of their own, as other programs write them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::address::Target;
use super::resolved::Placement;

const MAX_WEIGHT: u32 = 10_000;

/// A target of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedTarget {
    /// Name or address, without brackets.
    pub host: Arc<str>,
    /// Its port.
    pub port: u16,
    /// Whether it is spoken to over TLS.
    pub secure: bool,
    /// Its place among the others.
    pub placement: Placement,
}

/// `{ "targets": [...] }`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    targets: Vec<Entry>,
}

struct Entry(ListedTarget);

/// `{ "url": "http://127.0.0.1:7001", "weight": 2 }`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    url: Target,
    weight: Option<u32>,
    priority: Option<u8>,
    backup: Option<bool>,
    zone: Option<Arc<str>>,
    #[serde(default)]
    tags: BTreeMap<Arc<str>, Arc<str>>,
}

/// Reads a list in TOML or JSON.
///
/// # Errors
/// What is wrong with it, and where.
pub fn target_list(text: &str, is_toml: bool) -> Result<Vec<ListedTarget>, String> {
    let list: Result<List, String> = match is_toml {
        true => toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.unwrap_or_default().matches('\n').count() + 1;
            format!("{} at line {line}", error.message())
        }),
        false => serde_json::from_str(text).map_err(|error| error.to_string()),
    };
    Ok(list?.targets.into_iter().map(|entry| entry.0).collect())
}

impl From<Target> for Entry {
    fn from(Target(address): Target) -> Self {
        Self(ListedTarget {
            host: address.host,
            port: address.port,
            secure: address.secure,
            placement: Placement::default(),
        })
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AddressOrTable;

        impl<'de> Visitor<'de> for AddressOrTable {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a target like \"http://127.0.0.1:7001\" or a table with `url`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Entry, E> {
                let text = de::value::StrDeserializer::new(text);
                Ok(Target::deserialize(text)?.into())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
                let table = Table::deserialize(MapAccessDeserializer::new(map))?;
                let weight = table.weight.unwrap_or(1);
                if !(1..=MAX_WEIGHT).contains(&weight) {
                    let message = format!("a weight is 1 to {MAX_WEIGHT}, found {weight}");
                    return Err(de::Error::custom(message));
                }
                let mut entry = Entry::from(table.url);
                entry.0.placement = Placement {
                    weight,
                    priority: table.priority.unwrap_or(0),
                    backup: table.backup.unwrap_or(false),
                    zone: table.zone,
                    tags: table.tags,
                };
                Ok(entry)
            }
        }

        deserializer.deserialize_any(AddressOrTable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{ "targets": [
        "http://10.0.0.1:7001",
        { "url": "https://b.example", "weight": 3, "priority": 1, "zone": "a", "tags": { "v": "2" } }
    ] }"#;
    const TOML: &str = r#"
        targets = [
            "http://10.0.0.1:7001",
            { url = "https://b.example", weight = 3, priority = 1, zone = "a", tags = { v = "2" } },
        ]
    "#;

    #[test]
    fn both_languages_say_the_same() {
        let list = target_list(JSON, false).unwrap();
        assert_eq!(list, target_list(TOML, true).unwrap());
        let [one, two] = list.as_slice() else {
            panic!("there are two: {list:?}");
        };
        assert_eq!(
            (&*one.host, one.port, one.secure),
            ("10.0.0.1", 7001, false)
        );
        assert_eq!((&*two.host, two.port, two.secure), ("b.example", 443, true));
        assert_eq!((two.placement.weight, two.placement.priority), (3, 1));
        assert_eq!(target_list("targets = []", true), Ok(Vec::new()));
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (wrong, told) in [
            ("", "line 1"),
            ("{ \"targets\": [\n\"10.0.0.1\"\n] }", "line 2"),
            ("{ \"target\": [] }", "unknown field `target`"),
            (
                "{ \"targets\": [{ \"weight\": 1 }] }",
                "missing field `url`",
            ),
            (
                "{ \"targets\": [{ \"url\": \"http://a\", \"wieght\": 1 }] }",
                "unknown field `wieght`",
            ),
            (
                "{ \"targets\": [{ \"url\": \"http://a\", \"weight\": 0 }] }",
                "1 to 10000",
            ),
            ("{ \"targets\": [\"http://a\"", "line 1"),
        ] {
            let error = target_list(wrong, false).unwrap_err();
            assert!(error.contains(told), "{wrong}: {error}");
        }
        let error = target_list("targets = [\n1\n]", true).unwrap_err();
        assert!(error.contains("line 2"), "{error}");
    }
}
