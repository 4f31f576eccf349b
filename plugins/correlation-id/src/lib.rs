//! Gives every request one id, and carries it to the upstream, into the log and back to the client.

mod config;
mod id;

use config::Config;
use postern_plugin::{
    HeaderEdit, Interest, Plugin, RequestEdits, RequestHead, RequestPhase, RequestVerdict, exchange,
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
        let (id, edits) = (exchange::id(), RequestEdits::new());
        let edits = match adopted {
            // The upstream gets the client's header as it is.
            Some(Ok(())) => edits,
            Some(Err(_)) | None => edits.set(&self.0.header, id.as_str()),
        };
        let echo = self.0.echo.then(|| HeaderEdit::set(&self.0.header, id));
        edits.response(echo).into()
    }
}

postern_plugin::export!(CorrelationId: request);

#[cfg(test)]
mod tests;
