//! Postern: an API gateway that is programmed with sandboxed WebAssembly plugins.
//!
//! The modules stand on floors: one imports only its own parts and modules of lower floors; modules of one floor are
//! strangers. `tests/floors.rs` sees to it. Life of a request, with file names: `docs/request.md`.

// F5: what the binary calls.
pub mod app;
pub mod cli;
// F4: where requests come in, and where operators look.
pub mod admin;
pub mod listener;
// F3: from a request to its response.
pub mod proxy;
// F2: strangers to each other; `app` wires them together.
pub mod identity;
pub mod plugin;
pub mod router;
pub mod state;
pub mod upstream;
// F1: what everybody reads and writes.
pub mod config;
pub mod telemetry;
// F0: plain data and small tools.
pub mod body;
pub mod certificate;
pub mod clock;
pub mod exchange;
#[cfg(test)]
mod fuzz;
pub mod shutdown;
pub mod types;
pub mod watch;
