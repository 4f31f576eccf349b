//! Lets pages of other origins read answers: cross-origin resource sharing, as the Fetch standard has it.

mod config;
mod origin;
mod policy;

use config::Config;
use policy::Policy;
use postern_plugin::{Interest, Plugin, RequestEdits, RequestHead, RequestPhase, RequestVerdict};

struct Cors(Policy);

impl Plugin for Cors {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        config.compile().map(Cors)
    }

    fn interest(&self) -> Interest {
        Interest::new().request_headers([
            "origin",
            "access-control-request-method",
            "access-control-request-headers",
            "access-control-request-private-network",
        ])
    }
}

impl RequestPhase for Cors {
    fn on_request(&self, head: RequestHead) -> RequestVerdict {
        if let Some(reply) = self.0.preflight(&head) {
            return reply.into();
        }
        // Whoever answers: the upstream, another plugin, or the gateway itself.
        let edits = self.0.edits(head.header("origin"));
        RequestEdits::new().response(edits).into()
    }
}

postern_plugin::export!(Cors: request);

#[cfg(test)]
mod tests {
    use super::*;
    use postern_plugin::testing::{Host, configure};

    #[test]
    fn a_preflight_is_answered_and_other_answers_are_edited() {
        let host = Host::new();
        host.request("OPTIONS", "/")
            .request_header("Origin", "https://a.test");
        let plugin: Cors = configure(r#"{"origins": ["https://*.test", "https://a.test"]}"#)
            .expect("config is right");
        let verdict = host.on_request(&plugin);
        assert_eq!(
            verdict.edits().map(|edits| edits.response_headers.len()),
            Some(3)
        );
        host.request_header("Access-Control-Request-Method", "DELETE");
        let verdict = host.on_request(&plugin);
        assert_eq!(verdict.reply().map(|reply| reply.status), Some(204));
    }
}
