//! Headers on the way through: what belongs to one connection ends here, and nobody says what only we may say
//! (RFC 9110, 7.6).

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{self, HeaderName};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};
use smallvec::SmallVec;

use super::error::ProxyError;
use super::forwarding;
use crate::exchange::Exchange;
use crate::router::{self, PathError};
use crate::types::EncodedInPath;

/// What a message may not carry on, by who must not see it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It goes on.
    Kept,
    /// It belongs to the connection that it came on (RFC 9110, 7.6.1).
    HopByHop,
    /// It names further fields of the connection.
    Connection,
    /// It says what the client takes of a response; trailers are for us to pass on (RFC 9110, 10.1.4).
    Te,
    /// The exchange keeps it elsewhere, and it is written anew when the request is forwarded.
    Taken,
    /// It is believed only from trusted proxies.
    Forwarded,
    /// Only the gateway may say it: a client that sends it is trying something.
    Forged,
}

/// The fate of a field. One look at each name is cheaper than asking a map for every name that must go.
fn fate(name: &HeaderName) -> Fate {
    match name.as_str() {
        "connection" => Fate::Connection,
        "te" => Fate::Te,
        "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" | "http2-settings" => {
            Fate::HopByHop
        }
        "host" | "expect" | "content-length" => Fate::Taken,
        "forwarded" | "x-real-ip" => Fate::Forwarded,
        "x-credential-identifier" | "x-anonymous-consumer" => Fate::Forged,
        name => match name.strip_prefix("x-") {
            Some(name) if name.starts_with("consumer-") => Fate::Forged,
            Some(name) if name.starts_with("forwarded-") => Fate::Forwarded,
            _ => Fate::Kept,
        },
    }
}

type Names = SmallVec<[HeaderName; 8]>;

/// Removes what belongs to the connection that a response came on.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let is_hop_by_hop = |fate| matches!(fate, Fate::HopByHop | Fate::Connection | Fate::Te);
    remove(headers, is_hop_by_hop);
}

/// Removes the fields whose fate `is_doomed`, and those that `Connection` names.
fn remove(headers: &mut HeaderMap, mut is_doomed: impl FnMut(Fate) -> bool) {
    let mut doomed = Names::new();
    for name in headers.keys() {
        let fate = fate(name);
        if fate == Fate::Connection {
            doomed.extend(
                headers
                    .get_all(header::CONNECTION)
                    .iter()
                    .flat_map(connection_options),
            );
        }
        if is_doomed(fate) {
            doomed.push(name.clone());
        }
    }
    for name in doomed {
        headers.remove(name);
    }
}

/// The fields that a `Connection` value names. Whatever it says, these are not options of a connection.
fn connection_options(value: &HeaderValue) -> impl Iterator<Item = HeaderName> {
    let names = value.as_bytes().split(|byte| *byte == b',');
    let names = names.filter_map(|option| match option.trim_ascii() {
        b"" | b"close" | b"keep-alive" | b"Keep-Alive" => None,
        name => HeaderName::from_bytes(name).ok(),
    });
    names.filter(|name| {
        let kept = [
            &header::HOST,
            &header::CONTENT_LENGTH,
            &header::AUTHORIZATION,
            &header::TE,
        ];
        !kept.contains(&name)
    })
}

/// Takes what the request says about itself out of its headers, into the exchange.
///
/// # Errors
/// When it contradicts itself, or does not say what it must.
pub(super) fn receive(exchange: &mut Exchange) -> Result<(), ProxyError> {
    exchange.authority = authority(exchange)?;
    let path = match exchange.request.uri.path_and_query() {
        Some(path) if path.as_str().starts_with('/') => {
            normal(path, exchange.peer.encoded_in_path)?
        }
        Some(path) if path.as_str() == "*" && exchange.request.method == Method::OPTIONS => {
            Uri::from_static("/*")
        }
        _ => return Err(ProxyError::BadRequest("The request target is not a path")),
    };
    exchange.request.uri = path;
    exchange.matched_uri = exchange.request.uri.clone();

    if let Some(length) = exchange.request.headers.get(header::CONTENT_LENGTH) {
        exchange.content_length = length.to_str().ok().and_then(|length| length.parse().ok());
    }
    exchange.client = exchange.peer.ip();
    let trusted = exchange.peer.trusted;
    let mut has_te = false;
    remove(&mut exchange.request.headers, |fate| match fate {
        Fate::Kept => false,
        Fate::Te => {
            has_te = true;
            false
        }
        Fate::Forwarded => !trusted,
        Fate::HopByHop | Fate::Connection | Fate::Taken | Fate::Forged => true,
    });
    if has_te {
        exchange.takes_trailers = take_te(&mut exchange.request.headers);
    }
    if trusted {
        forwarding::believe(exchange);
    }
    Ok(())
}

/// The path in its normal form, which is matched and forwarded, and the query as it came.
fn normal(target: &PathAndQuery, allowed: EncodedInPath) -> Result<Uri, ProxyError> {
    let refused = |error: PathError| ProxyError::BadRequest(error.as_str());
    let path = match router::normalise(target.path(), allowed).map_err(refused)? {
        Cow::Borrowed(_) => return Ok(Uri::from(target.clone())),
        Cow::Owned(path) => path,
    };
    let text = match target.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    // Encoding makes a path longer, and there is an end to how long one can be.
    let target = PathAndQuery::try_from(text);
    target
        .map(Uri::from)
        .map_err(|_| ProxyError::BadRequest("The request target is too long"))
}

/// Removes `TE`. Whether it asked for trailers, with any weight but none (RFC 9110, 10.1.4).
fn take_te(headers: &mut HeaderMap) -> bool {
    let values = headers.get_all(header::TE).iter();
    let codings = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let asked = codings
        .map(|coding| coding.trim_ascii())
        .any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
    headers.remove(header::TE);
    asked
}

/// The one authority of a request (RFC 9112, 3.2; RFC 9113, 8.3.1).
fn authority(exchange: &Exchange) -> Result<Arc<str>, ProxyError> {
    let request = &exchange.request;
    let mut hosts = request.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(ProxyError::BadRequest("The request has more than one Host"));
    }
    let text = match (request.uri.authority(), host) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(host)) => host
            .to_str()
            .map_err(|_| ProxyError::BadRequest("The Host is not valid"))?,
        (None, None) if request.version < Version::HTTP_11 => "",
        (None, None) => return Err(ProxyError::BadRequest("The request has no Host")),
    };
    if let Some(site) = exchange
        .peer
        .site
        .get()
        .filter(|site| *site.authority == *text)
    {
        return Ok(Arc::clone(&site.authority));
    }
    if !is_authority(text) {
        return Err(ProxyError::BadRequest("The Host is not valid"));
    }
    let authority: Arc<str> = text.to_ascii_lowercase().into();
    let (peer, tls) = (&exchange.peer, exchange.peer.tls.as_deref());
    // A trusted proxy's connection to us is its own matter.
    if !peer.trusted && tls.is_some_and(|tls| tls.is_misdirected(&authority)) {
        return Err(ProxyError::Misdirected);
    }
    if let Some(site) = forwarding::site(exchange, &authority) {
        // A second site on one connection is made anew each time.
        let _ = exchange.peer.site.set(site);
    }
    Ok(authority)
}

/// Whether a text has only characters of a host and a port, and not too many.
pub(super) fn is_authority(text: &str) -> bool {
    text.len() <= 255 + ":65535".len()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte))
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
