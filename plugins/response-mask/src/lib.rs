//! Masks fields of JSON and patterns in response bodies while they are sent.

mod config;
mod fields;
mod json;
mod media;
mod scrub;

use std::rc::Rc;

use config::Config;
use fields::Fields;
use json::JsonMask;
use media::Kind;
use postern_plugin::{
    BodyStream, Header, Interest, Phases, Plugin, Reply, RequestEdits, RequestHead, RequestPhase,
    RequestVerdict, ResponseEdits, ResponseHead, ResponseStreamPhase, ResponseStreamVerdict,
    StreamEnd, StreamVerdict,
};
use scrub::{Pattern, Scrub};

/// What describes the bytes as they were (RFC 9110, 14.3; RFC 9530), and is wrong of others.
const OBSOLETE: [&str; 5] = [
    "accept-ranges",
    "content-digest",
    "content-md5",
    "digest",
    "repr-digest",
];

/// What to mask.
struct ResponseMask {
    rules: Rc<Rules>,
}

/// The configuration, shared by the bodies of an instance.
struct Rules {
    fields: Fields,
    /// What stands in the place of a field's value: a JSON string, with its quotes.
    replacement: Vec<u8>,
    patterns: Vec<Pattern>,
}

impl Plugin for ResponseMask {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        Ok(ResponseMask {
            rules: Rc::new(config.compile()?),
        })
    }

    fn interest(&self) -> Interest {
        Interest::new()
            .response_headers(["content-type", "content-encoding", "content-range"])
            .unused(self.rules.is_empty().then_some(Phases::REQUEST))
            .unused(self.rules.is_empty().then_some(Phases::RESPONSE_STREAM))
    }
}

impl Rules {
    fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.patterns.is_empty()
    }
}

impl RequestPhase for ResponseMask {
    /// Asks the upstream for what can be read: not compressed, and not a part.
    fn on_request(&self, _: RequestHead) -> RequestVerdict {
        RequestEdits::new()
            .set("accept-encoding", "identity")
            .remove("range")
            .remove("if-range")
            .into()
    }
}

impl ResponseStreamPhase for ResponseMask {
    type Body = Masked;

    fn on_response_stream(&self, head: ResponseHead) -> ResponseStreamVerdict<Masked> {
        let text = |name| head.header(name).unwrap_or_default();
        let body = match media::kind(text("content-type")) {
            Kind::Json => Masked::Json(Box::new(JsonMask::new(Rc::clone(&self.rules)))),
            Kind::Text if !self.rules.patterns.is_empty() => {
                Masked::Text(Rc::clone(&self.rules), Scrub::default())
            }
            Kind::Text | Kind::Other => return StreamVerdict::Next,
        };
        let plain = matches!(text("content-encoding").trim(), "" | "identity");
        let part = head.status == 206 || head.header_values("content-range").next().is_some();
        if head.has_body && (!plain || part) {
            return Reply::text(502, "The response cannot be checked\n")
                .code("response-not-maskable")
                .into();
        }
        let edits = OBSOLETE
            .iter()
            .fold(ResponseEdits::new(), |edits, name| edits.remove(*name));
        StreamVerdict::Take(edits, body)
    }
}

/// A body on its way.
enum Masked {
    Json(Box<JsonMask>),
    Text(Rc<Rules>, Scrub),
}

impl BodyStream for Masked {
    fn on_chunk(&mut self, chunk: Vec<u8>) -> Result<Vec<u8>, String> {
        let mut out = Vec::with_capacity(chunk.len());
        match self {
            Masked::Json(mask) => mask.push(&chunk, &mut out)?,
            Masked::Text(rules, scrub) => scrub.lines(&rules.patterns, &chunk, &mut out),
        }
        Ok(out)
    }

    fn on_end(&mut self, trailers: Vec<Header>) -> Result<StreamEnd, String> {
        let mut chunk = Vec::new();
        match self {
            Masked::Json(mask) => mask.end()?,
            Masked::Text(rules, scrub) => scrub.end(&rules.patterns, &mut chunk),
        }
        Ok(StreamEnd { chunk, trailers })
    }
}

postern_plugin::export!(ResponseMask: request, response_stream);

#[cfg(test)]
mod tests;
