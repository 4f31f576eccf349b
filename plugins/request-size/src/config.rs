//! The `config` table.

use std::collections::BTreeMap;

use postern_plugin::config::optional_size;
use serde::{Deserialize, Deserializer};

/// `[plugin.request-size] config`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// Most bytes of a body.
    #[serde(deserialize_with = "optional_size")]
    pub(crate) max: Option<u32>,
    /// The same for the consumers of a tier.
    pub(crate) tiers: BTreeMap<String, Size>,
    /// Whether bodies that do not say how long they are may pass.
    pub(crate) allow_unknown_length: bool,
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u32);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        optional_size(deserializer).map(|size| Size(size.unwrap_or_default()))
    }
}
