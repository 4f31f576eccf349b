//! The `config` table.

use postern_plugin::header;
use serde::Deserialize;

/// The name that most clients and services use.
const DEFAULT_HEADER: &str = "x-request-id";

/// `[plugin.correlation-id] config`
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// The header that carries the id.
    pub(crate) header: String,
    /// Whether an id of the client is taken over.
    pub(crate) accept: bool,
    /// Whether the client is told the id.
    pub(crate) echo: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            header: DEFAULT_HEADER.to_owned(),
            accept: true,
            echo: true,
        }
    }
}

impl Config {
    /// Checks what the types cannot; the header comes back in lower case.
    pub(crate) fn validate(self) -> Result<Self, String> {
        let header =
            header::editable_name(&self.header).map_err(|reason| format!("header: {reason}"))?;
        Ok(Config { header, ..self })
    }
}
