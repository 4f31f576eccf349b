//! What the end-to-end tests are written with: a gateway, scripted upstreams, clients, and patience.
//!
//! Tests speak to a gateway over real sockets, in two rings: in the test's process (`Gateway::with(..).start()`), which
//! is fast, and as the real program (`.process()`), where signals, exit codes or its memory matter.

// A test fails by panicking, and so does its harness.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a harness fails by panicking, at the line that is wrong"
)]

pub mod client;
pub mod dialogue;
pub mod dnsmasq;
pub mod eventually;
pub mod front;
pub mod gateway;
pub mod golden;
pub mod guests;
pub mod load;
pub mod log;
pub mod network;
pub mod peers;
pub mod pki;
pub mod raw;
pub mod redis;
pub mod setup;
pub mod tool;
pub mod upstream;
mod wire;

pub use client::{Answer, Call, Connection};
pub use dialogue::{Dialogue, Question};
pub use dnsmasq::Dnsmasq;
pub use gateway::Gateway;
pub use raw::{ByHand, Raw};
pub use redis::Redis;
pub use upstream::{Gate, Script, Upstream, reply};
