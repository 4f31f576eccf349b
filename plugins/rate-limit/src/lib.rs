//! Limits how often somebody may call: a window for each limit, all of them counted in one step by the gateway.

mod answer;
mod config;
mod key;
mod policies;
mod policy;
#[cfg(test)]
mod tests;

use config::{By, Config, Headers};
use policies::Policies;
use postern_plugin::{
    Interest, Phases, Plugin, RequestHead, RequestPhase, RequestVerdict, ResponseHead,
    ResponsePhase, ResponseVerdict, exchange, limits,
};

struct RateLimit {
    policies: Policies,
    /// The note in which the headers of the response wait.
    note: String,
    config: Config,
}

impl Plugin for RateLimit {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        let (config, standard) = config.validate()?;
        Ok(RateLimit {
            policies: Policies::new(standard, config.scope.clone()),
            note: config.fingerprint(),
            config,
        })
    }

    fn interest(&self) -> Interest {
        Interest::new()
            .request_headers(self.config.header.as_deref())
            .unused((self.config.headers == Headers::Off).then_some(Phases::RESPONSE))
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
                let lines = policy.lines(config.headers, &decisions);
                if decisions.iter().any(|decision| !decision.allowed) {
                    return answer::over_limit(&decisions, &lines).into();
                }
                if !lines.is_empty() {
                    exchange::set_note(&self.note, lines.as_bytes());
                }
                RequestVerdict::Next
            }
            Err(reason) => answer::uncounted(config.on_error, &reason),
        }
    }
}

impl ResponsePhase for RateLimit {
    fn on_response(&self, _: ResponseHead) -> ResponseVerdict {
        // No note: this plugin answered itself, or nothing was counted.
        let note = exchange::note(&self.note).unwrap_or_default();
        answer::tell(std::str::from_utf8(&note).unwrap_or_default()).into()
    }
}

postern_plugin::export!(RateLimit: request, response);
