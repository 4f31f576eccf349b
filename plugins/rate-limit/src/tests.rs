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
