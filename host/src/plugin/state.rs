//! What the host keeps for one instance: whom it serves, what it may use, what it has used.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wasmtime::ResourceLimiter;

use super::cpu::CpuMeter;
use super::pool::Worker;
use super::ports::{Outbound, Services};
use super::wasi::Output;
use crate::config::BudgetConfig;
use crate::exchange::Exchange;
use crate::telemetry::{GuestMetrics, PluginMetrics};

/// What all instances of one plugin share.
pub(super) struct Shared {
    pub(super) name: Arc<str>,
    pub(super) budget: BudgetConfig,
    /// Upstreams that it may call or route to.
    pub(super) upstreams: Vec<Arc<str>>,
    pub(super) services: Services,
    pub(super) metrics: Arc<PluginMetrics>,
    pub(super) guest_metrics: Arc<GuestMetrics>,
    /// Outbound requests under way on all workers.
    pub(super) outbound_under_way: std::sync::atomic::AtomicU32,
    /// Set when a call overran its CPU budget: from then on calls run on a fiber, so that a plugin that loops
    /// shares its worker.
    pub(super) heavy: AtomicBool,
}

impl Shared {
    pub(super) fn is_heavy(&self) -> bool {
        self.heavy.load(Ordering::Relaxed)
    }
}

/// The data of one store.
pub(super) struct State {
    pub(super) shared: Arc<Shared>,
    /// The exchange that the current call serves. It is moved in and out, so it is dropped (and logged) even when the
    /// call is abandoned in the middle.
    pub(super) exchange: Option<Box<Exchange>>,
    /// The number of the worker that it belongs to.
    pub(super) worker: usize,
    pub(super) outbound: Arc<dyn Outbound>,
    pub(super) memory: MemoryMeter,
    pub(super) cpu: CpuMeter,
    pub(super) output: Output,
}

impl State {
    pub(super) fn new(shared: Arc<Shared>, worker: &Worker) -> Self {
        shared.metrics.instance_made();
        let memory = MemoryMeter {
            limit: shared.budget.memory,
            used: 0,
            refused: false,
        };
        Self {
            shared,
            exchange: None,
            worker: worker.index,
            outbound: Arc::clone(&worker.outbound),
            memory,
            cpu: CpuMeter::default(),
            output: Output::default(),
        }
    }

    /// Writes what the guest printed without a line end.
    pub(super) fn end_of_call(&mut self) {
        self.output
            .flush(&self.shared.name, self.exchange.as_deref());
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.shared.metrics.instance_gone();
    }
}

/// Refuses memory over the budget, and remembers that it did.
pub(super) struct MemoryMeter {
    limit: usize,
    pub(super) used: usize,
    pub(super) refused: bool,
}

impl ResourceLimiter for MemoryMeter {
    fn memory_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = desired <= self.limit;
        if allowed {
            self.used = desired;
        } else {
            self.refused = true;
        }
        Ok(allowed)
    }

    fn table_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // A table entry is a pointer, and a plugin has no more functions than that.
        Ok(desired <= 100_000)
    }
}
