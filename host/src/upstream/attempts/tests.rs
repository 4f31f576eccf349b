//! Hundreds of seeds: services that crash, stall, refuse, answer with errors and hang up; and after every step, whether what
//! must never happen has not happened.

#[path = "testing.rs"]
mod testing;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use http::{Method, StatusCode};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::super::breaker::BreakerState;
use super::super::budget::Budget;
use super::super::limit::{Entry, Limiter};
use super::*;
use crate::config::{BreakerConfig, ConcurrencyConfig, RetryConditions, RetryConfig};
use crate::types::Importance;
use testing::Time;

const MS: Duration = Duration::from_millis(1);

/// What a service does for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    /// Nobody listens.
    Down,
    /// Takes requests and says nothing (SIGSTOP).
    Stopped,
    Slow,
    /// Answers 503, after doing it or not.
    Failing,
    /// Hangs up when it has the request.
    HangingUp,
    /// Refuses streams.
    Refusing,
}

const MOODS: [Mood; 7] = [
    Mood::Well,
    Mood::Down,
    Mood::Stopped,
    Mood::Slow,
    Mood::Failing,
    Mood::HangingUp,
    Mood::Refusing,
];

#[derive(Debug, Clone)]
struct Sent {
    number: usize,
    method: Method,
}

/// What happened to one request.
#[derive(Debug, Default, Clone)]
struct Fate {
    /// How often a service had it in its hands, or may have had.
    reached: u32,
    /// How often it was sent anew because its connection was an old one.
    renewed: u32,
    /// How often its sender was told what came of it.
    told: u32,
    targets: Vec<usize>,
}

struct World {
    time: Rc<Time>,
    random: RefCell<SmallRng>,
    /// Of each target: since when it has which mood.
    moods: Vec<Vec<(Duration, Mood)>>,
    fates: RefCell<Vec<Fate>>,
    breaker: Option<Breaker>,
    budget: Budget,
    repeated: Cell<u64>,
    free: Cell<u64>,
    exhausted: Cell<u64>,
    bodies: Cell<u64>,
    under_way: Cell<usize>,
    turn: Cell<usize>,
}

impl World {
    fn mood(&self, target: usize) -> Mood {
        let now = self.time.now();
        let moods = &self.moods[target];
        moods
            .iter()
            .rev()
            .find(|(since, _)| *since <= now)
            .map_or(Mood::Well, |(_, mood)| *mood)
    }

    fn chance(&self, share: f64) -> bool {
        self.random.borrow_mut().random_bool(share)
    }

    fn millis(&self, from: u64, to: u64) -> Duration {
        Duration::from_micros(
            self.random
                .borrow_mut()
                .random_range(from * 1_000..=to * 1_000),
        )
    }

