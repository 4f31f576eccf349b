//! One branch: from the client's request to a call, and from the answer to the piece of the document.

use std::borrow::Cow;
use std::time::Duration;

use postern_plugin::outbound::{OutboundError, OutboundRequest, OutboundResponse};
use postern_plugin::{Header, Method, RequestHead, exchange};

use crate::failure::{Cause, Failure};
use crate::json;
use crate::shape::{self, Rules};
use crate::template::{Source, Template, Unfilled};

/// A branch, ready for requests.
#[derive(Debug)]
pub(crate) struct Branch {
    pub name: String,
    pub upstream: String,
    pub path: Template,
    pub method: Method,
    /// In lower case.
    pub forward_headers: Vec<String>,
    pub forward_body: bool,
    /// Keys and indexes; empty for the whole answer.
    pub target: Vec<String>,
    pub rules: Rules,
    /// As JSON.
    pub group: Option<String>,
    pub timeout: Duration,
    pub max_body: u32,
    pub pass_status: Vec<u16>,
    pub required: bool,
    /// As JSON.
    pub fallback: Option<String>,
}

/// The body of a good answer, or why there is none.
pub(crate) type Called = Result<Vec<u8>, Failure>;

/// The JSON text that a branch contributes, or why it does not.
pub(crate) type Shaped<'a> = Result<Cow<'a, str>, Failure>;

impl Branch {
    /// The call that the client's request makes of this branch.
    pub(crate) fn request(
        &self,
        head: &RequestHead,
        body: &[u8],
    ) -> Result<OutboundRequest, Failure> {
        let path =
            self.path
                .fill(|source| value(source, head))
                .map_err(|unfilled| match unfilled {
                    Unfilled::Absent(place) => {
                        Cause::ValueAbsent.because(format!("the request has no value for {place}"))
                    }
                    Unfilled::Refused(place) => {
                        Cause::ValueRefused.because(format!("{place} would lead to another path"))
                    }
                })?;
        let mut request = OutboundRequest::new(self.method.clone(), &*self.upstream, path)
            .timeout(self.timeout)
            .max_body(self.max_body);
        for name in &self.forward_headers {
            let values = head.header_values(name);
            request
                .headers
                .extend(values.map(|value| Header::new(name, value)));
        }
        if !self.forward_headers.iter().any(|name| name == "accept") {
            request = request.header("accept", "application/json");
        }
        if self.forward_body {
            request = request.body(body);
        }
        Ok(request)
    }

    /// What of the answer goes into the document.
    pub(crate) fn shape<'a>(&self, called: &'a Called) -> Shaped<'a> {
        let body = called.as_ref().map_err(Failure::clone)?;
        let not_json =
            || Cause::NotJson.because(format!("expected JSON at most {} deep", json::MAX_DEPTH));
        let answer = json::check(body).map_err(|json::Invalid| not_json())?;
        let missing = || Cause::TargetMissing.because("the answer has nothing at target");
        let value = shape::find(answer, &self.target).ok_or_else(missing)?;
        let no_object = |what| Cause::NotAnObject.because(what);
        let value = if self.rules.is_empty() {
            Cow::Borrowed(value)
        } else {
            let shaped = self
                .rules
                .apply(value)
                .ok_or_else(|| no_object("the answer has no keys to choose from"))?;
            Cow::Owned(shaped)
        };
        if self.group.is_none() && !json::is_object(&value) {
            return Err(no_object("only an object can be merged without group"));
        }
        Ok(value)
    }
}

/// Whether a call went well.
pub(crate) fn judge(answer: Result<OutboundResponse, OutboundError>) -> Called {
    let answer = answer?;
    match answer.status {
        200..=299 => Ok(answer.body),
        status => Err(Cause::Status(status).because(format!("answered with status {status}"))),
    }
}

fn value(source: &Source, head: &RequestHead) -> Option<Vec<u8>> {
    match source {
        Source::Path(name) => exchange::path_parameter(name).map(String::into_bytes),
        Source::Query(name) => exchange::query(name).map(String::into_bytes),
        Source::Header(name) => head.header_values(name).next().map(<[u8]>::to_vec),
        Source::Consumer => exchange::attribute("consumer").map(String::into_bytes),
    }
}
