//! Removes, renames and writes headers of requests and responses, with values from the request and the consumer.

mod config;
mod facts;
mod rules;
mod template;

use config::Config;
use facts::HostFacts;
use postern_plugin::{
    HeaderEdit, Interest, Phases, Plugin, RequestEdits, RequestHead, RequestPhase, RequestVerdict,
    ResponseEdits, ResponseHead, ResponsePhase, ResponseVerdict,
};
use rules::Rules;

struct HeaderTransform {
    request: Rules,
    response: Rules,
    /// What is done to every response alike: said with the request, which saves a call.
    constant: Option<Vec<HeaderEdit>>,
}

impl Plugin for HeaderTransform {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        let (request, response) = (
            config.request.compile("request")?,
            config.response.compile("response")?,
        );
        let constant = response.constant();
        Ok(HeaderTransform {
            request,
            response,
            constant,
        })
    }

    fn interest(&self) -> Interest {
        let no_request =
            self.request.is_empty() && (self.response.is_empty() || self.constant.is_none());
        Interest::new()
            .request_headers(self.request.renamed().chain(self.request.read()))
            .response_headers(self.response.renamed())
            .unused(no_request.then_some(Phases::REQUEST))
            .unused(self.constant.is_some().then_some(Phases::RESPONSE))
    }
}

impl RequestPhase for HeaderTransform {
    fn on_request(&self, head: RequestHead) -> RequestVerdict {
        let facts = HostFacts {
            headers: Some(&head.headers),
        };
        let edits = RequestEdits::from(self.request.edits(&head.headers, &facts));
        edits
            .response(self.constant.iter().flatten().cloned())
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
