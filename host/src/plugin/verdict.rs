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

/// Applies edits to the request of an exchange; returns a new body if there is one.
///
/// # Errors
/// A bad verdict; the exchange is then as it was.
pub(super) fn edit_request(
    exchange: &mut Exchange,
    shared: &Shared,
    edits: RequestEdits,
    body_allowed: bool,
) -> Result<Option<Bytes>, CallError> {
    let headers = check_headers(edits.headers)?;
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
    Ok(body)
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

enum Edit {
    Set(HeaderName, HeaderValue),
    Append(HeaderName, HeaderValue),
    Remove(HeaderName),
}

fn check_headers(edits: Vec<HeaderEdit>) -> Result<Vec<Edit>, CallError> {
    check_size(edits.iter().map(|edit| match edit {
        HeaderEdit::Set(header) | HeaderEdit::Append(header) => {
            (header.name.len(), header.value.len())
        }
        HeaderEdit::Remove(name) => (name.len(), 0),
    }))?;
    let check = |edit| match edit {
        HeaderEdit::Set(header) => {
            convert::header(&header.name, header.value).map(|(name, value)| Edit::Set(name, value))
        }
        HeaderEdit::Append(header) => convert::header(&header.name, header.value)
            .map(|(name, value)| Edit::Append(name, value)),
        HeaderEdit::Remove(name) => convert::header_name(&name).map(Edit::Remove),
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

fn apply(headers: &mut HeaderMap, edits: Vec<Edit>) {
    for edit in edits {
        match edit {
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
