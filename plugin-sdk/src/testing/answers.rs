//! How the fake host decides, where that takes more than a look-up. Follows the doc comments in `wit/`.

use super::state::{Metric, State, Stored, Window};
use crate::bindings::imports::postern::plugin::metrics::Kind;
use crate::identity::Found;
use crate::keys::{Algorithm, Key, Verification};
use crate::limits::{Decision, Limit, Outcome, Rule};
use crate::store::{Entry, StoreError};

const MAX_WINDOW_MS: u64 = 31 * 24 * 60 * 60 * 1000;
const MAX_KEY_BYTES: usize = 512;
const MAX_VALUE_BYTES: usize = 64 * 1024;

pub(super) fn authenticate(
    state: &mut State,
    consumer: &str,
    credential_id: &str,
) -> Result<(), String> {
    if let Some(current) = state
        .current
        .as_ref()
        .filter(|current| current.consumer.name != consumer && !state.anonymous)
    {
        return Err(format!(
            "the exchange already belongs to consumer {:?}",
            current.consumer.name
        ));
    }
    let known = state
        .consumers
        .iter()
        .find(|(_, found)| found.consumer.name == consumer);
    let (_, found) =
        known.ok_or_else(|| format!("consumer {consumer:?} is not in the configuration"))?;
    state.current = Some(Found {
        consumer: found.consumer.clone(),
        credential_id: credential_id.to_owned(),
    });
    state.anonymous = false;
    Ok(())
}

pub(super) fn authenticate_anonymous(state: &mut State, consumer: &str) -> Result<(), String> {
    let known = state
        .consumers
        .iter()
        .find(|(_, found)| found.consumer.name == consumer);
    let (_, found) =
        known.ok_or_else(|| format!("consumer {consumer:?} is not in the configuration"))?;
    if state.current.is_none() {
        state.current = Some(Found {
            consumer: found.consumer.clone(),
            credential_id: String::new(),
        });
        state.anonymous = true;
    }
    Ok(())
}

pub(super) fn verify(
    state: &State,
    key: &Key,
    key_id: Option<&str>,
    algorithm: Algorithm,
    message: &[u8],
    signature: &[u8],
) -> Verification {
    let same_id = |known: &Option<String>| {
        key_id.is_none() || known.as_deref().is_none_or(|known| Some(known) == key_id)
    };
    match state
        .keys
        .iter()
        .find(|known| known.key == *key && same_id(&known.key_id))
    {
        None => Verification::UnknownKey,
        Some(known) if known.algorithm != algorithm => Verification::AlgorithmNotAllowed,
        Some(known) if (known.accepts)(message, signature) => Verification::Valid,
        Some(_) => Verification::BadSignature,
    }
}

pub(super) fn take(
    state: &mut State,
    key: &str,
    limits: &[Limit],
    cost: u64,
) -> Result<Vec<Decision>, String> {
    if let Some(reason) = &state.unavailable {
        return Err(reason.clone());
    }
    let in_range = |limit: &&Limit| {
        (1..=u64::from(u32::MAX)).contains(&limit.amount)
            && (1..=MAX_WINDOW_MS).contains(&limit.window_ms)
    };
    if let Some(limit) = limits.iter().find(|limit| !in_range(limit)) {
        return Err(format!(
            "limit of {} in {} ms is out of range",
            limit.amount, limit.window_ms
        ));
    }
    if limits.len() > 8 || key.len() > MAX_KEY_BYTES {
        return Err(String::from(
            "expected at most 8 limits and a key of at most 512 bytes",
        ));
    }
    let now = state.unix_ms;
    let place = |limit: &Limit| (key.to_owned(), limit.amount, limit.window_ms);
    let mut windows: Vec<Window> = limits
        .iter()
        .map(|limit| {
            let open = state
                .windows
                .get(&place(limit))
                .copied()
                .filter(|window| window.ends_ms > now);
            open.unwrap_or(Window {
                ends_ms: now + limit.window_ms,
                used: 0,
            })
        })
        .collect();
    let fits: Vec<bool> = windows
        .iter()
        .zip(limits)
        .map(|(window, limit)| window.used + cost <= limit.amount)
        .collect();
    if fits.iter().all(|&fits| fits) {
        for (window, limit) in windows.iter_mut().zip(limits) {
            window.used += cost;
            state.windows.insert(place(limit), *window);
        }
    }
    let decide = |((window, &limit), &allowed): ((&Window, &Limit), &bool)| Decision {
        allowed,
        limit,
        remaining: limit.amount.saturating_sub(window.used),
        reset_ms: window.ends_ms - now,
    };
    Ok(windows.iter().zip(limits).zip(&fits).map(decide).collect())
}

