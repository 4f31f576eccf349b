//! An entry of `targets`: an address, or a table that says more.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Field;
use crate::config::address::{self, Target, TargetAddress};
use crate::config::values::Name;

/// What an entry looks like, for messages.
const TARGET: &str = "a target like \"http://127.0.0.1:7001\" or { url = \"...\", weight = 2 }";

/// `[[upstream.NAME.targets]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct TargetFile {
    /// Where it is.
    pub(in crate::config) url: Field<Target>,
    /// Its part of the requests.
    pub(in crate::config) weight: Field<u64>,
    /// When it is used.
    pub(in crate::config) priority: Field<u64>,
    /// Whether it is used only when no other can be.
    pub(in crate::config) backup: Field<bool>,
    /// Where it stands.
    pub(in crate::config) zone: Field<Name>,
    /// What else is known of it.
    pub(in crate::config) tags: Field<BTreeMap<String, String>>,
}

/// An entry of `targets`.
#[derive(Debug)]
pub(in crate::config) enum TargetEntry {
    /// `"http://127.0.0.1:7001"`
    Address(TargetAddress),
    /// `{ url = "http://127.0.0.1:7001", weight = 2 }`
    Table(Box<TargetFile>),
}

impl TargetEntry {
    /// Where it is.
    pub(in crate::config) fn address(&self) -> Option<&TargetAddress> {
        match self {
            Self::Address(address) => Some(address),
            Self::Table(file) => file.url.as_ref().map(|url| &url.get_ref().0),
        }
    }
}

impl<'de> Deserialize<'de> for TargetEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AddressOrTable;

        impl<'de> Visitor<'de> for AddressOrTable {
            type Value = TargetEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(TARGET)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                let address = address::target(text).map_err(E::custom)?;
                Ok(TargetEntry::Address(address))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let file = TargetFile::deserialize(MapAccessDeserializer::new(map))?;
                Ok(TargetEntry::Table(Box::new(file)))
            }
        }

        deserializer.deserialize_any(AddressOrTable)
    }
}
