//! Limits as they are written, named, and shown to clients.

use std::time::Duration;

use postern_plugin::HeaderEdit;
use postern_plugin::config::duration;
use postern_plugin::limits::{Algorithm, Limit, Outcome, Rule};
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};

use crate::config::Headers;

/// Most limits of one decision, and the longest window: the host's.
const MAX_LIMITS: usize = 8;
const MAX_WINDOW: Duration = Duration::from_secs(31 * 24 * 60 * 60);

const LIMIT: &str = "expected a limit such as \"100/minute\" or \"10/10s\"";

/// Limits that count together, and their names.
#[derive(Debug)]
pub(crate) struct Policy {
    rules: Vec<Rule>,
    /// One for each rule.
    names: Vec<Name>,
    /// The value of `RateLimit-Policy`.
    header: String,
}

/// What all policies of a plugin have in common.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) scope: Option<String>,
    pub(crate) algorithm: Algorithm,
    /// What a bucket holds; 0 is what its limit says.
    pub(crate) burst: u64,
}

#[derive(Debug)]
struct Name {
    /// Quoted, with the scope: `"orders-minute"`.
    item: String,
    /// As a part of a header name: `Minute`.
    window: String,
}

impl Policy {
    pub(crate) fn new(limits: Vec<Limit>, shape: &Shape) -> Self {
        let scope = shape.scope.as_deref();
        let names: Vec<Name> = limits.iter().map(|limit| Name::new(limit, scope)).collect();
        let items = limits.iter().zip(&names).map(|(limit, name)| {
            let seconds = limit.window_ms.div_ceil(1000);
            format!("{};q={};w={seconds}", name.item, limit.amount)
        });
        let header = items.collect::<Vec<_>>().join(", ");
        let rule = |limit| Rule {
            limit,
            algorithm: shape.algorithm,
            burst: shape.burst,
        };
        Policy {
            rules: limits.into_iter().map(rule).collect(),
            names,
            header,
        }
    }

    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    #[cfg(test)]
    pub(crate) fn limits(&self) -> Vec<Limit> {
        self.rules.iter().map(|rule| rule.limit).collect()
    }

    /// What clients are told after a decision.
    pub(crate) fn headers(&self, headers: Headers, outcomes: &[Outcome]) -> Vec<HeaderEdit> {
        let mut told = Vec::new();
        if matches!(headers, Headers::Standard | Headers::Both) {
            self.standard(&mut told, outcomes);
        }
        if matches!(headers, Headers::Legacy | Headers::Both) {
            self.legacy(&mut told, outcomes);
        }
        told
    }

    /// draft-ietf-httpapi-ratelimit-headers-09. Both are lists: those of several plugins go together.
    fn standard(&self, told: &mut Vec<HeaderEdit>, outcomes: &[Outcome]) {
        let mut items = String::with_capacity(64);
        for (name, outcome) in self.names.iter().zip(outcomes) {
            if !items.is_empty() {
                items.push_str(", ");
            }
            items.push_str(&name.item);
            items.push_str(";r=");
            push_number(&mut items, outcome.remaining);
            items.push_str(";t=");
            push_number(&mut items, outcome.reset_ms.div_ceil(1000));
        }
        told.push(HeaderEdit::append("ratelimit-policy", self.header.as_str()));
        told.push(HeaderEdit::append("ratelimit", items));
    }

    /// A pair for each window, and three for the tightest: least remaining, and of those the longest window.
    fn legacy(&self, told: &mut Vec<HeaderEdit>, outcomes: &[Outcome]) {
        let all = || self.rules.iter().zip(outcomes);
        for (name, (rule, outcome)) in self.names.iter().zip(all()) {
            let limit = format!("x-ratelimit-limit-{}", name.window);
            told.push(set_number(limit, rule.limit.amount));
            let remaining = format!("x-ratelimit-remaining-{}", name.window);
            told.push(set_number(remaining, outcome.remaining));
        }
        let tightness = |(rule, outcome): &(&Rule, &Outcome)| {
            (outcome.remaining, std::cmp::Reverse(rule.limit.window_ms))
        };
        if let Some((rule, outcome)) = all().min_by_key(tightness) {
            let reset = outcome.reset_ms.div_ceil(1000).max(1);
            told.push(set_number("ratelimit-limit", rule.limit.amount));
            told.push(set_number("ratelimit-remaining", outcome.remaining));
            told.push(set_number("ratelimit-reset", reset));
        }
    }
}

