//! What a Rust author of a Postern plugin depends on.
//!
//! A plugin is a type that implements [`Plugin`] and one trait for each phase it takes part in. [`export!`] names those
//! phases, and only they become exports of the component: a phase that is not named costs nothing.
//!
//! ```
//! use postern_plugin::{Interest, Plugin, RequestEdits, RequestHead, RequestPhase, RequestVerdict};
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields, rename_all = "kebab-case")]
//! struct Config {
//!     greeting: String,
//! }
//!
//! struct Hello {
//!     greeting: String,
//! }
//!
//! impl Plugin for Hello {
//!     type Config = Config;
//!
//!     fn configure(config: Config) -> Result<Self, String> {
//!         Ok(Hello { greeting: config.greeting })
//!     }
//!
//!     fn interest(&self) -> Interest {
//!         Interest::new().request_headers(["user-agent"])
//!     }
//! }
//!
//! impl RequestPhase for Hello {
//!     fn on_request(&self, head: RequestHead) -> RequestVerdict {
//!         let agent = head.header("user-agent").unwrap_or("stranger");
//!         RequestEdits::new().set("x-greeting", format!("{}, {agent}", self.greeting)).into()
//!     }
//! }
//!
//! postern_plugin::export!(Hello: request);
//! # fn main() {}
//! ```
//!
//! The crate's README builds and runs a whole plugin. Modules, one per interface of the host: [`log`], [`exchange`] and
//! [`clock`] are always there; [`identity`], [`keys`], [`limits`], [`store`], [`metrics`] and [`outbound`] must be granted in
//! the gateway's configuration, and a component imports only what its code calls.
//!
//! Host functions exist only within the gateway. Natively they panic, unless the feature `testing` is on: then the
//! fake host of `testing` answers them, so that a plugin's logic runs under `cargo test`.

#![deny(missing_docs)]

#[allow(
    missing_docs,
    unreachable_pub,
    unsafe_code,
    rust_2018_idioms,
    clippy::allow_attributes_without_reason,
    reason = "generated, and hidden"
)]
mod bindings;

pub mod address;
pub mod clock;
pub mod config;
mod edits;
pub mod exchange;
#[allow(missing_docs, reason = "hidden, but for the macro")]
mod export;
pub mod header;
mod host;
pub mod identity;
pub mod keys;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod outbound;
mod plugin;
pub mod query;
mod reply;
mod request;
mod response;
pub mod store;
mod stream;
#[cfg(all(feature = "testing", not(target_arch = "wasm32")))]
pub mod testing;

pub use bindings::imports::postern::plugin::types::{
    Header, HeaderEdit, HttpVersion, IpAddress, Method, Reply, RequestEdits, RequestHead,
    RequestVerdict, ResponseEdits, ResponseHead, ResponseVerdict, Scheme, Source, StreamEnd,
};
pub use bindings::lifecycle::{HeaderSelection, Interest, Phases};
pub use config::NoConfig;
pub use plugin::{
    Plugin, RequestBodyPhase, RequestPhase, Responder, ResponseBodyPhase, ResponsePhase,
};
pub use stream::{
    BodyStream, RequestStreamPhase, RequestStreamVerdict, ResponseStreamPhase,
    ResponseStreamVerdict, StreamVerdict,
};

/// For `export!` only; no part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings::{
        lifecycle, request, request_body, request_stream, responder, response, response_body,
        response_stream,
    };
    pub use crate::export::{Cell, NotImplemented, Probe, configure, is_listed, with};
    pub use crate::stream::cell::{BodyCell, chunk, end, open_request, open_response};
}
