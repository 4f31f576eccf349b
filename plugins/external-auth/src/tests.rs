//! The whole plugin against a fake host.

use std::time::Duration;

use super::*;
use postern_plugin::outbound::{OutboundError, OutboundRequest};
use postern_plugin::testing::{Host, configure};
use postern_plugin::{Header, HeaderEdit};

const CONFIG: &str = r#"{"upstream": "auth", "path": "/verify?x=1", "request-headers": ["X-User", "X-Role"], "cache": "10s",
    "response-headers": ["www-authenticate", "location"]}"#;

fn answer(status: u16, headers: &[(&str, &str)]) -> OutboundResponse {
    let headers = headers
        .iter()
        .map(|&(name, value)| Header::new(name, value));
    OutboundResponse {
        status,
        headers: headers.collect(),
        body: b"what it says".to_vec(),
    }
}

/// A host whose service knows one token.
fn host() -> Host {
    let host = Host::new();
    host.request("POST", "/orders?page=2")
        .request_header("authorization", "Bearer good");
    host.outbound(|request| {
        let token = request
            .headers
            .iter()
            .find(|header| header.name == "authorization");
        match token.and_then(Header::text) {
            Some("Bearer good") => Ok(answer(204, &[("x-user", "alice"), ("x-else", "no")])),
            Some("Bearer slow") => Err(OutboundError::Timeout),
            Some("Bearer broken") => Ok(answer(500, &[("x-user", "alice")])),
            _ => Ok(answer(
                401,
                &[
                    ("www-authenticate", "Bearer"),
                    ("x-user", "mallory"),
                    ("content-type", "text/plain"),
                ],
            )),
        }
    });
    host
}

fn run(config: &str, host: &Host) -> RequestVerdict {
    let plugin: ExternalAuth = configure(config).expect("config is right");
    host.on_request(&plugin)
}

#[test]
fn the_service_is_told_the_request_and_tells_who_calls() {
    let host = host();
    let verdict = run(CONFIG, &host);
    let edits = verdict.edits().expect("passes");
    assert_eq!(
        edits.headers,
        [
            HeaderEdit::set("x-user", "alice"),
            HeaderEdit::remove("x-role")
        ]
    );
    let asked = host.outbound_requests().remove(0);
    assert_eq!(
        (asked.upstream.as_str(), asked.path_and_query.as_str()),
        ("auth", "/verify?x=1")
    );
    assert_eq!(asked.timeout_ms, 1_000);
    let told: Vec<_> = asked
        .headers
        .iter()
        .map(|header| (header.name.as_str(), header.text()))
        .collect();
    assert_eq!(
        told,
        [
            ("x-forwarded-method", Some("POST")),
            ("x-forwarded-proto", Some("https")),
            ("x-forwarded-host", Some("gateway.test")),
            ("x-forwarded-uri", Some("/orders?page=2")),
            ("x-forwarded-for", Some("192.0.2.1")),
            ("authorization", Some("Bearer good")),
        ]
    );
}

#[test]
fn its_refusal_is_the_answer() {
    let host = Host::new();
    host.request("GET", "/").outbound(|_| {
        Ok(answer(
            302,
            &[
                ("location", "https://login.test"),
                ("x-user", "mallory"),
                ("content-type", "text/plain"),
            ],
        ))
    });
    let verdict = run(CONFIG, &host);
    let reply = verdict.reply().expect("is refused");
    assert_eq!((reply.status, reply.code.as_str()), (302, "auth-denied"));
    assert_eq!(reply.header_text("location"), Some("https://login.test"));
    assert_eq!(reply.header_text("content-type"), Some("text/plain"));
    assert_eq!(reply.header_text("x-user"), None);
    assert_eq!(reply.body, b"what it says");
}

#[test]
fn only_the_same_request_is_let_pass_from_memory_and_only_for_a_while() {
    let host = host();
    let asked = || host.outbound_requests().len();
    assert!(run(CONFIG, &host).edits().is_some());
    let verdict = run(CONFIG, &host);
    assert_eq!(asked(), 1);
    let edits = verdict.edits().expect("passes");
    assert_eq!(
        edits.headers,
        [
            HeaderEdit::set("x-user", "alice"),
            HeaderEdit::remove("x-role")
        ]
    );
    host.request("POST", "/orders?page=3");
    assert!(run(CONFIG, &host).edits().is_some());
    assert_eq!(asked(), 2);
    host.advance(Duration::from_secs(10));
    assert!(run(CONFIG, &host).edits().is_some());
    assert_eq!(asked(), 3);
    let uncached = CONFIG.replace(r#""cache": "10s","#, "");
    assert!(run(&uncached, &host).edits().is_some());
    assert_eq!(asked(), 4);
}

#[test]
fn refusals_are_not_remembered() {
    let host = Host::new();
    host.outbound(|_| Ok(answer(401, &[])));
    assert!(run(CONFIG, &host).reply().is_some());
    host.outbound(|_| Ok(answer(200, &[])));
    assert!(run(CONFIG, &host).edits().is_some());
}

#[test]
fn without_an_answer_requests_are_refused_unless_the_operator_says_otherwise() {
    let open = CONFIG.replace(r#""cache""#, r#""on-error": "open", "cache""#);
    type Service = fn(&OutboundRequest) -> Result<OutboundResponse, OutboundError>;
    let services: [Service; 3] = [
        |_| Err(OutboundError::Timeout),
        |_| Err(OutboundError::Unavailable("refused".into())),
        |_| Ok(answer(503, &[("x-user", "alice")])),
    ];
    for failing in services {
        let host = Host::new();
        host.outbound(failing);
        let verdict = run(CONFIG, &host);
        let reply = verdict.reply().expect("is refused");
        assert_eq!(
            (reply.status, reply.code.as_str()),
            (503, "auth-unavailable")
        );
        assert!(host.log_lines()[0].starts_with("error: upstream \"auth\": "));
        let verdict = run(&open, &host);
        let edits = verdict.edits().expect("passes");
        let removed = [HeaderEdit::remove("x-user"), HeaderEdit::remove("x-role")];
        assert_eq!(edits.headers, removed, "clients cannot say who they are");
    }
}
