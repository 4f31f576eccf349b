//! The whole plugin against a fake host.

use std::time::Duration;

use super::*;
use postern_plugin::identity::{Consumer, Found};
use postern_plugin::limits::Limit;
use postern_plugin::testing::{Host, configure};
use postern_plugin::{HeaderEdit, Reply};

const TWO: &str = r#"{"limits": ["2/minute"]}"#;

fn plugin(config: &str) -> RateLimit {
    configure(config).expect("config is right")
}

fn ask(plugin: &RateLimit, host: &Host) -> RequestVerdict {
    host.on_request(plugin)
}

/// What an allowed request adds to its response.
fn told(verdict: &RequestVerdict) -> &[HeaderEdit] {
    assert_eq!(verdict.reply(), None);
    verdict
        .edits()
        .map(|edits| edits.response_headers.as_slice())
        .unwrap_or_default()
}

fn passes(verdict: &RequestVerdict) -> bool {
    verdict.reply().is_none()
}

fn become_consumer(host: &Host, name: &str, tier: Option<&str>) {
    let consumer = Consumer {
        name: name.to_owned(),
        tier: tier.map(str::to_owned),
        groups: Vec::new(),
        custom_id: None,
    };
    host.authenticate(Found {
        consumer,
        credential_id: "id".to_owned(),
    });
}

#[track_caller]
fn reply(verdict: &RequestVerdict) -> &Reply {
    verdict.reply().expect("is refused")
}

#[test]
fn the_limit_holds_until_the_window_ends() {
    let host = Host::new();
    let plugin = plugin(TWO);
    assert!(passes(&ask(&plugin, &host)));
    host.advance(Duration::from_millis(47_500));
    assert!(passes(&ask(&plugin, &host)));
    let verdict = ask(&plugin, &host);
    let reply = reply(&verdict);
    assert_eq!((reply.status, reply.code.as_str()), (429, "rate-limited"));
    assert_eq!(reply.header_text("retry-after"), Some("13"));
    assert_eq!(
        reply.header_text("ratelimit-policy"),
        Some("\"minute\";q=2;w=60")
    );
    assert_eq!(reply.header_text("ratelimit"), Some("\"minute\";r=0;t=13"));
    assert!(String::from_utf8_lossy(&reply.body).contains("again in 13 seconds."));
    host.advance(Duration::from_millis(12_500));
    assert!(passes(&ask(&plugin, &host)));
}

#[test]
fn an_allowed_response_tells_what_is_left() {
    let host = Host::new();
    let verdict = ask(&plugin(TWO), &host);
    let expected = [
        HeaderEdit::append("ratelimit-policy", "\"minute\";q=2;w=60"),
        HeaderEdit::append("ratelimit", "\"minute\";r=1;t=60"),
    ];
    assert_eq!(told(&verdict), expected);
}

