//! An upstream whose targets crash, fail and come back, some hundred times over: time and targets are simulated, everything
//! that decides is real.

use http::StatusCode;

use super::*;
use crate::clock::Clock;
use crate::config::TargetConfig;
use crate::telemetry::Metrics;
use crate::upstream::balance::PickContext;
use crate::upstream::dns::Dns;
use crate::upstream::testing::configured;
use crate::upstream::{Outcome, Upstreams};

/// Numbers as good as chance, the same for the same seed (Knuth's MMIX generator).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        let next = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = next.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Well,
    Refuses,
    Fails,
    HangsUp,
    BreaksOff,
}

const MOODS: [Mood; 5] = [
    Mood::Well,
    Mood::Refuses,
    Mood::Fails,
    Mood::HangsUp,
    Mood::BreaksOff,
];

struct World {
    upstream: Arc<Upstream>,
    clock: Clock,
    chance: Chance,
    /// By port.
    moods: Vec<Mood>,
}

impl World {
    fn new(seed: u64, targets: usize, lines: &str) -> Self {
        let mut config = configured(&format!("targets = [\"http://127.0.0.1:1\"]\n{lines}"));
        config.targets = at_ports(&config.targets[0], 1..=targets);
        let clock = Clock::manual();
        let upstreams =
            Upstreams::new(&[config], None, 1, &clock, &Metrics::new(), &Dns::nowhere());
        Self {
            upstream: Arc::clone(upstreams.get("u").unwrap()),
            clock,
            chance: Chance(seed),
            moods: vec![Mood::Well; 64],
        }
    }

    fn mood(&self, target: &Target) -> Mood {
        self.moods[usize::from(target.endpoint().port)]
    }

    /// One request, as it would come out. Whether it was answered well.
    fn request(&self) -> bool {
        let set = self.upstream.current();
        let usable = set
            .targets()
            .iter()
            .filter(|target| target.is_usable())
            .count();
        let picked = self.upstream.pick(&PickContext::default()).unwrap();
        // A quarter of them is enough not to panic.
        if usable * 4 >= set.targets().len() && usable > 0 {
            assert!(
                picked.target().is_usable(),
                "{usable} of {}",
                set.targets().len()
            );
        }
        let answered = |status| Outcome::Answered { status, grpc: None };
        let mood = self.mood(picked.target());
        let outcome = match mood {
            Mood::Well | Mood::BreaksOff => answered(StatusCode::OK),
            Mood::Fails => answered(StatusCode::INTERNAL_SERVER_ERROR),
            Mood::Refuses => Outcome::ConnectFailure,
            Mood::HangsUp => Outcome::Reset,
        };
        picked.report(outcome, Duration::from_millis(1));
        match mood {
            Mood::BreaksOff => picked.target().broke(),
            _ if !outcome.is_failure() => picked.target().proved(),
            _ => {}
        }
        mood == Mood::Well
    }

    /// What the keeper does.
    fn keep(&self) {
        let now = self.clock.now();
        if self.upstream.attention.due() > now {
            return;
        }
        for target in self.upstream.tend(now) {
            let result = match self.mood(&target) {
                Mood::Well => Ok(()),
                other => Err(format!("{other:?}")),
            };
            self.upstream.checked(&target, result, now);
        }
    }

    fn pass(&mut self, most: u64) {
        let millis = self.chance.below(most);
        self.clock.advance(Duration::from_millis(millis));
        self.keep();
    }

    fn ejected(&self) -> usize {
        let targets = self.upstream.targets();
        let ejected = targets
            .iter()
            .filter(|target| target.is_excluded(Exclusion::Ejected));
        ejected.count()
    }

    fn step(&mut self) {
        match self.chance.below(10) {
            0 => {
                let port = 1 + self.chance.below(20) as usize;
                self.moods[port] = MOODS[self.chance.below(MOODS.len() as u64) as usize];
            }
            1 => {
                let first = self.upstream.current().members()[0].clone();
                let config = TargetConfig {
                    endpoint: first.target.endpoint().clone(),
                    placement: first.placement,
                };
                let count = 1 + self.chance.below(12) as usize;
                self.upstream.replace_targets(&at_ports(&config, 1..=count));
                self.keep();
            }
            2..=4 => self.pass(3_000),
            _ => {
                for _ in 0..self.chance.below(30) {
                    self.request();
                }
                self.keep();
            }
        }
    }
}

