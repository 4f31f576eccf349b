use postern_plugin::testing::{Host, configure, stream};
use postern_plugin::{HeaderEdit, StreamVerdict};

use super::ResponseMask;

fn plugin() -> ResponseMask {
    configure(r#"{"fields": ["password"], "patterns": [{"pattern": "secret-\\d+"}]}"#)
        .expect("the config is right")
}

#[test]
fn the_upstream_is_asked_for_what_can_be_read() {
    let host = Host::new();
    let verdict = host.on_request(&plugin());
    let edits = verdict.edits().expect("it is changed");
    let expected = [
        HeaderEdit::set("accept-encoding", "identity"),
        HeaderEdit::remove("range"),
        HeaderEdit::remove("if-range"),
    ];
    assert_eq!(edits.headers, expected);
}

#[test]
fn bodies_are_masked_by_their_type() {
    let (host, plugin) = (Host::new(), plugin());
    let body = br#"{"password":"secret-1","b":"secret-22"}"#;
    for (content_type, expected) in [
        ("application/json", r#"{"password":"***","b":"***"}"#),
        ("text/plain", r#"{"password":"***","b":"***"}"#),
    ] {
        let verdict = host.on_response_stream(&plugin, 200, &[("content-type", content_type)]);
        let taken = verdict.into_body().expect("it is taken");
        let made = stream(taken, body.chunks(1)).expect("it is masked");
        assert_eq!(String::from_utf8_lossy(&made), expected, "{content_type}");
    }
    let verdict = host.on_response_stream(&plugin, 200, &[("content-type", "image/png")]);
    assert!(matches!(verdict, StreamVerdict::Next));
}

#[test]
fn what_cannot_be_read_is_not_sent() {
    let (host, plugin) = (Host::new(), plugin());
    let json = ("content-type", "application/json");
    for (status, headers) in [
        (200, [json, ("content-encoding", "gzip")]),
        (206, [json, ("content-range", "bytes 0-9/99")]),
    ] {
        let verdict = host.on_response_stream(&plugin, status, &headers);
        assert_eq!(verdict.reply().map(|reply| reply.status), Some(502));
    }
    let verdict = host.on_response_stream(&plugin, 304, &[json, ("content-encoding", "gzip")]);
    assert!(verdict.reply().is_none(), "there is nothing to read");
}

#[test]
fn without_rules_nothing_is_called() {
    let host = Host::new();
    let plugin: ResponseMask = configure("{}").expect("the config is right");
    let verdict = host.on_response_stream(&plugin, 200, &[("content-type", "application/json")]);
    assert!(matches!(verdict, StreamVerdict::Next));
    assert!(host.on_request(&plugin).edits().is_none());
}
