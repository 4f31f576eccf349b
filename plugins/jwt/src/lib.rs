//! Finds out who calls by a signed token (JWT, RFC 7519). The gateway verifies; no key enters this plugin.

mod claims;
mod config;
mod forward;
mod gateway;
mod json;
mod places;
mod policy;
mod refusal;
#[cfg(test)]
mod tests;
mod token;

use config::Config;
use policy::Policy;
use postern_plugin::identity::Absence;
use postern_plugin::{
    Interest, Plugin, RequestEdits, RequestHead, RequestPhase, RequestVerdict, clock,
};
use refusal::Refusal;
use token::Token;

struct Jwt {
    policy: Policy,
    absence: Absence,
}

impl Plugin for Jwt {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        let config = config.validate()?;
        let absence = Absence::new(config.require, config.anonymous.clone())?;
        Ok(Jwt {
            policy: Policy::new(config),
            absence,
        })
    }

    fn interest(&self) -> Interest {
        Interest::new().request_headers(places::headers(&self.policy.config))
    }
}

impl Jwt {
    fn check(&self, head: &RequestHead) -> Result<RequestEdits, Refusal> {
        let policy = &self.policy;
        let text = places::find(head, &policy.config)?;
        let token = Token::parse(&text)?;
        let claims = policy.names.read(&token.payload)?;
        let kind = policy.config.token_type.as_deref();
        gateway::verify(&token, kind, &*policy.key(&claims)?)?;
        policy
            .rules
            .check(&claims, clock::unix_ms() as f64 / 1000.0)?;
        let edits = policy.forward(&claims)?;
        gateway::authenticate(policy, &claims)?;
        policy.note(&claims);
        Ok(if policy.config.hide_credentials {
            places::hide(edits, head, &policy.config)
        } else {
            edits
        })
    }
}

impl RequestPhase for Jwt {
    fn on_request(&self, head: RequestHead) -> RequestVerdict {
        let reply = |refusal: Refusal| refusal.reply(self.policy.config.realm.as_deref());
        match self.check(&head) {
            Err(Refusal::Missing) => self.absence.verdict(|| reply(Refusal::Missing)),
            checked => checked.map_err(reply).into(),
        }
    }
}

postern_plugin::export!(Jwt: request);
