//! What the kernel counts: CPU time and memory of processes, and how busy cores are.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// What `/proc/PID/stat` says of a process.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stat {
    pub(super) pid: u32,
    parent: u32,
    user: u64,
    system: u64,
    /// Of children that have ended and were waited for.
    children: u64,
    /// With the id this tells processes apart, although ids are used again.
    started: u64,
}

impl Stat {
    fn parse(line: &str) -> Option<Self> {
        // The name is in parentheses, and may contain any.
        let (head, tail) = line.rsplit_once(')')?;
        let fields: Vec<&str> = tail.split_whitespace().collect();
        // Numbered as in proc(5), where the state, the first after the name, is the third.
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            pid: head.split_once(' ')?.0.parse().ok()?,
            parent: u32::try_from(number(4)?).ok()?,
            user: number(14)?,
            system: number(15)?,
            children: number(16)? + number(17)?,
            started: number(22)?,
        })
    }

    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Whether this very process still runs (or has ended and nobody has waited for it).
    pub(super) fn is_there(&self) -> bool {
        Self::read(self.pid).is_some_and(|now| now.started == self.started)
    }
}

/// A process and all its descendants, sorted by id.
pub(super) fn tree(root: u32) -> Result<Vec<Stat>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")? {
        let name = entry?.file_name();
        // Those that end while we read are none of ours, or missed soon enough.
        all.extend(
            name.to_str()
                .and_then(|name| Stat::read(name.parse().ok()?)),
        );
    }
    Ok(descendants(root, &all))
}

fn descendants(root: u32, all: &[Stat]) -> Vec<Stat> {
    let mut children: HashMap<u32, Vec<&Stat>> = HashMap::new();
    for stat in all {
        children.entry(stat.parent).or_default().push(stat);
    }
    let mut found: Vec<Stat> = all
        .iter()
        .filter(|stat| stat.pid == root)
        .cloned()
        .collect();
    let mut next = 0;
    while let Some(parent) = found.get(next).map(|stat| stat.pid) {
        found.extend(
            children
                .remove(&parent)
                .unwrap_or_default()
                .into_iter()
                .cloned(),
        );
        next += 1;
    }
    found.sort_by_key(|stat| stat.pid);
    found
}

/// Whether two looks at a tree saw the same processes.
pub(super) fn are_same(then: &[Stat], now: &[Stat]) -> bool {
    let identity = |stat: &Stat| (stat.pid, stat.started);
    then.iter().map(identity).eq(now.iter().map(identity))
}

/// CPU time of processes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Cpu {
    pub(super) user: Duration,
    pub(super) system: Duration,
}

impl Cpu {
    pub(super) fn of(stats: &[Stat]) -> Self {
        Self {
            user: ticks(stats.iter().map(|stat| stat.user).sum()),
            system: ticks(stats.iter().map(|stat| stat.system).sum()),
        }
    }

    pub(super) fn total(self) -> Duration {
        self.user + self.system
    }
}

/// CPU time of this process, and of its children that have ended.
pub(super) fn own_cpu() -> Result<Duration> {
    let own = Stat::read(std::process::id()).context("/proc has no entry of this process")?;
    Ok(ticks(own.user + own.system + own.children))
}

fn ticks(count: u64) -> Duration {
    Duration::from_secs(count)
        / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100)
}

/// What a core has done since the machine started, in ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Core {
    busy: u64,
    stolen: u64,
    all: u64,
}

impl Core {
    /// The state of the core of a number.
    pub(super) fn read(number: usize) -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        Self::parse(&text, number).with_context(|| format!("/proc/stat has no core {number}"))
    }

    fn parse(text: &str, number: usize) -> Option<Self> {
        let name = format!("cpu{number}");
        let line = text.lines().find_map(|line| {
            let (first, rest) = line.split_once(' ')?;
            (first == name).then_some(rest)
        })?;
        let fields: Vec<u64> = line
            .split_whitespace()
            .map_while(|field| field.parse().ok())
            .collect();
        let [
            user,
            nice,
            system,
            idle,
            waiting,
            interrupts,
            soft_interrupts,
            stolen,
        ] = *fields.first_chunk()?;
        let busy = user + nice + system + interrupts + soft_interrupts;
        Some(Self {
            busy,
            stolen,
            all: busy + idle + waiting + stolen,
        })
    }

    /// The shares of the time since another reading in which the core was busy, and in which the machine's host took it.
    pub(super) fn shares_since(self, before: Self) -> (f64, f64) {
        let share = |now: u64, then: u64| {
            now.saturating_sub(then) as f64 / self.all.saturating_sub(before.all).max(1) as f64
        };
        (
            share(self.busy, before.busy),
            share(self.stolen, before.stolen),
        )
    }
}

/// Resident memory in KiB, pages that processes share counted once.
pub(super) fn memory_kib(stats: &[Stat]) -> u64 {
    let of =
        |stat: &Stat| pss(&fs::read_to_string(format!("/proc/{}/smaps_rollup", stat.pid)).ok()?);
    stats.iter().filter_map(of).sum()
}

fn pss(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(pid: u32, parent: u32, user: u64, system: u64) -> Stat {
        let line = format!(
            "{pid} (a (b) c) S {parent} 1 1 0 -1 4194560 99 0 0 0 {user} {system} 3 4 20 0 1 0 777 1 2 3"
        );
        Stat::parse(&line).expect("complete")
    }

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let expected = Stat {
            pid: 12,
            parent: 3,
            user: 250,
            system: 50,
            children: 7,
            started: 777,
        };
        assert_eq!(stat(12, 3, 250, 50), expected);
        assert_eq!(Stat::parse("12 (x) S 3"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn a_tree_has_the_root_and_all_below_it_and_nobody_else() {
        let all = [
            stat(1, 0, 9, 9),
            stat(9, 7, 1, 0),
            stat(5, 1, 150, 20),
            stat(7, 5, 50, 30),
            stat(6, 1, 9, 9),
        ];
        let tree = descendants(5, &all);
        assert_eq!(
            tree.iter().map(|stat| stat.pid).collect::<Vec<_>>(),
            [5, 7, 9]
        );
        let tick = ticks(1);
        assert_eq!(
            Cpu::of(&tree),
            Cpu {
                user: tick * 201,
                system: tick * 50
            }
        );
        assert_eq!(descendants(8, &all), []);
        assert!(are_same(&tree, &tree) && !are_same(&tree, &tree[1..]));
    }

    #[test]
    fn a_core_is_busy_with_everything_but_idling_waiting_and_what_the_host_took() {
        let text = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\ncpu1 100 10 50 800 20 5 5 10 0 0\nintr 5\n";
        let then = Core::parse(text, 1).expect("there");
        assert_eq!(
            then,
            Core {
                busy: 170,
                stolen: 10,
                all: 1000
            }
        );
        let now = Core {
            busy: 220,
            stolen: 15,
            all: 1100,
        };
        assert_eq!(now.shares_since(then), (0.5, 0.05));
        assert_eq!(Core::parse(text, 10), None);
    }

    #[test]
    fn memory_is_the_proportional_set() {
        assert_eq!(
            pss("0-1 rollup\nRss:      900 kB\nPss:      512 kB\nPss_Dirty: 1 kB\n"),
            Some(512)
        );
        let own = tree(std::process::id()).expect("/proc is there");
        assert!(memory_kib(&own) > 0 && own[0].is_there());
    }
}
