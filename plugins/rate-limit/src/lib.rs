//! Limits how often somebody may call: a window for each limit, all of them counted in one step by the gateway.

mod answer;
mod config;
mod key;
mod policies;
mod policy;
#[cfg(test)]
mod tests;

use config::{By, Config};
use policies::Policies;
use postern_plugin::{
    Interest, Plugin, RequestEdits, RequestHead, RequestPhase, RequestVerdict, exchange, limits,
};

struct RateLimit {
    policies: Policies,
    config: Config,
}

impl Plugin for RateLimit {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        let (config, standard) = config.validate()?;
        Ok(RateLimit {
            policies: Policies::new(standard, config.scope.clone()),
            config,
        })
    }

    fn interest(&self) -> Interest {
        Interest::new().request_headers(self.config.header.as_deref())
    }
}

impl RequestPhase for RateLimit {
    fn on_request(&self, head: RequestHead) -> RequestVerdict {
        let config = &self.config;
        let fact = |is_wanted: bool, name| is_wanted.then(|| exchange::attribute(name)).flatten();
        let consumer = fact(config.by == By::Consumer, "consumer");
        let tier = fact(config.uses_tiers(), "consumer.tier");
        let policy = self.policies.of(tier.as_deref(), limits::of_tier);
        if policy.limits().is_empty() {
            return RequestVerdict::Next;
        }
        let route = config.per_route.then(exchange::route);
        let key = key::of(config, &head, consumer.as_deref(), route.as_deref());
        match limits::take(&key, policy.limits(), config.cost) {
            Ok(decisions) => {
                let told = policy.headers(config.headers, &decisions);
                if decisions.iter().any(|decision| !decision.allowed) {
                    return answer::over_limit(&decisions, told).into();
                }
                RequestEdits::new().response(told).into()
            }
            Err(reason) => answer::uncounted(config.on_error, &reason),
        }
    }
}

postern_plugin::export!(RateLimit: request);
