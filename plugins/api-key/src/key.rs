//! Finding the key in a request, and removing it from there.

use std::borrow::Cow;

use postern_plugin::{RequestEdits, RequestHead, query};

use crate::config::Config;
use crate::refusal::Refusal;

/// Longer than any key that is generated; what is longer is not looked up.
const MAX_KEY_BYTES: usize = 512;

/// The one key of a request. The same key in several places is one; two are refused, because which of them counts would
/// be a guess.
pub(crate) fn find<'a>(head: &'a RequestHead, config: &'a Config) -> Result<Cow<'a, str>, Refusal> {
    let headers = config.header.iter();
    // Bytes that are not UTF-8 turn into a character that no key holds.
    let in_headers = headers
        .flat_map(|name| head.header_values(name))
        .map(String::from_utf8_lossy);
    let in_query = config
        .query
        .iter()
        .flat_map(|name| query::values(head.query().unwrap_or_default(), name));
    let mut candidates = in_headers.chain(in_query).filter(|key| !key.is_empty());
    let key = candidates.next().ok_or(Refusal::Missing)?;
    if candidates.any(|other| other != key) {
        return Err(Refusal::Ambiguous);
    }
    if key.len() > MAX_KEY_BYTES {
        return Err(Refusal::Invalid);
    }
    Ok(key)
}

/// Removes the key wherever it may stand.
pub(crate) fn hide(edits: RequestEdits, head: &RequestHead, config: &Config) -> RequestEdits {
    let present = config
        .header
        .iter()
        .filter(|name| head.header_values(name).next().is_some());
    let edits = present.fold(edits, |edits, name| edits.remove(name));
    match query::without(&head.path_and_query, &config.query) {
        Some(rest) => edits.path_and_query(rest),
        None => edits,
    }
}
