//! Lines as they are written.

use std::sync::Arc;

use super::*;
use crate::telemetry::testing::{Sink, aborted, assert_golden, clock, exchange};
use crate::types::Source;

/// The lines of three exchanges: one that went well, one of a client that left, one full of hostile values.
fn lines(json: bool) -> String {
    let (sink, metrics, clock) = (Sink::default(), Metrics::new(), clock());
    let log = AccessLog::with_output(json, None, Box::new(sink.clone()), &metrics).unwrap();
    let well = exchange(&clock);
    let left = aborted(&clock);
    let mut hostile = exchange(&clock);
    hostile.matched_uri = http::Uri::builder()
        .path_and_query("/a\u{85}b\u{2028}\"status=200?q")
        .build()
        .unwrap();
    hostile.authority = "x\u{202e}\" 200 \\".into();
    hostile.route = Some("name with spaces".into());
    hostile.code = Some("plugin-failed".into());
    hostile.source = Some(Source::Gateway);
    hostile.detail = Some("first\nsecond\r\u{1b}[31m \u{7f} ünï".into());
    hostile.status = Some(503);
    clock.advance(Duration::from_micros(1_234));
    for exchange in [well, left, hostile] {
        log.write(&exchange, exchange.elapsed());
    }
    log.flush();
    sink.text()
}

#[test]
fn text_lines_look_as_they_did() {
    assert_golden("access-log.txt", &lines(false));
}

#[test]
fn json_lines_look_as_they_did() {
    assert_golden("access-log.jsonl", &lines(true));
}

#[test]
fn json_lines_are_json_and_give_back_what_was_sent() {
    let text = lines(true);
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["time"], "2026-01-02T03:04:05.678Z");
    assert_eq!(lines[0]["duration_ms"], 1.234);
    assert_eq!(lines[0]["path"], "/api/orders/17");
    assert_eq!(lines[0].get("aborted"), None);
    assert_eq!(lines[1]["status"], 499);
    assert_eq!(lines[1]["aborted"], true);
    assert_eq!(lines[1]["id"], "from-\"client\"");
    assert_eq!(lines[2]["authority"], "x\u{202e}\" 200 \\");
    assert_eq!(lines[2]["detail"], "first\nsecond\r\u{1b}[31m \u{7f} ünï");
}

#[test]
fn hostile_values_stay_on_one_line_and_move_no_cursor() {
    for json in [false, true] {
        let text = lines(json);
        assert_eq!(text.lines().count(), 3);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
        assert!(!text.contains(['\u{2028}', '\u{202e}']));
    }
}

#[test]
fn nothing_is_written_when_it_is_off() {
    let config = AccessLogConfig {
        format: AccessLogFormat::Off,
        file: Some("/nonexistent/access.log".into()),
    };
    let log = AccessLog::open(&config, &Metrics::new()).unwrap();
    log.write(&exchange(&clock()), Duration::ZERO);
    log.flush();
}

#[test]
fn a_file_is_appended_to_and_opened_again_after_a_rotation() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("access.log");
    std::fs::write(&file, "earlier\n").unwrap();
    let config = AccessLogConfig {
        format: AccessLogFormat::Json,
        file: Some(file.clone()),
    };
    let log = Arc::new(AccessLog::open(&config, &Metrics::new()).unwrap());
    log.write(&exchange(&clock()), Duration::ZERO);
    log.flush();
    let rotated = directory.path().join("access.log.1");
    std::fs::rename(&file, &rotated).unwrap();
    log.reopen().unwrap();
    log.write(&exchange(&clock()), Duration::ZERO);
    drop(log);
    assert_eq!(std::fs::read_to_string(rotated).unwrap().lines().count(), 2);
    assert_eq!(std::fs::read_to_string(file).unwrap().lines().count(), 1);
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error() {
    let config = AccessLogConfig {
        format: AccessLogFormat::Text,
        file: Some("/nonexistent/access.log".into()),
    };
    assert_eq!(
        AccessLog::open(&config, &Metrics::new())
            .unwrap_err()
            .kind(),
        io::ErrorKind::NotFound
    );
}
