//! The CPU time of a call, measured where it meets a tick of the engine: a call that meets none pays nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Intervals between ticks that a call must last to be stopped. While a virtual machine stands still, its kernel may count
/// that as time of whoever ran: a thread that did nothing but read its clock saw it jump by 3.5 ms.
const LEAST_INTERVALS: u32 = 2;

/// Counts the time that the guest's thread really ran for it: not what the system gave to others, and not what other
/// requests of the worker took while the guest waited or had yielded. The time before a call's first tick is not counted.
#[derive(Debug, Default)]
pub(super) struct CpuMeter {
    limit: Duration,
    spent: Duration,
    /// Intervals between ticks that this is made of.
    intervals: u32,
    running: Running,
    /// Whether the call is on a fiber and lets others run at every tick.
    yields: bool,
}

/// What a guest does after a tick.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tick {
    GoOn,
    /// It lets others run, and then calls [`Running::begins`].
    Yield,
    /// Its time is used up.
    Stop,
}

/// When the guest began to run, in nanoseconds of its thread's CPU time; 0 while that is unknown.
#[derive(Debug, Clone, Default)]
pub(super) struct Running(Arc<AtomicU64>);

impl CpuMeter {
    /// A call begins that may use `limit`.
    pub(super) fn begin(&mut self, limit: Duration, yields: bool) {
        self.limit = limit;
        self.spent = Duration::ZERO;
        self.intervals = 0;
        self.running.0.store(0, Ordering::Relaxed);
        self.yields = yields;
    }

    /// To be told when the guest goes on after others ran in its place.
    pub(super) fn running(&self) -> Running {
        self.running.clone()
    }

    /// The guest met a tick.
    pub(super) fn tick(&mut self) -> Tick {
        self.tick_at(thread_nanos())
    }

    fn tick_at(&mut self, now: u64) -> Tick {
        let since = self.running.0.swap(now, Ordering::Relaxed);
        if since != 0 {
            self.spent += Duration::from_nanos(now.saturating_sub(since));
            self.intervals = self.intervals.saturating_add(1);
        }
        if self.spent >= self.limit && self.intervals >= LEAST_INTERVALS {
            Tick::Stop
        } else if self.yields {
            Tick::Yield
        } else {
            Tick::GoOn
        }
    }
}

impl Running {
    /// The guest runs from now on.
    pub(super) fn begins(&self) {
        self.0.store(thread_nanos(), Ordering::Relaxed);
    }
}

fn thread_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
    u64::try_from(nanos).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_call_ends_when_it_ran_for_longer_than_it_may() {
        let mut meter = CpuMeter::default();
        meter.begin(Duration::from_millis(2), false);
        let ticks = [10, 11, 12].map(|ms| meter.tick_at(ms * MS));
        assert_eq!(ticks, [Tick::GoOn, Tick::GoOn, Tick::Stop]);
        meter.begin(Duration::from_millis(2), false);
        assert_eq!(meter.tick_at(13 * MS), Tick::GoOn, "each call has its own");
    }

    #[test]
    fn a_machine_that_stands_still_ends_nothing() {
        let mut meter = CpuMeter::default();
        meter.begin(Duration::from_millis(2), false);
        let ticks = [10, 60, 61].map(|ms| meter.tick_at(ms * MS));
        assert_eq!(ticks, [Tick::GoOn, Tick::GoOn, Tick::Stop]);
    }

    #[test]
    fn many_ticks_in_little_time_end_nothing() {
        let mut meter = CpuMeter::default();
        meter.begin(Duration::from_millis(2), false);
        let mut ticks = (0..100).map(|step| meter.tick_at(MS + step * 20_000));
        assert!(ticks.all(|tick| tick == Tick::GoOn));
    }

    #[test]
    fn time_of_others_is_not_counted() {
        let mut meter = CpuMeter::default();
        meter.begin(Duration::from_millis(2), true);
        for round in 1..50 {
            // Others ran for 9 ms, and the guest for 30 µs.
            meter.running().0.store(round * 10 * MS, Ordering::Relaxed);
            assert_eq!(meter.tick_at(round * 10 * MS + 30_000), Tick::Yield);
        }
    }

    #[test]
    fn the_clock_is_the_threads() {
        let begun = thread_nanos();
        let mut sum = 0_u64;
        while thread_nanos() - begun < MS {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(begun > 0 && sum > 0);
    }
}
