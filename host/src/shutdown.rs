//! Draining: one signal that everybody hears, and a way to wait until the last one is done.

use std::any::Any;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

/// Starts a drain.
#[derive(Debug)]
pub struct Drain(watch::Sender<bool>);

/// Hears of a drain. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DrainSignal(watch::Receiver<bool>);

/// A drain and its signal.
#[must_use]
pub fn drain() -> (Drain, DrainSignal) {
    let (sender, receiver) = watch::channel(false);
    (Drain(sender), DrainSignal(receiver))
}

impl Drain {
    /// Tells everybody to finish what they do and to begin nothing new.
    pub fn start(&self) {
        self.0.send_replace(true);
    }
}

impl DrainSignal {
    /// Whether a drain has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for a drain to begin.
    pub async fn draining(&mut self) {
        // An error means that the sender is gone: nobody is left who would wait for us.
        let _ = self.0.wait_for(|draining| *draining).await;
    }
}

/// Counts tasks: each holds a guard, and `finished` waits for the last guard to go.
#[derive(Debug)]
pub struct Tasks {
    guard: mpsc::Sender<Infallible>,
    gone: mpsc::Receiver<Infallible>,
}

/// Held by a task for as long as it must be waited for.
#[derive(Debug, Clone)]
#[expect(dead_code, reason = "held, never used")]
pub struct TaskGuard(mpsc::Sender<Infallible>);

/// What a connection holds for as long as it is open, such as its place among those that may be. Whoever keeps a
/// connection to himself keeps its seat.
#[derive(Clone)]
#[expect(dead_code, reason = "held, never used")]
pub struct Seat(Arc<dyn Any + Send + Sync>);

impl Seat {
    /// A seat that holds this.
    #[must_use]
    pub fn new(held: impl Any + Send + Sync) -> Self {
        Self(Arc::new(held))
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seat")
    }
}

impl Default for Tasks {
    fn default() -> Self {
        let (guard, gone) = mpsc::channel(1);
        Self { guard, gone }
    }
}

impl Tasks {
    /// A guard for one more task.
    #[must_use]
    pub fn guard(&self) -> TaskGuard {
        TaskGuard(self.guard.clone())
    }

    /// Waits until all guards are gone.
    pub async fn finished(self) {
        let Self { guard, mut gone } = self;
        drop(guard);
        let _ = gone.recv().await;
    }
}
