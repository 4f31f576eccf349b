//! Hundreds of seeds: services that crash, stall, refuse, answer with errors, hang up, break off what they began, and come and
//! go in DNS; and after every step, whether what must never happen has not happened.

#[path = "testing.rs"]
mod testing;
#[path = "world/testing.rs"]
mod world;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use http::Method;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::super::budget::Budget;
use super::super::limit::{Entry, Limiter};
use super::*;
use crate::config::{BreakerConfig, ConcurrencyConfig, RetryConditions, RetryConfig};
use crate::types::Importance;
use world::{Failure, Fate, Head, MOODS, MS, Mood, Sent, World};

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

/// When DNS names a target, and when it does not.
fn flaps(random: &mut SmallRng, length: Duration) -> Vec<(Duration, bool)> {
    let (mut named, mut since) = (Vec::new(), Duration::ZERO);
    while since < length {
        named.push((since, random.random_bool(0.7)));
        since += MS * random.random_range(10..500);
    }
    named
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
        named: (0..targets)
            .map(|_| match seed % 2 {
                0 => Vec::new(),
                _ => flaps(random, LENGTH + DEADLINE),
            })
            .collect(),
        fates: RefCell::default(),
        breaker,
        budget: Budget::new(SHARE, LEAST),
        repeated: Cell::default(),
        free: Cell::default(),
        exhausted: Cell::default(),
        bodies: Cell::default(),
        broken_off: Cell::default(),
        begun: Cell::default(),
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
    world.begun.set(world.begun.get() + 1);
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
        && world.named.iter().all(Vec::is_empty)
    {
        assert_ne!(first.target, second.target, "another one is asked");
    }
    if let Ok((_, head)) = result {
        body(&world, number, head).await;
    }
    let mut fates = world.fates.borrow_mut();
    fates[number].told += 1;
    world.under_way.set(world.under_way.get() - 1);
    drop(permit);
}

/// Reads the body of an answer, whatever there is of it.
async fn body(world: &World, number: usize, head: Head) {
    world.fates.borrow_mut()[number].has_head = true;
    let generation = world.breaker.as_ref().map(Breaker::generation);
    world.time.sleep(world.millis(0, 10)).await;
    if !head.breaks_off {
        return;
    }
    world.broken_off.set(world.broken_off.get() + 1);
    if let (Some(breaker), Some(generation)) = (&world.breaker, generation) {
        breaker.broke(generation, world.time.now());
    }
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
    let begun = world.begun.get();
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

fn simulate(seed: u64) -> [u64; 4] {
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
    let counts = [
        &world.repeated,
        &world.free,
        &world.exhausted,
        &world.broken_off,
    ];
    counts.map(Cell::get)
}

#[test]
fn nothing_is_done_twice_that_must_not_be() {
    let mut sums = [0; 4];
    for seed in 0..400 {
        let counts = std::panic::catch_unwind(|| simulate(seed));
        let counts = counts.unwrap_or_else(|_| panic!("with the seed {seed}"));
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    // The simulation is worth nothing where nothing happens in it.
    let [repeated, free, exhausted, broken_off] = sums;
    assert!(
        repeated > 1_000 && free > 1_000 && exhausted > 100 && broken_off > 1_000,
        "{sums:?}"
    );
}
