//! What clients are told.

use postern_plugin::limits::Outcome;
use postern_plugin::{HeaderEdit, Reply, RequestVerdict, log};

use crate::config::OnError;
use crate::policy;

/// The answer to a request over a limit; `told` are the headers that tell about the limits.
pub(crate) fn over_limit(outcomes: &[Outcome], told: Vec<HeaderEdit>) -> Reply {
    let seconds = policy::retry_after(outcomes);
    let plural = if seconds == 1 { "" } else { "s" };
    let detail = format!("Too many requests; try again in {seconds} second{plural}.");
    let reply =
        Reply::problem(429, "rate-limited", &detail).header("retry-after", seconds.to_string());
    told.into_iter().fold(reply, |reply, edit| match edit {
        HeaderEdit::Set(header) | HeaderEdit::Append(header) => {
            reply.header(header.name, header.value)
        }
        _ => reply,
    })
}

/// The answer to a request beside too many others.
pub(crate) fn too_many_at_once(most: u64) -> Reply {
    let detail =
        format!("No more than {most} requests are served at once; try again when one has ended.");
    Reply::problem(429, "concurrency-limited", &detail).header("retry-after", "1")
}

/// What becomes of a request that cannot be counted.
pub(crate) fn uncounted(on_error: OnError, reason: &str) -> RequestVerdict {
    log::error(format_args!("a request cannot be counted: {reason}"));
    let detail = "Requests cannot be counted at the moment; try again later.";
    match on_error {
        OnError::Open => RequestVerdict::Next,
        OnError::Closed => Reply::problem(503, "limits-unavailable", detail).into(),
    }
}
