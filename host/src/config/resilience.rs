//! Words of the tables about services in trouble.

use serde::{Deserialize, Deserializer};

use super::values::{Refusal, from_text, one_of, text_value};
use crate::types::Importance;

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
text_value!(
    /// `low`, `normal`, `high`
    #[derive(Copy)]
    ImportanceWord(Importance), "one of low, normal, high",
    |text| one_of(text, &[("low", Importance::Low), ("normal", Importance::Normal), ("high", Importance::High)])
);
text_value!(
    /// The name of a header that says how long a client waits.
    DeadlineHeader(http::HeaderName), "a header name like \"x-request-timeout-ms\"", deadline_header
);

/// Fields that mean something else already.
const TAKEN: [&str; 10] = [
    "host",
    "content-length",
    "content-type",
    "connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "grpc-timeout",
    "authorization",
    "cookie",
];

fn deadline_header(text: &str) -> Result<http::HeaderName, Refusal> {
    let expected = || Refusal::expected("a header name like \"x-request-timeout-ms\"", text);
    let name = http::HeaderName::from_bytes(text.as_bytes()).map_err(|_| expected())?;
    match TAKEN.contains(&name.as_str()) {
        true => Err(expected().help("this one means something else already")),
        false => Ok(name),
    }
}
