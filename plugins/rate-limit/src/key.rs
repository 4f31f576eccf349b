//! The keys of the counters.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher};
use std::net::{IpAddr, Ipv6Addr};

use postern_plugin::RequestHead;

use crate::config::{By, Config};
use crate::policy::push_number;

/// Longer values are replaced by a digest: the host takes keys of 512 bytes, and a route and a scope stand in front.
const MAX_VALUE_BYTES: usize = 256;

/// The key under which a request counts, for example `consumer:mobile-app` or `orders|address:192.0.2.1`.
pub(crate) fn of(
    config: &Config,
    head: &RequestHead,
    consumer: Option<&str>,
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
        By::Consumer => ("consumer:", consumer.map(str::as_bytes)),
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
            push_address(&mut key, head.client_ip(), config.ipv6_prefix);
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

fn push_address(key: &mut String, address: IpAddr, ipv6_prefix: u8) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    key.push('.');
                }
                push_number(key, u64::from(octet));
            }
        }
        IpAddr::V6(address) => {
            let unused = 128_u32.saturating_sub(u32::from(ipv6_prefix));
            let mask = u128::MAX.checked_shl(unused).unwrap_or(0);
            let network = Ipv6Addr::from_bits(address.to_bits() & mask);
            let _ = write!(key, "{network}/{ipv6_prefix}");
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
        ];
        for (json, consumer, header, expected) in cases {
            assert_eq!(
                of(&config(json), &head("192.0.2.1", header), consumer, None),
                expected
            );
        }
        let scoped = config(r#"{"scope": "s", "by": "path"}"#);
        assert_eq!(
            of(&scoped, &head("192.0.2.1", ""), None, Some("orders")),
            "s|orders|path:/a/b"
        );
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
