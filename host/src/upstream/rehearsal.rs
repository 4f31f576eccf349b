//! A request that is sent to nobody: what balancing, protection and pools cost by themselves, for benchmarks.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::balance::PickContext;
use super::{Affinity, Outcome, Upstream};
use crate::types::Importance;

/// How long it takes to be answered.
const TOOK: Duration = Duration::from_millis(1);

impl Upstream {
    /// Picks a target as for a request, and reports that it was answered well. The target's address.
    #[must_use]
    pub fn rehearse_pick(&self, worker: usize, affinity: Option<&Affinity>) -> Option<Arc<str>> {
        let tried = &[];
        let context = PickContext {
            worker,
            affinity,
            tried,
        };
        let picked = self.pick(&context).ok()?;
        picked.report(answered(), TOOK);
        Some(Arc::clone(picked.target().address()))
    }

    /// Does all that is done for a request besides sending it, as if it were answered well: limit, budget, breaker, pick and
    /// what is learned from the answer. The target's address; none if it would be refused, or would have to wait.
    #[must_use]
    pub fn rehearse(&self, worker: usize, affinity: Option<&Affinity>) -> Option<Arc<str>> {
        let protection = &self.protection;
        let begun = self.clock.now();
        let entering = protection.enter(Importance::Normal, None, &self.clock);
        let _permit = entering.now_or_never()?.ok()?;
        if self.config.retry.retries > 0 {
            protection.budget().request(begun);
        }
        let pass = match protection.breaker() {
            Some(breaker) => Some(breaker.admit(begun).0?),
            None => None,
        };
        let tried = &[];
        let context = PickContext {
            worker,
            affinity,
            tried,
        };
        let picked = self.pick(&context).ok()?;
        let now = self.clock.now();
        picked.report(answered(), TOOK);
        protection.learn(answered(), TOOK, || now);
        if let Some(pass) = pass {
            pass.ended(false, TOOK, now);
        }
        picked.target().proved();
        Some(Arc::clone(picked.target().address()))
    }

    /// Takes an idle connection of the first target out of the worker's pool and puts it back. Whether there was one.
    pub async fn rehearse_pool(&self, worker: usize) -> bool {
        let set = self.current();
        let Some(target) = set.targets().first() else {
            return false;
        };
        let keep = self.keep();
        let found = target.reuse(worker, keep).await;
        let is_there = found.is_some();
        if let Some(connection) = found {
            target.keep(worker, connection.sender, keep);
        }
        is_there
    }
}

fn answered() -> Outcome {
    let (status, grpc) = (http::StatusCode::OK, None);
    Outcome::Answered { status, grpc }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use crate::clock::Clock;
    use crate::telemetry::Metrics;
    use crate::upstream::testing::configured;
    use crate::upstream::{Dns, Upstreams};

    #[test]
    fn a_rehearsal_leaves_traces_like_a_request() {
        let config = configured(
            "targets = [\"http://127.0.0.1:1\"]\nbreaker = { failure-rate = \"1%\", min-requests = 1 }\nconcurrency = { max-requests = 1 }",
        );
        let (clock, metrics) = (Clock::manual(), Metrics::new());
        let upstreams = Upstreams::new(&[config], None, 1, &clock, &metrics, &Dns::nowhere());
        let upstream = upstreams.get("u").unwrap();
        let before = upstream.protection.budget().left(clock.now());
        for _ in 0..100 {
            assert!(upstream.rehearse(0, None).is_some());
        }
        assert_eq!(upstream.targets()[0].picks(), 100);
        assert_eq!(upstream.targets()[0].in_flight(), 0);
        assert!(upstream.protection.budget().left(clock.now()) > before);
        let taken = upstream.rehearse_pool(0).now_or_never();
        assert_eq!(taken, Some(false), "nobody has connected");
    }
}
