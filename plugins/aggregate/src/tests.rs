//! The plugin as a whole, against the fake host.

use postern_plugin::identity::{Consumer, Found};
use postern_plugin::outbound::{OutboundError, OutboundRequest, OutboundResponse};
use postern_plugin::testing::{Host, configure};
use postern_plugin::{Header, Plugin, Reply, Responder};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::Aggregate;

/// Objects whose keys are few, so that paths and other objects meet them.
pub(crate) fn any_object() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,4}".prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[abcd]", inner, 0..4).prop_map(|map| json!(map)),
        ]
    });
    prop::collection::btree_map("[abcd]|.{2}", value, 0..4).prop_map(|map| json!(map))
}

fn answer(status: u16, body: &str) -> Result<OutboundResponse, OutboundError> {
    Ok(OutboundResponse {
        status,
        headers: Vec::new(),
        body: body.into(),
    })
}

/// Answers by upstream.
fn services(request: &OutboundRequest) -> Result<OutboundResponse, OutboundError> {
    match request.upstream.as_str() {
        "customers" => answer(200, r#"{"id":"alice","name":"Alice","score":17}"#),
        "orders" => answer(200, r#" {"orders":[{"id":1,"cents":1.50}]} "#),
        "payments" => answer(
            201,
            r#"{"account":{"card":"4000","holder":"a"},"payments":[]}"#,
        ),
        "broken" => answer(200, "<html>"),
        "list" => answer(200, "[1,2]"),
        "missing" => answer(404, "{}"),
        "slow" => Err(OutboundError::Timeout),
        other => Err(OutboundError::Unavailable(other.to_owned())),
    }
}

struct Run {
    host: Host,
    reply: Reply,
}

impl Run {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.reply.body).expect("is JSON")
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.reply.body).expect("is text")
    }

    fn completeness(&self) -> Option<&str> {
        self.reply.header_text("gateway-completeness")
    }
}

fn run_with(config: Value, prepare: impl FnOnce(&Host)) -> Run {
    let host = Host::new();
    host.outbound(services)
        .path_parameter("customer", "alice/b");
    prepare(&host);
    let plugin: Aggregate = configure(&config.to_string()).expect("config is right");
    let reply = plugin
        .respond(host.request_head(&plugin.interest()), b"sent".to_vec())
        .expect("answers");
    Run { host, reply }
}

fn run(config: Value) -> Run {
    run_with(config, |_| ())
}

fn branch(name: &str, more: Value) -> Value {
    let mut branch = json!({ "name": name, "upstream": name, "path": "/" });
    let more = more.as_object().expect("is an object").clone();
    branch.as_object_mut().expect("is an object").extend(more);
    branch
}

#[test]
fn three_groups_are_spliced_as_they_came() {
    let run = run(json!({ "branches": [
        branch("customers", json!({ "group": "a" })),
        branch("orders", json!({ "group": "b" })),
        branch("list", json!({ "group": "c" })),
    ] }));
    assert_eq!(run.reply.status, 200);
    let expected = r#"{"a":{"id":"alice","name":"Alice","score":17},"b":{"orders":[{"id":1,"cents":1.50}]},"c":[1,2]}"#;
    assert_eq!(run.text(), expected);
    assert_eq!(
        run.reply.header_text("content-type"),
        Some("application/json")
    );
    assert_eq!(run.completeness(), Some("complete"));
    assert_eq!(run.reply.header_text("cache-control"), None);
}

#[test]
fn the_overview_of_a_shop_is_merged_and_filtered() {
    let run = run(json!({ "branches": [
        branch("customers", json!({ "path": "/c/{path.customer}", "deny": ["score"], "group": "customer" })),
        branch("orders", json!({ "required": false, "rename": { "orders.cents": "price" } })),
        branch("payments", json!({ "deny": ["account.card"], "fallback": { "payments": [] } })),
    ] }));
    let expected = json!({
        "customer": { "id": "alice", "name": "Alice" },
        "orders": [{ "id": 1, "price": 1.5 }],
        "account": { "holder": "a" },
        "payments": [],
    });
    assert_eq!(run.json(), expected);
    assert_eq!(
        run.host.outbound_requests()[0].path_and_query,
        "/c/alice%2Fb"
    );
}

