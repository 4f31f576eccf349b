//! The host functions, with the signatures of the generated ones, answered from the thread's fake state.

use super::answers;
use super::state::with;

pub(crate) mod log {
    use super::with;
    use crate::log::Level;

    pub(crate) fn enabled() -> Level {
        with(|state| state.log_level)
    }

    pub(crate) fn write(level: Level, message: &str) {
        let line = format!(
            "{}: {message}",
            format!("{level:?}")
                .trim_start_matches("Level::")
                .to_lowercase()
        );
        with(|state| state.log_lines.push(line));
    }
}

pub(crate) mod clock {
    use super::with;

    pub(crate) fn unix_ms() -> u64 {
        with(|state| state.unix_ms)
    }

    pub(crate) fn monotonic_ns() -> u64 {
        with(|state| u64::try_from(state.monotonic.as_nanos()).unwrap_or(u64::MAX))
    }
}

pub(crate) mod exchange {
    use super::with;
    use crate::Header;

    pub(crate) fn id() -> String {
        with(|state| state.id.clone())
    }

    pub(crate) fn set_id(id: &str) -> Result<(), String> {
        if !(1..=128).contains(&id.len()) || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(String::from("expected 1 to 128 visible ASCII characters"));
        }
        with(|state| state.id = id.to_owned());
        Ok(())
    }

    pub(crate) fn route() -> String {
        String::from("test-route")
    }

    pub(crate) fn header_values(name: &str) -> Vec<Vec<u8>> {
        with(|state| {
            crate::header::values(&state.request_headers, name)
                .map(<[u8]>::to_vec)
                .collect()
        })
    }

    pub(crate) fn headers() -> Vec<Header> {
        with(|state| state.request_headers.clone())
    }

    pub(crate) fn query(name: &str) -> Option<String> {
        with(|state| state.query(name))
    }

    pub(crate) fn path_parameter(name: &str) -> Option<String> {
        with(|state| state.path_parameters.get(name).cloned())
    }

    pub(crate) fn attribute(name: &str) -> Option<String> {
        with(|state| state.attribute(name))
    }

    pub(crate) fn note(key: &str) -> Option<Vec<u8>> {
        with(|state| state.notes.get(key).cloned())
    }

    pub(crate) fn set_note(key: &str, value: &[u8]) {
        with(|state| state.notes.insert(key.to_owned(), value.to_vec()));
    }
}

pub(crate) mod identity {
    use super::{answers, with};
    use crate::identity::{Credential, Found};

    pub(crate) fn find(credential: &Credential) -> Option<Found> {
        with(|state| {
            state
                .consumers
                .iter()
                .find(|(known, _)| known == credential)
                .map(|(_, found)| found.clone())
        })
    }

    pub(crate) fn authenticate(consumer: &str, credential_id: &str) -> Result<(), String> {
        with(|state| answers::authenticate(state, consumer, credential_id))
    }

    pub(crate) fn authenticate_anonymous(consumer: &str) -> Result<(), String> {
        with(|state| answers::authenticate_anonymous(state, consumer))
    }

    pub(crate) fn current() -> Option<Found> {
        with(|state| state.current.clone())
    }

    pub(crate) fn is_anonymous() -> bool {
        with(|state| state.anonymous)
    }

    pub(crate) fn metadata(key: &str) -> Option<String> {
        with(|state| state.metadata.get(key).cloned())
    }
}

pub(crate) mod keys {
    use super::{answers, with};
    use crate::keys::{Algorithm, Key, Verification};

    pub(crate) fn verify(
        key: &Key,
        key_id: Option<&str>,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Verification {
        with(|state| answers::verify(state, key, key_id, algorithm, message, signature))
    }

    pub(crate) fn sha256(data: &[u8]) -> Vec<u8> {
        use sha2::Digest as _;
        sha2::Sha256::digest(data).to_vec()
    }

    /// Different at every call, and the same in every run.
    pub(crate) fn random(length: u32) -> Vec<u8> {
        with(|state| {
            state.random_calls = state.random_calls.wrapping_add(1);
            vec![state.random_calls; length as usize]
        })
    }
}

pub(crate) mod limits {
    use super::{answers, with};
    use crate::limits::{Decision, Limit, Outcome, Rule};

    pub(crate) fn take(key: &str, limits: &[Limit], cost: u64) -> Result<Vec<Decision>, String> {
        with(|state| answers::take(state, key, limits, cost))
    }

    pub(crate) fn decide(key: &str, rules: &[Rule], cost: u64) -> Result<Vec<Outcome>, String> {
        with(|state| answers::decide(state, key, rules, cost))
    }

    pub(crate) fn charge(key: &str, rules: &[Rule], cost: u64) -> Result<Vec<Outcome>, String> {
        with(|state| answers::charge(state, key, rules, cost))
    }

    pub(crate) fn enter(key: &str, most: u64) -> Result<bool, String> {
        with(|state| Ok(answers::enter(state, key, most)))
    }

    pub(crate) fn of_tier(tier: &str) -> Vec<Limit> {
        with(|state| state.tiers.get(tier).cloned().unwrap_or_default())
    }
}

pub(crate) mod store {
    use super::{answers, with};
    use crate::store::{Entry, StoreError};

    pub(crate) fn get(key: &str) -> Result<Option<Entry>, StoreError> {
        with(|state| answers::stored(state, key))
    }

    pub(crate) fn set(key: &str, value: &[u8], ttl_ms: u64) -> Result<(), StoreError> {
        with(|state| {
            answers::stored(state, key)?;
            answers::write(state, key, value, ttl_ms).map(|_| ())
        })
    }

    pub(crate) fn compare_and_set(
        key: &str,
        expected: Option<u64>,
        value: &[u8],
        ttl_ms: u64,
    ) -> Result<u64, StoreError> {
        with(
            |state| match answers::stored(state, key)?.map(|entry| entry.version) == expected {
                true => answers::write(state, key, value, ttl_ms),
                false => Err(StoreError::Conflict),
            },
        )
    }

    pub(crate) fn delete(key: &str) -> Result<(), StoreError> {
        with(|state| {
            answers::stored(state, key)?;
            state.store.remove(key);
            Ok(())
        })
    }

    pub(crate) fn add(key: &str, delta: i64, ttl_ms: u64) -> Result<i64, StoreError> {
        with(|state| answers::add(state, key, delta, ttl_ms))
    }
}

pub(crate) mod metrics {
    use super::{answers, with};
    use crate::bindings::imports::postern::plugin::metrics::Kind;

    pub(crate) fn define(kind: Kind, name: &str, labels: &[String]) -> Result<u32, String> {
        with(|state| answers::define(state, kind, name, labels))
    }

    pub(crate) fn observe(metric: u32, value: f64, labels: &[String]) {
        with(|state| answers::observe(state, metric, value, labels));
    }
}

pub(crate) mod outbound {
    use super::with;
    use crate::outbound::{OutboundError, OutboundRequest, OutboundResponse};

    pub(crate) fn send(request: &OutboundRequest) -> Result<OutboundResponse, OutboundError> {
        let answer = with(|state| {
            state.outbound_requests.push(request.clone());
            state.outbound.clone()
        });
        // Called outside `with`: the answer may use the host itself.
        answer.map_or_else(
            || {
                Err(OutboundError::Denied(format!(
                    "upstream {:?} is not granted",
                    request.upstream
                )))
            },
            |answer| answer(request),
        )
    }

    pub(crate) fn send_all(
        requests: &[OutboundRequest],
    ) -> Vec<Result<OutboundResponse, OutboundError>> {
        requests.iter().map(send).collect()
    }
}
