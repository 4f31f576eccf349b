//! The only place that maps an error to a response: status, code, headers, body (RFC 9457, RFC 9209).

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode, Version};

use super::error::{ProxyError, Refusal};
use super::grpc::Code;
use crate::body::{Body, BodyError};
use crate::exchange::Exchange;
use crate::types::Source;
use crate::upstream::{Rejection, UpstreamError};

pub(super) const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

impl ProxyError {
    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) | Self::RequestBroken(_) => StatusCode::BAD_REQUEST,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::HttpsRequired { status, .. } => *status,
            Self::Refused(refusal) => match refusal {
                Refusal::Malformed(_) => StatusCode::BAD_REQUEST,
                Refusal::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                Refusal::TargetTooLong => StatusCode::URI_TOO_LONG,
                Refusal::NotImplemented(_) => StatusCode::NOT_IMPLEMENTED,
                Refusal::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            },
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::UpgradeRefused => StatusCode::NOT_IMPLEMENTED,
            Self::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::PluginFailed(_) | Self::NoUpstream(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::ResponseBody(_) => StatusCode::BAD_GATEWAY,
            Self::Fault(status) => *status,
            Self::Upstream(error) => match error {
                UpstreamError::Connect { .. }
                | UpstreamError::ConnectTimeout { .. }
                | UpstreamError::Refused { .. }
                | UpstreamError::NoTarget { .. }
                | UpstreamError::Rejected { .. }
                | UpstreamError::PoolFull { .. }
                | UpstreamError::Plugin(_) => StatusCode::SERVICE_UNAVAILABLE,
                UpstreamError::ResponseTimeout { .. } => StatusCode::GATEWAY_TIMEOUT,
                UpstreamError::Closed { .. }
                | UpstreamError::Switched { .. }
                | UpstreamError::Protocol { .. }
                | UpstreamError::Framing { .. }
                | UpstreamError::Tls { .. } => StatusCode::BAD_GATEWAY,
                UpstreamError::RequestBody {
                    too_large: true, ..
                } => StatusCode::PAYLOAD_TOO_LARGE,
                UpstreamError::RequestBody {
                    too_large: false, ..
                } => StatusCode::BAD_REQUEST,
            },
        }
    }

    /// The stable word of the answer: in its body, in the log and in metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad-request",
            Self::Misdirected => "misdirected-request",
            Self::HttpsRequired { .. } => "https-required",
            Self::Refused(refusal) => match refusal {
                Refusal::Malformed(_) => "bad-request",
                Refusal::HeadTooLarge => "head-too-large",
                Refusal::TargetTooLong => "target-too-long",
                Refusal::NotImplemented(_) => "not-implemented",
                Refusal::Version => "version-not-supported",
            },
            Self::Expectation => "expectation-failed",
            Self::NoRoute => "no-route",
            Self::MethodNotAllowed { .. } => "method-not-allowed",
            Self::UpgradeRefused => "upgrade-refused",
            Self::RequestTooLarge => "request-too-large",
            Self::RequestBroken(_) => "request-incomplete",
            Self::PluginFailed(_) => "plugin-failed",
            Self::NoUpstream(_) => "no-upstream",
            Self::Fault(_) => "fault-injected",
            Self::ResponseBody(BodyError::TooLarge) => "response-too-large",
            Self::ResponseBody(BodyError::Timeout | BodyError::Broken(_)) => "response-incomplete",
            Self::ResponseBody(BodyError::Plugin(_)) => "plugin-failed",
            Self::Upstream(error) => match error {
                UpstreamError::Tls { .. } => "upstream-tls-failed",
                UpstreamError::Plugin(_) => "plugin-failed",
                UpstreamError::Connect { .. } => "upstream-unreachable",
                UpstreamError::ConnectTimeout { .. } => "upstream-connect-timeout",
                UpstreamError::ResponseTimeout { .. } => "upstream-timeout",
                UpstreamError::Closed { .. } => "upstream-closed",
                UpstreamError::Refused { .. } => "upstream-refused",
                UpstreamError::NoTarget { .. } => "upstream-no-target",
                UpstreamError::Rejected { reason, .. } => match reason {
                    Rejection::BreakerOpen => "upstream-breaker-open",
                    Rejection::QueueFull | Rejection::QueueTimeout | Rejection::Displaced => {
                        "upstream-overloaded"
                    }
                },
                UpstreamError::PoolFull { .. } => "upstream-pool-full",
                UpstreamError::Switched { .. }
                | UpstreamError::Protocol { .. }
                | UpstreamError::Framing { .. } => "upstream-protocol-error",
                UpstreamError::RequestBody {
                    too_large: true, ..
                } => "request-too-large",
                UpstreamError::RequestBody {
                    too_large: false, ..
                } => "request-incomplete",
            },
        }
    }

    /// Whether the client's connection is of no further use: where the next request begins is not known, or not to be
    /// trusted (RFC 9112, 6.3 and 9.6).
    fn ends_connection(&self) -> bool {
        match self {
            Self::BadRequest(_)
            | Self::Refused(_)
            | Self::Expectation
            | Self::RequestTooLarge
            | Self::RequestBroken(_)
            | Self::Upstream(UpstreamError::RequestBody { .. }) => true,
            Self::Misdirected
            | Self::HttpsRequired { .. }
            | Self::UpgradeRefused
            | Self::NoRoute
            | Self::MethodNotAllowed { .. }
            | Self::PluginFailed(_)
            | Self::NoUpstream(_)
            | Self::Fault(_)
            | Self::ResponseBody(_)
            | Self::Upstream(
                UpstreamError::Connect { .. }
                | UpstreamError::ConnectTimeout { .. }
                | UpstreamError::ResponseTimeout { .. }
                | UpstreamError::Closed { .. }
                | UpstreamError::Plugin(_)
                | UpstreamError::Refused { .. }
                | UpstreamError::Switched { .. }
                | UpstreamError::Protocol { .. }
                | UpstreamError::Tls { .. }
                | UpstreamError::Framing { .. }
                | UpstreamError::NoTarget { .. }
                | UpstreamError::PoolFull { .. }
                | UpstreamError::Rejected { .. },
            ) => false,
        }
    }

    /// What the client may know: a fixed text for each code.
    fn title(&self) -> &'static str {
        match self {
            Self::BadRequest(what) => what,
            Self::Misdirected => "This connection is for another host",
            Self::HttpsRequired { .. } => "The request must come over TLS",
            Self::Refused(refusal) => match refusal {
                Refusal::Malformed(what) | Refusal::NotImplemented(what) => what,
                Refusal::HeadTooLarge => "The request head is too large",
                Refusal::TargetTooLong => "The request target is too long",
                Refusal::Version => "The version of HTTP is not supported",
            },
            Self::Expectation => "The expectation is not known",
            Self::NoRoute => "Nothing is served at this host and path",
            Self::MethodNotAllowed { .. } => "The method is not allowed here",
            Self::UpgradeRefused => "The protocol is not allowed here",
            Self::RequestTooLarge => "The request body is too large",
            Self::RequestBroken(_) => "The request body is incomplete",
            Self::PluginFailed(_) | Self::NoUpstream(_) => "The gateway cannot serve this request",
            Self::ResponseBody(_) => "The service's response cannot be passed on",
            Self::Fault(_) => "The request was to fail: a drill is under way",
            Self::Upstream(error) => match error {
                UpstreamError::Connect { .. }
                | UpstreamError::ConnectTimeout { .. }
                | UpstreamError::Refused { .. }
                | UpstreamError::PoolFull { .. }
                | UpstreamError::NoTarget { .. } => "The service cannot be reached",
                UpstreamError::Rejected { .. } => "The service has too much to do",
                UpstreamError::Plugin(_) => "The gateway cannot serve this request",
                UpstreamError::ResponseTimeout { .. } => "The service did not answer in time",
                UpstreamError::Tls { .. } => "The service cannot be trusted",
                UpstreamError::Closed { .. }
                | UpstreamError::Switched { .. }
                | UpstreamError::Protocol { .. }
                | UpstreamError::Framing { .. } => "The service gave no valid response",
                UpstreamError::RequestBody {
                    too_large: true, ..
                } => "The request body is too large",
                UpstreamError::RequestBody {
                    too_large: false, ..
                } => "The request body is incomplete",
            },
        }
    }

    /// The error type of RFC 9209, 2.3, for answers that are the gateway's or the upstream's fault.
    pub(super) fn proxy_status(&self) -> Option<&'static str> {
        match self {
            Self::BadRequest(_)
            | Self::Misdirected
            | Self::HttpsRequired { .. }
            | Self::Refused(_)
            | Self::Expectation
            | Self::NoRoute
            | Self::MethodNotAllowed { .. }
            | Self::UpgradeRefused
            | Self::RequestTooLarge
            | Self::RequestBroken(_) => None,
            Self::PluginFailed(_) => Some("proxy_internal_error"),
            Self::NoUpstream(_) => Some("destination_not_found"),
            Self::Fault(_) => Some("proxy_internal_response"),
            Self::ResponseBody(BodyError::TooLarge) => Some("http_response_body_size"),
            Self::ResponseBody(BodyError::Plugin(_)) => Some("proxy_internal_error"),
            Self::ResponseBody(BodyError::Timeout | BodyError::Broken(_)) => {
                Some("http_response_incomplete")
            }
            Self::Upstream(error) => match error {
                UpstreamError::Connect { source, .. } => match source.kind() {
                    std::io::ErrorKind::ConnectionRefused => Some("connection_refused"),
                    _ => Some("destination_unavailable"),
                },
                UpstreamError::Tls { source, .. } => match tls_error(source) {
                    Some(rustls::Error::InvalidCertificate(_)) => Some("tls_certificate_error"),
                    Some(rustls::Error::AlertReceived(_)) => Some("tls_alert_received"),
                    _ => Some("tls_protocol_error"),
                },
                UpstreamError::ConnectTimeout { .. } => Some("connection_timeout"),
                UpstreamError::ResponseTimeout { .. } => Some("http_response_timeout"),
                UpstreamError::Closed { .. } => Some("connection_terminated"),
                UpstreamError::Refused { .. } | UpstreamError::NoTarget { .. } => {
                    Some("destination_unavailable")
                }
                UpstreamError::Rejected { reason, .. } => match reason {
                    Rejection::BreakerOpen => Some("destination_unavailable"),
                    Rejection::QueueFull | Rejection::QueueTimeout | Rejection::Displaced => {
                        Some("connection_limit_reached")
                    }
                },
                UpstreamError::PoolFull { .. } => Some("connection_limit_reached"),
                UpstreamError::Switched { .. } => Some("http_upgrade_failed"),
                UpstreamError::Protocol { .. } | UpstreamError::Framing { .. } => {
                    Some("http_protocol_error")
                }
                UpstreamError::RequestBody { .. } => None,
                UpstreamError::Plugin(_) => Some("proxy_internal_error"),
            },
        }
    }
}

