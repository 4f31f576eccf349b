//! Addresses of the file: where listeners listen, which networks are trusted, where services are, which hosts routes are for.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use serde::{Deserialize, Deserializer};

use super::values::{Refusal, from_text, text_value};

/// What the kernel takes (unix(7)), the final NUL left out.
const MAX_SOCKET_PATH: usize = 107;

text_value!(
    /// `0.0.0.0:8080`
    Address(SocketAddr), "an address like \"0.0.0.0:8080\"", address
);
text_value!(
    /// `0.0.0.0:8080` or `unix:/run/postern.sock`
    ListenWord(ListenAddress), "an address like \"0.0.0.0:8080\" or \"unix:/run/postern.sock\"", listen_address
);
text_value!(
    /// `0660`
    ModeText(u32), "permissions like \"0660\"", mode
);
text_value!(
    /// `10.0.0.0/8` or `10.0.0.1`
    Network(ipnet::IpNet), "a network like \"10.0.0.0/8\"", network
);
text_value!(
    /// `http://host:port`, `https://host:port`
    Target(TargetAddress), "a target like \"http://127.0.0.1:7001\"", target
);
text_value!(
    /// `orders.example`
    ServerNameText(ServerName<'static>), "a host name", server_name
);
text_value!(
    /// `shop.example` or `*.shop.example`
    Host(Arc<str>), "a host name", host
);

/// Where a service is, and whether it speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TargetAddress {
    /// Name or address, without brackets, or `unix:` and a path.
    pub(super) host: Arc<str>,
    pub(super) port: u16,
    pub(super) secure: bool,
}

fn server_name(text: &str) -> Result<ServerName<'static>, Refusal> {
    ServerName::try_from(text.to_owned()).map_err(|_| Refusal::expected("a host name", text))
}

fn address(text: &str) -> Result<SocketAddr, Refusal> {
    text.parse().map_err(|_| {
        let refusal = Refusal::expected("an address like \"0.0.0.0:8080\"", text);
        match text.rsplit_once(':') {
            Some(("" | "*", port)) => refusal.help(format!(
                "to listen on all interfaces, write \"0.0.0.0:{port}\" or \"[::]:{port}\""
            )),
            Some(("localhost", port)) => refusal.help(format!(
                "names are not resolved here: write \"127.0.0.1:{port}\""
            )),
            _ if text.parse::<IpAddr>().is_ok() => refusal.help("add the port"),
            _ => refusal.help("write an IP address and a port; an IPv6 address stands in brackets"),
        }
    })
}

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListenAddress {
    /// On the network; port 0 picks a free one.
    Tcp(SocketAddr),
    /// On a path of this machine.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Whether it is the same socket each time it is opened: not so with port 0.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        !matches!(self, Self::Tcp(address) if address.port() == 0)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

fn listen_address(text: &str) -> Result<ListenAddress, Refusal> {
    let Some(path) = text.strip_prefix("unix:") else {
        return address(text).map(ListenAddress::Tcp);
    };
    socket_path(text, path)?;
    Ok(ListenAddress::Unix(path.into()))
}

/// Whether `path`, a part of `text`, may be that of a socket.
fn socket_path(text: &str, path: &str) -> Result<(), Refusal> {
    match path {
        "" => Err(Refusal::expected("a path after \"unix:\"", text)),
        path if path.len() > MAX_SOCKET_PATH => Err(Refusal::new(format!(
            "the path of a socket has at most {MAX_SOCKET_PATH} bytes, found {}",
            path.len()
        ))),
        _ => Ok(()),
    }
}

fn mode(text: &str) -> Result<u32, Refusal> {
    let legal =
        (3..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777);
    mode.filter(|_| legal).ok_or_else(|| {
        Refusal::expected("permissions like \"0660\"", text)
            .help("write three octal digits: owner, group, others")
    })
}

fn network(text: &str) -> Result<ipnet::IpNet, Refusal> {
    let single = || text.parse::<IpAddr>().map(ipnet::IpNet::from);
    text.parse()
        .or_else(|_| single())
        .map_err(|_| Refusal::expected("a network like \"10.0.0.0/8\"", text))
}

pub(super) fn target(text: &str) -> Result<TargetAddress, Refusal> {
    let expected = || Refusal::expected("a target like \"http://127.0.0.1:7001\"", text);
    if text.contains('@') {
        // Not echoed: what stands before the `@` is usually a password.
        return Err(Refusal::new("a target has no user name and no password")
            .help("write \"http://host:port\""));
    }
    if let Some(path) = text.strip_prefix("unix:") {
        socket_path(text, path)?;
        return Ok(TargetAddress {
            host: text.into(),
            port: 0,
            secure: false,
        });
    }
    let (secure, authority) = match text.split_once("://") {
        Some(("http", authority)) => (false, authority),
        Some(("https", authority)) => (true, authority),
        Some(_) => return Err(expected().help("the schemes are \"http://\" and \"https://\"")),
        None => {
            return Err(expected().help("begin with \"http://\", \"https://\" or \"unix:/\""));
        }
    };
    let scheme = if secure { "https" } else { "http" };
    if let Some(end) = authority.find(['/', '?', '#']) {
        let kept = authority.get(..end).unwrap_or_default();
        return Err(
            Refusal::new(format!("a target has no path and no query, found {text:?}")).help(
                format!("write \"{scheme}://{kept}\"; the request's own path is sent"),
            ),
        );
    }
    let (host, port) = split_port(authority).ok_or_else(expected)?;
    let default = if secure { 443 } else { 80 };
    let port = port.map_or(Some(default), |port| {
        port.parse().ok().filter(|&port: &u16| port != 0)
    });
    let port = port.ok_or_else(|| expected().help("a port is 1 to 65535"))?;
    let host =
        target_host(host).ok_or_else(|| expected().help("the host is a name or an address"))?;
    Ok(TargetAddress { host, port, secure })
}

/// Host and port of an authority; an IPv6 address keeps its brackets here.
pub(super) fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let end = rest.find(']')? + 2;
        let (host, port) = authority.split_at(end);
        return match port {
            "" => Some((host, None)),
            _ => Some((host, Some(port.strip_prefix(':')?))),
        };
    }
    Some(
        authority
            .split_once(':')
            .map_or((authority, None), |(host, port)| (host, Some(port))),
    )
}