#[test]
fn the_headers_can_be_the_older_ones_or_none() {
    let host = Host::new();
    let older = plugin(r#"{"limits": ["2/minute"], "headers": "legacy"}"#);
    assert!(
        told(&ask(&older, &host)).contains(&HeaderEdit::set("x-ratelimit-remaining-minute", "1"))
    );
    let silent = plugin(r#"{"limits": ["1/minute"], "headers": "off", "scope": "silent"}"#);
    assert_eq!(ask(&silent, &host), RequestVerdict::Next);
    let verdict = ask(&silent, &host);
    let names: Vec<&str> = reply(&verdict)
        .headers
        .iter()
        .map(|header| header.name.as_str())
        .collect();
    assert_eq!(names, ["content-type", "retry-after"]);
}

#[test]
fn two_plugins_on_one_exchange_tell_their_own() {
    let host = Host::new();
    let first = plugin(r#"{"limits": ["9/minute"], "by": "address"}"#);
    let second = plugin(r#"{"limits": ["5/hour"], "by": "path"}"#);
    assert!(
        told(&ask(&first, &host)).contains(&HeaderEdit::append("ratelimit", "\"minute\";r=8;t=60"))
    );
    assert!(
        told(&ask(&second, &host))
            .contains(&HeaderEdit::append("ratelimit", "\"hour\";r=4;t=3600"))
    );
}

#[test]
fn consumers_count_apart_with_the_limits_of_their_tiers() {
    let host = Host::new();
    let limit = |amount| Limit::new(amount, Duration::from_secs(60));
    host.tier("gold", &[limit(3)]).tier("bare", &[]);
    let plugin = plugin(r#"{"limits": ["1/minute"]}"#);
    let admitted = |name: &str, tier: Option<&str>| {
        become_consumer(&host, name, tier);
        (0..5).filter(|_| passes(&ask(&plugin, &host))).count()
    };
    assert_eq!(admitted("a", Some("gold")), 3);
    assert_eq!(admitted("b", Some("gold")), 3);
    assert_eq!(admitted("c", Some("bare")), 1);
    assert_eq!(admitted("d", None), 1);
    assert_eq!(admitted("a", Some("gold")), 0);
}

#[test]
fn tiers_can_be_left_aside_and_nobody_else_be_limited() {
    let host = Host::new();
    host.tier("gold", &[Limit::new(1, Duration::from_secs(60))]);
    become_consumer(&host, "a", Some("gold"));
    let aside = plugin(r#"{"limits": ["2/minute"], "tiers": false}"#);
    let admitted = (0..5).filter(|_| passes(&ask(&aside, &host))).count();
    assert_eq!(admitted, 2);
    let only_tiers = plugin(r#"{"limits": [], "scope": "tiers"}"#);
    become_consumer(&host, "b", None);
    let admitted = (0..5).filter(|_| passes(&ask(&only_tiers, &host))).count();
    assert_eq!(admitted, 5);
    become_consumer(&host, "c", Some("gold"));
    let admitted = (0..5).filter(|_| passes(&ask(&only_tiers, &host))).count();
    assert_eq!(admitted, 1);
}

#[test]
fn a_refused_request_counts_on_no_limit_and_a_cost_counts_on_all() {
    let host = Host::new();
    let plugin = plugin(r#"{"limits": ["4/minute", "100/hour"], "cost": 2}"#);
    for _ in 0..5 {
        ask(&plugin, &host);
    }
    let verdict = ask(&plugin, &host);
    assert_eq!(
        reply(&verdict).header_text("ratelimit"),
        Some("\"minute\";r=0;t=60, \"hour\";r=96;t=3600")
    );
}

#[test]
fn the_route_can_be_a_part_of_the_key() {
    let host = Host::new();
    ask(
        &plugin(r#"{"limits": ["1/minute"], "by": "address"}"#),
        &host,
    );
    let per_route = plugin(r#"{"limits": ["1/minute"], "by": "address", "per-route": true}"#);
    assert!(passes(&ask(&per_route, &host)));
    assert!(ask(&per_route, &host).reply().is_some());
}

#[test]
fn without_the_state_requests_are_refused_or_pass() {
    let host = Host::new();
    host.state_unavailable("no answer");
    let verdict = ask(&plugin("{}"), &host);
    assert_eq!(
        (reply(&verdict).status, reply(&verdict).code.as_str()),
        (503, "limits-unavailable")
    );
    let open = plugin(r#"{"on-error": "open"}"#);
    assert_eq!(ask(&open, &host), RequestVerdict::Next);
    let lines = host.log_lines();
    assert_eq!(lines, ["error: a request cannot be counted: no answer"; 2]);
}

#[test]
fn routes_have_costs_of_their_own() {
    let host = Host::new();
    let dear =
        plugin(r#"{"limits": ["10/minute"], "by": "address", "costs": {"test-route": 4, "x": 9}}"#);
    assert_eq!(exchange::route(), "test-route");
    assert!(
        told(&ask(&dear, &host)).contains(&HeaderEdit::append("ratelimit", "\"minute\";r=6;t=60"))
    );
}

#[test]
fn a_response_may_say_what_a_request_has_cost() {
    let host = Host::new();
    let config = r#"{"limits": ["10/minute"], "by": "address", "cost-header": "X-Cost"}"#;
    let plugin = plugin(config);
    let left = || {
        let verdict = ask(&plugin, &host);
        let told = told(&verdict).to_vec();
        let left = (0..=10).find(|left| {
            let text = format!("\"minute\";r={left};t=60");
            told.contains(&HeaderEdit::append("ratelimit", text))
        });
        left.expect("it tells what is left")
    };
    assert_eq!(left(), 9);
    let verdict = host.on_response(&plugin, 200, &[("x-cost", "5")]);
    let edits = verdict.edits().expect("the header is removed");
    assert_eq!(edits.headers, [HeaderEdit::remove("x-cost")]);
    assert_eq!(left(), 4);
    // Not less than was counted, and not what is no number; without the header, nothing.
    host.on_response(&plugin, 200, &[("x-cost", "0")]);
    host.on_response(&plugin, 200, &[("x-cost", "-3")]);
    assert_eq!(host.log_lines(), ["warn: x-cost: \"-3\" is no cost"]);
    assert_eq!(host.on_response(&plugin, 200, &[]), ResponseVerdict::Next);
    assert_eq!(left(), 3);
    // More than is left: the next one is refused.
    host.on_response(&plugin, 200, &[("x-cost", "500")]);
    assert!(ask(&plugin, &host).reply().is_some());
}

#[test]
fn a_dry_run_refuses_nobody_and_says_whom_it_would() {
    let host = Host::new();
    let dry =
        plugin(r#"{"limits": ["1/minute"], "by": "address", "dry-run": true, "concurrency": 1}"#);
    for _ in 0..3 {
        assert!(passes(&ask(&dry, &host)));
    }
    let lines = host.log_lines();
    let over = lines.iter().filter(|line| line.contains("over its limit"));
    assert_eq!((lines.len(), over.count()), (4, 2), "{lines:?}");
}

#[test]
fn no_more_requests_than_may_are_under_way_at_once() {
    let host = Host::new();
    let two = plugin(r#"{"limits": [], "by": "address", "concurrency": 2}"#);
    assert_eq!(ask(&two, &host), RequestVerdict::Next);
    assert!(passes(&ask(&two, &host)));
    let verdict = ask(&two, &host);
    let refusal = reply(&verdict);
    assert_eq!(
        (refusal.status, &*refusal.code),
        (429, "concurrency-limited")
    );
    assert_eq!(refusal.header_text("retry-after"), Some("1"));
    host.leave();
    assert!(passes(&ask(&two, &host)));
}

#[test]
fn the_response_phase_is_called_only_for_costs() {
    let interest = plugin(TWO).interest();
    assert_eq!(interest.unused & Phases::RESPONSE, Phases::RESPONSE);
    let interest = plugin(r#"{"cost-header": "x-cost"}"#).interest();
    assert_eq!(interest.unused & Phases::RESPONSE, Phases::empty());
}

#[test]
fn credentials_and_notes_count_apart() {
    let host = Host::new();
    become_consumer(&host, "a", None);
    let by_credential = plugin(r#"{"limits": ["1/minute"], "by": "credential"}"#);
    assert!(passes(&ask(&by_credential, &host)));
    assert!(!passes(&ask(&by_credential, &host)));
    let by_note = plugin(r#"{"limits": ["1/minute"], "by": "note", "note": "tenant"}"#);
    for (tenant, expected) in [("a", true), ("b", true), ("a", false)] {
        exchange::set_note("tenant", tenant.as_bytes());
        assert_eq!(passes(&ask(&by_note, &host)), expected, "{tenant}");
    }
}
