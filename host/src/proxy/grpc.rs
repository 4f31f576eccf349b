//! gRPC over HTTP/2: how a call says how long it may take, and how it is told that it failed.
//!
//! A client of gRPC looks at `grpc-status`, which stands in the trailers, or in the head of an answer that has nothing
//! else; the status of HTTP is 200 in both cases (gRPC over HTTP/2, "Responses").

use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version};

use crate::body::Body;
use crate::exchange::Exchange;
use crate::types::Source;

const GRPC: &str = "application/grpc";
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// More of a problem's document is not looked at.
const MAX_PROBLEM: usize = 64 << 10;

/// The codes that a gateway has a use for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Aborted = 10,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Code {
    /// What an answer of HTTP means to a caller.
    fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Self::InvalidArgument,
            StatusCode::UNAUTHORIZED => Self::Unauthenticated,
            StatusCode::FORBIDDEN => Self::PermissionDenied,
            StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_IMPLEMENTED => Self::Unimplemented,
            StatusCode::CONFLICT => Self::Aborted,
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::TOO_MANY_REQUESTS => {
                Self::ResourceExhausted
            }
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            StatusCode::GATEWAY_TIMEOUT => Self::DeadlineExceeded,
            StatusCode::INTERNAL_SERVER_ERROR => Self::Internal,
            _ => Self::Unknown,
        }
    }

    fn value(self) -> HeaderValue {
        HeaderValue::from(self as u16)
    }
}

/// Whether a request is a call.
pub(super) fn is_call(request: &http::request::Parts) -> bool {
    request.version >= Version::HTTP_2 && is_grpc(&request.headers)
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(GRPC.as_bytes()));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// How long the caller will wait.
pub(super) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3_600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// The status in a head or in trailers.
pub(super) fn status(headers: &HeaderMap) -> Option<u16> {
    headers.get(STATUS)?.to_str().ok()?.parse().ok()
}

/// What takes the place of the trailers of an answer that broke off.
pub(super) fn broken_off() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert(STATUS, Code::Unavailable.value());
    trailers.insert(
        MESSAGE,
        HeaderValue::from_static("The service's response broke off"),
    );
    trailers
}

/// The answer to a call as its caller understands it: answers of plugins and of the gateway become ones that have
/// nothing but a head. What else stands in the head, stays.
pub(super) async fn answer(exchange: &mut Exchange, response: Response<Body>) -> Response<Body> {
    let is_local = matches!(exchange.source, Some(Source::Gateway | Source::Plugin));
    if !is_local || response.status().is_success() || is_grpc(response.headers()) {
        exchange.grpc_status = status(response.headers());
        return response;
    }
    let (mut head, body) = response.into_parts();
    // What the gateway found wrong says more than the status of its answer.
    let code = match (exchange.source, exchange.grpc_status) {
        (Some(Source::Gateway), Some(code)) => HeaderValue::from(code),
        _ => Code::of(head.status).value(),
    };
    let problem = body.collect(MAX_PROBLEM).await;
    let problem = problem.map(|(bytes, _)| bytes).unwrap_or_default();
    let message = message(&problem, head.status);
    head.status = StatusCode::OK;
    head.headers.remove(CONTENT_LENGTH);
    head.headers
        .insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
    exchange.grpc_status = code.to_str().ok().and_then(|code| code.parse().ok());
    head.headers.insert(STATUS, code);
    if let Ok(message) = HeaderValue::try_from(message) {
        head.headers.insert(MESSAGE, message);
    }
    Response::from_parts(head, Body::empty())
}

/// What a problem's document says in words, percent-encoded as gRPC has it: everything but visible ASCII and the space.
fn message(problem: &[u8], status: StatusCode) -> String {
    const ENCODED: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'%');
    let document: serde_json::Value = serde_json::from_slice(problem).unwrap_or_default();
    let words = ["detail", "title", "message", "code"];
    let text = words.iter().find_map(|word| document.get(word)?.as_str());
    let text = text.or(status.canonical_reason()).unwrap_or_default();
    percent_encoding::utf8_percent_encode(text, ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn timeouts_have_up_to_eight_digits_and_a_unit() {
        let parsed = |text| timeout(&headers(TIMEOUT, text));
        assert_eq!(parsed("1S"), Some(Duration::from_secs(1)));
        assert_eq!(parsed("250m"), Some(Duration::from_millis(250)));
        assert_eq!(
            parsed("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3_600))
        );
        assert_eq!(parsed("7u"), Some(Duration::from_micros(7)));
        for wrong in [
            "",
            "S",
            "1",
            "1s",
            "-1S",
            "+1S",
            "1.5S",
            "123456789S",
            "1 S",
        ] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn grpc_is_told_from_grpc_web() {
        for (kind, is) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x=1", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(is_grpc(&headers(CONTENT_TYPE, kind)), is, "{kind}");
        }
    }

    #[test]
    fn messages_are_ascii() {
        let problem = br#"{"title": "Zu viel: 100 % \u00fc\n"}"#;
        assert_eq!(
            message(problem, StatusCode::BAD_REQUEST),
            "Zu viel: 100 %25 %C3%BC%0A"
        );
        assert_eq!(message(b"plain", StatusCode::FORBIDDEN), "Forbidden");
    }
}
