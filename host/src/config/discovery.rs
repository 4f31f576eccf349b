//! Words of `[dns]` and of `[upstream.NAME.discovery]`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

use super::resolved::{AddressFamily, ServicePort};
use super::values::{Refusal, from_text, one_of, text_value};

/// Where DNS servers listen.
const DNS_PORT: u16 = 53;
/// The longest name of DNS in text (RFC 1035, 2.3.4).
const MAX_NAME: usize = 253;

/// Who knows the targets of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Dns,
    Srv,
    File,
    Consul,
    Kubernetes,
}

impl Kind {
    pub(super) const ALL: [(&'static str, Self); 5] = [
        ("dns", Self::Dns),
        ("srv", Self::Srv),
        ("file", Self::File),
        ("consul", Self::Consul),
        ("kubernetes", Self::Kubernetes),
    ];
}

text_value!(
    /// `dns`, `srv`, `file`, `consul`, `kubernetes`
    #[derive(Copy)]
    KindWord(Kind), "one of dns, srv, file, consul, kubernetes", |text| one_of(text, &Kind::ALL)
);
text_value!(
    /// `http`, `https`: whether it is TLS.
    #[derive(Copy)]
    SchemeWord(bool), "one of http, https", |text| one_of(text, &[("http", false), ("https", true)])
);
text_value!(
    /// `auto`, `ipv4`, `ipv6`, `both`
    #[derive(Copy)]
    FamilyWord(AddressFamily), "one of auto, ipv4, ipv6, both",
    |text| one_of(text, &[
        ("auto", AddressFamily::Auto),
        ("ipv4", AddressFamily::Ipv4),
        ("ipv6", AddressFamily::Ipv6),
        ("both", AddressFamily::Both),
    ])
);
text_value!(
    /// `keep`, `clear`: whether what was known is kept.
    #[derive(Copy)]
    OnEmptyWord(bool), "one of keep, clear", |text| one_of(text, &[("keep", true), ("clear", false)])
);
text_value!(
    /// `127.0.0.1:5353` or `10.0.0.2`
    #[derive(Copy)]
    Nameserver(SocketAddr), "an address like \"10.0.0.2\" or \"127.0.0.1:5353\"", nameserver
);
text_value!(
    /// `_http._tcp.orders.example`, `orders`
    ServiceName(Arc<str>), "a name", service_name
);

/// `8080` or `"http"`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PortWord(pub(super) ServicePort);

fn nameserver(text: &str) -> Result<SocketAddr, Refusal> {
    let alone = || {
        text.parse::<IpAddr>()
            .map(|address| SocketAddr::new(address, DNS_PORT))
    };
    text.parse().or_else(|_| alone()).map_err(|_| {
        Refusal::expected("an address like \"10.0.0.2\" or \"127.0.0.1:5353\"", text)
            .help("the name of a server cannot be resolved before there is one")
    })
}

/// What stands in paths and queries as it is: nothing there may end them.
fn service_name(text: &str) -> Result<Arc<str>, Refusal> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if text.is_empty() || text.len() > MAX_NAME || !text.bytes().all(legal) {
        return Err(Refusal::expected("a name", text).help(format!(
            "a name consists of letters, digits, \"-\", \"_\" and \".\", at most {MAX_NAME}"
        )));
    }
    Ok(text.into())
}

impl<'de> Deserialize<'de> for PortWord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Port;

        impl Visitor<'_> for Port {
            type Value = PortWord;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port like 8080 or \"http\"")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<PortWord, E> {
                u16::try_from(number)
                    .ok()
                    .filter(|port| *port != 0)
                    .map(|port| PortWord(ServicePort::Number(port)))
                    .ok_or_else(|| E::custom(format!("a port is 1 to 65535, found {number}")))
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<PortWord, E> {
                let name = service_name(name).map_err(E::custom)?;
                Ok(PortWord(ServicePort::Name(name)))
            }
        }

        deserializer.deserialize_any(Port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nameservers_have_a_port_of_their_own_or_that_of_dns() {
        assert_eq!(nameserver("10.0.0.2").unwrap().to_string(), "10.0.0.2:53");
        assert_eq!(nameserver("[::1]:5353").unwrap().to_string(), "[::1]:5353");
        assert_eq!(nameserver("::1").unwrap().to_string(), "[::1]:53");
        for wrong in ["", "localhost", "10.0.0.2:", "dns.example:53"] {
            assert!(nameserver(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_of_services_end_no_path_and_no_query() {
        for good in ["orders", "_http._tcp.orders.example.", "a-b_c"] {
            assert!(service_name(good).is_ok(), "{good}");
        }
        for wrong in ["", "a/b", "a?b", "a b", "a#b", "a%2f", &"a".repeat(254)] {
            assert!(service_name(wrong).is_err(), "{wrong}");
        }
    }
}
