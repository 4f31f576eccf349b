//! The keeper of all upstreams: one task that looks after each when it is time, and makes the health checks.
//!
//! It sleeps until the earliest moment at which something is due. Checks run side by side on this task's runtime, which is
//! not that of any worker.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::JoinSet;

use super::Upstreams;
use super::health::probe::probe;
use super::target::Target;
use crate::clock::Clock;

/// Checks under way at once: sockets and memory are for requests, too.
const MAX_CHECKS: usize = 1_024;
/// Between looks at most: the configuration may be another one.
const LONGEST: Duration = Duration::from_secs(1);
/// Between looks at least: what is due within this time is done together.
const SHORTEST: Duration = Duration::from_millis(5);

/// A check that has come to its end: of which upstream's which target.
type Checked = (Arc<str>, Arc<Target>, Result<(), String>);

/// Looks after the upstreams that serve, for as long as it is polled. `upstreams` are those of the moment.
pub async fn keep(upstreams: impl Fn() -> Arc<Upstreams>, clock: Clock) {
    let mut checks: JoinSet<Checked> = JoinSet::new();
    let mut seen = Weak::new();
    loop {
        let current = upstreams();
        let now = clock.now();
        // Another configuration may want what was not due in the one before.
        let latest = Arc::downgrade(&current);
        if !seen.ptr_eq(&latest) {
            current
                .iter()
                .for_each(|upstream| upstream.attention.call());
            seen = latest;
        }
        let mut next = now + LONGEST;
        for upstream in current.iter() {
            if upstream.attention.due() <= now {
                for target in upstream.tend(now) {
                    if checks.len() >= MAX_CHECKS {
                        upstream.postpone(&target, now + SHORTEST);
                        continue;
                    }
                    let upstream = Arc::clone(upstream);
                    checks.spawn(async move {
                        let result = match &upstream.config.health {
                            Some(config) => probe(&target, config, upstream.config.protocol).await,
                            None => Ok(()),
                        };
                        (Arc::clone(upstream.name()), target, result)
                    });
                }
            }
            next = next.min(upstream.attention.due());
        }
        // Checks that end are no reason to look at all upstreams: there may be thousands of both.
        loop {
            let pause = next.saturating_sub(clock.now()).max(SHORTEST);
            tokio::select! {
                () = current.wake.notified() => break,
                () = tokio::time::sleep(pause) => break,
                Some(done) = checks.join_next() => {
                    let more = std::iter::from_fn(|| checks.try_join_next());
                    for (name, target, result) in std::iter::once(done).chain(more).flatten() {
                        if let Some(upstream) = current.get(&name) {
                            upstream.checked(&target, result, clock.now());
                            next = next.min(upstream.attention.due());
                        }
                    }
                }
            }
        }
    }
}
