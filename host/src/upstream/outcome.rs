//! What came of an attempt, as far as it tells something about the target: what health, the breaker and retries judge by.

use http::{HeaderMap, HeaderName, Response, StatusCode};

use super::UpstreamError;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// What came of sending a request to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered.
    Answered {
        /// Status of the response.
        status: StatusCode,
        /// Status of gRPC, where it stands in the head (a response without messages).
        grpc: Option<u16>,
    },
    /// There is no connection: nothing was sent. TLS that fails counts as that.
    ConnectFailure,
    /// It refused to look at the request (RFC 9113, 8.7): nothing was done.
    Refused,
    /// The connection broke, or what came is not HTTP, before there was a response.
    Reset,
    /// No response came in time.
    Timeout,
    /// The client went away, its body broke, or a plugin failed: it says nothing about the target.
    Unrelated,
}

impl Outcome {
    /// Of an attempt: of the head of its response, or of the error that it came to.
    #[must_use]
    pub fn of<B>(attempt: Result<&Response<B>, &UpstreamError>) -> Self {
        match attempt {
            Ok(response) => Self::of_response(response.status(), response.headers()),
            Err(error) => Self::of_error(error),
        }
    }

    fn of_response(status: StatusCode, headers: &HeaderMap) -> Self {
        let grpc = headers
            .get(GRPC_STATUS)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        Self::Answered { status, grpc }
    }

    fn of_error(error: &UpstreamError) -> Self {
        match error {
            UpstreamError::Connect { .. }
            | UpstreamError::ConnectTimeout { .. }
            | UpstreamError::Tls { .. } => Self::ConnectFailure,
            UpstreamError::Refused { .. } => Self::Refused,
            UpstreamError::Closed { .. }
            | UpstreamError::Switched { .. }
            | UpstreamError::Protocol { .. }
            | UpstreamError::Framing { .. } => Self::Reset,
            UpstreamError::ResponseTimeout { .. } => Self::Timeout,
            UpstreamError::Plugin(_)
            | UpstreamError::RequestBody { .. }
            | UpstreamError::PoolFull { .. }
            | UpstreamError::NoTarget { .. }
            | UpstreamError::Rejected { .. } => Self::Unrelated,
        }
    }

    /// The word for metrics: an answer is named by its status elsewhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered { .. } => "status",
            Self::ConnectFailure => "connect-failure",
            Self::Refused => "refused-stream",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Unrelated => "unrelated",
        }
    }

    /// Whether a server failed at the request: 5xx, or no response at all.
    #[must_use]
    pub fn is_failure(self) -> bool {
        match self {
            Self::Answered { status, .. } => status.is_server_error(),
            Self::ConnectFailure | Self::Refused | Self::Reset | Self::Timeout => true,
            Self::Unrelated => false,
        }
    }

    /// Whether the server's status of gRPC says that the server is in trouble: UNKNOWN, DEADLINE_EXCEEDED, INTERNAL,
    /// UNAVAILABLE, DATA_LOSS, which are 5xx in HTTP.
    #[must_use]
    pub fn is_grpc_error(self) -> bool {
        match self {
            Self::Answered { grpc, .. } => matches!(grpc, Some(2 | 4 | 13 | 14 | 15)),
            Self::ConnectFailure
            | Self::Refused
            | Self::Reset
            | Self::Timeout
            | Self::Unrelated => false,
        }
    }

    /// Whether it is what a gateway would say: 502, 503, 504, or no response at all.
    #[must_use]
    pub fn is_gateway_error(self) -> bool {
        match self {
            Self::Answered { status, .. } => matches!(
                status,
                StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT
            ),
            Self::ConnectFailure | Self::Refused | Self::Reset | Self::Timeout => true,
            Self::Unrelated => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_told_apart() {
        let answered = |status| Outcome::of_response(status, &HeaderMap::new());
        let all = [
            (answered(StatusCode::OK), false, false),
            (answered(StatusCode::NOT_FOUND), false, false),
            (answered(StatusCode::INTERNAL_SERVER_ERROR), true, false),
            (answered(StatusCode::BAD_GATEWAY), true, true),
            (Outcome::ConnectFailure, true, true),
            (Outcome::Timeout, true, true),
            (Outcome::Unrelated, false, false),
        ];
        for (outcome, failure, gateway) in all {
            assert_eq!(outcome.is_failure(), failure, "{outcome:?}");
            assert_eq!(outcome.is_gateway_error(), gateway, "{outcome:?}");
        }
    }

    #[test]
    fn the_status_of_grpc_is_read_from_the_head() {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", http::HeaderValue::from_static("14"));
        let outcome = Outcome::of_response(StatusCode::OK, &headers);
        let (status, grpc) = (StatusCode::OK, Some(14));
        assert_eq!(outcome, Outcome::Answered { status, grpc });
    }
}
