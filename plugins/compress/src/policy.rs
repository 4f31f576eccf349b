//! Whether a response is compressed, and what its head then says (RFC 9110, 8.4, 8.8.3 and 12.5.5).

use postern_plugin::{ResponseEdits, ResponseHead, exchange};

use crate::config::Level;
use crate::negotiate::{Coding, choose};

/// The response headers that decide.
pub(crate) const WATCHED: [&str; 6] = [
    "content-type",
    "content-encoding",
    "content-length",
    "content-range",
    "cache-control",
    "etag",
];
/// What describes the bytes as they were (RFC 9110, 14.3; RFC 9530), and is wrong of others.
const OBSOLETE: [&str; 5] = [
    "accept-ranges",
    "content-digest",
    "content-md5",
    "digest",
    "repr-digest",
];
/// Compressed or not, a stream of these is read piece by piece.
const FLUSHED: [&str; 3] = [
    "text/event-stream",
    "application/x-ndjson",
    "application/json-seq",
];

/// What the operator wants.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) codings: Vec<Coding>,
    pub(crate) types: Vec<TypePattern>,
    pub(crate) min_size: u64,
    pub(crate) level: Level,
}

/// `type/subtype`, `type/*` or `*/*+suffix`, lower case.
#[derive(Debug)]
pub(crate) enum TypePattern {
    Exact(String),
    Family(String),
    Suffix(String),
}

impl TypePattern {
    pub(crate) fn matches(&self, essence: &str) -> bool {
        match self {
            TypePattern::Exact(name) => name == essence,
            TypePattern::Family(prefix) => essence.starts_with(prefix),
            TypePattern::Suffix(suffix) => essence.ends_with(suffix),
        }
    }
}

/// What decides about a response.
#[derive(Debug, Default)]
pub(crate) struct Response<'h> {
    pub(crate) status: u16,
    pub(crate) has_body: bool,
    pub(crate) content_type: &'h str,
    pub(crate) content_encoding: &'h str,
    pub(crate) content_length: Option<u64>,
    pub(crate) content_range: bool,
    pub(crate) cache_control: Vec<&'h [u8]>,
    pub(crate) etag: &'h str,
}

impl<'h> Response<'h> {
    pub(crate) fn of(head: &'h ResponseHead) -> Self {
        let text = |name| head.header(name).unwrap_or_default();
        Response {
            status: head.status,
            has_body: head.has_body,
            content_type: text("content-type"),
            content_encoding: text("content-encoding"),
            content_length: head
                .header("content-length")
                .and_then(|length| length.parse().ok()),
            content_range: head.header_values("content-range").next().is_some(),
            cache_control: head.header_values("cache-control").collect(),
            etag: text("etag"),
        }
    }
}

/// What becomes of a response.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    Leave,
    Edit(ResponseEdits),
    Compress {
        coding: Coding,
        /// Whether every piece must be readable at once.
        flush: bool,
        edits: ResponseEdits,
    },
}

impl Policy {
    /// Decides. What the client accepts is asked for only when it matters.
    pub(crate) fn decide(
        &self,
        response: &Response<'_>,
        accept_encoding: impl FnOnce() -> Option<Vec<u8>>,
    ) -> Verdict {
        if response.status == 304 {
            return not_modified(response);
        }
        let essence = essence(response.content_type);
        if !self.is_worth_it(response, &essence) || is_forbidden(&response.cache_control) {
            return Verdict::Leave;
        }
        let edits = ResponseEdits::new().include("vary", "Accept-Encoding");
        let accepted = accept_encoding().unwrap_or_default();
        let accepted = String::from_utf8_lossy(&accepted);
        let Some(coding) = choose(&accepted, &self.codings) else {
            return Verdict::Edit(edits);
        };
        let requested = exchange::header_values("cache-control");
        if is_forbidden(&requested) {
            return Verdict::Edit(edits);
        }
        // The answer to HEAD says what the answer to GET would; nothing else without a body has anything to compress.
        if !response.has_body && exchange::attribute("request.method").as_deref() != Some("HEAD") {
            return Verdict::Leave;
        }
        let mut edits = edits.set("content-encoding", coding.name());
        for name in OBSOLETE {
            edits = edits.remove(name);
        }
        if let Some(weak) = weakened(response.etag) {
            edits = edits.set("etag", weak);
        }
        Verdict::Compress {
            coding,
            flush: FLUSHED.contains(&essence.as_str()),
            edits,
        }
    }

    fn is_worth_it(&self, response: &Response<'_>, essence: &str) -> bool {
        let whole = response.status >= 200
            && !matches!(response.status, 204..=206)
            && !response.content_range;
        let plain = matches!(response.content_encoding.trim(), "" | "identity");
        let large = response
            .content_length
            .is_none_or(|length| length >= self.min_size);
        whole && plain && large && self.types.iter().any(|pattern| pattern.matches(essence))
    }
}

/// What a cache holds has the weak tag that the compressed answer had: to be the same, this must have it too.
fn not_modified(response: &Response<'_>) -> Verdict {
    let Some(weak) = weakened(response.etag) else {
        return Verdict::Leave;
    };
    let asked = exchange::header_values("if-none-match");
    let holds = asked
        .iter()
        .flat_map(|value| value.split(|byte| *byte == b','))
        .any(|tag| tag.trim_ascii() == weak.as_bytes());
    if !holds {
        return Verdict::Leave;
    }
    let edits = ResponseEdits::new().set("etag", weak);
    Verdict::Edit(edits.include("vary", "Accept-Encoding"))
}

/// `type/subtype` of a content type, lower case.
pub(crate) fn essence(content_type: &str) -> String {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

/// Whether `no-transform` is among the directives (RFC 9111, 5.2.1.6 and 5.2.2.6).
fn is_forbidden(cache_control: &[impl AsRef<[u8]>]) -> bool {
    let directives = cache_control
        .iter()
        .flat_map(|value| value.as_ref().split(|byte| *byte == b','));
    directives
        .map(<[u8]>::trim_ascii)
        .any(|directive| directive.eq_ignore_ascii_case(b"no-transform"))
}

/// A strong tag names one sequence of bytes; compressed, it is another one with the same meaning.
fn weakened(etag: &str) -> Option<String> {
    etag.starts_with('"').then(|| format!("W/{etag}"))
}
