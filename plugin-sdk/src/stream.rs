//! Stream phases: bodies piece by piece, with the state of each body in a value of its own.

pub(crate) mod cell;

use crate::{
    Header, Plugin, Reply, RequestEdits, RequestHead, ResponseEdits, ResponseHead, StreamEnd,
};

/// Takes request bodies piece by piece; `request_stream` in [`crate::export!`].
pub trait RequestStreamPhase: Plugin {
    /// The state of one body.
    type Body: BodyStream;

    /// Called once per exchange that has a request body, after this plugin's other request phases let it pass and before
    /// the head is forwarded. The body comes only if the verdict is [`StreamVerdict::Take`].
    fn on_request_stream(&self, head: RequestHead) -> RequestStreamVerdict<Self::Body>;
}

/// Takes response bodies piece by piece; `response_stream` in [`crate::export!`].
pub trait ResponseStreamPhase: Plugin {
    /// The state of one body.
    type Body: BodyStream;

    /// Called once per exchange, after this plugin's other response phases and before the head is sent; also when no body
    /// will be sent ([`ResponseHead`]'s `has_body`), because the head of an answer to HEAD should be that of one to GET.
    /// The body comes only if there is one and the verdict is [`StreamVerdict::Take`].
    fn on_response_stream(&self, head: ResponseHead) -> ResponseStreamVerdict<Self::Body>;
}

/// What becomes of a message and its body.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamVerdict<Edits, Body> {
    /// Both go on as they are.
    Next,
    /// The head goes on changed, the body as it is.
    Edit(Edits),
    /// The head goes on, changed if there are edits, and the body passes through this value. The gateway drops
    /// `content-length`; other fields that describe the content are the plugin's.
    Take(Edits, Body),
    /// The request is answered, or the response replaced, with this.
    Reply(Reply),
}

/// The verdict of [`RequestStreamPhase`].
pub type RequestStreamVerdict<Body> = StreamVerdict<RequestEdits, Body>;

/// The verdict of [`ResponseStreamPhase`].
pub type ResponseStreamVerdict<Body> = StreamVerdict<ResponseEdits, Body>;

/// The state of one body on its way. It is dropped at the body's end, or when the body is given up.
///
/// The defaults let everything pass. An error breaks the exchange off: a response's head has been sent by then.
pub trait BodyStream: 'static {
    /// The next piece: 1 byte to 16 KiB, cut anywhere. What is returned is sent on in its place; it may be empty, and has at
    /// most as many bytes as the operator's `chunk-size` budget.
    fn on_chunk(&mut self, chunk: Vec<u8>) -> Result<Vec<u8>, String> {
        Ok(chunk)
    }

    /// The body has ended. Returns what is still to be sent, and the trailers.
    fn on_end(&mut self, trailers: Vec<Header>) -> Result<StreamEnd, String> {
        Ok(StreamEnd {
            chunk: Vec::new(),
            trailers,
        })
    }
}

impl<Edits, Body> StreamVerdict<Edits, Body> {
    /// The edits, if the head goes on.
    pub fn edits(&self) -> Option<&Edits> {
        match self {
            StreamVerdict::Edit(edits) | StreamVerdict::Take(edits, _) => Some(edits),
            StreamVerdict::Next | StreamVerdict::Reply(_) => None,
        }
    }

    /// The state of the body, if the body is taken.
    pub fn into_body(self) -> Option<Body> {
        match self {
            StreamVerdict::Take(_, body) => Some(body),
            StreamVerdict::Next | StreamVerdict::Edit(_) | StreamVerdict::Reply(_) => None,
        }
    }

    /// The answer, if there is one.
    pub fn reply(&self) -> Option<&Reply> {
        match self {
            StreamVerdict::Reply(reply) => Some(reply),
            StreamVerdict::Next | StreamVerdict::Edit(_) | StreamVerdict::Take(..) => None,
        }
    }
}

impl<Body> From<RequestEdits> for RequestStreamVerdict<Body> {
    fn from(edits: RequestEdits) -> Self {
        if edits.is_empty() {
            StreamVerdict::Next
        } else {
            StreamVerdict::Edit(edits)
        }
    }
}

impl<Body> From<ResponseEdits> for ResponseStreamVerdict<Body> {
    fn from(edits: ResponseEdits) -> Self {
        if edits.is_empty() {
            StreamVerdict::Next
        } else {
            StreamVerdict::Edit(edits)
        }
    }
}

impl<Edits, Body> From<Reply> for StreamVerdict<Edits, Body> {
    fn from(reply: Reply) -> Self {
        StreamVerdict::Reply(reply)
    }
}
