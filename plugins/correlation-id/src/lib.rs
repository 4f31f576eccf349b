//! Gives every request one id, and carries it to the upstream, into the log and back to the client.

mod config;
mod id;

use config::Config;
use postern_plugin::{
    Interest, Plugin, RequestEdits, RequestHead, RequestPhase, RequestVerdict, ResponseEdits,
    ResponseHead, ResponsePhase, ResponseVerdict, exchange,
};

struct CorrelationId(Config);

impl Plugin for CorrelationId {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        config.validate().map(CorrelationId)
    }

    fn interest(&self) -> Interest {
        let wanted = self.0.accept.then_some(self.0.header.as_str());
        Interest::new().request_headers(wanted)
    }
}

impl RequestPhase for CorrelationId {
    fn on_request(&self, head: RequestHead) -> RequestVerdict {
        // Without `accept` the header is not among those of `interest`, and nothing is found.
        let adopted = id::acceptable(head.header_values(&self.0.header)).map(exchange::set_id);
        match adopted {
            // The upstream gets the client's header as it is.
            Some(Ok(())) => RequestVerdict::Next,
            Some(Err(_)) | None => RequestEdits::new()
                .set(&self.0.header, exchange::id())
                .into(),
        }
    }
}

impl ResponsePhase for CorrelationId {
    fn on_response(&self, _: ResponseHead) -> ResponseVerdict {
        if !self.0.echo {
            return ResponseVerdict::Next;
        }
        ResponseEdits::new()
            .set(&self.0.header, exchange::id())
            .into()
    }
}

postern_plugin::export!(CorrelationId: request, response);

#[cfg(test)]
mod tests {
    use super::*;
    use postern_plugin::HeaderEdit;
    use postern_plugin::testing::{Host, configure};

    fn plugin(config: &str) -> CorrelationId {
        configure(config).expect("config is right")
    }

    #[test]
    fn a_good_id_of_the_client_is_kept_and_echoed() {
        let host = Host::new();
        host.request_header("X-Request-ID", "abc");
        let plugin = plugin("{}");
        assert_eq!(
            plugin.on_request(host.request_head(&plugin.interest())),
            RequestVerdict::Next
        );
        assert_eq!(host.id(), "abc");
        let verdict = plugin.on_response(host.response_head(&plugin.interest(), 200, &[]));
        assert_eq!(
            verdict.edits().expect("edits").headers,
            [HeaderEdit::set("x-request-id", "abc")]
        );
    }

    #[test]
    fn without_a_good_id_the_gateways_own_is_forwarded() {
        for (config, sent) in [("{}", "two words"), (r#"{"accept": false}"#, "abc")] {
            let host = Host::new();
            host.request_header("X-Request-ID", sent);
            let plugin = plugin(config);
            let verdict = plugin.on_request(host.request_head(&plugin.interest()));
            assert_eq!(
                verdict.edits().expect("edits").headers,
                [HeaderEdit::set("x-request-id", "test-id")]
            );
        }
    }

    #[test]
    fn the_header_is_checked_and_the_echo_can_be_switched_off() {
        assert!(
            configure::<CorrelationId>(r#"{"header": "Host"}"#)
                .is_err_and(|error| error.starts_with("header: "))
        );
        let plugin = plugin(r#"{"header": "Trace", "echo": false}"#);
        let host = Host::new();
        assert_eq!(
            plugin.on_response(host.response_head(&plugin.interest(), 200, &[])),
            ResponseVerdict::Next
        );
    }
}
