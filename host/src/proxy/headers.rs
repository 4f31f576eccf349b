//! Headers on the way through: what belongs to one connection ends here, and nobody says what only we may say
//! (RFC 9110, 7.6).

use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::sync::Arc;

use http::header::{self, HeaderName};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};
use smallvec::SmallVec;

use super::error::{ProxyError, Refusal};
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
fn fate(name: &str) -> Fate {
    match name {
        "connection" => Fate::Connection,
        "te" => Fate::Te,
        "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" | "http2-settings" => {
            Fate::HopByHop
        }
        "host" | "expect" | "content-length" => Fate::Taken,
        "forwarded" | "x-real-ip" => Fate::Forwarded,
        "x-credential-identifier" | "x-anonymous-consumer" => Fate::Forged,
        // Many services read underscores as dashes (RFC 3875, 4.1.18): to them this is the same field.
        name if name.contains('_') && fate(&name.replace('_', "-")) != Fate::Kept => Fate::Forged,
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
        let fate = fate(name.as_str());
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

/// The fields that a `Connection` value names. Whatever it says, some are for all who receive the message, and a client must
/// not be able to take them away from whoever checks them (RFC 9110, 7.6.1).
fn connection_options(value: &HeaderValue) -> impl Iterator<Item = HeaderName> {
    let names = value.as_bytes().split(|byte| *byte == b',');
    let names = names.filter_map(|option| match option.trim_ascii() {
        b"" | b"close" | b"keep-alive" | b"Keep-Alive" => None,
        name => HeaderName::from_bytes(name).ok(),
    });
    names.filter(|name| {
        !matches!(fate(name.as_str()), Fate::Taken | Fate::Forwarded)
            && ![
                header::AUTHORIZATION,
                header::COOKIE,
                header::TE,
                header::VIA,
            ]
            .contains(name)
    })
}

/// Takes what the request says about itself out of its headers, into the exchange.
///
/// # Errors
/// When it contradicts itself, or does not say what it must.
pub(super) fn receive(exchange: &mut Exchange) -> Result<(), ProxyError> {
    if let Some(refusal) = exchange.request.extensions.remove::<Refusal>() {
        return Err(ProxyError::Refused(refusal));
    }
    check_method(exchange)?;
    exchange.authority = authority(exchange)?;
    exchange.request.uri = path(exchange)?;
    exchange.matched_uri = exchange.request.uri.clone();
    exchange.content_length = content_length(&exchange.request.headers)?;
    check_expectation(&exchange.request.headers)?;

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

/// Methods that are not for a gateway: `TRACE` shows what only the service should see, a `CONNECT` without a protocol
/// (RFC 8441) is for forward proxies.
fn check_method(exchange: &Exchange) -> Result<(), ProxyError> {
    let request = &exchange.request;
    let what = match request.method {
        Method::TRACE => "TRACE is not supported",
        Method::CONNECT if request.extensions.get::<hyper::ext::Protocol>().is_none() => {
            "CONNECT is not supported"
        }
        _ => return Ok(()),
    };
    Err(ProxyError::Refused(Refusal::NotImplemented(what)))
}

/// Path and query of the request target (RFC 9112, 3.2; RFC 9113, 8.3.1).
fn path(exchange: &Exchange) -> Result<Uri, ProxyError> {
    let uri = &exchange.request.uri;
    let web = uri
        .scheme_str()
        .is_none_or(|scheme| matches!(scheme, "http" | "https"));
    match uri.path_and_query() {
        // The library takes more than RFC 3986 does.
        Some(path) if web && path.as_str().starts_with('/') && path.as_str().is_ascii() => {
            normal(path, exchange.peer.encoded_in_path)
        }
        Some(path) if path.as_str() == "*" && exchange.request.method == Method::OPTIONS => {
            Ok(Uri::from_static("/*"))
        }
        _ => Err(ProxyError::BadRequest("The request target is not a path")),
    }
}

/// The declared length. HTTP/1 has been looked at byte for byte; in HTTP/2 this is a field like others.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, ProxyError> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else {
        return Ok(None);
    };
    let digits = length.as_bytes().iter().all(u8::is_ascii_digit);
    let length = length.to_str().ok().filter(|_| digits);
    match (length.and_then(|text| text.parse().ok()), lengths.next()) {
        (Some(length), None) => Ok(Some(length)),
        _ => Err(ProxyError::BadRequest("The Content-Length is not valid")),
    }
}

fn check_expectation(headers: &HeaderMap) -> Result<(), ProxyError> {
    let known = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    match headers.get_all(header::EXPECT).iter().all(known) {
        true => Ok(()),
        false => Err(ProxyError::Expectation),
    }
}

/// The one authority of a request (RFC 9112, 3.2; RFC 9113, 8.3.1).
fn authority(exchange: &Exchange) -> Result<Arc<str>, ProxyError> {
    let request = &exchange.request;
    let mut hosts = request.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(ProxyError::BadRequest("The request has more than one Host"));
    }
    let (target, version) = (request.uri.authority(), request.version);
    let text = match (target.map(http::uri::Authority::as_str), host) {
        (Some(target), Some(host)) if !host.as_bytes().eq_ignore_ascii_case(target.as_bytes()) => {
            return Err(ProxyError::BadRequest(
                "The Host is not that of the request target",
            ));
        }
        (None, None) if version < Version::HTTP_11 => "",
        (_, None) if version == Version::HTTP_11 => {
            return Err(ProxyError::BadRequest("The request has no Host"));
        }
        (None, None) => return Err(ProxyError::BadRequest("The request has no authority")),
        (Some(target), _) => target,
        (None, Some(host)) => host
            .to_str()
            .map_err(|_| ProxyError::BadRequest("The Host is not valid"))?,
    };
    if let Some(site) = exchange
        .peer
        .site
        .get()
        .filter(|site| *site.authority == *text)
    {
        return Ok(Arc::clone(&site.authority));
    }
    // Only HTTP/1.0 may leave it out.
    let is_left_out = text.is_empty() && host.is_none();
    if !is_left_out && !is_authority(text) {
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

/// `host [":" port]`, without user, and without what no host on the network has in its name (RFC 3986, 3.2).
pub(super) fn is_authority(text: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let (is_host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => (address.parse::<Ipv6Addr>().is_ok(), port),
        None => {
            let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            let fits = (1..=255).contains(&host.len());
            (fits && host.bytes().all(is_name), port)
        }
    };
    let is_port = port.is_empty()
        || port.strip_prefix(':').is_some_and(|number| {
            number.bytes().all(|byte| byte.is_ascii_digit()) && number.parse::<u16>().is_ok()
        });
    is_host && is_port
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
