//! The keys of the counters.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use postern_plugin::RequestHead;

use crate::config::{By, Config};
use crate::policy::push_number;

/// Longer values are replaced by a digest: the host takes keys of 512 bytes, and a route and a scope stand in front.
const MAX_VALUE_BYTES: usize = 256;

/// The key under which a request counts, for example `consumer:mobile-app` or `orders|address:192.0.2.1`.
pub(crate) fn of(
    config: &Config,
    head: &RequestHead,
    name: Option<&[u8]>,
    route: Option<&str>,
) -> String {
    let mut key = String::with_capacity(64);
    for part in [config.scope.as_deref(), route].into_iter().flatten() {
        key.push_str(part);
        key.push('|');
    }
    let header = || {
        let name = config.header.as_deref()?;
        head.header_values(name)
            .next()
            .filter(|value| !value.is_empty())
    };
    let (kind, value) = match config.by {
        By::Consumer => ("consumer:", name),
        By::Credential => ("credential:", name),
        By::Note => ("note:", name.filter(|name| !name.is_empty())),
        By::Address => ("", None),
        By::Header => ("header:", header()),
        By::Path => ("path:", Some(head.path().as_bytes())),
    };
    match value {
        Some(value) => {
            key.push_str(kind);
            push_value(&mut key, value);
        }
        None => {
            key.push_str("address:");
            push_address(&mut key, head.client_ip(), config);
        }
    }
    key
}

fn push_value(key: &mut String, value: &[u8]) {
    match std::str::from_utf8(value) {
        Ok(text) if text.len() <= MAX_VALUE_BYTES => key.push_str(text),
        // Whoever finds two values with one digest shares one counter with himself.
        _ => {
            let _ = write!(key, "#{:016x}{:016x}", digest(0, value), digest(1, value));
        }
    }
}

fn digest(salt: u8, value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u8(salt);
    hasher.write(value);
    hasher.finish()
}

fn push_address(key: &mut String, address: IpAddr, config: &Config) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let unused = 32_u32.saturating_sub(u32::from(config.ipv4_prefix));
            let mask = u32::MAX.checked_shl(unused).unwrap_or(0);
            let network = Ipv4Addr::from_bits(address.to_bits() & mask);
            for (index, octet) in network.octets().into_iter().enumerate() {
                if index > 0 {
                    key.push('.');
                }
                push_number(key, u64::from(octet));
            }
            if unused > 0 {
                key.push('/');
                push_number(key, u64::from(config.ipv4_prefix));
            }
        }
        IpAddr::V6(address) => {
            let prefix = config.ipv6_prefix;
            let unused = 128_u32.saturating_sub(u32::from(prefix));
            let mask = u128::MAX.checked_shl(unused).unwrap_or(0);
            let network = Ipv6Addr::from_bits(address.to_bits() & mask);
            let _ = write!(key, "{network}/{prefix}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_plugin::testing::Host;
    use postern_plugin::{Interest, IpAddress};

    fn config(json: &str) -> Config {
        let config = postern_plugin::config::parse::<Config>(json).expect("is read");
        config.validate().expect("is right").0
    }

    fn head(client: &str, header: &str) -> RequestHead {
        let host = Host::new();
        host.request("GET", "/a/b?c=d")
            .request_header("X-Team", header);
        let mut head = host.request_head(&Interest::new().request_headers(["x-team"]));
        head.client = match client.parse().expect("is an address") {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                IpAddress::V4((a, b, c, d))
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h] = address.segments();
                IpAddress::V6((a, b, c, d, e, f, g, h))
            }
        };
        head
    }

    #[test]
    fn requests_count_by_what_was_chosen() {
        let note = r#"{"by": "note", "note": "tenant"}"#;
        let team = r#"{"by": "header", "header": "X-Team"}"#;
        let cases = [
            ("{}", Some("app"), "blue", "consumer:app"),
            ("{}", None, "blue", "address:192.0.2.1"),
            (
                r#"{"by": "address"}"#,
                Some("app"),
                "blue",
                "address:192.0.2.1",
            ),
            (team, Some("app"), "blue", "header:blue"),
            (team, Some("app"), "", "address:192.0.2.1"),
            (r#"{"by": "path"}"#, Some("app"), "blue", "path:/a/b"),
            (r#"{"scope": "s"}"#, Some("app"), "blue", "s|consumer:app"),
            (r#"{"by": "credential"}"#, Some("k1"), "", "credential:k1"),
            (r#"{"by": "credential"}"#, None, "", "address:192.0.2.1"),
            (note, Some("acme"), "", "note:acme"),
            (note, Some(""), "", "address:192.0.2.1"),
        ];
        for (json, name, header, expected) in cases {
            let (config, head) = (config(json), head("192.0.2.1", header));
            let name = name.map(str::as_bytes);
            assert_eq!(of(&config, &head, name, None), expected);
        }
        let scoped = config(r#"{"scope": "s", "by": "path"}"#);
        assert_eq!(
            of(&scoped, &head("192.0.2.1", ""), None, Some("orders")),
            "s|orders|path:/a/b"
        );
    }

    #[test]
    fn an_ipv4_client_may_be_its_network() {
        for (prefix, expected) in [
            (32, "address:198.51.100.77"),
            (24, "address:198.51.100.0/24"),
            (25, "address:198.51.100.0/25"),
            (1, "address:128.0.0.0/1"),
        ] {
            let config = config(&format!(r#"{{"by": "address", "ipv4-prefix": {prefix}}}"#));
            assert_eq!(
                of(&config, &head("198.51.100.77", ""), None, None),
                expected
            );
        }
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let cases = [
            ("2001:db8:1:2:3:4:5:6", 64, "address:2001:db8:1:2::/64"),
            ("2001:db8:1:2:ffff::", 64, "address:2001:db8:1:2::/64"),
            ("2001:db8:1:2:3:4:5:6", 48, "address:2001:db8:1::/48"),
            (
                "2001:db8:1:2:3:4:5:6",
                128,
                "address:2001:db8:1:2:3:4:5:6/128",
            ),
            ("2001:db8:1:2:3:4:5:6", 1, "address:::/1"),
            ("::ffff:192.0.2.7", 64, "address:192.0.2.7"),
            ("255.0.10.9", 64, "address:255.0.10.9"),
        ];
        for (client, prefix, expected) in cases {
            let config = config(&format!(r#"{{"by": "address", "ipv6-prefix": {prefix}}}"#));
            assert_eq!(of(&config, &head(client, ""), None, None), expected);
        }
    }

    #[test]
    fn a_long_value_has_a_key_of_its_own_and_of_bounded_length() {
        let config = config(r#"{"by": "header", "header": "X-Team"}"#);
        let of_length = |last: &str| {
            let value = format!("{}{last}", "x".repeat(5_000));
            of(&config, &head("192.0.2.1", &value), None, Some("orders"))
        };
        assert_eq!(of_length("a"), of_length("a"));
        assert_ne!(of_length("a"), of_length("b"));
        assert!(of_length("a").len() < 100);
    }
}
