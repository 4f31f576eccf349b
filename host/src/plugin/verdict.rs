//! Verdicts of plugins: checked as a whole, then applied as a whole.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::bindings::postern::plugin::types::{self, HeaderEdit, RequestEdits, ResponseEdits};
use super::convert;
use super::error::{CallError, FailureReason};
use super::state::Shared;
use crate::exchange::Exchange;

/// Most edits or headers in one verdict.
const MAX_HEADERS: usize = 128;
const MAX_HEADER_BYTES: usize = 64 << 10;
const MAX_CODE_LENGTH: usize = 64;

/// A whole answer of a plugin.
#[derive(Debug)]
pub struct Reply {
    /// Head and body.
    pub response: http::Response<Bytes>,
    /// A stable word for logs and metrics.
    pub code: Option<Arc<str>>,
}

fn bad(detail: impl Into<String>) -> CallError {
    CallError::new(FailureReason::BadVerdict, detail)
}

/// What a request phase changes later than at once.
#[derive(Default)]
pub(super) struct RequestEdited {
    /// The new body, if there is one.
    pub(super) body: Option<Bytes>,
    /// For the response.
    pub(super) response: Vec<Edit>,
}

/// Applies edits to the request of an exchange, and returns the rest of them.
///
/// # Errors
/// A bad verdict; the exchange is then as it was.
pub(super) fn edit_request(
    exchange: &mut Exchange,
    shared: &Shared,
    edits: RequestEdits,
    body_allowed: bool,
) -> Result<RequestEdited, CallError> {
    let headers = check_headers(edits.headers)?;
    let response = check_headers(edits.response_headers)?;
    let method = edits
        .method
        .as_ref()
        .map(convert::method)
        .transpose()
        .map_err(bad)?;
    let uri = edits
        .path_and_query
        .as_deref()
        .map(convert::path_and_query)
        .transpose()
        .map_err(bad)?;
    let authority = edits
        .authority
        .as_deref()
        .map(convert::authority)
        .transpose()
        .map_err(bad)?;
    let upstream = edits
        .upstream
        .map(|name| find_upstream(shared, &name))
        .transpose()?;
    let body = check_body(edits.body, body_allowed, shared)?;

    apply(&mut exchange.request.headers, headers);
    if let Some(method) = method {
        exchange.request.method = method;
    }
    if let Some(uri) = uri {
        exchange.request.uri = uri;
    }
    if let Some(authority) = authority {
        exchange.authority = authority.into();
    }
    if let Some(upstream) = upstream {
        exchange.upstream = Some(upstream);
    }
    Ok(RequestEdited { body, response })
}

/// Applies edits to a response head; returns a new body if there is one.
///
/// # Errors
/// A bad verdict; the head is then as it was.
pub(super) fn edit_response(
    head: &mut http::response::Parts,
    shared: &Shared,
    edits: ResponseEdits,
    body_allowed: bool,
) -> Result<Option<Bytes>, CallError> {
    let headers = check_headers(edits.headers)?;
    let status = edits.status.map(convert::status).transpose().map_err(bad)?;
    let body = check_body(edits.body, body_allowed, shared)?;

    apply(&mut head.headers, headers);
    if let Some(status) = status {
        head.status = status;
    }
    Ok(body)
}

/// Checks a whole answer.
///
/// # Errors
/// A bad verdict.
pub(super) fn reply(reply: types::Reply, shared: &Shared) -> Result<Reply, CallError> {
    let status = convert::status(reply.status).map_err(bad)?;
    let limit = shared.budget.reply_size;
    if reply.body.len() > limit {
        return Err(bad(format!(
            "the reply has {} bytes, at most {limit} are allowed (budget.reply-size)",
            reply.body.len()
        )));
    }
    if matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    ) && !reply.body.is_empty()
    {
        return Err(bad(format!("a reply with status {status} has no body")));
    }
    let code = match reply.code.as_str() {
        "" => None,
        code if is_code(code) => Some(code.into()),
        code => {
            return Err(bad(format!(
                "code {code:?} is not kebab-case of at most {MAX_CODE_LENGTH} characters"
            )));
        }
    };
    check_size(
        reply
            .headers
            .iter()
            .map(|header| (header.name.len(), header.value.len())),
    )?;
    let mut response = http::Response::new(Bytes::from(reply.body));
    *response.status_mut() = status;
    for header in reply.headers {
        let (name, value) = convert::header(&header.name, header.value).map_err(bad)?;
        response.headers_mut().append(name, value);
    }
    Ok(Reply { response, code })
}

/// Checks the trailers that a stream phase returns.
///
/// # Errors
/// A bad verdict.
pub(super) fn trailers(trailers: Vec<types::HeaderResult>) -> Result<HeaderMap, CallError> {
    check_size(
        trailers
            .iter()
            .map(|header| (header.name.len(), header.value.len())),
    )?;
    let mut checked = HeaderMap::with_capacity(trailers.len());
    for header in trailers {
        let (name, value) = convert::header(&header.name, header.value).map_err(bad)?;
        checked.append(name, value);
    }
    Ok(checked)
}

