//! The plugin against the fake host.

use postern_plugin::identity::{Consumer, Found};
use postern_plugin::testing::{Host, configure};

use super::*;

fn plugin(config: &str) -> HeaderTransform {
    configure(config).expect("config is right")
}

#[test]
fn templates_see_consumer_path_query_and_headers() {
    let host = Host::new();
    let consumer = Consumer {
        name: "app".into(),
        tier: Some("free".into()),
        groups: vec![],
        custom_id: None,
    };
    host.authenticate(Found {
        consumer,
        credential_id: "key".into(),
    });
    host.request("GET", "/orders/7?page=a+b%2f")
        .path_parameter("id", "7")
        .request_header("X-A", "1");
    let plugin = plugin(
        r#"{"request": {"add": {"X-All": "{consumer} {consumer.tier} {header.x-a} {path.id} {query.page} {query.no}"}}}"#,
    );
    let verdict = host.on_request(&plugin);
    assert_eq!(
        verdict.edits().expect("edits").headers,
        [HeaderEdit::add("x-all", "app free 1 7 a b/ ")]
    );
}

#[test]
fn a_response_reads_headers_of_the_request() {
    let host = Host::new();
    host.request_header("X-A", "1");
    let plugin = plugin(
        r#"{"response": {"add": {"X-Echo": "{header.X-A}"}, "replace": {"Server": "gateway"}}}"#,
    );
    let verdict = host.on_response(&plugin, 200, &[("Server", "x")]);
    let expected = [
        HeaderEdit::replace("server", "gateway"),
        HeaderEdit::add("x-echo", "1"),
    ];
    assert_eq!(verdict.edits().expect("edits").headers, expected);
}

#[test]
fn what_every_response_gets_is_said_with_the_request() {
    let host = Host::new();
    let plugin = plugin(r#"{"response": {"remove": ["server"], "add": {"X-A": "1"}}}"#);
    assert_eq!(
        plugin.interest(),
        Interest::new().unused([Phases::RESPONSE])
    );
    let verdict = host.on_request(&plugin);
    let edits = verdict.edits().expect("edits");
    assert!(edits.headers.is_empty());
    assert_eq!(
        edits.response_headers,
        [HeaderEdit::remove("server"), HeaderEdit::add("x-a", "1")]
    );
}

#[test]
fn a_side_without_rules_is_not_called() {
    let host = Host::new();
    let none = plugin("{}");
    assert_eq!(
        none.interest(),
        Interest::new().unused([Phases::REQUEST, Phases::RESPONSE])
    );
    assert_eq!(host.on_request(&none), RequestVerdict::Next);
    let plugin = plugin(r#"{"request": {"remove": ["x-a"]}}"#);
    assert_eq!(
        plugin.interest(),
        Interest::new().unused([Phases::RESPONSE])
    );
    assert_eq!(host.on_response(&plugin, 200, &[]), ResponseVerdict::Next);
}

#[test]
fn a_client_cannot_smuggle_a_header_in() {
    let host = Host::new();
    host.request("GET", "/?q=a%0d%0ax-admin:%201");
    let plugin = plugin(r#"{"request": {"add": {"x-q": "{query.q}"}}}"#);
    let verdict = host.on_request(&plugin);
    assert_eq!(
        verdict.edits().expect("edits").headers,
        [HeaderEdit::add("x-q", "")]
    );
}
