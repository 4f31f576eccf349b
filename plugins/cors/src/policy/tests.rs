//! The policy against preflights and ordinary answers.

use postern_plugin::testing::Host;
use postern_plugin::{HeaderEdit, Interest};

use super::*;
use crate::config::Config;

const SITE: &str = r#"{"origins": ["https://a.test"], "credentials": true, "max-age": "10m", "expose-headers": ["X-A"]}"#;

#[track_caller]
fn policy(json: &str) -> Policy {
    postern_plugin::config::parse::<Config>(json)
        .and_then(Config::compile)
        .expect("config is right")
}

fn preflight(json: &str, origin: &str, more: &[(&str, &str)]) -> Option<Reply> {
    let host = Host::new();
    host.request("OPTIONS", "/")
        .request_header("Origin", origin);
    for (name, value) in more {
        host.request_header(name, value);
    }
    policy(json).preflight(&host.request_head(&Interest::new().all_request_headers()))
}

fn edits(json: &str, origin: Option<&str>) -> Vec<HeaderEdit> {
    policy(json).edits(origin)
}

#[test]
fn a_preflight_is_answered_with_what_is_allowed() {
    let asked = [
        ("Access-Control-Request-Method", "PUT"),
        ("Access-Control-Request-Headers", "x-b,x-c"),
    ];
    let reply = preflight(SITE, "https://a.test", &asked).expect("is a preflight");
    assert_eq!(reply.status, 204);
    assert_eq!(
        reply.header_text("access-control-allow-methods"),
        Some("GET, HEAD, POST, PUT, PATCH, DELETE")
    );
    assert_eq!(
        reply.header_text("access-control-allow-headers"),
        Some("x-b,x-c")
    );
    assert_eq!(reply.header_text("access-control-max-age"), Some("600"));
    assert_eq!(
        reply.header_text("access-control-allow-private-network"),
        None
    );
    assert_eq!(
        reply.header_text("access-control-allow-origin"),
        Some("https://a.test")
    );
    assert_eq!(
        reply.header_text("access-control-allow-credentials"),
        Some("true")
    );
}

#[test]
fn a_strangers_preflight_learns_nothing() {
    let reply = preflight(
        SITE,
        "https://b.test",
        &[("Access-Control-Request-Method", "PUT")],
    )
    .expect("is a preflight");
    assert_eq!(reply, Reply::new(204).header("vary", "Origin"));
}

#[test]
fn an_ordinary_options_request_is_no_preflight() {
    assert_eq!(preflight(SITE, "https://a.test", &[]), None);
}

#[test]
fn private_networks_need_question_and_permission() {
    let asked = [
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Private-Network", "true"),
    ];
    let config = r#"{"origins": ["*"], "private-network": true, "allow-headers": ["X-B"]}"#;
    let reply = preflight(config, "https://a.test", &asked).expect("is a preflight");
    assert_eq!(
        reply.header_text("access-control-allow-private-network"),
        Some("true")
    );
    assert_eq!(
        reply.header_text("access-control-allow-headers"),
        Some("X-B")
    );
}

#[test]
fn an_allowed_origin_is_named() {
    let expected = [
        HeaderEdit::include("vary", "Origin"),
        HeaderEdit::set("access-control-allow-origin", "https://a.test"),
        HeaderEdit::set("access-control-allow-credentials", "true"),
        HeaderEdit::set("access-control-expose-headers", "X-A"),
    ];
    assert_eq!(edits(SITE, Some("https://a.test")), expected);
}

#[test]
fn others_get_no_cors_headers_not_even_the_upstreams() {
    let expected = [
        HeaderEdit::include("vary", "Origin"),
        HeaderEdit::remove("access-control-allow-origin"),
        HeaderEdit::remove("access-control-allow-credentials"),
    ];
    assert_eq!(edits(SITE, Some("https://b.test")), expected);
    assert_eq!(edits(SITE, None), expected);
}

#[test]
fn any_origin_needs_no_vary() {
    let expected = [
        HeaderEdit::set("access-control-allow-origin", "*"),
        HeaderEdit::remove("access-control-allow-credentials"),
    ];
    assert_eq!(edits(r#"{"origins": ["*"]}"#, None), expected);
}
