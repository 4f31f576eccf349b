//! Words of the tables about services in trouble.

use serde::{Deserialize, Deserializer};

use super::values::{from_text, one_of, text_value};

/// After what a request is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetryOn {
    ConnectFailure,
    RefusedStream,
    Reset,
    Timeout,
}

impl RetryOn {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::ConnectFailure => "connect-failure",
            Self::RefusedStream => "refused-stream",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
        }
    }
}

/// The statuses of gRPC after which another attempt can make sense, by their numbers.
const GRPC_STATUSES: [(&str, u16); 8] = [
    ("cancelled", 1),
    ("unknown", 2),
    ("deadline-exceeded", 4),
    ("resource-exhausted", 8),
    ("aborted", 10),
    ("internal", 13),
    ("unavailable", 14),
    ("data-loss", 15),
];

text_value!(
    /// `connect-failure`, `refused-stream`, `reset`, `timeout`
    RetryOnWord(RetryOn), "one of connect-failure, refused-stream, reset, timeout", |text| one_of(
        text,
        &[RetryOn::ConnectFailure, RetryOn::RefusedStream, RetryOn::Reset, RetryOn::Timeout]
            .map(|word| (word.as_str(), word))
    )
);
text_value!(
    /// `unavailable` and others
    GrpcStatusWord(u16), "a status of gRPC like \"unavailable\"", |text| one_of(text, &GRPC_STATUSES)
);
