//! HTTP requests to the operator's upstreams: balancing, pooling and timeouts are the host's. Granted by naming the
//! upstreams in the plugin's `upstreams`.
//!
//! ```
//! use postern_plugin::outbound::{self, OutboundRequest};
//! # use postern_plugin::{Method, testing::Host};
//! # let _host = Host::new();
//! let request = OutboundRequest::new(Method::Get, "users", "/users/7").header("accept", "application/json");
//! match outbound::send(&request) {
//!     Ok(response) if response.status == 200 => { /* read response.body */ }
//!     Ok(_) | Err(_) => { /* answer without it */ }
//! }
//! ```

use std::time::Duration;

use crate::host::call;
use crate::{Header, Method, header};

pub use crate::bindings::imports::postern::plugin::outbound::{
    OutboundError, OutboundRequest, OutboundResponse,
};

/// Sends one request and waits for the whole response.
pub fn send(request: &OutboundRequest) -> Result<OutboundResponse, OutboundError> {
    call!(outbound::send(request))
}

/// Sends all in parallel; answers in the order of the requests.
pub fn send_all(requests: &[OutboundRequest]) -> Vec<Result<OutboundResponse, OutboundError>> {
    call!(outbound::send_all(requests))
}

impl OutboundRequest {
    /// A request without headers and body, with the upstream's own timeout. `path_and_query` begins with `/`.
    pub fn new(
        method: Method,
        upstream: impl Into<String>,
        path_and_query: impl Into<String>,
    ) -> Self {
        OutboundRequest {
            method,
            upstream: upstream.into(),
            path_and_query: path_and_query.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout_ms: 0,
            max_body: 0,
            wanted_headers: Vec::new(),
        }
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push(Header::new(name, value));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// For the whole call, at least a millisecond; the plugin's `wall` budget caps it.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout_ms = u32::try_from(timeout.as_millis())
            .unwrap_or(u32::MAX)
            .max(1);
        self
    }

    /// Asks for a response header, `*` for all; without it, the response comes without headers.
    pub fn wanted_header(mut self, name: impl Into<String>) -> Self {
        self.wanted_headers.push(name.into());
        self
    }

    /// Most bytes of the response body; the plugin's `body-size` budget caps it.
    pub fn max_body(mut self, bytes: u32) -> Self {
        self.max_body = bytes;
        self
    }
}

impl OutboundResponse {
    /// The first value of a header that was asked for; none if it is absent or not UTF-8.
    pub fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        header::first(&self.headers, name)
    }
}
