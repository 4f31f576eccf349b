//! Removes, renames and writes headers of requests and responses, with values from the request and the consumer.

mod config;
mod rules;
mod template;

use config::Config;
use postern_plugin::{
    Header, Interest, Plugin, RequestEdits, RequestHead, RequestPhase, RequestVerdict,
    ResponseEdits, ResponseHead, ResponsePhase, ResponseVerdict, exchange, identity,
};
use rules::Rules;
use template::Facts;

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
    }
}

impl RequestPhase for HeaderTransform {
    fn on_request(&self, head: RequestHead) -> RequestVerdict {
        if self.request.is_empty() {
            return RequestVerdict::Next;
        }
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
        if self.response.is_empty() {
            return ResponseVerdict::Next;
        }
        ResponseEdits::from(
            self.response
                .edits(&head.headers, &HostFacts { headers: None }),
        )
        .into()
    }
}

/// Asks the host only for what was not handed over.
struct HostFacts<'a> {
    /// The request headers of `interest`, in the request phase.
    headers: Option<&'a [Header]>,
}

impl Facts for HostFacts<'_> {
    fn consumer(&self) -> Option<String> {
        identity::current().map(|found| found.consumer.name)
    }

    fn tier(&self) -> Option<String> {
        identity::current().and_then(|found| found.consumer.tier)
    }

    fn header(&self, name: &str) -> Option<Vec<u8>> {
        match self.headers {
            Some(headers) => headers
                .iter()
                .find(|header| header.name == name)
                .map(|header| header.value.clone()),
            None => exchange::header_values(name).into_iter().next(),
        }
    }

    fn path_parameter(&self, name: &str) -> Option<String> {
        exchange::path_parameter(name)
    }

    fn query(&self, name: &str) -> Option<String> {
        exchange::query(name)
    }
}

postern_plugin::export!(HeaderTransform: request, response);

#[cfg(test)]
mod tests;
