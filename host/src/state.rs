//! Counters and keys that requests share: in memory, or on a server that nodes share.
//!
//! All of it may be lost, all of it is bounded, and none of it is ever the reason to refuse somebody: when room is
//! short, the oldest is forgotten. Time is given by the caller, so that tests can move it.

mod limits;
mod places;
mod redis;
mod store;

pub use self::redis::{Expected, Redis, RedisError};
pub use limits::{Decision, Decisions, LimitError, Limits};
pub use places::{Place, Places};
pub use store::{Entry, Store, StoreError, Stores};
