//! Limits how often somebody may call: windows or buckets, all of them counted in one step by the gateway.

mod answer;
mod config;
mod key;
mod policies;
mod policy;
mod spent;
#[cfg(test)]
mod tests;

use config::{By, Config};
use policies::Policies;
use policy::Policy;
use postern_plugin::{
    Interest, Phases, Plugin, Reply, RequestEdits, RequestHead, RequestPhase, RequestVerdict,
    ResponseHead, ResponsePhase, ResponseVerdict, exchange, limits, log,
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
            policies: Policies::new(standard, config.shape()),
            config,
        })
    }

    fn interest(&self) -> Interest {
        let interest = Interest::new().request_headers(self.config.header.as_deref());
        match &self.config.cost_header {
            Some(name) => interest.response_headers([name.as_str()]),
            None => interest.unused([Phases::RESPONSE]),
        }
    }
}

impl RequestPhase for RateLimit {
    fn on_request(&self, head: RequestHead) -> RequestVerdict {
        let config = &self.config;
        let fact = |is_wanted: bool, name| is_wanted.then(|| exchange::attribute(name)).flatten();
        let tier = fact(config.uses_tiers(), "consumer.tier");
        let policy = self.policies.of(tier.as_deref(), limits::of_tier);
        if policy.rules().is_empty() && config.concurrency.is_none() {
            return RequestVerdict::Next;
        }
        let name = match config.by {
            By::Consumer => exchange::attribute("consumer").map(String::into_bytes),
            By::Credential => exchange::attribute("credential").map(String::into_bytes),
            By::Note => config.note.as_deref().and_then(exchange::note),
            By::Address | By::Header | By::Path => None,
        };
        let needs_route = config.per_route || !config.costs.is_empty();
        let route = needs_route.then(exchange::route);
        let of_key = route.as_deref().filter(|_| config.per_route);
        let key = key::of(config, &head, name.as_deref(), of_key);
        if let Some(refusal) = self.enter(&key) {
            return refusal.into();
        }
        self.count(&policy, &key, config.cost_of(route.as_deref()))
    }
}

impl RateLimit {
    /// Takes a place among those who are served at once. The answer, if there is none.
    fn enter(&self, key: &str) -> Option<Reply> {
        let most = self.config.concurrency?;
        match limits::enter(key, most) {
            Ok(false) if self.config.dry_run => {
                log::info(format_args!(
                    "{key} has {most} requests under way: dry run, it passes"
                ));
                None
            }
            Ok(false) => Some(answer::too_many_at_once(most)),
            Ok(true) => None,
            Err(reason) => {
                log::error(format_args!("a request cannot be counted: {reason}"));
                None
            }
        }
    }

    fn count(&self, policy: &Policy, key: &str, cost: u64) -> RequestVerdict {
        let config = &self.config;
        if policy.rules().is_empty() {
            return RequestVerdict::Next;
        }
        let outcomes = match limits::decide(key, policy.rules(), cost) {
            Ok(outcomes) => outcomes,
            Err(reason) => return answer::uncounted(config.on_error, &reason),
        };
        let told = policy.headers(config.headers, &outcomes);
        let is_over = outcomes.iter().any(|outcome| !outcome.allowed);
        if is_over && !config.dry_run {
            return answer::over_limit(&outcomes, told).into();
        }
        if is_over {
            log::info(format_args!("{key} is over its limit: dry run, it passes"));
        } else if config.cost_header.is_some() {
            spent::remember(config, key, cost);
        }
        RequestEdits::new().response(told).into()
    }
}

impl ResponsePhase for RateLimit {
    fn on_response(&self, head: ResponseHead) -> ResponseVerdict {
        let tier = self
            .config
            .uses_tiers()
            .then(|| exchange::attribute("consumer.tier"))
            .flatten();
        let policy = self.policies.of(tier.as_deref(), limits::of_tier);
        spent::charge(&self.config, &policy, &head)
    }
}

postern_plugin::export!(RateLimit: request, response);