/// Counts everything in fixed windows, whatever the algorithm: how the real ones count is the gateway's matter.
pub(super) fn decide(
    state: &mut State,
    key: &str,
    rules: &[Rule],
    cost: u64,
) -> Result<Vec<Outcome>, String> {
    let decisions = take(state, key, &limits(rules), cost)?;
    Ok(decisions.iter().map(outcome).collect())
}

pub(super) fn charge(
    state: &mut State,
    key: &str,
    rules: &[Rule],
    cost: u64,
) -> Result<Vec<Outcome>, String> {
    // Looking makes the windows known, or says what is wrong.
    let before = take(state, key, &limits(rules), 0)?;
    for decision in &before {
        let limit = decision.limit;
        let place = (key.to_owned(), limit.amount, limit.window_ms);
        if let Some(window) = state.windows.get_mut(&place) {
            window.used += cost;
        }
    }
    decide(state, key, rules, 0)
}

pub(super) fn enter(state: &mut State, key: &str, most: u64) -> bool {
    let taken = state.places.entry(key.to_owned()).or_default();
    let has_room = *taken < most;
    *taken += u64::from(has_room);
    has_room
}

fn limits(rules: &[Rule]) -> Vec<Limit> {
    rules.iter().map(|rule| rule.limit).collect()
}

fn outcome(decision: &Decision) -> Outcome {
    Outcome {
        allowed: decision.allowed,
        remaining: decision.remaining,
        reset_ms: decision.reset_ms,
        retry_ms: if decision.allowed {
            0
        } else {
            decision.reset_ms
        },
    }
}

pub(super) fn stored(state: &State, key: &str) -> Result<Option<Entry>, StoreError> {
    if let Some(reason) = &state.unavailable {
        return Err(StoreError::Unavailable(reason.clone()));
    }
    if key.len() > MAX_KEY_BYTES {
        return Err(StoreError::TooLarge);
    }
    let live = |stored: &&Stored| {
        stored
            .expires_ms
            .is_none_or(|expires| expires > state.unix_ms)
    };
    Ok(state
        .store
        .get(key)
        .filter(live)
        .map(|stored| stored.entry.clone()))
}

pub(super) fn write(
    state: &mut State,
    key: &str,
    value: &[u8],
    ttl_ms: u64,
) -> Result<u64, StoreError> {
    if value.len() > MAX_VALUE_BYTES {
        return Err(StoreError::TooLarge);
    }
    let version = state
        .store
        .get(key)
        .map_or(1, |stored| stored.entry.version + 1);
    let expires_ms = (ttl_ms > 0).then(|| state.unix_ms + ttl_ms);
    let entry = Entry {
        value: value.to_vec(),
        version,
    };
    state
        .store
        .insert(key.to_owned(), Stored { entry, expires_ms });
    Ok(version)
}

pub(super) fn add(
    state: &mut State,
    key: &str,
    delta: i64,
    ttl_ms: u64,
) -> Result<i64, StoreError> {
    let before = stored(state, key)?;
    let number = match &before {
        None => 0,
        Some(entry) => {
            let text = std::str::from_utf8(&entry.value).ok();
            text.and_then(|text| text.parse::<i64>().ok())
                .ok_or(StoreError::Conflict)?
        }
    };
    let sum = number.saturating_add(delta);
    let expires_ms = before
        .and(state.store.get(key))
        .map(|stored| stored.expires_ms);
    write(state, key, sum.to_string().as_bytes(), ttl_ms)?;
    if let (Some(expires_ms), Some(stored)) = (expires_ms, state.store.get_mut(key)) {
        stored.expires_ms = expires_ms;
    }
    Ok(sum)
}

pub(super) fn define(
    state: &mut State,
    kind: Kind,
    name: &str,
    labels: &[String],
) -> Result<u32, String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || !name.bytes().all(allowed) {
        return Err(format!(
            "metric {name:?}: expected lower-case letters, digits and _"
        ));
    }
    if let Some(number) = state.metrics.iter().position(|metric| metric.name == name) {
        let metric = &state.metrics[number];
        let same = metric.kind == kind && metric.labels == labels;
        return if same {
            Ok(number as u32)
        } else {
            Err(format!("metric {name:?} is defined otherwise"))
        };
    }
    if labels.len() > 4 || state.metrics.len() == 16 {
        return Err(String::from(
            "expected at most 16 metrics of at most 4 labels",
        ));
    }
    let labels = labels.to_vec();
    state.metrics.push(Metric {
        kind,
        name: name.to_owned(),
        labels,
        observations: Vec::new(),
    });
    Ok(state.metrics.len() as u32 - 1)
}

pub(super) fn observe(state: &mut State, metric: u32, value: f64, labels: &[String]) {
    let metric = &mut state.metrics[metric as usize];
    assert_eq!(
        metric.labels.len(),
        labels.len(),
        "metric {:?} has other labels",
        metric.name
    );
    metric.observations.push((value, labels.to_vec()));
}

#[cfg(test)]
mod tests;
