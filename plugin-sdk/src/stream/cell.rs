//! For `export!`: where the body that an instance serves is kept between calls.
#![allow(missing_docs, reason = "hidden, but for the macro")]

use std::cell::RefCell;
use std::thread::LocalKey;

use super::{BodyStream, RequestStreamVerdict, ResponseStreamVerdict, StreamVerdict};
use crate::bindings::{request_stream, response_stream};
use crate::{Header, StreamEnd};

/// Holds the body from a `take` verdict to its end.
pub type BodyCell<B> = RefCell<Option<B>>;

/// Keeps the body of a verdict, in the place of one that was given up.
fn keep<E, B>(
    cell: &'static LocalKey<BodyCell<B>>,
    has_body: bool,
    verdict: StreamVerdict<E, B>,
) -> StreamVerdict<E, ()> {
    let (verdict, body) = match verdict {
        StreamVerdict::Next => (StreamVerdict::Next, None),
        StreamVerdict::Edit(edits) => (StreamVerdict::Edit(edits), None),
        StreamVerdict::Take(edits, body) => (StreamVerdict::Take(edits, ()), Some(body)),
        StreamVerdict::Reply(reply) => (StreamVerdict::Reply(reply), None),
    };
    cell.set(body.filter(|_| has_body));
    verdict
}

pub fn open_request<B>(
    cell: &'static LocalKey<BodyCell<B>>,
    has_body: bool,
    verdict: RequestStreamVerdict<B>,
) -> request_stream::RequestStreamVerdict {
    use request_stream::RequestStreamVerdict as Wit;
    match keep(cell, has_body, verdict) {
        StreamVerdict::Next => Wit::Next,
        StreamVerdict::Edit(edits) => Wit::Edit(edits),
        StreamVerdict::Take(edits, ()) => Wit::Take(edits),
        StreamVerdict::Reply(reply) => Wit::Reply(reply),
    }
}

pub fn open_response<B>(
    cell: &'static LocalKey<BodyCell<B>>,
    has_body: bool,
    verdict: ResponseStreamVerdict<B>,
) -> response_stream::ResponseStreamVerdict {
    use response_stream::ResponseStreamVerdict as Wit;
    match keep(cell, has_body, verdict) {
        StreamVerdict::Next => Wit::Next,
        StreamVerdict::Edit(edits) => Wit::Edit(edits),
        StreamVerdict::Take(edits, ()) => Wit::Take(edits),
        StreamVerdict::Reply(reply) => Wit::Replace(reply),
    }
}

pub fn chunk<B: BodyStream>(
    cell: &'static LocalKey<BodyCell<B>>,
    chunk: Vec<u8>,
) -> Result<Vec<u8>, String> {
    cell.with_borrow_mut(|body| match body {
        Some(body) => body.on_chunk(chunk),
        None => Err(String::from("no body was taken")),
    })
}

pub fn end<B: BodyStream>(
    cell: &'static LocalKey<BodyCell<B>>,
    trailers: Vec<Header>,
) -> Result<StreamEnd, String> {
    match cell.take() {
        Some(mut body) => body.on_end(trailers),
        None => Err(String::from("no body was taken")),
    }
}
