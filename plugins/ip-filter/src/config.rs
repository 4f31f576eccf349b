//! The `config` table.

use serde::Deserialize;

/// `[plugin.ip-filter] config`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// Addresses and networks that may pass; none means that all may that are not kept out.
    pub(crate) allow: Vec<String>,
    /// Addresses and networks that are kept out, whatever is allowed.
    pub(crate) deny: Vec<String>,
}
