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
use postern_plugin::{
    Interest, Plugin, RequestEdits, RequestHead, RequestPhase, RequestVerdict, clock,
};
use refusal::Refusal;
use token::Token;

struct Jwt(Policy);

impl Plugin for Jwt {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        config.validate().map(Policy::new).map(Jwt)
    }

    fn interest(&self) -> Interest {
        Interest::new().request_headers(places::headers(&self.0.config))
    }
}

impl Jwt {
    fn check(&self, head: &RequestHead) -> Result<RequestEdits, Refusal> {
        let Jwt(policy) = self;
        let text = places::find(head, &policy.config)?;
        let token = Token::parse(&text)?;
        let claims = policy.names.read(&token.payload)?;
        gateway::verify(&token, &*policy.key(&claims)?)?;
        policy
            .rules
            .check(&claims, clock::unix_ms() as f64 / 1000.0)?;
        let edits = policy.forward(&claims)?;
        gateway::authenticate(policy, &claims)?;
        Ok(if policy.config.hide_credentials {
            places::hide(edits, head, &policy.config)
        } else {
            edits
        })
    }
}

impl RequestPhase for Jwt {
    fn on_request(&self, head: RequestHead) -> RequestVerdict {
        self.check(&head)
            .map_err(|refusal| refusal.reply(self.0.config.realm.as_deref()))
            .into()
    }
}

postern_plugin::export!(Jwt: request);
