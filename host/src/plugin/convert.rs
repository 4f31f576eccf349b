//! HTTP types from plugins, checked: what a guest hands over is untrusted input.

use http::header::{HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Uri, Version};

use super::bindings::postern::plugin::types::{HttpVersion, IpAddress, MethodParam, MethodResult};

/// Fields that frame messages or belong to one connection (RFC 9110, 7.6.1): the host's, in every direction.
const HOST_ONLY: [HeaderName; 12] = [
    http::header::CONNECTION,
    http::header::CONTENT_LENGTH,
    http::header::HOST,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    http::header::PROXY_AUTHENTICATE,
    http::header::PROXY_AUTHORIZATION,
    http::header::TE,
    http::header::TRAILER,
    http::header::TRANSFER_ENCODING,
    http::header::UPGRADE,
];

/// A header name that a plugin may edit.
pub(super) fn header_name(name: &str) -> Result<HeaderName, String> {
    let name = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| format!("{name:?} is not a header name"))?;
    if HOST_ONLY.contains(&name) {
        return Err(format!("header {name:?} is the host's"));
    }
    Ok(name)
}

/// A header that a plugin may set. Values hold no CR, LF or NUL.
pub(super) fn header(name: &str, value: Vec<u8>) -> Result<(HeaderName, HeaderValue), String> {
    let name = header_name(name)?;
    let value = HeaderValue::from_maybe_shared(bytes::Bytes::from(value))
        .map_err(|_| format!("the value of header {name:?} holds a control character"))?;
    Ok((name, value))
}

/// A final status: informational ones are the host's.
pub(super) fn status(status: u16) -> Result<StatusCode, String> {
    match StatusCode::from_u16(status) {
        Ok(code) if (200..600).contains(&status) => Ok(code),
        _ => Err(format!("status {status} is not between 200 and 599")),
    }
}

/// A path and query in origin form.
pub(super) fn path_and_query(text: &str) -> Result<Uri, String> {
    if !text.starts_with('/') {
        return Err(format!("path {text:?} does not begin with /"));
    }
    // The library takes more, and forgets what follows a hash.
    if let Some(wrong) = text
        .bytes()
        .find(|byte| !byte.is_ascii_graphic() || *byte == b'#')
    {
        return Err(format!("path {text:?} holds the byte {wrong:#04x}"));
    }
    let path = PathAndQuery::try_from(text).map_err(|error| format!("path {text:?}: {error}"))?;
    Ok(Uri::from(path))
}

/// An authority: host and optional port.
pub(super) fn authority(text: &str) -> Result<String, String> {
    let authority: http::uri::Authority = text
        .parse()
        .map_err(|error| format!("authority {text:?}: {error}"))?;
    if authority.as_str().contains('@') {
        return Err(format!("authority {text:?} holds user information"));
    }
    Ok(authority.as_str().to_ascii_lowercase())
}

/// A method of a plugin.
pub(super) fn method(method: &MethodResult) -> Result<Method, String> {
    Ok(match method {
        MethodResult::Get => Method::GET,
        MethodResult::Head => Method::HEAD,
        MethodResult::Post => Method::POST,
        MethodResult::Put => Method::PUT,
        MethodResult::Delete => Method::DELETE,
        MethodResult::Connect => return Err("method CONNECT is the host's".into()),
        MethodResult::Options => Method::OPTIONS,
        MethodResult::Trace => Method::TRACE,
        MethodResult::Patch => Method::PATCH,
        MethodResult::Other(name) if name == "CONNECT" => {
            return Err("method CONNECT is the host's".into());
        }
        MethodResult::Other(name) => {
            Method::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is not a method"))?
        }
    })
}

/// A method for a plugin.
pub(super) fn export_method(method: &Method) -> MethodParam<'_> {
    match *method {
        Method::GET => MethodParam::Get,
        Method::HEAD => MethodParam::Head,
        Method::POST => MethodParam::Post,
        Method::PUT => MethodParam::Put,
        Method::DELETE => MethodParam::Delete,
        Method::CONNECT => MethodParam::Connect,
        Method::OPTIONS => MethodParam::Options,
        Method::TRACE => MethodParam::Trace,
        Method::PATCH => MethodParam::Patch,
        _ => MethodParam::Other(method.as_str()),
    }
}