fn tls_error(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// What the answer means to a caller of gRPC.
fn grpc_code(error: &ProxyError) -> Code {
    match error {
        ProxyError::Refused(Refusal::HeadTooLarge | Refusal::TargetTooLong) => {
            Code::ResourceExhausted
        }
        ProxyError::Refused(Refusal::NotImplemented(_)) => Code::Unimplemented,
        ProxyError::BadRequest(_)
        | ProxyError::Misdirected
        | ProxyError::HttpsRequired { .. }
        | ProxyError::Refused(Refusal::Malformed(_) | Refusal::Version)
        | ProxyError::Expectation => Code::InvalidArgument,
        ProxyError::NoRoute | ProxyError::MethodNotAllowed { .. } | ProxyError::UpgradeRefused => {
            Code::Unimplemented
        }
        ProxyError::RequestTooLarge => Code::ResourceExhausted,
        ProxyError::RequestBroken(_) => Code::Cancelled,
        ProxyError::PluginFailed(_) | ProxyError::NoUpstream(_) | ProxyError::Fault(_) => {
            Code::Unavailable
        }
        ProxyError::ResponseBody(_) => Code::Internal,
        ProxyError::Upstream(error) => match error {
            UpstreamError::ResponseTimeout { .. } => Code::DeadlineExceeded,
            UpstreamError::Switched { .. }
            | UpstreamError::Protocol { .. }
            | UpstreamError::Framing { .. } => Code::Internal,
            UpstreamError::RequestBody {
                too_large: true, ..
            } => Code::ResourceExhausted,
            UpstreamError::RequestBody { .. } => Code::Cancelled,
            UpstreamError::Connect { .. }
            | UpstreamError::ConnectTimeout { .. }
            | UpstreamError::Tls { .. }
            | UpstreamError::Refused { .. }
            | UpstreamError::NoTarget { .. }
            | UpstreamError::Rejected { .. }
            | UpstreamError::PoolFull { .. }
            | UpstreamError::Plugin(_)
            | UpstreamError::Closed { .. } => Code::Unavailable,
        },
    }
}

/// Answers in the place of whoever could not, and notes in the exchange why.
pub(super) fn respond(error: &ProxyError, exchange: &mut Exchange) -> Response<Body> {
    let status = error.status();
    exchange.source = Some(Source::Gateway);
    exchange.code = Some(error.code().into());
    exchange.detail = Some(error.to_string());
    if exchange.grpc {
        exchange.grpc_status = Some(grpc_code(error) as u16);
    }
    let problem = serde_json::json!({
        "title": error.title(),
        "status": status.as_u16(),
        "code": error.code(),
        "request_id": exchange.id.to_string(),
    });
    let mut response = Response::new(Body::whole(Bytes::from(problem.to_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    if let Some(kind) = error.proxy_status()
        && let Ok(value) = HeaderValue::try_from(format!("postern; error={kind}"))
    {
        headers.insert(PROXY_STATUS, value);
    }
    if let ProxyError::MethodNotAllowed { allow } = error
        && let Ok(value) = HeaderValue::from_str(allow)
    {
        headers.insert(ALLOW, value);
    }
    if let ProxyError::HttpsRequired { location, .. } = error {
        headers.insert(LOCATION, location.clone());
    }
    if error.ends_connection() && exchange.request.version < Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
