//! The attempts at one request: at which target, until when, and whether once more.
//!
//! Sockets and time are behind [`Wire`], so that a test can play services that crash, stall and lie, and count what each of
//! them was sent.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use smallvec::SmallVec;

use super::breaker::{Breaker, Change, Pass};
use super::outcome::Outcome;
use super::retry::{Course, Denial, Facts};

/// How often a request is sent anew because its connection was an old one, which says nothing about the target.
const MAX_RENEWALS: u32 = 3;

/// How one attempt is to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    /// On a new connection.
    pub(super) fresh: bool,
    /// With a copy of what is sent.
    pub(super) copy: bool,
    /// When the answer must be there.
    pub(super) deadline: Option<Duration>,
}

/// What is left of a request that was sent.
pub(super) struct Kept<C> {
    /// To send it again.
    pub(super) copy: Option<C>,
    /// Whether it failed because its connection was an old one, so that the same target gets it on a new one.
    pub(super) is_old: bool,
    /// Whether it is certain that nothing of it was sent.
    pub(super) is_unsent: bool,
}

impl<C> Default for Kept<C> {
    fn default() -> Self {
        Self {
            copy: None,
            is_old: false,
            is_unsent: false,
        }
    }
}

/// What attempts are made with.
pub(super) trait Wire {
    /// What is sent.
    type Request;
    /// What it can be made from again.
    type Copy;
    /// What comes back.
    type Answer;
    /// What comes instead.
    type Error;
    /// The target of an attempt under way.
    type Picked;
    /// Which target that is.
    type Id;

    fn now(&self) -> Duration;
    /// From 0 to 1.
    fn random(&self) -> f64;
    async fn sleep(&self, time: Duration);
    /// What a future gives, if it does within a time.
    async fn within<F: Future>(&self, limit: Duration, future: F) -> Option<F::Output>;

    /// A target, if there is one another than those that were tried.
    fn pick(&self, tried: &[Self::Id]) -> Result<Self::Picked, Self::Error>;
    fn id(&self, picked: &Self::Picked) -> Self::Id;
    /// Whether there are targets that were not tried.
    fn has_other(&self, tried: &[Self::Id]) -> bool;

    /// Sends a request and waits for the head of the answer. What is left of the request is in `kept` at any time.
    async fn exchange(
        &self,
        picked: &Self::Picked,
        request: Self::Request,
        how: How,
        kept: &mut Kept<Self::Copy>,
    ) -> Result<Self::Answer, Self::Error>;
    /// A second request, where the first is all in memory.
    fn duplicate(&self, request: &Self::Request) -> Option<Self::Request>;
    /// Whether a request can be made from a copy.
    fn is_whole(&self, copy: &Self::Copy) -> bool;
    fn renew(&self, copy: Self::Copy) -> Option<Self::Request>;

    fn outcome(&self, result: &Result<Self::Answer, Self::Error>) -> Outcome;
    fn retry_after(&self, answer: &Self::Answer) -> Option<Duration>;
    fn timed_out(&self, picked: &Self::Picked, limit: Duration) -> Self::Error;
    fn broken(&self) -> Self::Error;

    /// Learns what came of an attempt.
    fn report(&self, picked: &Self::Picked, outcome: Outcome, took: Duration);
    /// Learns that the breaker has changed its state.
    fn changed(&self, change: Change);
    /// Learns that a request is sent again.
    fn repeats(&self, outcome: Outcome);
    /// Learns that a second request is sent beside one that takes long.
    fn hedges(&self);
    /// Learns that a request is not sent again because there were too many.
    fn exhausted(&self);
    /// Throws an answer away.
    fn discard(&self, picked: Self::Picked, answer: Self::Answer);
}

/// What came of an attempt, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Noted<I> {
    pub(super) target: I,
    pub(super) outcome: Outcome,
    pub(super) took: Duration,
}

/// An attempt that has ended.
struct Ended<W: Wire> {
    picked: W::Picked,
    result: Result<W::Answer, W::Error>,
    outcome: Outcome,
    took: Duration,
    kept: Kept<W::Copy>,
}

impl<W: Wire> Ended<W> {
    fn delivered(self) -> Delivered<W> {
        self.result.map(|answer| (self.picked, answer))
    }
}

/// The targets that were tried: rarely any, hardly ever more than two.
type Tried<I> = SmallVec<[I; 2]>;

