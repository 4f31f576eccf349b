//! The `config` table.

use std::time::Duration;

use postern_plugin::config::duration;
use serde::Deserialize;

/// `[plugin.bot-detection] config`
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// Regular expressions; clients whose `User-Agent` fits one are refused.
    pub(crate) deny: Vec<String>,
    /// Whether tools that look for weaknesses are refused.
    pub(crate) scanners: bool,
    /// Who may call by a program, and from where.
    pub(crate) crawlers: Vec<Crawler>,
    /// Headers that every browser and every honest program sends.
    pub(crate) require_headers: Vec<String>,
    /// How many requests of one address are human in a window.
    pub(crate) burst: Option<u64>,
    /// The window.
    #[serde(deserialize_with = "duration")]
    pub(crate) burst_window: Duration,
}

/// One of the crawlers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Crawler {
    /// A regular expression for its `User-Agent`.
    pub(crate) user_agent: String,
    /// The addresses that it comes from.
    pub(crate) addresses: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            deny: Vec::new(),
            scanners: true,
            crawlers: Vec::new(),
            require_headers: vec![String::from("user-agent")],
            burst: None,
            burst_window: Duration::from_secs(10),
        }
    }
}
