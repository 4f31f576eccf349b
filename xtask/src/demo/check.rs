//! Comparing answers with what the demo promises.

use std::borrow::Cow;

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::Stop;
use super::lines::{Group, Line};
use crate::call::{Answer, Client};

/// One thing that an answer must have.
pub(super) enum Expect {
    /// This status.
    Status(u16),
    /// One of these statuses.
    StatusIn(&'static [u16]),
    /// This header must be so.
    Header(&'static str, Is),
    /// The JSON body has this value at this pointer (RFC 6901).
    Json(&'static str, Value),
    /// The JSON body has nothing at this pointer.
    NoJson(&'static str),
    /// The body contains this.
    InBody(&'static str),
    /// The body does not contain this.
    NotInBody(&'static str),
}

/// How a header must be.
pub(super) enum Is {
    Present,
    Absent,
    Exactly(&'static str),
    Containing(&'static str),
}

impl Expect {
    /// What was expected and what came instead; `None` when they agree.
    fn mismatch(&self, answer: &Answer) -> Option<(String, String)> {
        let status = answer.status.as_u16();
        let got_body = || shortened(&answer.body);
        match self {
            Self::Status(expected) => (status != *expected).then(|| {
                (
                    format!("status {expected}"),
                    format!("{status}: {}", got_body()),
                )
            }),
            Self::StatusIn(expected) => (!expected.contains(&status))
                .then(|| (format!("a status of {expected:?}"), status.to_string())),
            Self::Header(name, is) => header_mismatch(name, is, answer),
            Self::Json(pointer, expected) => {
                let value = at(&answer.body, pointer);
                (value.as_ref() != Some(expected)).then(|| {
                    let got = value.map_or_else(got_body, |value| value.to_string());
                    (format!("{pointer} = {expected}"), got)
                })
            }
            Self::NoJson(pointer) => {
                at(&answer.body, pointer).map(|value| (format!("no {pointer}"), value.to_string()))
            }
            Self::InBody(part) => (!answer.body.contains(part))
                .then(|| (format!("\"{part}\" in the body"), got_body())),
            Self::NotInBody(part) => answer
                .body
                .contains(part)
                .then(|| (format!("no \"{part}\" in the body"), got_body())),
        }
    }
}

fn header_mismatch(name: &str, is: &Is, answer: &Answer) -> Option<(String, String)> {
    let value = answer
        .headers
        .get(name)
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    let (agrees, expected) = match is {
        Is::Present => (value.is_some(), format!("a header {name}")),
        Is::Absent => (value.is_none(), format!("no header {name}")),
        Is::Exactly(text) => (value.as_deref() == Some(*text), format!("{name}: {text}")),
        Is::Containing(text) => (
            value.as_deref().is_some_and(|value| value.contains(text)),
            format!("{name} with \"{text}\""),
        ),
    };
    let got = value.unwrap_or(Cow::Borrowed("no such header"));
    (!agrees).then(|| {
        (
            expected,
            format!("{got} (status {})", answer.status.as_u16()),
        )
    })
}

fn at(body: &str, pointer: &str) -> Option<Value> {
    serde_json::from_str::<Value>(body)
        .ok()?
        .pointer(pointer)
        .cloned()
}

fn shortened(body: &str) -> String {
    const MOST: usize = 200;
    let mut text: String = body.chars().take(MOST).collect();
    if text.len() < body.len() {
        text.push_str(" ...");
    }
    text.replace('\n', " ")
}

/// Prints a line for each check, and counts.
#[derive(Default)]
pub(super) struct Report {
    passed: usize,
    failed: usize,
}

impl Report {
    /// Takes down one check.
    pub(super) fn record(&mut self, what: &str, outcome: Result<()>) {
        match outcome {
            Ok(()) => {
                self.passed += 1;
                println!("ok      {what}");
            }
            Err(error) => {
                self.failed += 1;
                println!("FAILED  {what}\n        {error:#}");
            }
        }
    }

    /// How many checks failed.
    pub(super) fn failed(&self) -> usize {
        self.failed
    }

    /// The closing line.
    pub(super) fn summary(&self) -> String {
        format!("demo: {} passed, {} failed", self.passed, self.failed)
    }
}

/// Makes all calls, in order. An error when told to stop.
pub(super) fn calls(report: &mut Report, groups: &[Group], stop: &Stop) -> Result<()> {
    let client = Client::new();
    for line in groups.iter().flat_map(|group| &group.lines) {
        ensure!(stop.try_recv().is_err(), "interrupted");
        report.record(line.says, check_line(&client, line));
    }
    Ok(())
}

fn check_line(client: &Client, line: &Line) -> Result<()> {
    for number in 1..=line.times {
        let answer = client.send(&line.call)?;
        for expect in &line.expect {
            if let Some((expected, got)) = expect.mismatch(&answer) {
                let call = if line.times > 1 {
                    format!("call {number}: ")
                } else {
                    String::new()
                };
                bail!("{call}expected {expected}, got {got}");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, StatusCode};
    use serde_json::json;

    use super::*;

    fn answer() -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", HeaderValue::from_static("30"));
        Answer {
            status: StatusCode::TOO_MANY_REQUESTS,
            headers,
            body: r#"{"a":[{"b":1}]}"#.to_owned(),
        }
    }

    #[test]
    fn what_holds_is_no_mismatch() {
        let expects = [
            Expect::Status(429),
            Expect::StatusIn(&[200, 429]),
            Expect::Header("retry-after", Is::Exactly("30")),
            Expect::Header("retry-after", Is::Containing("3")),
            Expect::Header("retry-after", Is::Present),
            Expect::Header("server", Is::Absent),
            Expect::Json("/a/0/b", json!(1)),
            Expect::NoJson("/a/1"),
            Expect::InBody("\"b\""),
            Expect::NotInBody("card"),
        ];
        for expect in expects {
            assert_eq!(expect.mismatch(&answer()), None);
        }
    }

    #[test]
    fn what_does_not_hold_is_told_with_both_sides() {
        let told = |expect: Expect| {
            expect
                .mismatch(&answer())
                .map(|(expected, got)| format!("{expected} | {got}"))
        };
        assert_eq!(
            told(Expect::Status(200)).as_deref(),
            Some("status 200 | 429: {\"a\":[{\"b\":1}]}")
        );
        assert_eq!(
            told(Expect::StatusIn(&[200])).as_deref(),
            Some("a status of [200] | 429")
        );
        assert_eq!(
            told(Expect::Header("x", Is::Present)).as_deref(),
            Some("a header x | no such header (status 429)")
        );
        assert_eq!(
            told(Expect::Header("retry-after", Is::Absent)).as_deref(),
            Some("no header retry-after | 30 (status 429)")
        );
        assert_eq!(
            told(Expect::Json("/a/0/b", json!(2))).as_deref(),
            Some("/a/0/b = 2 | 1")
        );
        assert_eq!(
            told(Expect::NoJson("/a/0")).as_deref(),
            Some("no /a/0 | {\"b\":1}")
        );
        assert!(told(Expect::InBody("card")).is_some() && told(Expect::NotInBody("b")).is_some());
    }
}
