//! `/api/drills`: faults that are switched on for some minutes on a gateway that runs.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use crate::config::{ConditionConfig, FaultConfig, TestConfig};
use crate::proxy::Drills;

const MAX_DELAY: Duration = Duration::from_secs(60);
const MILLION: u32 = 1_000_000;

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Whose requests.
    pub route: String,
    /// How long they are held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// With which status they are answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort: Option<u16>,
    /// How many of a million.
    #[serde(default = "all")]
    pub per_million: u32,
    /// Which headers they must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// For how long.
    pub seconds: u64,
}

fn all() -> u32 {
    MILLION
}

impl Order {
    /// As a configuration would say it.
    ///
    /// # Errors
    /// A sentence, when a value is out of range.
    fn fault(&self) -> Result<FaultConfig, String> {
        let delay = self.delay_ms.map(Duration::from_millis);
        if delay.is_none() && self.abort.is_none() {
            return Err("nothing is to go wrong: ask for a delay or a status".into());
        }
        if delay.is_some_and(|delay| delay > MAX_DELAY) {
            return Err("a request is held for a minute at most".into());
        }
        if self
            .abort
            .is_some_and(|status| !(200..=599).contains(&status))
        {
            return Err("expected a status from 200 to 599".into());
        }
        if !(1..=MILLION).contains(&self.per_million) {
            return Err("expected a share of more than 0% up to 100%".into());
        }
        let condition = |(name, value): (&String, &String)| ConditionConfig {
            name: name.as_str().into(),
            test: TestConfig::Exact(value.as_str().into()),
        };
        Ok(FaultConfig {
            delay: delay.map(|delay| (delay, self.per_million)),
            abort: self.abort.map(|status| (status, self.per_million)),
            headers: self.headers.iter().map(condition).collect(),
        })
    }
}

/// Answers a request to `/api/drills`: status and text.
pub(super) fn answer(
    drills: Option<&Drills>,
    method: &Method,
    query: Option<&str>,
    body: &[u8],
) -> (StatusCode, String) {
    let Some(drills) = drills else {
        let remedy =
            "drills are not allowed: set `allow-drills = true` in [admin] and start again\n";
        return (StatusCode::FORBIDDEN, remedy.into());
    };
    match *method {
        Method::POST => match begin(drills, body) {
            Ok(text) => (StatusCode::OK, text),
            Err(problem) => (StatusCode::BAD_REQUEST, problem + "\n"),
        },
        Method::DELETE => {
            let route = query.and_then(|query| query.strip_prefix("route="));
            let ended = drills.end(route);
            (StatusCode::OK, format!("{ended} drills ended\n"))
        }
        _ => (StatusCode::OK, list(drills)),
    }
}

fn begin(drills: &Drills, body: &[u8]) -> Result<String, String> {
    let order: Order = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let time = Duration::from_secs(order.seconds);
    drills.begin(&order.route, &order.fault()?, time)?;
    Ok(list(drills))
}

fn list(drills: &Drills) -> String {
    let running = drills.list();
    if running.is_empty() {
        return "no drill is under way\n".into();
    }
    let line = |(route, left): (&String, &Duration)| {
        let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
        format!("{route}: a drill goes on for {left}\n")
    };
    running.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn nothing_is_done_that_was_not_allowed_or_makes_no_sense() {
        let order = br#"{"route": "r", "abort": 503, "seconds": 10}"#;
        let answered = |drills, body: &[u8]| answer(drills, &Method::POST, None, body).0;
        assert_eq!(answered(None, order), StatusCode::FORBIDDEN);
        let drills = Drills::new(Clock::manual());
        let _slot = drills.slot(&"r".into());
        assert_eq!(answered(Some(&drills), order), StatusCode::OK);
        for wrong in [
            "",
            "{}",
            r#"{"route": "r", "seconds": 10}"#,
            r#"{"route": "s", "abort": 503, "seconds": 10}"#,
            r#"{"route": "r", "abort": 99, "seconds": 10}"#,
            r#"{"route": "r", "abort": 503, "seconds": 100000}"#,
            r#"{"route": "r", "abort": 503, "seconds": 10, "per_million": 0}"#,
            r#"{"route": "r", "abort": 503, "seconds": 10, "more": 1}"#,
            r#"{"route": "r", "delay_ms": 600000, "seconds": 10}"#,
            r#"{"route": "r", "abort": 503, "seconds": 10, "headers": {"a b": ""}}"#,
        ] {
            assert_eq!(
                answered(Some(&drills), wrong.as_bytes()),
                StatusCode::BAD_REQUEST,
                "{wrong}"
            );
        }
        let (_, text) = answer(Some(&drills), &Method::DELETE, Some("route=r"), b"");
        assert_eq!(text, "1 drills ended\n");
    }
}
