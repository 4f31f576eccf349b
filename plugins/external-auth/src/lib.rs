//! Asks an HTTP service whether a request may pass.

mod config;
mod question;

use config::{Config, OnError};
use postern_plugin::outbound::{self, OutboundResponse};
use postern_plugin::{Interest, Plugin, Reply, RequestHead, RequestPhase, RequestVerdict, log};
use question::{Grant, Question};

struct ExternalAuth(Config);

impl Plugin for ExternalAuth {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        config.validate().map(ExternalAuth)
    }

    fn interest(&self) -> Interest {
        Interest::new().request_headers(&self.0.send_headers)
    }
}

impl RequestPhase for ExternalAuth {
    fn on_request(&self, head: RequestHead) -> RequestVerdict {
        let ExternalAuth(config) = self;
        let question = Question::new(config, &head);
        let key = config.cache.map(|_| question.key());
        if let Some(grant) = key.as_deref().and_then(|key| Grant::recall(config, key)) {
            return grant.edits().into();
        }
        let response = match outbound::send(&question.request()) {
            Ok(response) if response.status < 500 => response,
            Ok(response) => return self.undecided(format_args!("it answers {}", response.status)),
            Err(error) => return self.undecided(format_args!("{error:?}")),
        };
        if !(200..300).contains(&response.status) {
            return self.refusal(response).into();
        }
        let grant = Grant::of(config, &response);
        if let Some(key) = key {
            grant.remember(config, &key);
        }
        grant.edits().into()
    }
}

impl ExternalAuth {
    /// The service's own answer, with the headers that are meant for clients.
    fn refusal(&self, response: OutboundResponse) -> Reply {
        let names = self
            .0
            .response_headers
            .iter()
            .map(String::as_str)
            .chain(["content-type"]);
        let mut reply = Reply::new(response.status).code("auth-denied");
        for name in names {
            for header in response.headers.iter().filter(|header| header.name == name) {
                reply = reply.header(name, header.value.as_slice());
            }
        }
        reply.body(response.body)
    }

    fn undecided(&self, reason: std::fmt::Arguments<'_>) -> RequestVerdict {
        log::error(format_args!("upstream {:?}: {reason}", self.0.upstream));
        match self.0.on_error {
            OnError::Open => Grant::nothing(&self.0).edits().into(),
            OnError::Closed => Reply::problem(
                503,
                "auth-unavailable",
                "It cannot be found out now whether this is allowed.",
            )
            .into(),
        }
    }
}

postern_plugin::export!(ExternalAuth: request);

#[cfg(test)]
mod tests;
