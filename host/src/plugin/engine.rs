//! The one wasmtime engine: how code is compiled, where instances live, and the clock that interrupts them.
//!
//! Figures behind the settings: docs/decisions/0002-calling-plugins.md.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use super::cache::CodeCache;
use super::error::EngineError;
use crate::config::EngineConfig;

/// How often running guests are looked at: the granularity of CPU budgets.
pub(super) const TICK: Duration = Duration::from_millis(1);

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

/// Compiles components and holds what all instances share. Stops its ticker when dropped.
pub struct Engine {
    pub(super) wasmtime: wasmtime::Engine,
    pub(super) cache: Option<CodeCache>,
    max_memory: usize,
    stopped: Arc<AtomicBool>,
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
        let stopped = Arc::new(AtomicBool::new(false));
        start_ticker(&wasmtime, Arc::clone(&stopped))?;
        Ok(Self {
            wasmtime,
            cache,
            max_memory: config.max_memory,
            stopped,
        })
    }

    /// Most memory that one instance can have.
    #[must_use]
    pub fn max_memory(&self) -> usize {
        self.max_memory
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
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

/// A thread of its own, so that a guest that occupies a worker is interrupted all the same.
fn start_ticker(engine: &wasmtime::Engine, stopped: Arc<AtomicBool>) -> Result<(), EngineError> {
    let engine = engine.weak();
    std::thread::Builder::new()
        .name("postern-ticker".into())
        .spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                #[expect(clippy::disallowed_methods, reason = "a thread that does nothing else")]
                std::thread::sleep(TICK);
                let Some(engine) = engine.upgrade() else {
                    return;
                };
                engine.increment_epoch();
            }
        })
        .map_err(EngineError::Thread)?;
    Ok(())
}
