//! Drills: faults that an operator switches on for some minutes, to see what happens. They end by themselves, and with the
//! process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::fault::{DrillSlot, Fault, Running};
use crate::clock::Clock;
use crate::config::FaultConfig;

/// A drill is no way of life.
pub const MAX_DRILL: Duration = Duration::from_secs(3_600);

/// All drills of a process, by route.
pub struct Drills {
    clock: Clock,
    slots: Mutex<BTreeMap<Arc<str>, Slot>>,
}

#[derive(Default)]
struct Slot {
    slot: Arc<DrillSlot>,
    until: Option<Duration>,
}

impl Drills {
    /// None is under way.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let slots = Mutex::default();
        Self { clock, slots }
    }

    /// The place where a route looks for its drill.
    #[must_use]
    pub fn slot(&self, route: &Arc<str>) -> Arc<DrillSlot> {
        let mut slots = self.lock();
        Arc::clone(&slots.entry(Arc::clone(route)).or_default().slot)
    }

    /// Begins a drill, in the place of one that is under way.
    ///
    /// # Errors
    /// A sentence, when there is no such route, or it cannot be done.
    pub fn begin(&self, route: &str, config: &FaultConfig, time: Duration) -> Result<(), String> {
        if time.is_zero() || time > MAX_DRILL {
            let most = humantime::format_duration(MAX_DRILL);
            return Err(format!("a drill takes at most {most}"));
        }
        let fault = Fault::new(config)?;
        let until = self.clock.now().saturating_add(time);
        let mut slots = self.lock();
        let slot = slots
            .get_mut(route)
            .ok_or_else(|| format!("there is no route {route:?}"))?;
        slot.until = Some(until);
        slot.slot.set(Some(Running { fault, until }));
        tracing::warn!(
            route,
            time = %humantime::format_duration(time),
            delay = ?config.delay,
            abort = ?config.abort,
            "drill began: requests are held or fail on purpose"
        );
        Ok(())
    }

    /// Ends the drill of a route, or all. How many.
    pub fn end(&self, route: Option<&str>) -> usize {
        self.end_those(|name, _| route.is_none_or(|route| route == name))
    }

    /// Ends those whose time is over.
    pub fn sweep(&self) {
        let now = self.clock.now();
        self.end_those(|_, until| until <= now);
    }

    /// The drills under way, and how long they go on.
    #[must_use]
    pub fn list(&self) -> BTreeMap<String, Duration> {
        let now = self.clock.now();
        let left = |(name, slot): (&Arc<str>, &Slot)| {
            let left = slot.until?.checked_sub(now)?;
            Some((name.to_string(), left))
        };
        self.lock().iter().filter_map(left).collect()
    }

    fn end_those(&self, which: impl Fn(&str, Duration) -> bool) -> usize {
        let mut ended = 0;
        for (name, slot) in self.lock().iter_mut() {
            if slot.until.is_some_and(|until| which(name, until)) {
                slot.until = None;
                slot.slot.set(None);
                ended += 1;
                tracing::warn!(route = &**name, "drill ended");
            }
        }
        ended
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault() -> FaultConfig {
        FaultConfig {
            delay: None,
            abort: Some((503, 1_000_000)),
            headers: Vec::new(),
        }
    }

    #[test]
    fn drills_end_by_themselves() {
        let clock = Clock::manual();
        let drills = Drills::new(clock.clone());
        let route: Arc<str> = "orders".into();
        let _slot = drills.slot(&route);
        drills
            .begin("orders", &fault(), Duration::from_secs(60))
            .unwrap();
        clock.advance(Duration::from_secs(59));
        drills.sweep();
        assert_eq!(drills.list().get("orders"), Some(&Duration::from_secs(1)));
        clock.advance(Duration::from_secs(1));
        drills.sweep();
        assert!(drills.list().is_empty());
    }

    #[test]
    fn drills_are_for_routes_that_exist_and_not_for_ever() {
        let drills = Drills::new(Clock::manual());
        let _slot = drills.slot(&"orders".into());
        assert!(
            drills
                .begin("order", &fault(), Duration::from_secs(1))
                .is_err()
        );
        assert!(drills.begin("orders", &fault(), MAX_DRILL * 2).is_err());
        assert!(drills.begin("orders", &fault(), Duration::ZERO).is_err());
        assert_eq!(drills.end(None), 0);
    }
}
