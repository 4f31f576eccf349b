//! The janitor of one worker on one listener: closes connections on which nothing happens, and all of them in a drain.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::activity::{Activity, Order, Overdue, Watch};
use crate::config::ListenerConfig;
use crate::shutdown::DrainSignal;

/// Looks at the connections of one worker.
pub(super) struct Janitor {
    header_timeout: Duration,
    idle_timeout: Duration,
    connections: Mutex<Vec<Watch>>,
}

impl Janitor {
    pub(super) fn new(config: &ListenerConfig) -> Arc<Self> {
        let (header_timeout, idle_timeout) = (config.header_timeout, config.idle_timeout);
        Arc::new(Self {
            header_timeout,
            idle_timeout,
            connections: Mutex::default(),
        })
    }

    /// Looks after a connection from now on.
    pub(super) fn admit(&self) -> Arc<Activity> {
        let activity = Arc::new(Activity::default());
        let watch = Watch::new(
            Arc::clone(&activity),
            self.header_timeout,
            self.idle_timeout,
        );
        self.lock().push(watch);
        activity
    }

    /// Works for as long as the worker does.
    pub(super) async fn run(self: Arc<Self>, mut drain: DrainSignal) {
        // Timeouts are exact to this.
        let interval = self.header_timeout.min(self.idle_timeout) / 4;
        let interval = interval.clamp(Duration::from_millis(10), Duration::from_secs(1));
        let mut draining = false;
        loop {
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = drain.draining(), if !draining => draining = true,
            }
            self.round(Instant::now(), draining);
        }
    }

    fn round(&self, now: Instant, draining: bool) {
        self.lock().retain_mut(|watch| {
            let overdue = watch.look(now);
            let Some(activity) = watch.activity() else {
                return false;
            };
            match overdue {
                Some(Overdue::Head) => activity.order(Order::Close),
                // Whoever was asked to finish and still does nothing has nothing to finish.
                Some(Overdue::Idle) if activity.ordered() == Order::Finish => {
                    activity.order(Order::Close)
                }
                Some(Overdue::Idle) => activity.order(Order::Finish),
                None if draining => activity.order(Order::Finish),
                None => {}
            }
            true
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Watch>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