fn at_ports(target: &TargetConfig, ports: std::ops::RangeInclusive<usize>) -> Vec<TargetConfig> {
    let at = |port: usize| {
        let mut target = target.clone();
        target.endpoint.port = u16::try_from(port).unwrap();
        target
    };
    ports.map(at).collect()
}

const OUTLIER: &str = "outlier = { consecutive-5xx = 3, consecutive-connect-failures = 2, interval = \"2s\", base-ejection-time = \"5s\", max-ejection-time = \"20s\", max-ejected = \"40%\", success-rate-minimum-hosts = 3, success-rate-request-volume = 5, failure-percentage = \"80%\", failure-percentage-request-volume = 5 }";
const CHECKS: &str = "health = { kind = \"tcp\", interval = \"1s\", rise = 2, fall = 2 }";

#[test]
fn whatever_targets_do_the_limits_are_kept_and_all_come_back() {
    for seed in 0..400 {
        let targets = 1 + (seed % 12) as usize;
        let lines = match seed % 3 {
            0 => OUTLIER.to_owned(),
            1 => CHECKS.to_owned(),
            _ => format!(
                "{OUTLIER}\n{CHECKS}\nbalance = {{ policy = \"least-request\", slow-start = \"5s\" }}"
            ),
        };
        let mut world = World::new(seed, targets, &lines);
        for step in 0..150 {
            world.step();
            let count = world.upstream.targets().len();
            let allowed = match count {
                1 => 0,
                _ => outlier::allowed(&world.upstream.config.outlier, count),
            };
            assert!(world.ejected() <= allowed, "seed {seed}, step {step}");
        }
        world.moods.fill(Mood::Well);
        for _ in 0..60 {
            world.clock.advance(Duration::from_secs(1));
            world.keep();
            world.request();
        }
        let targets = world.upstream.targets();
        assert!(
            targets.iter().all(|target| target.is_usable()),
            "seed {seed}"
        );
        let in_flight: u64 = targets.iter().map(|target| target.in_flight()).sum();
        assert_eq!(in_flight, 0, "seed {seed}");
    }
}

#[test]
fn of_three_that_lose_one_nobody_is_sent_to_it_after_a_few_failures() {
    for seed in 0..100 {
        let mut world = World::new(seed, 3, "");
        world.moods[1 + (seed % 3) as usize] = Mood::Refuses;
        let mut failures = 0;
        for _ in 0..1_000 {
            failures += usize::from(!world.request());
            world.pass(2);
        }
        // Five without the table; nobody waits for the end of the ejection here.
        assert_eq!(failures, 5, "seed {seed}");
    }
}

#[test]
fn what_is_known_of_a_target_outlives_the_configuration() {
    let world = World::new(
        1,
        2,
        "outlier = { consecutive-5xx = 1, max-ejected = \"50%\" }",
    );
    let target = &world.upstream.targets()[0];
    target.judge(Outcome::Reset, Duration::ZERO);
    world.keep();
    assert!(!target.is_usable());
    let mut config = world.upstream.config.clone();
    config.read_timeout *= 2;
    let before = Upstreams {
        list: vec![Arc::clone(&world.upstream)],
        by_name: [(Arc::clone(world.upstream.name()), 0)].into(),
        wake: Arc::default(),
    };
    let after = Upstreams::new(
        &[config],
        Some(&before),
        1,
        &world.clock,
        &Metrics::new(),
        &Dns::nowhere(),
    );
    let kept = &after.get("u").unwrap().targets()[0];
    assert!(Arc::ptr_eq(kept, target));
    // And it is the new one that takes it back.
    world.clock.advance(Duration::from_secs(30));
    after.get("u").unwrap().tend(world.clock.now());
    assert!(target.is_usable());
}
