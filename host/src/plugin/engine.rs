//! The one wasmtime engine: how code is compiled, where instances live, and the clock that interrupts them.
//!
//! Figures behind the settings: docs/decisions/0002-calling-plugins.md.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::Thread;
use std::time::Duration;

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use super::cache::CodeCache;
use super::error::EngineError;
use crate::config::EngineConfig;

/// How often running guests are looked at: the granularity of CPU budgets.
const TICK: Duration = Duration::from_millis(1);

/// Deep enough for any filter; a guest that recurses deeper traps.
const WASM_STACK_BYTES: usize = 512 << 10;
/// Fibers hold the guest's stack and that of the host functions that it calls.
const FIBER_STACK_BYTES: usize = 1 << 20;
/// Memory of an instance slot that is kept and cleared by `memset` rather than given back: less than this is
/// what most filters touch.
const KEEP_RESIDENT_BYTES: usize = 2 << 20;
const BACKTRACE_FRAMES: usize = 16;
/// A component of std Rust has about four core instances; JavaScript ones have more.
const CORE_INSTANCES_PER_COMPONENT: u32 = 20;

/// Compiles components and holds what all instances share.
pub struct Engine {
    pub(super) wasmtime: wasmtime::Engine,
    pub(super) cache: Option<CodeCache>,
    max_memory: usize,
    ticker: Ticker,
}

impl Engine {
    /// Makes the engine and starts its ticker.
    ///
    /// # Errors
    /// When wasmtime refuses the settings, or the cache directory cannot be made private.
    pub fn new(config: &EngineConfig) -> Result<Self, EngineError> {
        let wasmtime = wasmtime::Engine::new(&pooling(config))
            .or_else(|error| {
                // Address space is limited (a container, or a 32-bit userland): instances are then made on demand.
                tracing::warn!(%error, "no pool for plugin instances; they are allocated on demand, which is slower");
                wasmtime::Engine::new(&base())
            })
            .map_err(EngineError::Settings)?;
        let directory = config.cache.clone().or_else(default_cache_directory);
        let cache = directory
            .map(|directory| CodeCache::open(directory, &wasmtime))
            .transpose()?;
        let ticker = Ticker::start(&wasmtime)?;
        Ok(Self {
            wasmtime,
            cache,
            max_memory: config.max_memory,
            ticker,
        })
    }

    /// Wakes the ticker: from now on there are guests to interrupt.
    pub(super) fn begin_ticking(&self) {
        self.ticker.begin();
    }

    /// Most memory that one instance can have.
    #[must_use]
    pub fn max_memory(&self) -> usize {
        self.max_memory
    }
}

fn base() -> Config {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .wasm_backtrace_max_frames(NonZeroUsize::new(BACKTRACE_FRAMES))
        .generate_address_map(false)
        // What no plugin needs is switched off, and is then no attack surface.
        .wasm_memory64(false)
        .wasm_relaxed_simd(false)
        .shared_memory(false);
    config
}

fn pooling(config: &EngineConfig) -> Config {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(config.max_instances)
        .total_core_instances(config.max_instances.saturating_mul(4))
        .total_memories(config.max_instances)
        .total_tables(config.max_instances.saturating_mul(2))
        .total_stacks(config.max_instances)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(1)
        .max_memory_size(config.max_memory)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    let mut engine = base();
    engine.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    engine
}

fn default_cache_directory() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    Some(base.join("postern"))
}

/// A thread of its own, so that a guest that occupies a worker is interrupted all the same. It sleeps until there is a
/// plugin, and stops when dropped.
struct Ticker {
    state: Arc<AtomicU8>,
    thread: Thread,
}

const ASLEEP: u8 = 0;
const TICKING: u8 = 1;
const STOPPED: u8 = 2;

impl Ticker {
    fn start(engine: &wasmtime::Engine) -> Result<Self, EngineError> {
        let engine = engine.weak();
        let state = Arc::new(AtomicU8::new(ASLEEP));
        let seen = Arc::clone(&state);
        let tick = move || {
            loop {
                match seen.load(Ordering::Relaxed) {
                    ASLEEP => std::thread::park(),
                    TICKING => {
                        #[expect(
                            clippy::disallowed_methods,
                            reason = "a thread that does nothing else"
                        )]
                        std::thread::sleep(TICK);
                        let Some(engine) = engine.upgrade() else {
                            return;
                        };
                        engine.increment_epoch();
                    }
                    _ => return,
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("postern-ticker".into())
            .spawn(tick)
            .map_err(EngineError::Thread)?;
        Ok(Self {
            state,
            thread: thread.thread().clone(),
        })
    }

    fn begin(&self) {
        self.set(TICKING);
    }

    fn set(&self, state: u8) {
        self.state.store(state, Ordering::Relaxed);
        self.thread.unpark();
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.set(STOPPED);
    }
}
