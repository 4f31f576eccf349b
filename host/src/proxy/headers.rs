//! Headers on the way through: what belongs to one connection ends here, and what a proxy adds begins here
//! (RFC 9110, 7.6; RFC 7239).

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use http::header::{self, Entry, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use super::error::ProxyError;
use crate::exchange::Exchange;
use crate::types::Peer;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Fields of one connection, besides those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// What only the gateway may say about a consumer. A client that sends these is trying something.
fn claims_identity(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-") && (name.starts_with("x-consumer-") || name == "x-credential-identifier" || name == "x-anonymous-consumer")
}

/// Removes what belongs to the connection that the message came on.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if let Entry::Occupied(connection) = headers.entry(header::CONNECTION) {
        let named: Vec<HeaderName> = connection.iter().flat_map(connection_options).collect();
        for name in named {
            // Whatever `Connection` says, these are not options of a connection (RFC 9110, 7.6.1).
            if name != header::HOST && name != header::CONTENT_LENGTH && name != header::AUTHORIZATION {
                headers.remove(name);
            }
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

fn connection_options(value: &HeaderValue) -> impl Iterator<Item = HeaderName> {
    value.as_bytes().split(|byte| *byte == b',').filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok())
}

/// Takes what the request says about itself out of its headers, into the exchange.
///
/// # Errors
/// When it contradicts itself, or does not say what it must.
pub(super) fn receive(exchange: &mut Exchange) -> Result<(), ProxyError> {
    let authority = authority(&exchange.request)?;
    exchange.authority = authority;
    let path = match exchange.request.uri.path_and_query() {
        Some(path) if path.as_str().starts_with('/') => Uri::from(path.clone()),
        Some(path) if path.as_str() == "*" && exchange.request.method == Method::OPTIONS => Uri::from_static("/*"),
        _ => return Err(ProxyError::BadRequest("The request target is not a path")),
    };
    exchange.request.uri = path;
    exchange.matched_uri = exchange.request.uri.clone();

    let headers = &mut exchange.request.headers;
    headers.remove(header::HOST);
    headers.remove(header::EXPECT);
    if let Some(length) = headers.remove(header::CONTENT_LENGTH) {
        exchange.content_length = length.to_str().ok().and_then(|length| length.parse().ok());
    }
    strip_hop_by_hop(headers);
    let forged: Vec<HeaderName> = headers.keys().filter(|name| claims_identity(name)).cloned().collect();
    for name in forged {
        headers.remove(name);
    }
    believe_proxies(exchange);
    Ok(())
}

/// The one authority of a request (RFC 9112, 3.2; RFC 9113, 8.3.1).
fn authority(request: &http::request::Parts) -> Result<Arc<str>, ProxyError> {
    let mut hosts = request.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(ProxyError::BadRequest("The request has more than one Host"));
    }
    let text = match (request.uri.authority(), host) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(host)) => host.to_str().map_err(|_| ProxyError::BadRequest("The Host is not valid"))?,
        (None, None) if request.version < Version::HTTP_11 => "",
        (None, None) => return Err(ProxyError::BadRequest("The request has no Host")),
    };
    let valid = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte));
    if !valid || text.len() > 255 + ":65535".len() {
        return Err(ProxyError::BadRequest("The Host is not valid"));
    }
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Ok(text.to_ascii_lowercase().into());
    }
    Ok(text.into())
}

/// Finds out who the client is, from what trusted proxies say. What others say is removed.
fn believe_proxies(exchange: &mut Exchange) {
    let peer = &exchange.peer;
    let headers = &mut exchange.request.headers;
    exchange.client = peer.ip();
    if !peer.trusted {
        for name in [FORWARDED_FOR, FORWARDED_PROTO, FORWARDED_HOST, header::FORWARDED] {
            headers.remove(name);
        }
        return;
    }
    if let Some(client) = forwarded_client(headers, peer) {
        exchange.client = client;
    }
    exchange.secure = headers.get(FORWARDED_PROTO).is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"));
}

/// The last address in `X-Forwarded-For` that is not a trusted proxy's: those before it are hearsay.
fn forwarded_client(headers: &HeaderMap, peer: &Peer) -> Option<IpAddr> {
    let mut client = None;
    for value in headers.get_all(FORWARDED_FOR).iter().rev_collected() {
        for entry in value.to_str().ok()?.rsplit(',') {
            let address: IpAddr = entry.trim().trim_matches(['[', ']']).parse().ok()?;
            client = Some(address.to_canonical());
            if !peer.trusted_proxies.iter().any(|range| range.contains(&address)) {
                return client;
            }
        }
    }
    client
}

trait RevCollected: Iterator + Sized {
    /// The items from the last to the first, of an iterator that only goes forward.
    fn rev_collected(self) -> std::iter::Rev<std::vec::IntoIter<Self::Item>> {
        self.collect::<Vec<_>>().into_iter().rev()
    }
}

impl<'a> RevCollected for header::ValueIter<'a, HeaderValue> {}

/// Says to the next hop for whom and how the request came to us.
pub(super) fn forward(exchange: &Exchange, headers: &mut HeaderMap) {
    let peer = &exchange.peer;
    let proto = if exchange.secure { "https" } else { "http" };
    let authority = HeaderValue::from_str(&exchange.authority).ok();
    append_to_list(headers, FORWARDED_FOR, &peer.forwarded_for);
    headers.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static(proto));
    if let Some(authority) = authority {
        headers.entry(FORWARDED_HOST).or_insert_with(|| authority.clone());
        if !authority.is_empty() {
            headers.insert(header::HOST, authority);
        }
    }
    if let Some(element) = forwarded(peer.ip(), &exchange.authority, proto) {
        append_to_list(headers, header::FORWARDED, &element);
    }
    headers.append(header::VIA, via(exchange.request.version));
}

/// An element of `Forwarded` (RFC 7239, 4).
fn forwarded(ip: IpAddr, authority: &str, proto: &str) -> Option<HeaderValue> {
    let mut element = String::with_capacity(64 + authority.len());
    match ip {
        IpAddr::V4(ip) => write!(element, "for={ip}"),
        IpAddr::V6(ip) => write!(element, "for=\"[{ip}]\""),
    }
    .ok()?;
    if !authority.is_empty() {
        // A colon is not allowed in a token.
        let quote = if authority.contains(':') { "\"" } else { "" };
        write!(element, ";host={quote}{authority}{quote}").ok()?;
    }
    write!(element, ";proto={proto}").ok()?;
    HeaderValue::try_from(element).ok()
}

fn append_to_list(headers: &mut HeaderMap, name: HeaderName, value: &HeaderValue) {
    match headers.entry(name) {
        Entry::Vacant(entry) => {
            entry.insert(value.clone());
        }
        Entry::Occupied(mut entry) => {
            let mut all: Vec<u8> = entry.iter().flat_map(|value| [value.as_bytes(), b", "]).flatten().copied().collect();
            all.extend_from_slice(value.as_bytes());
            if let Ok(all) = HeaderValue::from_bytes(&all) {
                entry.insert(all);
            }
        }
    }
}

/// Our mark on a message (RFC 9110, 7.6.3).
pub(super) fn via(received: Version) -> HeaderValue {
    match received {
        Version::HTTP_2 => HeaderValue::from_static("2 postern"),
        Version::HTTP_3 => HeaderValue::from_static("3 postern"),
        Version::HTTP_10 | Version::HTTP_09 => HeaderValue::from_static("1.0 postern"),
        _ => HeaderValue::from_static("1.1 postern"),
    }
}
