//! Lets pages of other origins read answers: cross-origin resource sharing, as the Fetch standard has it.

mod config;
mod origin;
mod policy;

use config::Config;
use policy::Policy;
use postern_plugin::{
    Interest, Method, Plugin, RequestHead, RequestPhase, RequestVerdict, ResponseHead,
    ResponsePhase, ResponseVerdict, exchange,
};

struct Cors(Policy);

impl Plugin for Cors {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        config.compile().map(Cors)
    }

    fn interest(&self) -> Interest {
        let interest = Interest::new().request_headers([
            "origin",
            "access-control-request-method",
            "access-control-request-headers",
            "access-control-request-private-network",
        ]);
        if self.0.depends_on_origin() {
            interest.response_headers(["vary"])
        } else {
            interest
        }
    }
}

impl RequestPhase for Cors {
    fn on_request(&self, head: RequestHead) -> RequestVerdict {
        if head.method != Method::Options {
            return RequestVerdict::Next;
        }
        self.0
            .preflight(&head)
            .map_or(RequestVerdict::Next, Into::into)
    }
}

impl ResponsePhase for Cors {
    fn on_response(&self, head: ResponseHead) -> ResponseVerdict {
        let origin = if self.0.depends_on_origin() {
            exchange::header("origin")
        } else {
            None
        };
        self.0
            .edits(origin.as_deref(), head.header_values("vary"))
            .into()
    }
}

postern_plugin::export!(Cors: request, response);

#[cfg(test)]
mod tests {
    use super::*;
    use postern_plugin::testing::{Host, configure};

    #[test]
    fn a_preflight_passes_both_phases() {
        let host = Host::new();
        host.request("OPTIONS", "/")
            .request_header("Origin", "https://a.test");
        host.request_header("Access-Control-Request-Method", "DELETE");
        let plugin: Cors = configure(r#"{"origins": ["https://*.test", "https://a.test"]}"#)
            .expect("config is right");
        let verdict = plugin.on_request(host.request_head(&plugin.interest()));
        assert_eq!(verdict.reply().map(|reply| reply.status), Some(204));
        let verdict = plugin.on_response(host.response_head(&plugin.interest(), 204, &[]));
        assert_eq!(verdict.edits().map(|edits| edits.headers.len()), Some(3));
    }
}
