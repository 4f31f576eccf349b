//! What proxies say about the client: believed where it comes from trusted ones, and said by us to the next hop
//! (RFC 7239 and the `X-Forwarded-*` fields that are older than it).
//!
//! A list is read from its end: the last entry was written by our peer, the one before it by whom the peer heard it from.
//! The first address that is not a trusted proxy's is the client, and nothing before it is looked at: it is hearsay. An
//! entry that is no address ends the search as well; the client is then the hop that passed it on. Where a trusted proxy
//! sends both kinds of fields, `X-Forwarded-For` counts: most proxies write only that, and pass a client's `Forwarded` on.

mod element;

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::{self, Entry, HeaderName};
use http::{HeaderMap, HeaderValue, Request};
use http_body::Body as _;
use smallvec::SmallVec;

use self::element::{Element, split_from_end};
use super::headers::{is_authority, via};
use crate::body::Body;
use crate::exchange::Exchange;
use crate::types::{Peer, Site};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// Fields that `forward` adds: room for them is made at once.
const ADDED: usize = 6;

/// What trusted proxies say about the client's own request.
#[derive(Debug, Default, PartialEq, Eq)]
struct Claims {
    client: Option<IpAddr>,
    secure: Option<bool>,
    host: Option<HeaderValue>,
    port: Option<HeaderValue>,
}

/// Finds out who the client is, from what a trusted proxy says. What is believed stays in the headers, and nothing else.
pub(super) fn believe(exchange: &mut Exchange) {
    let (headers, peer) = (&mut exchange.request.headers, &exchange.peer);
    let claims = match headers.contains_key(FORWARDED_FOR) {
        true => by_x_forwarded(headers, peer),
        false if headers.contains_key(header::FORWARDED) => by_forwarded(headers, peer),
        // A proxy may tell the scheme without telling the client.
        false => by_x_forwarded(headers, peer),
    };
    if let Some(client) = claims.client {
        exchange.client = client;
    }
    if let Some(secure) = claims.secure {
        exchange.secure = secure;
    }
    headers.remove(FORWARDED_PROTO);
    for (name, value) in [(FORWARDED_HOST, claims.host), (FORWARDED_PORT, claims.port)] {
        match value {
            Some(value) => headers.insert(name, value),
            None => headers.remove(name),
        };
    }
}

/// What the `X-Forwarded-*` fields say. Those of one proxy stand as far from the end of their list as the address that it
/// added does from the end of its own; a shorter list was written by fewer proxies, and its first entry is the oldest.
fn by_x_forwarded(headers: &HeaderMap, peer: &Peer) -> Claims {
    let mut claims = Claims::default();
    let mut hops = 0;
    for entry in entries(headers, FORWARDED_FOR) {
        let Some(address) = address(entry) else { break };
        claims.client = Some(address);
        hops += 1;
        if !peer.trusts(address) {
            break;
        }
    }
    let said = |name| {
        let mut entries = entries(headers, name).take(hops.max(1));
        entries.by_ref().last()
    };
    claims.secure = said(FORWARDED_PROTO).and_then(is_https);
    claims.host = said(FORWARDED_HOST).and_then(host);
    claims.port = said(FORWARDED_PORT).and_then(port);
    claims
}

/// What `Forwarded` says: an element tells of one request, for whom it came, and how.
fn by_forwarded(headers: &HeaderMap, peer: &Peer) -> Claims {
    let mut claims = Claims::default();
    for text in entries(headers, header::FORWARDED) {
        let Some(element) = Element::parse(text) else {
            break;
        };
        let node = element.node.as_deref().and_then(address);
        claims = Claims {
            client: node.or(claims.client),
            secure: element.proto.as_deref().and_then(is_https),
            host: element.host.as_deref().and_then(host),
            port: None,
        };
        if node.is_none_or(|address| !peer.trusts(address)) {
            break;
        }
    }
    claims
}