/// A version for a plugin.
pub(super) fn export_version(version: Version) -> HttpVersion {
    match version {
        Version::HTTP_2 => HttpVersion::H2,
        Version::HTTP_3 => HttpVersion::H3,
        Version::HTTP_10 | Version::HTTP_09 => HttpVersion::Http10,
        _ => HttpVersion::Http11,
    }
}

/// An address for a plugin.
pub(super) fn export_address(address: std::net::IpAddr) -> IpAddress {
    match address {
        std::net::IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            IpAddress::V4((a, b, c, d))
        }
        std::net::IpAddr::V6(address) => {
            let [a, b, c, d, e, f, g, h] = address.segments();
            IpAddress::V6((a, b, c, d, e, f, g, h))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::Fuzz;

    #[test]
    fn what_belongs_to_the_host_is_refused() {
        for name in [
            "Connection",
            "content-length",
            "Host",
            "TE",
            "transfer-encoding",
            "Upgrade",
            "keep-alive",
        ] {
            assert!(header_name(name).is_err(), "{name}");
        }
        assert!(header_name("x y").is_err());
        assert!(header_name("").is_err());
        assert!(header_name("x-fine").is_ok());
    }

    /// Whatever a guest hands over: what is taken can be written as a line of HTTP/1 and read as the same.
    #[test]
    fn fuzz_conversions() {
        let examples = [
            "x-name: a value",
            "GET /a?b=c HTTP/1.1",
            "a.example:80",
            "Host",
            "CONNECT",
            "/",
            "[::1]:80",
        ];
        let words = [
            "\r\n",
            "\0",
            " ",
            ":",
            "#",
            "@",
            "\u{e9}",
            "connection",
            "TRACE",
            "//",
            "?",
            "%0d",
        ];
        let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        Fuzz::new(examples, words).run(|input| {
            let text = String::from_utf8_lossy(input);
            if let Ok((name, value)) = header(&text, input.to_vec()) {
                assert!(
                    visible(name.as_str()) && !HOST_ONLY.contains(&name),
                    "{name:?}"
                );
                assert!(!value.as_bytes().iter().any(|byte| b"\r\n\0".contains(byte)));
            }
            if let Ok(method) = method(&MethodResult::Other(text.clone().into_owned())) {
                assert!(
                    visible(method.as_str()) && method != Method::CONNECT,
                    "{method}"
                );
            }
            if let Ok(uri) = path_and_query(&text) {
                assert_eq!(uri.to_string(), text);
                assert!(visible(&text) && !text.contains('#'));
            }
            if let Ok(authority) = authority(&text) {
                assert!(visible(&authority) && !authority.contains(['/', '@', '?', '#']));
            }
            for pair in input.chunks_exact(2) {
                if let Ok(status) = status(u16::from_be_bytes([pair[0], pair[1]])) {
                    assert!((200..600).contains(&status.as_u16()));
                }
            }
        });
    }

    #[test]
    fn a_value_cannot_smuggle_a_line() {
        for value in ["a\r\nb: c", "a\nb", "a\0"] {
            assert!(header("x-a", value.into()).is_err(), "{value:?}");
        }
    }

    #[test]
    fn only_final_statuses_are_taken() {
        assert!(
            [100, 101, 199, 600, 999, 0, 65535]
                .into_iter()
                .all(|code| status(code).is_err())
        );
        assert!(
            [200, 204, 404, 599]
                .into_iter()
                .all(|code| status(code).is_ok())
        );
    }

    #[test]
    fn a_path_stays_in_the_request_line() {
        for path in ["", "x", "/a b", "/a\r\nHost: x", "http://x/", "/\u{7f}"] {
            assert!(path_and_query(path).is_err(), "{path:?}");
        }
        assert!(path_and_query("/a?b=c%20d").is_ok());
    }
}
