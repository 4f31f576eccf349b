//! Finds out who calls by an API key in a header or, where the operator wants it, in the query.

mod config;
mod key;
mod refusal;
#[cfg(test)]
mod tests;

use config::Config;
use postern_plugin::identity::{self, Credential};
use postern_plugin::{Interest, Plugin, RequestEdits, RequestHead, RequestPhase, RequestVerdict};
use refusal::Refusal;

struct ApiKey(Config);

impl Plugin for ApiKey {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        config.validate().map(ApiKey)
    }

    fn interest(&self) -> Interest {
        Interest::new().request_headers(&self.0.header)
    }
}

impl ApiKey {
    fn check(&self, head: &RequestHead) -> Result<RequestEdits, Refusal> {
        let key = key::find(head, &self.0)?;
        let found = identity::find(&Credential::ApiKey(key.into_owned()));
        let found = found.ok_or(Refusal::Invalid)?;
        identity::authenticate(&found.consumer.name, &found.credential_id)
            .map_err(|_| Refusal::Conflict)?;
        let edits = RequestEdits::new();
        Ok(if self.0.hide_credentials {
            key::hide(edits, head, &self.0)
        } else {
            edits
        })
    }
}

impl RequestPhase for ApiKey {
    fn on_request(&self, head: RequestHead) -> RequestVerdict {
        self.check(&head)
            .map_err(|refusal| refusal.reply(self.0.realm.as_deref()))
            .into()
    }
}

postern_plugin::export!(ApiKey: request);
