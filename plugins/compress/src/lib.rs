//! Compresses responses with gzip, Brotli or Zstandard, as the client prefers, while they are sent.

mod config;
mod encoder;
mod negotiate;
mod policy;

use config::Config;
use encoder::Encoder;
use policy::{Policy, Response, Verdict};
use postern_plugin::{
    BodyStream, Header, Interest, Plugin, RequestHead, RequestPhase, RequestVerdict, ResponseHead,
    ResponseStreamPhase, ResponseStreamVerdict, StreamEnd, StreamVerdict, exchange,
};

/// What the client sent: a plugin behind this one may ask the upstream for something else.
const NOTE: &str = "compress.accept-encoding";

struct Compress {
    policy: Policy,
}

impl Plugin for Compress {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        Ok(Compress {
            policy: config.compile()?,
        })
    }

    fn interest(&self) -> Interest {
        Interest::new()
            .request_headers(["accept-encoding"])
            .response_headers(policy::WATCHED)
    }
}

impl RequestPhase for Compress {
    fn on_request(&self, head: RequestHead) -> RequestVerdict {
        let values: Vec<&[u8]> = head.header_values("accept-encoding").collect();
        if !values.is_empty() {
            exchange::set_note(NOTE, &values.join(&b','));
        }
        RequestVerdict::Next
    }
}

impl ResponseStreamPhase for Compress {
    type Body = Compressed;

    fn on_response_stream(&self, head: ResponseHead) -> ResponseStreamVerdict<Compressed> {
        let response = Response::of(&head);
        let verdict = self.policy.decide(&response, || exchange::note(NOTE));
        match verdict {
            Verdict::Leave => StreamVerdict::Next,
            Verdict::Edit(edits) => StreamVerdict::Edit(edits),
            Verdict::Compress {
                coding,
                flush,
                edits,
            } => {
                let encoder = Encoder::new(coding, self.policy.level);
                StreamVerdict::Take(edits, Compressed { encoder, flush })
            }
        }
    }
}

/// A body on its way through an encoder.
struct Compressed {
    encoder: Encoder,
    /// Whether every piece must be readable at once.
    flush: bool,
}

impl BodyStream for Compressed {
    fn on_chunk(&mut self, chunk: Vec<u8>) -> Result<Vec<u8>, String> {
        self.encoder.write(&chunk, self.flush)
    }

    fn on_end(&mut self, trailers: Vec<Header>) -> Result<StreamEnd, String> {
        let chunk = self.encoder.finish()?;
        Ok(StreamEnd { chunk, trailers })
    }
}

postern_plugin::export!(Compress: request, response_stream);

#[cfg(test)]
mod tests;