/// An answer, and the target whose it is.
pub(super) type Delivered<W> =
    Result<(<W as Wire>::Picked, <W as Wire>::Answer), <W as Wire>::Error>;

/// All attempts at one request.
pub(super) struct Attempts<'a, W: Wire> {
    pub(super) wire: &'a W,
    pub(super) course: Course<'a>,
    pub(super) breaker: Option<&'a Breaker>,
    /// The longest that one attempt may take.
    pub(super) patience: Option<Duration>,
    /// Attempts that failed, and those that came after one.
    pub(super) log: Vec<Noted<W::Id>>,
}

impl<'a, W: Wire> Attempts<'a, W> {
    /// Sends a request until there is an answer that is worth having, or no sense in sending it again.
    pub(super) async fn run(&mut self, mut request: W::Request) -> Delivered<W> {
        let wire = self.wire;
        let mut tried = Tried::new();
        let mut pass = self.admit().ok_or_else(|| wire.broken())?;
        loop {
            let ended = self.attempt(&mut tried, pass, request).await?;
            let reason = ended.outcome;
            let next = match self.facts(&ended, &tried) {
                Some(facts) => self.next(reason, facts).await,
                None => None,
            };
            let Some(next) = next else {
                return ended.delivered();
            };
            let Some(renewed) = ended.kept.copy.and_then(|copy| wire.renew(copy)) else {
                return ended.result.map(|answer| (ended.picked, answer));
            };
            if let Ok(answer) = ended.result {
                wire.discard(ended.picked, answer);
            }
            wire.repeats(reason);
            (pass, request) = (next, renewed);
        }
    }

    /// What is to be known about an attempt that another one may follow.
    fn facts(&self, ended: &Ended<W>, tried: &[W::Id]) -> Option<Facts> {
        let wire = self.wire;
        let copy = ended.kept.copy.as_ref();
        if !self.course.wants(ended.outcome) || !copy.is_some_and(|copy| wire.is_whole(copy)) {
            return None;
        }
        let answer = ended.result.as_ref().ok();
        Some(Facts {
            now: wire.now(),
            retry_after: answer.and_then(|answer| wire.retry_after(answer)),
            elsewhere: wire.has_other(tried),
            random: wire.random(),
        })
    }

    /// The right to one more attempt, when it is time for it.
    async fn next(&mut self, reason: Outcome, facts: Facts) -> Option<Admitted<'a>> {
        match self.course.again(reason, facts) {
            Ok(pause) if pause.is_zero() => {}
            Ok(pause) => self.wire.sleep(pause).await,
            Err(Denial::Budget) => {
                self.wire.exhausted();
                return None;
            }
            Err(Denial::Final) => return None,
        }
        self.admit()
    }

    /// One attempt; and one beside it, if it takes long and the policy wants that.
    async fn attempt(
        &mut self,
        tried: &mut Tried<W::Id>,
        pass: Admitted<'a>,
        request: W::Request,
    ) -> Result<Ended<W>, W::Error> {
        let picked = self.wire.pick(tried)?;
        let rival = self.course.hedge_after().and_then(|after| {
            let request = self.wire.duplicate(&request)?;
            Some(Rival { after, request })
        });
        let one = self.one(picked, pass, request);
        let ended = match rival {
            None => one.run().await,
            Some(rival) => Box::pin(self.hedge(one, rival, tried)).await,
        };
        self.note(&ended);
        if ended.outcome.is_failure() {
            tried.push(self.wire.id(&ended.picked));
        }
        Ok(ended)
    }

    /// Asks another target when the first takes long, and takes the answer that comes first. Whoever loses is cut off.
    async fn hedge(
        &mut self,
        first: One<'a, W>,
        rival: Rival<W>,
        tried: &mut Tried<W::Id>,
    ) -> Ended<W> {
        let wire = self.wire;
        let id = wire.id(&first.picked);
        let first = std::pin::pin!(first.run());
        let first = match select(first, std::pin::pin!(wire.sleep(rival.after))).await {
            Either::Left((ended, _)) => return ended,
            Either::Right(((), first)) => first,
        };
        tried.push(id);
        let picked = match wire.has_other(tried) && self.course.hedge(wire.now()) {
            true => wire.pick(tried).ok(),
            false => None,
        };
        let (Some(picked), Some(pass)) = (picked, self.admit()) else {
            return first.await;
        };
        wire.hedges();
        let second = self.one(picked, pass, rival.request);
        match select(first, std::pin::pin!(second.run())).await {
            Either::Left((ended, other)) => self.better(ended, other).await,
            Either::Right((ended, other)) => self.better(ended, other).await,
        }
    }

    /// This one, unless it failed.
    async fn better(&mut self, ended: Ended<W>, other: impl Future<Output = Ended<W>>) -> Ended<W> {
        if !ended.outcome.is_failure() {
            return ended;
        }
        self.note(&ended);
        if let Ok(answer) = ended.result {
            self.wire.discard(ended.picked, answer);
        }
        other.await
    }

    fn one(&self, picked: W::Picked, pass: Admitted<'a>, request: W::Request) -> One<'a, W> {
        One {
            wire: self.wire,
            how: How {
                fresh: false,
                copy: self.course.wants_copy(),
                deadline: self.course.deadline(),
            },
            per_try: self
                .patience
                .into_iter()
                .chain(self.course.policy().per_try_timeout)
                .min(),
            picked,
            pass,
            request,
        }
    }

    fn admit(&self) -> Option<Admitted<'a>> {
        let Some(breaker) = self.breaker else {
            return Some(None);
        };
        let (pass, change) = breaker.admit(self.wire.now());
        if let Some(change) = change {
            self.wire.changed(change);
        }
        pass.map(Some)
    }

    fn note(&mut self, ended: &Ended<W>) {
        if ended.outcome.is_failure() || !self.log.is_empty() {
            self.log.push(Noted {
                target: self.wire.id(&ended.picked),
                outcome: ended.outcome,
                took: ended.took,
            });
        }
    }
}

