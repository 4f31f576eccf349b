//! Gives every request one id, and carries it to the upstream, into the log and back to the client.

mod config;
mod id;

use config::Config;
use postern_plugin::{
    Interest, Phases, Plugin, RequestEdits, RequestHead, RequestPhase, RequestVerdict,
    ResponseEdits, ResponseHead, ResponsePhase, ResponseVerdict, exchange,
};

struct CorrelationId(Config);

impl Plugin for CorrelationId {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        config.validate().map(CorrelationId)
    }

    fn interest(&self) -> Interest {
        let wanted = self.0.accept.then_some(self.0.header.as_str());
        let unused = (!self.0.echo).then_some(Phases::RESPONSE);
        Interest::new().request_headers(wanted).unused(unused)
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
        ResponseEdits::new()
            .set(&self.0.header, exchange::id())
            .into()
    }
}

postern_plugin::export!(CorrelationId: request, response);

#[cfg(test)]
mod tests;