/// The entries of a list that may stand in several fields, the last one first.
fn entries<'h>(headers: &'h HeaderMap, name: HeaderName) -> impl Iterator<Item = &'h str> {
    let values: SmallVec<[&HeaderValue; 4]> = headers.get_all(name).iter().collect();
    // What is not text is an entry that nothing can be made of, and so ends the search.
    let text = |value: &'h HeaderValue| value.to_str().unwrap_or("\u{fffd}");
    values
        .into_iter()
        .rev()
        .flat_map(move |value| split_from_end(text(value), b','))
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:4711`
fn address(text: &str) -> Option<IpAddr> {
    let bare = || text.parse().ok();
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    let address: IpAddr = bare().or_else(with_port).or_else(bracketed)?;
    Some(address.to_canonical())
}

fn is_https(text: &str) -> Option<bool> {
    match text {
        text if text.eq_ignore_ascii_case("https") => Some(true),
        text if text.eq_ignore_ascii_case("http") => Some(false),
        // Such as `wss`, which is not a scheme that we would have to tell apart.
        _ => None,
    }
}

fn host(text: &str) -> Option<HeaderValue> {
    let valid = !text.is_empty() && is_authority(text);
    valid.then(|| HeaderValue::from_str(text).ok()).flatten()
}

fn port(text: &str) -> Option<HeaderValue> {
    let port: u16 = text.parse().ok()?;
    Some(HeaderValue::from(port))
}

/// The host that the client named to a trusted proxy, as far as it is believed.
pub(super) fn claimed_host(headers: &HeaderMap) -> Option<&str> {
    headers.get(FORWARDED_HOST)?.to_str().ok()
}

/// Says to the next hop for whom and how the request came to us.
pub(super) fn forward(exchange: &Exchange, request: &mut Request<Body>) {
    // An empty body that was announced is announced (RFC 9110, 8.6): some services insist on it.
    let announces = exchange.content_length == Some(0) && request.body().is_end_stream();
    let headers = request.headers_mut();
    headers.reserve(ADDED);
    if announces {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
    }
    let peer = &exchange.peer;
    append_to_list(headers, FORWARDED_FOR, &peer.forwarded_for);
    let proto = proto(exchange.secure);
    headers
        .entry(FORWARDED_PROTO)
        .or_insert(HeaderValue::from_static(proto));
    let known = peer
        .site
        .get()
        .filter(|site| Arc::ptr_eq(&site.authority, &exchange.authority));
    let made = if known.is_none() {
        site(exchange, &exchange.authority)
    } else {
        None
    };
    if let Some(site) = known.or(made.as_ref()) {
        headers
            .entry(FORWARDED_HOST)
            .or_insert_with(|| site.value.clone());
        if site.authority.is_empty() {
            // A client of HTTP/1.0 names no host, and what we send has one (RFC 9112, 3.2): where the client came to.
            if let Ok(local) = HeaderValue::try_from(peer.local.to_string()) {
                headers.insert(header::HOST, local);
            }
        } else {
            headers.insert(header::HOST, site.value.clone());
        }
        let differs = exchange.secure != peer.tls.is_some();
        let other = differs
            .then(|| forwarded(peer.ip(), &site.authority, proto))
            .flatten();
        append_to_list(
            headers,
            header::FORWARDED,
            other.as_ref().unwrap_or(&site.forwarded),
        );
    }
    if exchange.takes_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    headers.append(header::VIA, via(exchange.request.version));
}

/// What follows from the host that a request names.
pub(super) fn site(exchange: &Exchange, authority: &Arc<str>) -> Option<Site> {
    let value = HeaderValue::from_str(authority).ok()?;
    let proto = proto(exchange.peer.tls.is_some());
    let forwarded = forwarded(exchange.peer.ip(), authority, proto)?;
    Some(Site {
        authority: Arc::clone(authority),
        value,
        forwarded,
    })
}

/// The scheme of a request.
fn proto(secure: bool) -> &'static str {
    if secure { "https" } else { "http" }
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
            let mut all: Vec<u8> = entry
                .iter()
                .flat_map(|value| [value.as_bytes(), b", "])
                .flatten()
                .copied()
                .collect();
            all.extend_from_slice(value.as_bytes());
            if let Ok(all) = HeaderValue::from_bytes(&all) {
                entry.insert(all);
            }
        }
    }
}

#[cfg(test)]
mod tests;
