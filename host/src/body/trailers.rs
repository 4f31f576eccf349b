//! Which fields a trailer section may carry on (RFC 9110, 6.5.1): whoever reads them late must not be misled by them.

use bytes::Bytes;
use http::HeaderName;
use http_body::Frame;

/// The frame, without trailer fields that must not be there.
pub(super) fn permitted(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(trailers) if trailers.keys().all(is_permitted) => Frame::trailers(trailers),
        Ok(mut trailers) => {
            let refused: Vec<HeaderName> = trailers
                .keys()
                .filter(|name| !is_permitted(name))
                .cloned()
                .collect();
            for name in refused {
                trailers.remove(name);
            }
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}

/// What frames, routes, authenticates or qualifies a message was decided on when its head was read, and what a gateway
/// says about a request comes from gateways only.
fn is_permitted(name: &HeaderName) -> bool {
    let name = name.as_str();
    let refused = matches!(
        name,
        // Framing and the connection (RFC 9112, 6; RFC 9110, 7.6.1).
        "content-length"
            | "transfer-encoding"
            | "trailer"
            | "te"
            | "connection"
            | "keep-alive"
            | "proxy-connection"
            | "upgrade"
            | "http2-settings"
            // Routing, and who is behind the request.
            | "host"
            | "forwarded"
            | "via"
            | "x-anonymous-consumer"
            | "x-credential-identifier"
            // Request modifiers (RFC 9110, 10.1, 13.1 and 14.2).
            | "cache-control"
            | "expect"
            | "max-forwards"
            | "pragma"
            | "range"
            // Authentication (RFC 9110, 11; RFC 6265).
            | "authorization"
            | "proxy-authorization"
            | "authentication-info"
            | "proxy-authentication-info"
            | "www-authenticate"
            | "proxy-authenticate"
            | "cookie"
            | "set-cookie"
            // Control data of responses (RFC 9110, 10.2; RFC 9111, 5).
            | "age"
            | "date"
            | "expires"
            | "location"
            | "retry-after"
            | "vary"
            | "warning"
            // How the content is to be read (RFC 9110, 8).
            | "content-encoding"
            | "content-type"
            | "content-range"
    );
    let prefixes = ["if-", "x-forwarded-", "x-consumer-"];
    !refused && !prefixes.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    #[test]
    fn sums_and_statuses_pass_and_what_was_decided_on_does_not() {
        let mut trailers = HeaderMap::new();
        for name in [
            "grpc-status",
            "x-sum",
            "server-timing",
            "content-length",
            "host",
            "authorization",
            "if-match",
            "x-forwarded-for",
            "x-consumer-name",
            "set-cookie",
        ] {
            trailers.insert(
                HeaderName::from_static(name),
                http::HeaderValue::from_static("1"),
            );
        }
        trailers.append("set-cookie", http::HeaderValue::from_static("2"));
        let trailers = permitted(Frame::trailers(trailers))
            .into_trailers()
            .unwrap();
        let mut left: Vec<&str> = trailers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["grpc-status", "server-timing", "x-sum"]);
    }

    #[test]
    fn data_stays_what_it_is() {
        let frame = permitted(Frame::data(Bytes::from_static(b"x")));
        assert_eq!(frame.into_data().unwrap(), "x");
    }
}
