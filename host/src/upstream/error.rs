//! Why an upstream gave no response.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use super::protection::Rejection;
use crate::body::BodyError;

/// Why an upstream gave no response. Details are for the log.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection could be made in time.
    #[error("no connection to {target} within {limit:?}")]
    ConnectTimeout {
        /// The target.
        target: Arc<str>,
        /// How long was waited.
        limit: Duration,
    },
    /// A connection was refused, or the name has no address.
    #[error("no connection to {target}: {source}")]
    Connect {
        /// The target.
        target: Arc<str>,
        /// Why.
        source: std::io::Error,
    },
    /// The target and we could not agree on TLS, or its certificate is not good.
    #[error("no TLS with {target}: {source}")]
    Tls {
        /// The target.
        target: Arc<str>,
        /// Why.
        source: std::io::Error,
    },
    /// The response's head did not come in time.
    #[error("no response from {target} within {limit:?}")]
    ResponseTimeout {
        /// The target.
        target: Arc<str>,
        /// How long was waited.
        limit: Duration,
    },
    /// The target closed the connection instead of answering.
    #[error("{target} closed the connection without a response")]
    Closed {
        /// The target.
        target: Arc<str>,
    },
    /// There are as many connections as there may be, and none came back in time, or too many wait for one.
    #[error("no connection to {target} is free")]
    PoolFull {
        /// The target.
        target: Arc<str>,
    },
    /// The target refused to look at the request, each time that it was sent.
    #[error("{target} refused the request")]
    Refused {
        /// The target.
        target: Arc<str>,
    },
    /// The target changed to another protocol, and nobody had asked it to.
    #[error("{target} switched protocols unasked")]
    Switched {
        /// The target.
        target: Arc<str>,
    },
    /// What the target sent is not HTTP.
    #[error("the response of {target} is not valid HTTP: {}", in_full(source))]
    Protocol {
        /// The target.
        target: Arc<str>,
        /// What is wrong with it.
        source: hyper::Error,
    },
    /// There is no target: none was found yet, or none is there any more.
    #[error("upstream {upstream:?} has no target")]
    NoTarget {
        /// The upstream.
        upstream: Arc<str>,
    },
    /// It was not sent, to protect the service or those who wait for it.
    #[error("the request was not sent to upstream {upstream:?}: {}", reason.as_str())]
    Rejected {
        /// The upstream.
        upstream: Arc<str>,
        /// Why.
        reason: Rejection,
    },
    /// A plugin that the request body passes through failed.
    #[error("plugin {0:?} failed on the request body")]
    Plugin(Arc<str>),
    /// What the target sent is HTTP, but where it ends is not certain, or it is no answer to what was asked.
    #[error("the response of {target} cannot be passed on: {what}")]
    Framing {
        /// The target.
        target: Arc<str>,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The client's body broke off, or was too large, while it was forwarded.
    #[error("the request body could not be forwarded: {kind}")]
    RequestBody {
        /// Whether it was too large.
        too_large: bool,
        /// In words.
        kind: String,
    },
}

impl UpstreamError {
    /// What a failed exchange with `target` means.
    pub(super) fn of(error: hyper::Error, target: &Arc<str>) -> Self {
        if let Some(body) = request_body_error(&error) {
            if let BodyError::Plugin(name) = body {
                return Self::Plugin(Arc::clone(name));
            }
            return Self::RequestBody {
                too_large: matches!(body, BodyError::TooLarge),
                kind: body.to_string(),
            };
        }
        let target = Arc::clone(target);
        if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
            return Self::Closed { target };
        }
        if error.is_parse() {
            return Self::Protocol {
                target,
                source: error,
            };
        }
        if is_end_of_connection(&error) {
            return Self::Closed { target };
        }
        Self::Protocol {
            target,
            source: error,
        }
    }
}

/// An error and what caused it: of HTTP/2, only the cause says what happened.
fn in_full(error: &hyper::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Whether the connection failed, and not what was said on it.
fn is_end_of_connection(error: &hyper::Error) -> bool {
    let Some(source) = error.source() else {
        return false;
    };
    match source.downcast_ref::<h2::Error>() {
        Some(error) => error.is_io() || error.is_go_away(),
        None => source.is::<std::io::Error>(),
    }
}

fn request_body_error(error: &hyper::Error) -> Option<&BodyError> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(body) = cause.downcast_ref::<BodyError>() {
            return Some(body);
        }
        source = cause.source();
    }
    None
}
