//! The plugin against the fake host.

use super::*;
use postern_plugin::testing::{Host, configure};

fn plugin(config: &str) -> CorrelationId {
    configure(config).expect("config is right")
}

#[test]
fn a_good_id_of_the_client_is_kept_and_echoed() {
    let host = Host::new();
    host.request_header("X-Request-ID", "abc");
    let plugin = plugin("{}");
    let verdict = host.on_request(&plugin);
    let edits = verdict.edits().expect("edits");
    assert_eq!(host.id(), "abc");
    assert!(edits.headers.is_empty());
    assert_eq!(
        edits.response_headers,
        [HeaderEdit::set("x-request-id", "abc")]
    );
}

#[test]
fn without_a_good_id_the_gateways_own_is_forwarded() {
    for (config, sent) in [("{}", "two words"), (r#"{"accept": false}"#, "abc")] {
        let host = Host::new();
        host.request_header("X-Request-ID", sent);
        let plugin = plugin(config);
        let verdict = host.on_request(&plugin);
        assert_eq!(
            verdict.edits().expect("edits").headers,
            [HeaderEdit::set("x-request-id", "test-id")]
        );
    }
}

#[test]
fn the_header_is_checked_and_the_echo_can_be_switched_off() {
    assert!(
        configure::<CorrelationId>(r#"{"header": "Host"}"#)
            .is_err_and(|error| error.starts_with("header: "))
    );
    let plugin = plugin(r#"{"header": "Trace", "echo": false}"#);
    let verdict = Host::new().on_request(&plugin);
    assert!(verdict.edits().expect("edits").response_headers.is_empty());
}
