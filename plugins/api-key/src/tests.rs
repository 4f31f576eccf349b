//! The whole plugin against a fake host.

use super::*;
use postern_plugin::identity::{Consumer, Found};
use postern_plugin::testing::{Host, configure};
use postern_plugin::{HeaderEdit, Reply};

fn consumer(name: &str) -> Consumer {
    Consumer {
        name: name.to_owned(),
        tier: Some("free".to_owned()),
        groups: Vec::new(),
        custom_id: None,
    }
}

/// A host with one consumer, whose key is `k-1`, and a request.
fn host(path_and_query: &str, headers: &[(&str, &str)]) -> Host {
    let host = Host::new();
    let key = Credential::ApiKey("k-1".to_owned());
    host.consumer(consumer("app"), key, "app-key");
    host.request("GET", path_and_query);
    for (name, value) in headers {
        host.request_header(name, value);
    }
    host
}

fn run(config: &str, host: &Host) -> RequestVerdict {
    let plugin: ApiKey = configure(config).expect("config is right");
    host.on_request(&plugin)
}

#[track_caller]
fn reply(verdict: &RequestVerdict) -> &Reply {
    verdict.reply().expect("is refused")
}

const BOTH: &str = r#"{"header": ["X-API-Key", "X-Key"], "query": ["key"]}"#;

#[test]
fn a_known_key_names_the_consumer_and_stays_here() {
    let host = host("/orders?page=2", &[("X-Api-Key", "k-1")]);
    let verdict = run("{}", &host);
    let edits = verdict.edits().expect("goes on");
    let found = host.authenticated().expect("is known");
    assert_eq!(found.consumer.name, "app");
    assert_eq!(found.credential_id, "app-key");
    assert!(edits.headers.contains(&HeaderEdit::remove("x-api-key")));
    assert_eq!(edits.path_and_query, None);
    assert_eq!(
        host.authenticated().expect("is known").credential_id,
        "app-key"
    );
}

#[test]
fn the_key_may_stay_in_the_request() {
    let host = host("/?key=k-1", &[("x-key", "k-1")]);
    let config = r#"{"header": ["x-key"], "query": ["key"], "hide-credentials": false}"#;
    let verdict = run(config, &host);
    assert!(
        matches!(verdict, RequestVerdict::Next),
        "nothing is taken away"
    );
    assert!(host.authenticated().is_some());
}

#[test]
fn a_key_in_the_query_is_read_only_where_that_is_wanted() {
    let host_with_query = || host("/a?x=%20&key=k%2D1&y=+", &[]);
    let host = host_with_query();
    assert_eq!(reply(&run("{}", &host)).code, "api-key-missing");
    let host = host_with_query();
    let verdict = run(BOTH, &host);
    let edits = verdict.edits().expect("goes on");
    assert_eq!(edits.path_and_query.as_deref(), Some("/a?x=%20&y=+"));
    assert_eq!(host.authenticated().expect("is known").consumer.name, "app");
}

#[test]
fn what_is_refused() {
    let long = "k".repeat(513);
    type Headers<'a> = &'a [(&'a str, &'a str)];
    let cases: [(&str, Headers<'_>, u16, &str); 9] = [
        ("/", &[], 401, "api-key-missing"),
        ("/", &[("x-api-key", "")], 401, "api-key-missing"),
        ("/?keys=k-1", &[], 401, "api-key-missing"),
        ("/", &[("x-api-key", "k-2")], 401, "api-key-invalid"),
        ("/", &[("x-api-key", "k-1 ")], 401, "api-key-invalid"),
        ("/", &[("x-api-key", &long)], 401, "api-key-invalid"),
        (
            "/",
            &[("x-api-key", "k-1"), ("x-key", "k-2")],
            400,
            "api-key-ambiguous",
        ),
        (
            "/?key=k-2",
            &[("x-api-key", "k-1")],
            400,
            "api-key-ambiguous",
        ),
        ("/?key=k-1&key=k-2", &[], 400, "api-key-ambiguous"),
    ];
    for (path, headers, status, code) in cases {
        let host = host(path, headers);
        let verdict = run(BOTH, &host);
        let reply = reply(&verdict);
        assert_eq!(
            (reply.status, reply.code.as_str()),
            (status, code),
            "{path} {headers:?}"
        );
        let challenge = (status == 401).then_some("ApiKey");
        assert_eq!(reply.header_text("www-authenticate"), challenge);
        assert_eq!(host.authenticated(), None);
    }
}

#[test]
fn one_key_in_several_places_is_one_key() {
    let headers = [("x-api-key", "k-1"), ("x-api-key", "k-1"), ("x-key", "k-1")];
    let host = host("/?key=k-1", &headers);
    let verdict = run(BOTH, &host);
    let edits = verdict.edits().expect("goes on");
    assert!(edits.headers.contains(&HeaderEdit::remove("x-key")));
    assert_eq!(edits.path_and_query.as_deref(), Some("/"));
}

#[test]
fn a_key_of_somebody_else_than_an_earlier_plugin_found_is_refused() {
    let host = host("/", &[("x-api-key", "k-1")]);
    host.authenticate(Found {
        consumer: consumer("other"),
        credential_id: "token".to_owned(),
    });
    let verdict = run(r#"{"realm": "shop"}"#, &host);
    let reply = reply(&verdict);
    assert_eq!(reply.code, "credentials-conflict");
    assert_eq!(
        reply.header_text("www-authenticate"),
        Some("ApiKey realm=\"shop\"")
    );
    assert_eq!(
        host.authenticated().expect("as before").consumer.name,
        "other"
    );
}
