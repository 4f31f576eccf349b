//! Idle instances of a plugin, one stack for each worker: the one used last is warm and is used first.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::Plugin;
use super::error::{CallError, FailureReason};
use super::instance::Instance;
use super::ports::{Outbound, OutboundFailure, OutboundFuture, OutboundRequest};

/// More idle instances than this are not kept; only plugins that suspend ever have more than one on a worker.
const MAX_IDLE: usize = 32;

/// The worker on whose behalf plugins run.
#[derive(Clone)]
pub struct Worker {
    /// Its number, from 0.
    pub index: usize,
    /// Its connections.
    pub outbound: Arc<dyn Outbound>,
}

/// One stack for each worker. A worker only ever locks its own, so the lock is never waited for.
pub(super) struct Pools(Box<[Slot]>);

/// On a cache line of its own.
#[repr(align(128))]
struct Slot {
    idle: Mutex<Vec<Instance>>,
    /// For plugins that share their worker by yielding: one at a time, or many of them would yield to each other only.
    turn: Semaphore,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            idle: Mutex::default(),
            turn: Semaphore::new(1),
        }
    }
}

impl Pools {
    pub(super) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Slot::default()).collect())
    }

    fn pop(&self, worker: &Worker) -> Option<Instance> {
        let slot = self.0.get(worker.index)?;
        let idle = slot.idle.lock();
        idle.unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn push(&self, worker: &Worker, instance: Instance) {
        let Some(slot) = self.0.get(worker.index) else {
            return;
        };
        let mut idle = slot.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(instance);
        }
    }
}

impl Plugin {
    /// Waits until no other call of this plugin occupies the worker. Only a plugin that may take long, and waits for
    /// nobody, has to.
    pub(super) async fn turn(&self, worker: &Worker) -> Option<SemaphorePermit<'_>> {
        if !self.shared.is_heavy() || self.linked.suspends {
            return None;
        }
        let slot = self.pools.0.get(worker.index)?;
        slot.turn.acquire().await.ok()
    }

    /// An idle instance, or a new one.
    pub(super) async fn check_out(&self, worker: &Worker) -> Result<Instance, CallError> {
        if !self.isolated
            && let Some(instance) = self.pools.pop(worker)
        {
            return Ok(instance);
        }
        let started = Instance::start(
            &self.linked,
            &self.shared,
            worker,
            &self.config,
            self.short_configure,
        )
        .await;
        let (instance, interest) = started.map_err(|error| CallError {
            reason: FailureReason::Start,
            ..error
        })?;
        let interest = super::Interest::check(interest, self.shared.budget.body_size);
        if interest.is_ok_and(|interest| interest == self.interest) {
            return Ok(instance);
        }
        Err(CallError::new(
            FailureReason::Start,
            "its configure returned another interest than at first",
        ))
    }

    /// Takes an instance back after a call that went well.
    pub(super) fn check_in(&self, worker: &Worker, instance: Instance) {
        if !self.isolated && instance.is_worth_keeping(self.shared.budget.max_calls) {
            self.pools.push(worker, instance);
        }
    }
}

/// For trial instances: `configure` cannot call out.
pub(super) struct NoOutbound;

impl Outbound for NoOutbound {
    fn send(&self, _: OutboundRequest) -> OutboundFuture {
        Box::pin(async {
            Err(OutboundFailure::Unavailable(
                "configure cannot call upstreams".into(),
            ))
        })
    }
}
