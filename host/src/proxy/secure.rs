//! Requests that must come over TLS and do not: they are sent on to `https://`.

use http::{HeaderValue, Method, StatusCode};

use super::error::ProxyError;
use super::forwarding;
use crate::exchange::Exchange;

/// Whoever issues certificates asks for this without TLS (RFC 8555, 8.3).
const CHALLENGES: &str = "/.well-known/acme-challenge/";
const HTTPS_PORT: u16 = 443;

/// Lets a request pass that came over TLS, to us or to a trusted proxy, or that need not.
///
/// # Errors
/// Where it is to be made again.
pub(super) fn require(exchange: &Exchange) -> Result<(), ProxyError> {
    let Some(port) = exchange.peer.https_port else {
        return Ok(());
    };
    if exchange.secure || exchange.matched_uri.path().starts_with(CHALLENGES) {
        return Ok(());
    }
    let claimed = forwarding::claimed_host(&exchange.request.headers);
    let host = without_port(claimed.unwrap_or(&exchange.authority));
    if host.is_empty() {
        return Err(ProxyError::BadRequest("The request has no Host"));
    }
    let port = match port {
        HTTPS_PORT => String::new(),
        port => format!(":{port}"),
    };
    let target = exchange.matched_uri.path_and_query();
    let target = target.map_or("/", |target| target.as_str());
    let location = HeaderValue::try_from(format!("https://{host}{port}{target}"))
        .map_err(|_| ProxyError::BadRequest("The request target is not valid"))?;
    // Old clients know 301, and may make a GET of another method; 308 forbids that (RFC 9110, 15.4.9).
    let status = match exchange.request.method {
        Method::GET | Method::HEAD => StatusCode::MOVED_PERMANENTLY,
        _ => StatusCode::PERMANENT_REDIRECT,
    };
    Err(ProxyError::HttpsRequired { status, location })
}

/// The host of an authority, an IPv6 address with its brackets.
fn without_port(authority: &str) -> &str {
    let end = match authority.rfind(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    authority.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_cut_off() {
        for (authority, host) in [
            ("shop.test", "shop.test"),
            ("shop.test:80", "shop.test"),
            ("[::1]", "[::1]"),
            ("[::1]:8080", "[::1]"),
            (":80", ""),
            ("", ""),
        ] {
            assert_eq!(without_port(authority), host);
        }
    }
}
