//! What plugins may call: one file for each interface of the WIT package.

mod clock;
mod exchange;
mod identity;
mod keys;
mod limits;
pub(super) mod log;
mod metrics;
mod outbound;
pub(super) mod remote;
mod store;

impl super::bindings::postern::plugin::types::Host for super::state::State {}
