//! What a request has cost by the word of its response.

use postern_plugin::{ResponseEdits, ResponseHead, ResponseVerdict, exchange, limits, log};

use crate::config::Config;
use crate::policy::Policy;

/// Leaves a note for the response: what is counted already, and under which key.
pub(crate) fn remember(config: &Config, key: &str, cost: u64) {
    let note = format!("{cost} {key}");
    exchange::set_note(&name(config), note.as_bytes());
}

/// Counts what the response says that the request has cost, besides what is counted already. The header goes no further.
pub(crate) fn charge(config: &Config, policy: &Policy, head: &ResponseHead) -> ResponseVerdict {
    let Some(header) = config.cost_header.as_deref() else {
        return ResponseVerdict::Next;
    };
    let Some(value) = head.header(header) else {
        return ResponseVerdict::Next;
    };
    match (value.trim().parse::<u64>(), remembered(config)) {
        (Ok(cost), Some((counted, key))) if cost > counted => {
            if let Err(reason) = limits::charge(&key, policy.rules(), cost - counted) {
                log::error(format_args!(
                    "the cost of a request is not counted: {reason}"
                ));
            }
        }
        // Not more than it was thought to cost; or it was over the limit, and is not counted at all.
        (Ok(_), _) => {}
        (Err(_), _) => log::warn(format_args!("{header}: {value:?} is no cost")),
    }
    ResponseEdits::new().remove(header).into()
}

fn remembered(config: &Config) -> Option<(u64, String)> {
    let note = String::from_utf8(exchange::note(&name(config))?).ok()?;
    let (cost, key) = note.split_once(' ')?;
    Some((cost.parse().ok()?, key.to_owned()))
}

/// Of the note. Two plugins on one route are told apart by their scopes.
fn name(config: &Config) -> String {
    format!("rate-limit {}", config.scope.as_deref().unwrap_or_default())
}
