//! What a request looks like: rules that need nothing but its head.

use postern_plugin::RequestHead;
use postern_plugin::address::Ranges;
use postern_plugin::header::editable_name;
use regex_lite::{Regex, RegexBuilder};

use crate::config::{Config, Crawler};

/// Tools that look for weaknesses, by the names that they send unless they are told not to.
const SCANNERS: &str =
    "sqlmap|nikto|nuclei|masscan|zgrab|nmap|dirbuster|gobuster|wpscan|acunetix|netsparker|openvas";
/// No browser sends more, and patterns are not tried on more.
const MAX_USER_AGENT: usize = 1_024;

const USER_AGENT: &str = "user-agent";

/// The configuration, made ready.
#[derive(Debug)]
pub(crate) struct Rules {
    deny: Vec<Regex>,
    crawlers: Vec<(Regex, Ranges)>,
    required: Vec<String>,
}

/// What a request looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looks {
    /// Like that of a crawler that may come.
    Crawler,
    /// Like that of such a crawler, but from elsewhere.
    Pretended,
    /// Like that of a program that may not come.
    Denied,
    /// Like none that a browser would send.
    Odd,
    /// Like any other.
    Ordinary,
}

impl Rules {
    pub(crate) fn new(config: &Config) -> Result<Self, String> {
        let scanners = config.scanners.then_some(SCANNERS);
        let own = config.deny.iter().enumerate();
        let deny = own.map(|(index, pattern)| regex(&format!("deny[{index}]"), pattern));
        let deny = scanners
            .map(|known| regex("scanners", known))
            .into_iter()
            .chain(deny);
        let crawlers = config.crawlers.iter().enumerate();
        let required = config.require_headers.iter();
        Ok(Rules {
            deny: deny.collect::<Result<_, _>>()?,
            crawlers: crawlers
                .map(|(index, crawler)| known_crawler(&format!("crawlers[{index}]"), crawler))
                .collect::<Result<_, _>>()?,
            required: required
                .map(|name| {
                    editable_name(name).map_err(|reason| format!("require-headers: {reason}"))
                })
                .collect::<Result<_, _>>()?,
        })
    }

    /// The headers to ask the host for.
    pub(crate) fn headers(&self) -> impl Iterator<Item = &str> {
        let required = self.required.iter().map(String::as_str);
        required.chain(std::iter::once(USER_AGENT))
    }

    pub(crate) fn judge(&self, head: &RequestHead) -> Looks {
        let user_agent = head.header(USER_AGENT).unwrap_or_default();
        if user_agent.len() > MAX_USER_AGENT {
            return Looks::Odd;
        }
        let client = head.client_ip();
        let named = self
            .crawlers
            .iter()
            .filter(|(pattern, _)| pattern.is_match(user_agent));
        let mut is_named = false;
        for (_, addresses) in named {
            if addresses.holds(client) {
                return Looks::Crawler;
            }
            is_named = true;
        }
        if is_named {
            return Looks::Pretended;
        }
        if self.deny.iter().any(|pattern| pattern.is_match(user_agent)) {
            return Looks::Denied;
        }
        let is_empty = |name: &String| head.header_values(name).all(<[u8]>::is_empty);
        match self.required.iter().any(is_empty) {
            true => Looks::Odd,
            false => Looks::Ordinary,
        }
    }
}

fn known_crawler(place: &str, crawler: &Crawler) -> Result<(Regex, Ranges), String> {
    if crawler.addresses.is_empty() {
        return Err(format!(
            "{place}.addresses: name them: a User-Agent alone is what anybody can send"
        ));
    }
    let pattern = regex(&format!("{place}.user-agent"), &crawler.user_agent)?;
    let addresses = Ranges::parse(&format!("{place}.addresses"), &crawler.addresses)?;
    Ok((pattern, addresses))
}

fn regex(place: &str, pattern: &str) -> Result<Regex, String> {
    if pattern.is_empty() {
        return Err(format!(
            "{place}: expected a regular expression, found nothing"
        ));
    }
    RegexBuilder::new(pattern)
        .case_insensitive(true)
        .build()
        .map_err(|error| format!("{place}: {pattern:?} is no regular expression: {error}"))
}
