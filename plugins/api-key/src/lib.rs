//! Finds out who calls by an API key in a header or, where the operator wants it, in the query.

mod config;
mod key;
mod refusal;
#[cfg(test)]
mod tests;

use config::Config;
use postern_plugin::identity::{self, Absence, Credential};
use postern_plugin::{Interest, Plugin, RequestEdits, RequestHead, RequestPhase, RequestVerdict};
use refusal::Refusal;

struct ApiKey {
    config: Config,
    absence: Absence,
}

impl Plugin for ApiKey {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        let config = config.validate()?;
        let absence = Absence::new(config.require, config.anonymous.clone())?;
        Ok(ApiKey { config, absence })
    }

    fn interest(&self) -> Interest {
        Interest::new().request_headers(&self.config.header)
    }
}

impl ApiKey {
    fn check(&self, head: &RequestHead) -> Result<RequestEdits, Refusal> {
        let key = key::find(head, &self.config)?;
        let found = identity::find(&Credential::ApiKey(key.into_owned()));
        let found = found.ok_or(Refusal::Invalid)?;
        identity::authenticate(&found.consumer.name, &found.credential_id)
            .map_err(|_| Refusal::Conflict)?;
        let edits = RequestEdits::new();
        Ok(if self.config.hide_credentials {
            key::hide(edits, head, &self.config)
        } else {
            edits
        })
    }
}

impl RequestPhase for ApiKey {
    fn on_request(&self, head: RequestHead) -> RequestVerdict {
        let reply = |refusal: Refusal| refusal.reply(self.config.realm.as_deref());
        match self.check(&head) {
            Err(Refusal::Missing) => self.absence.verdict(|| reply(Refusal::Missing)),
            checked => checked.map_err(reply).into(),
        }
    }
}

postern_plugin::export!(ApiKey: request);
