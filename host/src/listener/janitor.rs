//! The janitor of one worker on one listener: closes connections on which nothing happens, and all of them in a drain.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Listener;
use super::activity::{Activity, Order, Overdue, Patience, Watch};
use crate::config::ListenerConfig;

/// The longest time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// The same in a drain, which should not take long.
const DRAIN_INTERVAL: Duration = Duration::from_millis(50);

/// Looks at the connections of one worker.
#[derive(Default)]
pub(super) struct Janitor(Mutex<Vec<Watch>>);

impl Janitor {
    /// Looks after a connection from now on.
    pub(super) fn admit(&self, config: &ListenerConfig) -> Arc<Activity> {
        let activity = Arc::new(Activity::default());
        let patience = Patience {
            header: config.header_timeout,
            idle: config.idle_timeout,
            body: config.pace.body_timeout,
            bytes_per_second: config.pace.min_body_rate,
            write: config.pace.write_timeout,
        };
        let watch = Watch::new(Arc::clone(&activity), patience);
        self.lock().push(watch);
        activity
    }

    /// Works until it is aborted.
    pub(super) async fn run(self: Arc<Self>, listener: Arc<Listener>) {
        let mut drain = listener.draining.clone();
        let mut draining = false;
        loop {
            let interval = match draining {
                true => DRAIN_INTERVAL,
                false => interval(&listener.settings.load().config),
            };
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = drain.draining(), if !draining => draining = true,
            }
            self.round(Instant::now(), draining);
        }
    }

    /// Ends all connections.
    pub(super) fn cut(&self) {
        for watch in &*self.lock() {
            if let Some(activity) = watch.activity() {
                activity.order(Order::Close);
            }
        }
    }

    fn round(&self, now: Instant, draining: bool) {
        self.lock().retain_mut(|watch| {
            let overdue = watch.look(now);
            let Some(activity) = watch.activity() else {
                return false;
            };
            match overdue {
                Some(Overdue::Head | Overdue::Body | Overdue::Write) => {
                    activity.order(Order::Close)
                }
                // Whoever was asked to finish and still does nothing has nothing to finish.
                Some(Overdue::Idle) if activity.ordered() == Order::Finish => {
                    activity.order(Order::Close)
                }
                Some(Overdue::Idle) => activity.order(Order::Finish),
                None if draining && watch.is_quiet(now) => activity.order(Order::Finish),
                None if draining => activity.order(Order::Last),
                None => {}
            }
            true
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Watch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Timeouts are exact to this.
fn interval(config: &ListenerConfig) -> Duration {
    let shortest = config.header_timeout.min(config.idle_timeout);
    let shortest = shortest.min(config.pace.body_timeout);
    let shortest = shortest.min(config.pace.write_timeout);
    (shortest / 4).clamp(Duration::from_millis(10), INTERVAL)
}
