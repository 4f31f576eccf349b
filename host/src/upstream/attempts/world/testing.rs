//! Services as a seed wants them, and what is remembered of every request.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use http::{Method, StatusCode};
use rand::{RngExt, rngs::SmallRng};

use super::super::super::breaker::{Breaker, BreakerState, Change};
use super::super::super::budget::Budget;
use super::super::super::outcome::Outcome;
use super::super::{How, Kept, Wire};
use super::testing::Time;

pub(super) const MS: Duration = Duration::from_millis(1);

/// What a service does for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
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
    /// Begins good answers and does not end them: a reset, or a last chunk that is missing.
    BreakingOff,
}

pub(super) const MOODS: [Mood; 8] = [
    Mood::Well,
    Mood::Down,
    Mood::Stopped,
    Mood::Slow,
    Mood::Failing,
    Mood::HangingUp,
    Mood::Refusing,
    Mood::BreakingOff,
];

/// The head of an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) status: u16,
    /// Whether its body will not come to its end.
    pub(super) breaks_off: bool,
}

impl Head {
    fn of(status: u16) -> Self {
        let breaks_off = false;
        Self { status, breaks_off }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) number: usize,
    pub(super) method: Method,
}

/// What happened to one request.
#[derive(Debug, Default, Clone)]
pub(super) struct Fate {
    /// How often a service had it in its hands, or may have had.
    pub(super) reached: u32,
    /// How often it was sent anew because its connection was an old one.
    pub(super) renewed: u32,
    /// How often its sender was told what came of it.
    pub(super) told: u32,
    /// Whether the sender had the head of an answer: from there on, nothing of it is sent to anybody.
    pub(super) has_head: bool,
    pub(super) targets: Vec<usize>,
}

pub(super) struct World {
    pub(super) time: Rc<Time>,
    pub(super) random: RefCell<SmallRng>,
    /// Of each target: since when it has which mood.
    pub(super) moods: Vec<Vec<(Duration, Mood)>>,
    /// Of each target: since when DNS names it, or does not.
    pub(super) named: Vec<Vec<(Duration, bool)>>,
    pub(super) fates: RefCell<Vec<Fate>>,
    pub(super) breaker: Option<Breaker>,
    pub(super) budget: Budget,
    pub(super) repeated: Cell<u64>,
    pub(super) free: Cell<u64>,
    pub(super) exhausted: Cell<u64>,
    pub(super) bodies: Cell<u64>,
    pub(super) broken_off: Cell<u64>,
    pub(super) begun: Cell<u64>,
    pub(super) under_way: Cell<usize>,
    pub(super) turn: Cell<usize>,
}

impl World {
    fn mood(&self, target: usize) -> Mood {
        self.at_present(&self.moods[target]).unwrap_or(Mood::Well)
    }

    fn at_present<T: Copy>(&self, course: &[(Duration, T)]) -> Option<T> {
        let now = self.time.now();
        let mut past = course.iter().rev().filter(|(since, _)| *since <= now);
        past.next().map(|(_, what)| *what)
    }

    /// The targets that there are: those that DNS names, or if it names none, those that it named before.
    fn targets(&self) -> Vec<usize> {
        let all = 0..self.moods.len();
        let is_named = |target: &usize| self.at_present(&self.named[*target]).unwrap_or(true);
        let named: Vec<usize> = all.clone().filter(is_named).collect();
        match named.is_empty() {
            true => all.collect(),
            false => named,
        }
    }

    fn chance(&self, share: f64) -> bool {
        self.random.borrow_mut().random_bool(share)
    }

    pub(super) fn millis(&self, from: u64, to: u64) -> Duration {
        Duration::from_micros(
            self.random
                .borrow_mut()
                .random_range(from * 1_000..=to * 1_000),
        )
    }

    fn reach(&self, request: &Sent, target: usize) {
        let mut fates = self.fates.borrow_mut();
        let fate = &mut fates[request.number];
        assert!(!fate.has_head, "it has been answered");
        fate.reached += 1;
        fate.targets.push(target);
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Unreached,
    Refused,
    Reset,
    TimedOut,
    Broken,
}

impl Wire for World {
    type Request = Sent;
    type Copy = Sent;
    type Answer = Head;
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
        let all = self.targets();
        let order = (0..all.len()).map(|offset| all[(self.turn.get() + offset) % all.len()]);
        let picked = order.clone().find(|target| !tried.contains(target));
        Ok(picked.or_else(|| order.clone().next()).unwrap())
    }

    fn id(&self, picked: &usize) -> usize {
        *picked
    }

    fn has_other(&self, tried: &[usize]) -> bool {
        self.targets().iter().any(|target| !tried.contains(target))
    }

    async fn exchange(
        &self,
        picked: &usize,
        request: Sent,
        how: How,
        kept: &mut Kept<Sent>,
    ) -> Result<Head, Failure> {
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
                Ok(Head::of(503))
            }
            Mood::Slow => {
                self.time.sleep(self.millis(200, 3_000)).await;
                Ok(Head::of(200))
            }
            _ => {
                self.time.sleep(self.millis(1, 20)).await;
                let (status, breaks_off) = (200, mood == Mood::BreakingOff);
                Ok(Head { status, breaks_off })
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

    fn outcome(&self, result: &Result<Head, Failure>) -> Outcome {
        match result {
            Ok(head) => Outcome::Answered {
                status: StatusCode::from_u16(head.status).unwrap(),
                grpc: None,
            },
            Err(Failure::Unreached) => Outcome::ConnectFailure,
            Err(Failure::Refused) => Outcome::Refused,
            Err(Failure::Reset) => Outcome::Reset,
            Err(Failure::TimedOut) => Outcome::Timeout,
            Err(Failure::Broken) => Outcome::Unrelated,
        }
    }

    fn retry_after(&self, _: &Head) -> Option<Duration> {
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

    fn discard(&self, _: usize, _: Head) {
        self.bodies.set(self.bodies.get() + 1);
    }
}