/// The breaker lets it through; there may be none.
type Admitted<'a> = Option<Pass<'a>>;

/// A second request that is sent when the first one takes so long.
struct Rival<W: Wire> {
    after: Duration,
    request: W::Request,
}

/// One attempt. When it is dropped, nobody learns how it would have ended.
struct One<'a, W: Wire> {
    wire: &'a W,
    how: How,
    per_try: Option<Duration>,
    picked: W::Picked,
    pass: Admitted<'a>,
    request: W::Request,
}

impl<W: Wire> One<'_, W> {
    async fn run(self) -> Ended<W> {
        let Self {
            wire,
            mut how,
            picked,
            pass,
            mut request,
            ..
        } = self;
        let begun = wire.now();
        let mut renewals = 0;
        let mut now = begun;
        loop {
            let mut kept = Kept::default();
            let limit = limit(self.per_try, how.deadline, begun, now);
            let result = {
                // Pinned here, so that a limit does not move it into another future.
                let exchange = pin!(wire.exchange(&picked, request, how, &mut kept));
                match limit {
                    None => exchange.await,
                    Some(limit) => match wire.within(limit, exchange).await {
                        Some(result) => result,
                        None => Err(wire.timed_out(&picked, limit)),
                    },
                }
            };
            now = wire.now();
            if result.is_err()
                && kept.is_old
                && renewals < MAX_RENEWALS
                && let Some(renewed) = kept.copy.take().and_then(|copy| wire.renew(copy))
            {
                renewals += 1;
                how.fresh = true;
                request = renewed;
                continue;
            }
            let took = now.saturating_sub(begun);
            let outcome = match wire.outcome(&result) {
                Outcome::Reset if kept.is_unsent => Outcome::ConnectFailure,
                outcome => outcome,
            };
            wire.report(&picked, outcome, took);
            if let Some(pass) = pass.filter(|_| outcome != Outcome::Unrelated)
                && let Some(change) = pass.ended(outcome.is_failure(), took, now)
            {
                wire.changed(change);
            }
            return Ended {
                picked,
                result,
                outcome,
                took,
                kept,
            };
        }
    }
}

/// How long an attempt may still take.
fn limit(
    per_try: Option<Duration>,
    deadline: Option<Duration>,
    begun: Duration,
    now: Duration,
) -> Option<Duration> {
    let per_try = per_try.map(|limit| begun.saturating_add(limit));
    let until = per_try.into_iter().chain(deadline).min()?;
    Some(until.saturating_sub(now))
}

#[cfg(test)]
mod tests;