fn is_code(code: &str) -> bool {
    code.len() <= MAX_CODE_LENGTH
        && code
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn find_upstream(shared: &Shared, name: &str) -> Result<Arc<str>, CallError> {
    let granted = shared.upstreams.iter().find(|granted| ***granted == *name);
    granted.cloned().ok_or_else(|| {
        bad(format!(
            "upstream {name:?} is not among the plugin's upstreams"
        ))
    })
}

fn check_body(
    body: Option<Vec<u8>>,
    allowed: bool,
    shared: &Shared,
) -> Result<Option<Bytes>, CallError> {
    let Some(body) = body else { return Ok(None) };
    if !allowed {
        return Err(bad("a body can only be replaced in a body phase"));
    }
    let limit = shared.budget.body_size;
    if body.len() > limit {
        return Err(bad(format!(
            "the new body has {} bytes, at most {limit} are allowed (budget.body-size)",
            body.len()
        )));
    }
    Ok(Some(body.into()))
}

/// A checked edit of a header.
pub(super) enum Edit {
    Set(HeaderName, HeaderValue),
    Append(HeaderName, HeaderValue),
    Add(HeaderName, HeaderValue),
    Replace(HeaderName, HeaderValue),
    Include(HeaderName, HeaderValue),
    Remove(HeaderName),
}

fn check_headers(edits: Vec<HeaderEdit>) -> Result<Vec<Edit>, CallError> {
    check_size(edits.iter().map(|edit| match edit {
        HeaderEdit::Set(header)
        | HeaderEdit::Append(header)
        | HeaderEdit::Add(header)
        | HeaderEdit::Replace(header)
        | HeaderEdit::Include(header) => (header.name.len(), header.value.len()),
        HeaderEdit::Remove(name) => (name.len(), 0),
    }))?;
    type Made = fn(HeaderName, HeaderValue) -> Edit;
    let check = |edit| {
        let (made, header): (Made, _) = match edit {
            HeaderEdit::Set(header) => (Edit::Set, header),
            HeaderEdit::Append(header) => (Edit::Append, header),
            HeaderEdit::Add(header) => (Edit::Add, header),
            HeaderEdit::Replace(header) => (Edit::Replace, header),
            HeaderEdit::Include(header) => (Edit::Include, header),
            HeaderEdit::Remove(name) => return convert::header_name(&name).map(Edit::Remove),
        };
        convert::header(&header.name, header.value).map(|(name, value)| made(name, value))
    };
    edits
        .into_iter()
        .map(check)
        .collect::<Result<_, _>>()
        .map_err(bad)
}

fn check_size(headers: impl Iterator<Item = (usize, usize)>) -> Result<(), CallError> {
    let (count, bytes) = headers.fold((0, 0), |(count, bytes), (name, value)| {
        (count + 1, bytes + name + value)
    });
    if count > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
        return Err(bad(format!(
            "{count} headers of {bytes} bytes together, at most {MAX_HEADERS} of {MAX_HEADER_BYTES} are allowed"
        )));
    }
    Ok(())
}

/// Applies checked edits in their order.
pub(super) fn apply(headers: &mut HeaderMap, edits: Vec<Edit>) {
    for edit in edits {
        match edit {
            Edit::Add(name, _) if headers.contains_key(&name) => {}
            Edit::Replace(name, _) if !headers.contains_key(&name) => {}
            Edit::Include(name, value) if holds(headers, &name, &value) => {}
            Edit::Add(name, value) | Edit::Replace(name, value) => {
                headers.insert(name, value);
            }
            Edit::Include(name, value) => {
                headers.append(name, value);
            }
            Edit::Set(name, value) => {
                headers.insert(name, value);
            }
            Edit::Append(name, value) => {
                headers.append(name, value);
            }
            Edit::Remove(name) => {
                headers.remove(name);
            }
        }
    }
}

/// Whether a list-valued header (RFC 9110, 5.6.1) has this member, or stands for every one.
fn holds(headers: &HeaderMap, name: &HeaderName, member: &HeaderValue) -> bool {
    let values = headers.get_all(name).iter();
    let mut members = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    members.any(|known| {
        let known = known.trim_ascii();
        known == b"*" || known.eq_ignore_ascii_case(member.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(before: &[(&'static str, &'static str)], edits: Vec<Edit>) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in before {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_static(value));
        }
        apply(&mut headers, edits);
        let mut lines: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?")))
            .collect();
        lines.sort();
        lines
    }

    fn edit(made: fn(HeaderName, HeaderValue) -> Edit, value: &'static str) -> Vec<Edit> {
        vec![made(
            HeaderName::from_static("vary"),
            HeaderValue::from_static(value),
        )]
    }

    #[test]
    fn presence_decides_about_add_and_replace() {
        let present = [("vary", "a"), ("vary", "b")];
        assert_eq!(
            after(&present, edit(Edit::Add, "c")),
            ["vary: a", "vary: b"]
        );
        assert_eq!(after(&[], edit(Edit::Add, "c")), ["vary: c"]);
        assert_eq!(after(&present, edit(Edit::Replace, "c")), ["vary: c"]);
        assert!(after(&[], edit(Edit::Replace, "c")).is_empty());
        assert_eq!(after(&present, edit(Edit::Set, "c")), ["vary: c"]);
        assert_eq!(
            after(&present, edit(Edit::Append, "a")),
            ["vary: a", "vary: a", "vary: b"]
        );
    }

    #[test]
    fn a_member_is_included_once() {
        assert_eq!(after(&[], edit(Edit::Include, "Origin")), ["vary: Origin"]);
        assert_eq!(
            after(&[("vary", "accept")], edit(Edit::Include, "Origin")),
            ["vary: Origin", "vary: accept"]
        );
        for there in ["accept , origin", "*", "ORIGIN"] {
            assert_eq!(
                after(&[("vary", there)], edit(Edit::Include, "Origin")),
                [format!("vary: {there}")]
            );
        }
    }
}