impl Default for Shape {
    fn default() -> Self {
        Shape {
            scope: None,
            algorithm: Algorithm::FixedWindow,
            burst: 0,
        }
    }
}

impl Name {
    fn new(limit: &Limit, scope: Option<&str>) -> Self {
        let word = match limit.window_ms {
            1_000 => "second".into(),
            60_000 => "minute".into(),
            3_600_000 => "hour".into(),
            86_400_000 => "day".into(),
            ms if ms % 86_400_000 == 0 => format!("{}d", ms / 86_400_000),
            ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
            ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
            ms if ms % 1_000 == 0 => format!("{}s", ms / 1_000),
            ms => format!("{ms}ms"),
        };
        let item = match scope {
            Some(scope) => format!("\"{scope}-{word}\""),
            None => format!("\"{word}\""),
        };
        Name { item, window: word }
    }
}

/// The seconds after which a refused request may come again.
pub(crate) fn retry_after(outcomes: &[Outcome]) -> u64 {
    let longest = outcomes
        .iter()
        .map(|outcome| outcome.retry_ms.div_ceil(1000));
    longest.max().unwrap_or_default().max(1)
}

/// Reads the limits of the configuration; the error names the field.
pub(crate) fn parse_limits(texts: &[String]) -> Result<Vec<Limit>, String> {
    if texts.len() > MAX_LIMITS {
        return Err(format!("limits: expected at most {MAX_LIMITS}"));
    }
    let mut limits: Vec<Limit> = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let limit = parse_limit(text).map_err(|reason| format!("limits[{index}]: {reason}"))?;
        if limits
            .iter()
            .any(|other| other.window_ms == limit.window_ms)
        {
            return Err(format!(
                "limits[{index}]: {text:?} has the window of another limit; the smaller one alone would do"
            ));
        }
        limits.push(limit);
    }
    Ok(limits)
}

fn parse_limit(text: &str) -> Result<Limit, String> {
    let expected = || format!("{LIMIT}, found {text:?}");
    let (amount, window) = text.split_once('/').ok_or_else(expected)?;
    let amount = amount.trim();
    if amount.is_empty() || !amount.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(expected());
    }
    let amount: u32 = amount
        .parse()
        .map_err(|_| format!("expected at most {} requests, found {text:?}", u32::MAX))?;
    if amount == 0 {
        return Err(format!("expected at least one request, found {text:?}"));
    }
    let window = match window.trim() {
        "second" | "sec" => Duration::from_secs(1),
        "minute" | "min" => Duration::from_secs(60),
        "hour" => Duration::from_secs(60 * 60),
        "day" => Duration::from_secs(24 * 60 * 60),
        other => {
            let other: StrDeserializer<'_, Error> = other.into_deserializer();
            duration(other).map_err(|_| expected())?
        }
    };
    if window < Duration::from_millis(1) || window > MAX_WINDOW {
        return Err(format!(
            "expected a window between 1ms and 31days, found {text:?}"
        ));
    }
    Ok(Limit::new(u64::from(amount), window))
}

fn set_number(name: impl Into<String>, number: u64) -> HeaderEdit {
    let mut value = String::with_capacity(20);
    push_number(&mut value, number);
    HeaderEdit::set(name, value)
}

/// By hand, because formatting costs several times as much and every request pays it.
pub(crate) fn push_number(text: &mut String, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.extend(digits[at..].iter().map(|&digit| char::from(digit)));
}

#[cfg(test)]
mod tests;