#[test]
fn optional_branches_are_left_out_or_replaced_and_told() {
    let run = run(json!({ "errors": true, "branches": [
        branch("customers", json!({ "allow": ["id"] })),
        branch("slow", json!({ "required": false })),
        branch("missing", json!({ "group": "m", "fallback": [] })),
        branch("broken", json!({ "required": false })),
        branch("list", json!({ "required": false })),
    ] }));
    assert_eq!(run.reply.status, 200);
    assert_eq!(
        run.completeness(),
        Some("partial; missing=\"slow, missing, broken, list\"")
    );
    assert_eq!(run.reply.header_text("cache-control"), Some("no-store"));
    let errors = json!([
        { "branch": "slow", "code": "timeout" },
        { "branch": "missing", "code": "status", "status": 404 },
        { "branch": "broken", "code": "not-json" },
        { "branch": "list", "code": "not-an-object" },
    ]);
    assert_eq!(
        run.json(),
        json!({ "id": "alice", "m": [], "_errors": errors })
    );
    assert!(
        run.host
            .log_lines()
            .iter()
            .any(|line| line.starts_with("warn: branch \"slow\" failed, timeout"))
    );
}

#[test]
fn a_required_branch_that_fails_is_the_answer() {
    for (upstream, more, status) in [
        ("slow", json!({}), 504),
        ("gone", json!({}), 502),
        ("broken", json!({}), 502),
        ("missing", json!({}), 502),
        ("missing", json!({ "pass-status": [404] }), 404),
        ("customers", json!({ "target": "data" }), 502),
        ("customers", json!({ "target": "name" }), 502),
        ("customers", json!({ "path": "/{header.x-id}" }), 400),
    ] {
        let run = run(json!({ "branches": [branch("orders", json!({})), branch(upstream, more)] }));
        assert_eq!(run.reply.status, status, "{upstream}");
        assert_eq!(run.reply.code, "branch-failed");
        assert_eq!(
            run.reply.header_text("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(run.completeness(), None);
    }
}

#[test]
fn a_document_of_nothing_is_no_answer() {
    let optional = json!({ "required": false });
    let run =
        run(json!({ "branches": [branch("slow", optional.clone()), branch("gone", optional)] }));
    assert_eq!(run.reply.status, 504);
}

#[test]
fn nothing_of_the_client_is_forwarded_unasked() {
    let forwarding = json!({ "method": "POST", "forward-body": true, "forward-headers": ["X-A"], "timeout": "250ms" });
    let config = json!({
        "methods": ["POST"], "branches": [branch("customers", json!({})), branch("orders", forwarding)]
    });
    let run = run_with(config, |host| {
        host.request("POST", "/?secret=1")
            .request_header("x-a", "1")
            .request_header("x-a", "2");
        host.request_header("content-type", "text/plain")
            .request_header("authorization", "x");
    });
    let requests = run.host.outbound_requests();
    assert_eq!(
        requests[0].headers,
        [Header::new("accept", "application/json")]
    );
    assert_eq!(
        (
            requests[0].path_and_query.as_str(),
            requests[0].body.as_slice()
        ),
        ("/", &b""[..])
    );
    let names: Vec<_> = requests[1]
        .headers
        .iter()
        .map(|header| (header.name.as_str(), header.text()))
        .collect();
    let expected = [
        ("x-a", "1"),
        ("x-a", "2"),
        ("content-type", "text/plain"),
        ("accept", "application/json"),
    ];
    assert_eq!(names, expected.map(|(name, value)| (name, Some(value))));
    assert_eq!(
        (requests[1].body.as_slice(), requests[1].timeout_ms),
        (&b"sent"[..], 250)
    );
    assert_eq!(
        (requests[0].timeout_ms, requests[0].max_body),
        (5_000, 1 << 20)
    );
}

#[test]
fn a_branch_without_its_value_is_not_called() {
    let lost = json!({ "path": "/{consumer}", "required": false });
    let config = json!({ "branches": [branch("orders", lost), branch("customers", json!({ "path": "/?p={query.p}" }))] });
    let anonymous = run(config.clone());
    assert_eq!(
        anonymous.completeness(),
        Some("partial; missing=\"orders\"")
    );
    let paths = |run: &Run| {
        run.host
            .outbound_requests()
            .into_iter()
            .map(|request| request.path_and_query)
            .collect::<Vec<_>>()
    };
    assert_eq!(paths(&anonymous), ["/?p="]);
    let consumer = Consumer {
        name: "app".into(),
        tier: None,
        groups: Vec::new(),
        custom_id: None,
    };
    let known = run_with(config, |host| {
        host.request("GET", "/?p=a%20b").authenticate(Found {
            consumer,
            credential_id: "key".into(),
        });
    });
    assert_eq!(paths(&known), ["/app", "/?p=a%20b"]);
}

#[test]
fn nothing_is_called_when_a_required_branch_cannot_be() {
    let run = run(
        json!({ "branches": [branch("customers", json!({})), branch("orders", json!({ "path": "/{header.x}" }))] }),
    );
    assert_eq!(
        (run.reply.status, run.reply.code.as_str()),
        (400, "branch-failed")
    );
    assert!(run.host.outbound_requests().is_empty());
}

#[test]
fn a_conflict_can_be_an_error() {
    let config = |rule| {
        json!({ "on-conflict": rule, "branches": [
        branch("customers", json!({ "rename": { "id": "orders" } })), branch("orders", json!({})),
    ] })
    };
    assert_eq!(
        run(config("last-wins")).json()["orders"],
        json!([{ "id": 1, "cents": 1.5 }])
    );
    assert_eq!(run(config("first-wins")).json()["orders"], json!("alice"));
    let failed = run(config("error"));
    assert_eq!(
        (failed.reply.status, failed.reply.code.as_str()),
        (502, "branch-conflict")
    );
}

#[test]
fn other_methods_are_refused() {
    let run = run_with(
        json!({ "branches": [branch("orders", json!({}))] }),
        |host| {
            host.request("DELETE", "/");
        },
    );
    assert_eq!(
        (run.reply.status, run.reply.header_text("allow")),
        (405, Some("GET, HEAD"))
    );
    assert!(run.host.outbound_requests().is_empty());
}

#[test]
fn a_wrong_config_is_explained() {
    for (config, expected) in [
        (
            json!({ "branches": [] }),
            "branches: expected 1 to 64, found 0",
        ),
        (
            json!({ "branches": [branch("a", json!({})), branch("a", json!({}))] }),
            "branches[1].name: \"a\" is there already",
        ),
        (
            json!({ "branches": [branch("a b", json!({}))] }),
            "branches[0].name: ",
        ),
        (
            json!({ "branches": [branch("a", json!({ "path": "x" }))] }),
            "branches[0].path: ",
        ),
        (
            json!({ "branches": [branch("a", json!({ "method": "HEAD" }))] }),
            "branches[0].method: ",
        ),
        (
            json!({ "branches": [branch("a", json!({ "forward-body": true }))] }),
            "branches[0].method: ",
        ),
        (
            json!({ "branches": [branch("a", json!({ "forward-headers": ["Range"] }))] }),
            "branches[0].forward-headers[0]: ",
        ),
        (
            json!({ "branches": [branch("a", json!({ "required": true, "fallback": {} }))] }),
            "branches[0].fallback: ",
        ),
        (
            json!({ "branches": [branch("a", json!({ "fallback": [] }))] }),
            "branches[0].fallback: ",
        ),
        (
            json!({ "branches": [branch("a", json!({ "pass-status": [200] }))] }),
            "branches[0].pass-status: ",
        ),
        (
            json!({ "branches": [branch("a", json!({ "allow": ["x"], "deny": ["x"] }))] }),
            "branches[0].deny[0]: ",
        ),
        (
            json!({ "branches": [branch("a", json!({ "timeout": "0s" }))] }),
            "branches[0].timeout: ",
        ),
        (
            json!({ "branches": [branch("a", json!({ "max-body": 5 }))] }),
            "branches[0].max-body: ",
        ),
        (
            json!({ "errors": true, "branches": [branch("a", json!({ "group": "_errors" }))] }),
            "branches[0].group: ",
        ),
    ] {
        let error = configure::<Aggregate>(&config.to_string())
            .err()
            .expect("is wrong");
        assert!(error.starts_with(expected), "{error}");
    }
}
