//! Which origins are allowed. Origins are compared as browsers serialize them: scheme, host, and a port that is not the
//! scheme's own, in lower case.

/// The allowed origins.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Origins {
    /// `*`
    Any,
    /// Any of these.
    Listed(Vec<Pattern>),
}

/// One entry of the list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Exactly this origin, or `null`.
    Literal(String),
    /// Wildcards for the subdomains, the port, or both.
    Wild {
        /// `https://`
        scheme: String,
        /// Whether there must be something before `host`.
        subdomains: bool,
        /// Without a wildcard before it: `example.com`, or `.example.com` after one.
        host: String,
        /// What follows the host.
        port: Port,
    },
}

/// The port of a pattern.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// `:*`, or none
    Any,
    /// `:8080`, or an empty text for the scheme's own.
    Exactly(String),
}

impl Origins {
    /// Reads the list. The error names the entry.
    pub(crate) fn parse(entries: &[String]) -> Result<Self, String> {
        match entries {
            [] => Err(String::from(
                "expected at least one origin; \"*\" allows all",
            )),
            [any] if any == "*" => Ok(Origins::Any),
            entries if entries.iter().any(|entry| entry == "*") => {
                Err(String::from("\"*\" allows all origins: it stands alone"))
            }
            entries => entries
                .iter()
                .map(|entry| Pattern::parse(entry))
                .collect::<Result<_, _>>()
                .map(Origins::Listed),
        }
    }

    /// Whether a page of this origin may read answers.
    pub(crate) fn allow(&self, origin: &str) -> bool {
        match self {
            Origins::Any => true,
            Origins::Listed(patterns) => patterns.iter().any(|pattern| pattern.matches(origin)),
        }
    }
}

impl Pattern {
    fn parse(entry: &str) -> Result<Self, String> {
        if entry == "null" {
            return Ok(Pattern::Literal(entry.to_owned()));
        }
        let wrong = |reason: &str| format!("{entry:?}: {reason}");
        let lower = entry.to_ascii_lowercase();
        let (scheme, authority) = lower
            .split_once("://")
            .filter(|(scheme, _)| !scheme.is_empty() && scheme.bytes().all(is_scheme_byte))
            .ok_or_else(|| wrong("expected an origin such as \"https://example.com\""))?;
        if authority.contains(['/', '?', '#', '@']) {
            return Err(wrong(
                "an origin ends with its host and port: no path, no user",
            ));
        }
        let (host, port) = split_port(authority);
        let is_own_port = matches!((scheme, port), ("http", ":80") | ("https", ":443"));
        let port = if is_own_port { "" } else { port };
        let subdomains = host.starts_with("*.");
        let host = host.strip_prefix('*').unwrap_or(host);
        let is_host = !host.is_empty()
            && host != "."
            && host
                .bytes()
                .all(|byte| is_host_byte(byte) || b"[]:".contains(&byte));
        let is_port = port.is_empty() || port == ":*" || port[1..].parse::<u16>().is_ok();
        if !is_host
            || !is_port
            || (host.len() != authority.len() && authority.starts_with('*') && !subdomains)
        {
            return Err(wrong(
                "a * stands for subdomains (\"https://*.example.com\") or the port (\"http://localhost:*\")",
            ));
        }
        if !subdomains && port != ":*" {
            return Ok(Pattern::Literal(format!("{scheme}://{host}{port}")));
        }
        let port = if port == ":*" {
            Port::Any
        } else {
            Port::Exactly(port.to_owned())
        };
        Ok(Pattern::Wild {
            scheme: format!("{scheme}://"),
            subdomains,
            host: host.to_owned(),
            port,
        })
    }

    fn matches(&self, origin: &str) -> bool {
        match self {
            Pattern::Literal(literal) => literal == origin,
            Pattern::Wild {
                scheme,
                subdomains,
                host,
                port,
            } => {
                let Some(authority) = origin.strip_prefix(scheme.as_str()) else {
                    return false;
                };
                let (found, found_port) = split_port(authority);
                let Some(before) = found.strip_suffix(host.as_str()) else {
                    return false;
                };
                let is_host = if *subdomains {
                    are_labels(before)
                } else {
                    before.is_empty()
                };
                is_host && port.matches(found_port)
            }
        }
    }
}

impl Port {
    fn matches(&self, found: &str) -> bool {
        match self {
            Port::Exactly(port) => port == found,
            Port::Any => {
                found.is_empty()
                    || found
                        .strip_prefix(':')
                        .is_some_and(|port| port.parse::<u16>().is_ok())
            }
        }
    }
}

/// Splits `host:port` into `host` and `:port`; an IPv6 address in brackets holds colons of its own.
fn split_port(authority: &str) -> (&str, &str) {
    let host_end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    let colon = authority[host_end..]
        .find(':')
        .map_or(authority.len(), |colon| host_end + colon);
    authority.split_at(colon)
}

fn are_labels(text: &str) -> bool {
    text.split('.')
        .all(|label| !label.is_empty() && label.bytes().all(is_host_byte))
}

fn is_scheme_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn allows(entry: &str, origin: &str) -> bool {
        Origins::parse(&[entry.to_owned()])
            .expect("is right")
            .allow(origin)
    }

    #[test]
    fn a_literal_is_compared_whole() {
        assert!(allows("https://Example.com", "https://example.com"));
        assert!(allows("https://example.com:443", "https://example.com"));
        assert!(allows("http://[::1]:3000", "http://[::1]:3000"));
        assert!(allows("null", "null"));
        for other in [
            "http://example.com",
            "https://example.com:8443",
            "https://example.com.evil.test",
            "null",
            "",
        ] {
            assert!(!allows("https://example.com", other), "{other}");
        }
    }

    #[test]
    fn a_wildcard_is_for_subdomains() {
        for good in ["https://a.example.com", "https://a.b.example.com"] {
            assert!(allows("https://*.example.com", good), "{good}");
        }
        for bad in [
            "https://example.com",
            "https://.example.com",
            "https://evilexample.com",
            "https://evil.test/.example.com",
            "https://evil.test?.example.com",
            "https://evil.test#.example.com",
            "https://user@a.example.com",
            "https://a..example.com",
            "https://a.example.com.evil.test",
            "https://a.example.com:8443",
            "http://a.example.com",
        ] {
            assert!(!allows("https://*.example.com", bad), "{bad}");
        }
        assert!(allows(
            "https://*.example.com:8443",
            "https://a.example.com:8443"
        ));
    }

    #[test]
    fn a_wildcard_is_for_ports() {
        assert!(allows("http://localhost:*", "http://localhost"));
        assert!(allows("http://localhost:*", "http://localhost:5173"));
        assert!(!allows(
            "http://localhost:*",
            "http://localhost:5173.evil.test"
        ));
        assert!(!allows("http://localhost:*", "http://localhost.evil.test"));
        assert!(allows("http://*.test:*", "http://a.test:1"));
    }

    #[test]
    fn wrong_entries_are_refused() {
        for bad in [
            "example.com",
            "https://",
            "https://example.com/",
            "https://*",
            "https://*example.com",
            "https://a.*.example.com",
            "https://*.",
            "http://localhost:x",
            "*://example.com",
        ] {
            assert!(Origins::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
        assert!(Origins::parse(&["*".to_owned(), "null".to_owned()]).is_err());
    }
}
