//! Removes, renames and writes headers of requests and responses, with values from the request and the consumer.

mod config;
mod facts;
mod rules;
mod template;

use config::Config;
use facts::HostFacts;
use postern_plugin::{
    Interest, Phases, Plugin, RequestEdits, RequestHead, RequestPhase, RequestVerdict,
    ResponseEdits, ResponseHead, ResponsePhase, ResponseVerdict,
};
use rules::Rules;

struct HeaderTransform {
    request: Rules,
    response: Rules,
}

impl Plugin for HeaderTransform {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        let (request, response) = (
            config.request.compile("request")?,
            config.response.compile("response")?,
        );
        Ok(HeaderTransform { request, response })
    }

    fn interest(&self) -> Interest {
        Interest::new()
            .request_headers(self.request.watched().chain(self.request.read()))
            .response_headers(self.response.watched())
            .unused(self.request.is_empty().then_some(Phases::REQUEST))
            .unused(self.response.is_empty().then_some(Phases::RESPONSE))
    }
}

impl RequestPhase for HeaderTransform {
    fn on_request(&self, head: RequestHead) -> RequestVerdict {
        RequestEdits::from(self.request.edits(
            &head.headers,
            &HostFacts {
                headers: Some(&head.headers),
            },
        ))
        .into()
    }
}

impl ResponsePhase for HeaderTransform {
    fn on_response(&self, head: ResponseHead) -> ResponseVerdict {
        ResponseEdits::from(
            self.response
                .edits(&head.headers, &HostFacts { headers: None }),
        )
        .into()
    }
}

postern_plugin::export!(HeaderTransform: request, response);

#[cfg(test)]
mod tests;
