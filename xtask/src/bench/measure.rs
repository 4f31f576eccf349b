//! One run: a fresh proxy is started, looked at, warmed up, measured, and stopped.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Stop;
use super::peer::{NO_LIMIT, Running, Site};
use super::procfs::{self, Core, Cpu};
use super::scenario::{Peer, Scenario};
use super::tools::{LOAD_CORE, PROXY_CORE};
use super::verify;
use super::wrk::{self, Load};
use crate::process;

/// Load before the load that counts.
const WARM_UP_SECONDS: u32 = 2;
/// What others may use of the two cores during a run, in cores.
const MOST_FOREIGN: f64 = 0.1;
/// What the machine's host may take of the two cores, in cores.
const MOST_STOLEN: f64 = 0.05;
/// How long whatever has disturbed a run is given to end.
const PAUSE: Duration = Duration::from_secs(3);

/// What came of a run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) scenario: &'static Scenario,
    pub(super) peer: Peer,
    pub(super) round: u32,
    pub(super) outcome: Result<Figures, String>,
}

/// What was measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Figures {
    pub(super) requests: u64,
    /// Microseconds of the proxy's CPU time for each request: the primary figure.
    pub(super) cpu_us: f64,
    /// The part of it that is not the kernel's.
    pub(super) cpu_user_us: f64,
    pub(super) requests_per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// The share of its core that the proxy used.
    pub(super) proxy_share: f64,
    pub(super) memory_mib: f64,
    /// What others have used of the two cores, in cores.
    pub(super) foreign: f64,
    /// What the machine's host has taken of the two cores, in cores.
    pub(super) stolen: f64,
}

impl Figures {
    /// Whether something else on the machine has falsified them.
    pub(super) fn disturbed(&self) -> bool {
        self.foreign > MOST_FOREIGN || self.stolen > MOST_STOLEN
    }

    fn disturbance(&self) -> f64 {
        self.foreign.max(self.stolen)
    }
}

/// A run, and once more when it was disturbed; the less disturbed one counts. An error only when told to stop.
pub(super) fn run(
    site: &mut Site<'_>,
    scenario: &'static Scenario,
    peer: Peer,
    round: u32,
    seconds: u32,
    stop: &Stop,
) -> Result<Run> {
    let mut outcome = attempt(site, scenario, peer, seconds, stop);
    if let Ok(first) = &outcome
        && first.disturbed()
    {
        process::poll(PAUSE, || stop.is_set().then_some(()));
        let again = attempt(site, scenario, peer, seconds, stop);
        // A failure of the repetition is a failure too.
        if again
            .as_ref()
            .map_or(true, |again| again.disturbance() < first.disturbance())
        {
            outcome = again;
        }
    }
    stop.check()?;
    Ok(Run {
        scenario,
        peer,
        round,
        outcome: outcome.map_err(|error| format!("{error:#}")),
    })
}

fn attempt(
    site: &mut Site<'_>,
    scenario: &Scenario,
    peer: Peer,
    seconds: u32,
    stop: &Stop,
) -> Result<Figures> {
    stop.check()?;
    let mut proxy = site.start(peer, scenario.kind, NO_LIMIT)?;
    verify::check(scenario.kind, proxy.address)?;
    wrk::run(
        site,
        scenario,
        proxy.address,
        WARM_UP_SECONDS.min(seconds),
        stop,
    )?;

    let before = Reading::take(site, &proxy)?;
    let load = wrk::run(site, scenario, proxy.address, seconds, stop)?;
    proxy.expect_running()?;
    site.upstream.expect_running()?;
    let after = Reading::take(site, &proxy)?;
    let memory = procfs::memory_kib(&proxy.processes);
    proxy.stop()?;

    load.ensure_complete(scenario.response)?;
    let mut figures = figures(&load, &before, &after);
    figures.memory_mib = memory as f64 / 1024.0;
    ensure!(
        figures.cpu_us > 0.0,
        "the proxy has used no CPU time; is the run too short?"
    );
    Ok(figures)
}

/// The counters at one moment.
struct Reading {
    at: Instant,
    proxy: Cpu,
    upstream: Cpu,
    own: Duration,
    proxy_core: Core,
    load_core: Core,
}

impl Reading {
    fn take(site: &Site<'_>, proxy: &Running) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            proxy: Cpu::of(&proxy.processes_now()?),
            upstream: Cpu::of(&site.upstream.processes_now()?),
            own: procfs::own_cpu()?,
            proxy_core: Core::read(PROXY_CORE)?,
            load_core: Core::read(LOAD_CORE)?,
        })
    }
}

fn figures(load: &Load, before: &Reading, after: &Reading) -> Figures {
    let wall = (after.at - before.at).as_secs_f64();
    let requests = load.requests as f64;
    let used = |now: Duration, then: Duration| now.saturating_sub(then).as_secs_f64();
    let proxy = used(after.proxy.total(), before.proxy.total());
    let user = used(after.proxy.user, before.proxy.user);
    let ours =
        proxy + used(after.upstream.total(), before.upstream.total()) + used(after.own, before.own);
    let (proxy_busy, proxy_stolen) = after.proxy_core.shares_since(before.proxy_core);
    let (load_busy, load_stolen) = after.load_core.shares_since(before.load_core);
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    Figures {
        requests: load.requests,
        cpu_us: proxy * 1e6 / requests,
        cpu_user_us: user * 1e6 / requests,
        requests_per_second: requests / load.duration.as_secs_f64(),
        p50_us: micros(load.p50),
        p99_us: micros(load.p99),
        proxy_share: proxy / wall,
        memory_mib: 0.0,
        // Ticks are coarse: a little less than nothing is nothing.
        foreign: (proxy_busy + load_busy - ours / wall).max(0.0),
        stolen: proxy_stolen + load_stolen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(at: Instant, cpu: u64) -> Reading {
        let milliseconds = Duration::from_millis;
        Reading {
            at,
            proxy: Cpu {
                user: milliseconds(cpu / 4),
                system: milliseconds(cpu * 3 / 4),
            },
            upstream: Cpu::default(),
            own: milliseconds(cpu),
            proxy_core: Core::default(),
            load_core: Core::default(),
        }
    }

    #[test]
    fn cpu_is_told_for_each_request() {
        let start = Instant::now();
        let load = Load {
            requests: 100_000,
            duration: Duration::from_secs(2),
            p50: Duration::from_micros(900),
            ..Load::default()
        };
        let after = reading(start + Duration::from_secs(2), 2000);
        let figures = figures(&load, &reading(start, 400), &after);
        assert_eq!((figures.cpu_us, figures.cpu_user_us), (16.0, 4.0));
        assert_eq!(
            (figures.requests_per_second, figures.proxy_share),
            (50_000.0, 0.8)
        );
        assert_eq!((figures.p50_us, figures.foreign), (900.0, 0.0));
        assert!(!figures.disturbed());
    }

    #[test]
    fn others_and_the_host_disturb() {
        let quiet = Figures::default();
        assert!(
            Figures {
                foreign: 0.11,
                ..quiet.clone()
            }
            .disturbed()
        );
        assert!(
            Figures {
                stolen: 0.06,
                ..quiet
            }
            .disturbed()
        );
    }
}
