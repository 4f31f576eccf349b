//! Why the gateway itself answers.

use std::sync::Arc;

use crate::body::BodyError;
use crate::upstream::UpstreamError;

/// Why the gateway itself answers. How it does is decided in `rescue`.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The request cannot be understood; the sentence is shown to the client.
    #[error("{0}")]
    BadRequest(&'static str),
    /// The host is not one of those that the connection is for.
    #[error("the connection was made for another host")]
    Misdirected,
    /// The request must come over TLS.
    #[error("the request must come over TLS")]
    HttpsRequired {
        /// How the client is told.
        status: http::StatusCode,
        /// Where it is to ask.
        location: http::HeaderValue,
    },
    /// The request was refused while it was read.
    #[error("{0}")]
    Refused(Refusal),
    /// The request expects something else than 100 (RFC 9110, 10.1.1).
    #[error("the expectation is not known")]
    Expectation,
    /// No route takes the host and path.
    #[error("no route takes this host and path")]
    NoRoute,
    /// A route takes the path, but not with this method.
    #[error("no route takes this method for the path")]
    MethodNotAllowed {
        /// The methods that are taken.
        allow: String,
    },
    /// The client asked for a protocol that the route does not allow.
    #[error("the client asked for an upgrade that the route does not allow")]
    UpgradeRefused,
    /// The request body is larger than the route or a plugin allows.
    #[error("the request body is larger than allowed")]
    RequestTooLarge,
    /// The request body broke off.
    #[error("the request body broke off: {0}")]
    RequestBroken(String),
    /// A plugin failed, and its `on-failure` is `closed`.
    #[error("plugin {0:?} failed")]
    PluginFailed(Arc<str>),
    /// It was to fail, for a drill.
    #[error("a fault was injected: status {0}")]
    Fault(http::StatusCode),
    /// The upstream gave no response.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The response broke off while a plugin wanted it whole.
    #[error("the response body could not be read: {0}")]
    ResponseBody(#[source] BodyError),
    /// A plugin chose an upstream that this generation of the configuration does not have.
    #[error("there is no upstream {0:?}")]
    NoUpstream(Arc<str>),
}

impl From<BodyError> for ProxyError {
    /// A request body that could not be read.
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::RequestTooLarge,
            BodyError::Plugin(name) => Self::PluginFailed(name),
            BodyError::Timeout | BodyError::Broken(_) => Self::RequestBroken(error.to_string()),
        }
    }
}

/// Why a request was refused while it was read, and before anything of it was passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not HTTP, or other servers may read it in another way; the sentence is shown to the client.
    #[error("{0}")]
    Malformed(&'static str),
    /// The head has more bytes or fields than allowed.
    #[error("the request head is larger than allowed")]
    HeadTooLarge,
    /// The request target is longer than allowed.
    #[error("the request target is longer than allowed")]
    TargetTooLong,
    /// It is HTTP, but needs something that is not done here; the sentence is shown to the client.
    #[error("{0}")]
    NotImplemented(&'static str),
    /// Another version of HTTP.
    #[error("the version of HTTP is not supported")]
    Version,
}