    fn reach(&self, request: &Sent, target: usize) {
        let mut fates = self.fates.borrow_mut();
        let fate = &mut fates[request.number];
        fate.reached += 1;
        fate.targets.push(target);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Failure {
    Unreached,
    Refused,
    Reset,
    TimedOut,
    Broken,
}

impl Wire for World {
    type Request = Sent;
    type Copy = Sent;
    type Answer = u16;
    type Error = Failure;
    type Picked = usize;
    type Id = usize;

    fn now(&self) -> Duration {
        self.time.now()
    }

    fn random(&self) -> f64 {
        self.random.borrow_mut().random()
    }

    async fn sleep(&self, time: Duration) {
        self.time.sleep(time).await;
    }

    async fn within<F: Future>(&self, limit: Duration, future: F) -> Option<F::Output> {
        self.time.within(limit, future).await
    }

    fn pick(&self, tried: &[usize]) -> Result<usize, Failure> {
        self.turn.set(self.turn.get() + 1);
        let all = self.moods.len();
        let order = (0..all).map(|offset| (self.turn.get() + offset) % all);
        let picked = order.clone().find(|target| !tried.contains(target));
        Ok(picked.or_else(|| order.clone().next()).unwrap())
    }

    fn id(&self, picked: &usize) -> usize {
        *picked
    }

    fn has_other(&self, tried: &[usize]) -> bool {
        (0..self.moods.len()).any(|target| !tried.contains(&target))
    }

    async fn exchange(
        &self,
        picked: &usize,
        request: Sent,
        how: How,
        kept: &mut Kept<Sent>,
    ) -> Result<u16, Failure> {
        let repeatable = request.method.is_idempotent();
        let state = self.breaker.as_ref().map(Breaker::state);
        assert!(
            how.fresh || state != Some(BreakerState::Open),
            "the breaker is open"
        );
        if how.copy {
            kept.copy = Some(request.clone());
        }
        // An idle connection that the target closes at the very moment.
        if !how.fresh && self.chance(0.05) {
            kept.is_unsent = self.chance(0.5);
            if !kept.is_unsent {
                self.reach(&request, *picked);
            }
            self.time.sleep(MS).await;
            if kept.is_unsent || repeatable {
                self.fates.borrow_mut()[request.number].renewed += u32::from(!kept.is_unsent);
                self.free.set(self.free.get() + 1);
                kept.is_old = true;
                kept.copy = Some(request);
            }
            return Err(Failure::Reset);
        }
        self.time.sleep(self.millis(0, 1)).await;
        let mood = self.mood(*picked);
        if matches!(mood, Mood::Down | Mood::Refusing) {
            kept.copy = Some(request);
            return Err(match mood {
                Mood::Down => Failure::Unreached,
                _ => Failure::Refused,
            });
        }
        self.reach(&request, *picked);
        match mood {
            Mood::Stopped => std::future::pending().await,
            Mood::HangingUp => {
                self.time.sleep(self.millis(0, 5)).await;
                Err(Failure::Reset)
            }
            Mood::Failing if self.chance(0.8) => {
                self.time.sleep(self.millis(0, 5)).await;
                Ok(503)
            }
            Mood::Slow => {
                self.time.sleep(self.millis(200, 3_000)).await;
                Ok(200)
            }
            _ => {
                self.time.sleep(self.millis(1, 20)).await;
                Ok(200)
            }
        }
    }

    fn duplicate(&self, request: &Sent) -> Option<Sent> {
        Some(request.clone())
    }

    fn is_whole(&self, copy: &Sent) -> bool {
        // Some bodies were too large to be kept.
        !copy.number.is_multiple_of(17)
    }

    fn renew(&self, copy: Sent) -> Option<Sent> {
        Some(copy)
    }

    fn outcome(&self, result: &Result<u16, Failure>) -> Outcome {
        match result {
            Ok(status) => Outcome::Answered {
                status: StatusCode::from_u16(*status).unwrap(),
                grpc: None,
            },
            Err(Failure::Unreached) => Outcome::ConnectFailure,
            Err(Failure::Refused) => Outcome::Refused,
            Err(Failure::Reset) => Outcome::Reset,
            Err(Failure::TimedOut) => Outcome::Timeout,
            Err(Failure::Broken) => Outcome::Unrelated,
        }
    }

    fn retry_after(&self, _: &u16) -> Option<Duration> {
        self.chance(0.1).then(|| self.millis(0, 3_000))
    }

    fn timed_out(&self, _: &usize, _: Duration) -> Failure {
        Failure::TimedOut
    }

    fn broken(&self) -> Failure {
        Failure::Broken
    }

    fn report(&self, _: &usize, _: Outcome, _: Duration) {}

    fn changed(&self, _: Change) {}

    fn repeats(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::ConnectFailure => &self.free,
            _ => &self.repeated,
        };
        counter.set(counter.get() + 1);
    }

    fn hedges(&self) {
        self.repeated.set(self.repeated.get() + 1);
    }

    fn exhausted(&self) {
        self.exhausted.set(self.exhausted.get() + 1);
    }

    fn discard(&self, _: usize, _: u16) {
        self.bodies.set(self.bodies.get() + 1);
    }
}

fn policy(random: &mut SmallRng) -> RetryConfig {
    RetryConfig {
        retries: random.random_range(0..4),
        on: RetryConditions {
            connect_failure: random.random_bool(0.9),
            refused_stream: random.random_bool(0.9),
            reset: random.random_bool(0.7),
            timeout: random.random_bool(0.5),
        },
        statuses: if random.random_bool(0.6) {
            vec![503]
        } else {
            Vec::new()
        },
        per_try_timeout: random
            .random_bool(0.5)
            .then(|| MS * random.random_range(50..1_000)),
        hedge_after: random
            .random_bool(0.3)
            .then(|| MS * random.random_range(10..200)),
        ..RetryConfig::default()
    }
}

fn moods(random: &mut SmallRng, length: Duration) -> Vec<(Duration, Mood)> {
    let mut moods = Vec::new();
    let mut since = Duration::ZERO;
    while since < length {
        let is_well = random.random_bool(0.5);
        let mood = if is_well {
            Mood::Well
        } else {
            MOODS[random.random_range(0..MOODS.len())]
        };
        moods.push((since, mood));
        since += MS * random.random_range(100..5_000);
    }
    moods
}

const SHARE: u32 = 200_000;
const LEAST: u32 = 1;
const LENGTH: Duration = Duration::from_secs(20);
const DEADLINE: Duration = Duration::from_secs(5);

fn world(seed: u64, random: &mut SmallRng) -> World {
    let targets = random.random_range(1..6);
    let breaker = random.random_bool(0.5).then(|| {
        Breaker::new(BreakerConfig {
            window: Duration::from_secs(2),
            failure_rate: 700_000,
            slow_after: random.random_bool(0.5).then_some(MS * 1_000),
            slow_rate: 800_000,
            min_requests: 10,
            open_for: MS * 500,
            probes: 2,
        })
    });
    World {
        time: Rc::default(),
        random: RefCell::new(SmallRng::seed_from_u64(seed.wrapping_mul(31))),
        moods: (0..targets)
            .map(|_| moods(random, LENGTH + DEADLINE))
            .collect(),
        fates: RefCell::default(),
        breaker,
        budget: Budget::new(SHARE, LEAST),
        repeated: Cell::default(),
        free: Cell::default(),
        exhausted: Cell::default(),
        bodies: Cell::default(),
        under_way: Cell::default(),
        turn: Cell::default(),
    }
}

/// One client's request, from its entry to its end.
async fn request(
    world: Rc<World>,
    policy: Rc<RetryConfig>,
    limiter: Option<Arc<Limiter>>,
    sent: Sent,
    at: Duration,
) {
    world.time.sleep(at).await;
    let deadline = world.time.now() + DEADLINE;
    let number = sent.number;
    let permit = match &limiter {
        None => None,
        Some(limiter) => match limiter.enter(Importance::Normal) {
            Entry::Permit(permit) => Some(permit),
            Entry::Turn(turn) => match world
                .time
                .within(limiter.config().queue_timeout, turn)
                .await
            {
                Some(Ok(permit)) => Some(permit),
                _ => return world.fates.borrow_mut()[number].told += 1,
            },
            Entry::Full => return world.fates.borrow_mut()[number].told += 1,
        },
    };
    world.under_way.set(world.under_way.get() + 1);
    let (method, now) = (sent.method.clone(), world.time.now());
    world.budget.request(now);
    let mut attempts = Attempts {
        wire: &*world,
        course: Course::new(&policy, Some(&world.budget), &method, Some(deadline)),
        breaker: world.breaker.as_ref(),
        patience: None,
        log: Vec::new(),
    };
    let result = attempts.run(sent).await;
    let log = attempts.log;
    let now = world.time.now();
    assert!(now <= deadline + MS, "{now:?} is after {deadline:?}");
    if matches!(&result, Err(error) if *error != Failure::Broken) {
        assert!(!log.is_empty(), "a failed request says what was tried");
    }
    assert!(log.len() <= policy.retries as usize + 1, "{log:?}");
    if let Some([first, second]) = log.get(..2)
        && world.moods.len() > 1
    {
        assert_ne!(first.target, second.target, "another one is asked");
    }
    let mut fates = world.fates.borrow_mut();
    fates[number].told += 1;
    world.under_way.set(world.under_way.get() - 1);
    drop(permit);
}

/// What must hold at any time.
fn check(world: &World, methods: &[Method], policy: &RetryConfig, limiter: Option<&Limiter>) {
    let fates = world.fates.borrow();
    for (fate, method) in fates.iter().zip(methods) {
        assert!(fate.told <= 1, "a request was answered twice");
        let most = match method.is_idempotent() {
            true => policy.retries + 1 + fate.renewed,
            false => 1,
        };
        assert!(
            fate.reached <= most,
            "{method} was sent {} times",
            fate.reached
        );
    }
    let seconds = world.time.now().as_secs() + 1;
    let begun = fates.len() as u64;
    let allowed = begun * u64::from(SHARE) / 1_000_000 + u64::from(LEAST) * 10 * (seconds / 10 + 1);
    assert!(
        world.repeated.get() <= allowed,
        "{} of {begun} were sent again",
        world.repeated.get()
    );
    if let Some(limiter) = limiter {
        assert!(world.under_way.get() <= limiter.limit());
    }
}

fn simulate(seed: u64) -> (u64, u64, u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let world = Rc::new(world(seed, &mut random));
    let policy = Rc::new(policy(&mut random));
    let limiter = random.random_bool(0.4).then(|| {
        Arc::new(Limiter::new(ConcurrencyConfig {
            max_requests: 8,
            max_queue: 8,
            queue_timeout: MS * 300,
            adaptive: false,
            min_requests: 1,
        }))
    });
    let count = 200;
    let methods: Vec<Method> = (0..count)
        .map(|_| match random.random_range(0..3) {
            0 => Method::POST,
            1 => Method::PUT,
            _ => Method::GET,
        })
        .collect();
    *world.fates.borrow_mut() = vec![Fate::default(); count];
    let tasks = methods.iter().enumerate().map(|(number, method)| {
        let at = LENGTH.mul_f64(random.random());
        let sent = Sent {
            number,
            method: method.clone(),
        };
        let task = request(
            Rc::clone(&world),
            Rc::clone(&policy),
            limiter.clone(),
            sent,
            at,
        );
        Box::pin(task) as std::pin::Pin<Box<dyn Future<Output = ()>>>
    });
    let tasks = tasks.collect();
    let checked = Rc::clone(&world);
    testing::run(&world.time, tasks, || {
        check(&checked, &methods, &policy, limiter.as_deref())
    });
    let fates = world.fates.borrow();
    assert!(
        fates.iter().all(|fate| fate.told == 1),
        "a request was lost"
    );
    if let Some(limiter) = limiter {
        assert_eq!((limiter.taken(), limiter.waiting()), (0, 0));
    }
    (
        world.repeated.get(),
        world.free.get(),
        world.exhausted.get(),
    )
}

#[test]
fn nothing_is_done_twice_that_must_not_be() {
    let (mut repeated, mut free, mut exhausted) = (0, 0, 0);
    for seed in 0..400 {
        let counts = std::panic::catch_unwind(|| simulate(seed));
        let counts = counts.unwrap_or_else(|_| panic!("with the seed {seed}"));
        repeated += counts.0;
        free += counts.1;
        exhausted += counts.2;
    }
    // The simulation is worth nothing where nothing happens in it.
    assert!(
        repeated > 1_000 && free > 1_000 && exhausted > 100,
        "{repeated} {free} {exhausted}"
    );
}
