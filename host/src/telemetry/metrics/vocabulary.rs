//! The words that stand in labels.

use crate::types::Source;

/// A phase of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PluginPhase {
    /// `on-request`
    Request,
    /// `on-request-body`
    RequestBody,
    /// `on-response`
    Response,
    /// `on-response-body`
    ResponseBody,
    /// `respond`
    Respond,
    /// `on-request-stream`
    RequestStream,
    /// `on-request-chunk`, `on-request-end`
    RequestChunk,
    /// `on-response-stream`
    ResponseStream,
    /// `on-response-chunk`, `on-response-end`
    ResponseChunk,
}

impl PluginPhase {
    pub(super) const COUNT: usize = 9;

    /// The word for logs and metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::RequestBody => "request-body",
            Self::Response => "response",
            Self::ResponseBody => "response-body",
            Self::Respond => "respond",
            Self::RequestStream => "request-stream",
            Self::RequestChunk => "request-chunk",
            Self::ResponseStream => "response-stream",
            Self::ResponseChunk => "response-chunk",
        }
    }
}

/// What became of a copy of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirrorOutcome {
    /// It was answered.
    Sent,
    /// It was not made: too many were under way, or its body was too large.
    Dropped,
    /// It was not answered.
    Failed,
}

impl MirrorOutcome {
    /// The word for metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
        }
    }
}

/// How a call of a plugin ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PluginOutcome {
    /// The exchange goes on as it is.
    Next,
    /// It goes on, changed.
    Edit,
    /// The plugin answered, or replaced the answer.
    Reply,
    /// The call failed.
    Failed,
}

impl PluginOutcome {
    pub(super) const COUNT: usize = 4;

    /// The word for logs and metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Edit => "edit",
            Self::Reply => "reply",
            Self::Failed => "failed",
        }
    }
}

/// How an attempt to load something anew ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// The new one is in force.
    Applied,
    /// There was nothing new.
    Unchanged,
    /// The old one stays in force.
    Failed,
}

impl ReloadOutcome {
    /// The word for logs and metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
        }
    }
}

/// How a TLS handshake with a client ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeOutcome {
    /// There is a connection.
    Done,
    /// The two could not agree, or the client's certificate is not good.
    Failed,
    /// It took too long.
    Timeout,
    /// Too many others were under way.
    Refused,
}

impl HandshakeOutcome {
    /// The word for metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
        }
    }
}

/// Why a connection was closed before anything was served on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionRefusal {
    /// The listener has as many as it may have.
    MaxConnections,
    /// Its client has.
    MaxConnectionsPerAddress,
    /// It did not begin with a PROXY protocol header, or came from somebody who may not send one.
    ProxyProtocol,
}

impl ConnectionRefusal {
    /// The word for logs and metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MaxConnections => "max-connections",
            Self::MaxConnectionsPerAddress => "max-connections-per-address",
            Self::ProxyProtocol => "proxy-protocol",
        }
    }
}

/// The word for who made an answer. Nobody did when the client went away first.
pub(super) fn source_label(source: Option<Source>) -> &'static str {
    source.map_or("client", Source::as_str)
}

/// One place for each word of `source_label`.
pub(super) fn source_index(source: Option<Source>) -> usize {
    match source {
        None => 0,
        Some(Source::Upstream) => 1,
        Some(Source::Plugin) => 2,
        Some(Source::Gateway) => 3,
    }
}

/// How many words `source_label` has.
pub(super) const SOURCES: usize = 4;
