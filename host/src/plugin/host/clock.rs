//! `clock`: time.

use wasmtime::Result;

use crate::plugin::bindings::postern::plugin::clock::Host;
use crate::plugin::state::State;

impl Host for State {
    fn unix_ms(&mut self) -> Result<u64> {
        Ok(self.shared.services.clock.unix_ms())
    }

    fn monotonic_ns(&mut self) -> Result<u64> {
        Ok(u64::try_from(self.shared.services.clock.now().as_nanos()).unwrap_or(u64::MAX))
    }
}