pub(super) fn target_host(host: &str) -> Option<Arc<str>> {
    if let Some(address) = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return address
            .parse::<Ipv6Addr>()
            .ok()
            .map(|address| address.to_string().into());
    }
    let lower = host.to_ascii_lowercase();
    is_host_name(&lower).then(|| lower.into())
}

/// Labels of a-z, 0-9, `-` and `_`, with dots between (RFC 1123 and what container networks use).
fn is_host_name(text: &str) -> bool {
    let legal = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
    };
    text.len() <= 253
        && text
            .split('.')
            .all(|label| (1..=63).contains(&label.len()) && label.bytes().all(legal))
}

fn host(text: &str) -> Result<Arc<str>, Refusal> {
    let expected = || {
        Refusal::expected(
            "a host name like \"shop.example\" or \"*.shop.example\"",
            text,
        )
    };
    if is_host_name(text.strip_prefix("*.").unwrap_or(text)) {
        return Ok(text.into());
    }
    let lower = text.to_lowercase();
    let bare = lower.split("://").last().unwrap_or_default();
    let bare = bare
        .split(['/', ':'])
        .next()
        .unwrap_or_default()
        .trim_end_matches('.');
    if text == "*" || text.is_empty() {
        return Err(expected().help("to match every host, leave `hosts` out"));
    }
    if !text.is_ascii() {
        return Err(expected().help("write the name as it is sent, beginning with \"xn--\""));
    }
    if bare != text && is_host_name(bare.strip_prefix("*.").unwrap_or(bare)) {
        return Err(expected().help(format!(
            "write \"{bare}\": lower case, without scheme, port and final dot"
        )));
    }
    if text.contains('*') {
        return Err(
            expected().help("a `*` stands only for the whole first part, as in \"*.shop.example\"")
        );
    }
    Err(expected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_a_host_and_a_port() {
        let parsed = |text| {
            target(text)
                .map(|target| (target.host.to_string(), target.port))
                .unwrap()
        };
        assert_eq!(parsed("http://127.0.0.1:7001"), ("127.0.0.1".into(), 7001));
        assert_eq!(parsed("http://Orders.local"), ("orders.local".into(), 80));
        assert_eq!(parsed("http://[::1]:81"), ("::1".into(), 81));
        for wrong in [
            "",
            "orders:1",
            "ftp://a",
            "http://",
            "http://a:",
            "http://a:0",
            "http://a:65536",
            "http://a b",
            "http://[::1",
            "http://[x]:1",
            "http://::1",
        ] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parsed("unix:/run/a.sock"), ("unix:/run/a.sock".into(), 0));
        assert!(target("unix:").is_err());
        let secure = target("https://a").unwrap();
        assert_eq!((secure.port, secure.secure), (443, true));
        assert!(
            !target("http://me:hunter2@a")
                .unwrap_err()
                .to_string()
                .contains("hunter2")
        );
        assert!(
            target("http://a:1/x?y")
                .unwrap_err()
                .to_string()
                .contains("write \"http://a:1\"")
        );
    }

    #[test]
    fn hosts_are_lower_case_names_or_suffixes() {
        for good in [
            "shop.example",
            "*.shop.example",
            "localhost",
            "10.0.0.1",
            "xn--bcher-kva.example",
        ] {
            assert!(host(good).is_ok(), "{good}");
        }
        for wrong in [
            "",
            "*",
            "Shop.example",
            "a.*.example",
            "*a.example",
            "shop.example:80",
            "http://shop.example",
            "a..b",
            "shop.example.",
            "bücher.example",
        ] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
        assert!(
            host("https://Shop.example:443/")
                .unwrap_err()
                .to_string()
                .contains("write \"shop.example\"")
        );
    }

    #[test]
    fn listeners_listen_on_an_address_or_a_path() {
        assert_eq!(
            listen_address("unix:run/s").unwrap(),
            ListenAddress::Unix("run/s".into())
        );
        assert_eq!(listen_address("[::1]:80").unwrap().to_string(), "[::1]:80");
        for wrong in [
            "unix:",
            "unix",
            "/run/s",
            &format!("unix:{}", "a".repeat(108)),
        ] {
            assert!(listen_address(wrong).is_err(), "{wrong}");
        }
        assert_eq!(mode("0660").unwrap(), 0o660);
        assert_eq!(mode("600").unwrap(), 0o600);
        for wrong in ["", "7", "77", "0888", "1777", "00660", "rw-", "+66"] {
            assert!(mode(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_single_address_is_a_network() {
        assert_eq!(network("10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
        assert_eq!(network("fd00::/8").unwrap().to_string(), "fd00::/8");
        assert!(network("10.0.0.0/33").is_err());
    }
}
