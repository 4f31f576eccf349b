//! HTTP/2 that no client should send, sent by a client that is not ours: floods end the connection, malformed requests end
//! before the upstream hears of them, and neighbours do not notice.

use std::time::{Duration, Instant};

use postern_tests::peers::Peer;
use postern_tests::setup::one_route;
use postern_tests::{Call, Connection, Gate, Gateway, Script, Upstream, reply};
use serde_json::Value;

async fn gateway(upstream: &Upstream) -> Gateway {
    let listener = r#"
        max-header-bytes = "16KiB"
        max-headers = 50
        max-streams = 100
        max-resets = 100
        max-control-frames = 1000
        write-timeout = "1s"
    "#;
    Gateway::with(one_route(upstream, listener)).start().await
}

fn upstream(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::start(move |request| match request.target.as_str() {
        "/slow" => Script::after_body().wait(&gate),
        "/large" => reply(200).body(vec![b'x'; 1 << 20]).into(),
        _ => reply(200).body("ok").into(),
    })
}

/// Runs cases of the peer, one after another. None without the peer.
async fn abuse(gateway: &Gateway, cases: &[&str]) -> Option<Value> {
    let peer = Peer::find("h2_abuse.py", "hyperframe, hpack")?;
    let address = gateway.address();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let outcomes = peer.call(&[&[host.as_str(), &port], cases].concat()).await;
    for case in cases {
        assert!(outcomes[case].is_object(), "{case} is not in {outcomes}");
    }
    Some(outcomes)
}

const FLOODS: [&str; 11] = [
    "rapid-reset",
    "patient-reset",
    "pings",
    "settings",
    "priorities",
    "empty-data",
    "window-updates",
    "unknown-frames",
    "continuations",
    "many-continuations",
    "large-continuations",
];

#[tokio::test]
async fn floods_end_their_connection_and_nobody_else_notices() {
    let gate = Gate::default();
    let upstream = upstream(&gate);
    let gateway = gateway(&upstream).await;
    let mut neighbour = Connection::h2(gateway.address()).await;
    for flood in FLOODS {
        let before = upstream.count();
        let Some(outcomes) = abuse(&gateway, &[flood]).await else {
            return;
        };
        let outcome = &outcomes[flood];
        assert_eq!(outcome["closed"], true, "{outcome}");
        let reached = upstream.count() - before;
        // These come whole, three frames each of those that are counted.
        let most = if flood == "many-continuations" {
            400
        } else {
            120
        };
        assert!(
            reached <= most,
            "{flood}: {reached} requests reached the upstream"
        );
        let asked = Instant::now();
        assert_eq!(
            neighbour.call(&Call::get("/")).await.text(),
            "ok",
            "{flood}"
        );
        assert!(asked.elapsed() < Duration::from_secs(5), "{flood}");
    }
}

#[tokio::test]
async fn only_so_many_requests_are_served_at_once() {
    let gate = Gate::default();
    let upstream = upstream(&gate);
    let gateway = gateway(&upstream).await;
    let Some(outcomes) = abuse(&gateway, &["too-many-streams"]).await else {
        return;
    };
    let outcome = &outcomes["too-many-streams"];
    assert!(upstream.count() <= 100, "{} reached it", upstream.count());
    let refused = outcome["resets"].as_u64().unwrap_or_default() >= 100;
    assert!(refused || !outcome["goaway"].is_null(), "{outcome}");
    gate.open();
}

#[tokio::test]
async fn a_client_that_lets_no_answer_through_is_sent_away() {
    let gate = Gate::default();
    let upstream = upstream(&gate);
    let gateway = gateway(&upstream).await;
    let Some(outcomes) = abuse(&gateway, &["stalled-window"]).await else {
        return;
    };
    assert_eq!(outcomes["stalled-window"]["closed"], true, "{outcomes}");
}

#[tokio::test]
async fn well_formed_requests_pass() {
    let gate = Gate::default();
    let upstream = upstream(&gate);
    let gateway = gateway(&upstream).await;
    let cases = ["good", "good-body", "good-te"];
    let Some(outcomes) = abuse(&gateway, &cases).await else {
        return;
    };
    for case in cases {
        assert_eq!(
            outcomes[case]["statuses"],
            serde_json::json!([200]),
            "{case}"
        );
    }
    assert_eq!(upstream.count(), 3);
}

/// Malformed requests, and the status where there must be one. Otherwise a reset, a closed connection or a refusal will do.
const MALFORMED: [(&str, Option<u16>); 55] = [
    ("large-header", None),
    ("many-headers", Some(431)),
    ("long-path", Some(414)),
    ("value-crlf", None),
    ("value-lf", None),
    ("value-cr", None),
    ("value-null", None),
    ("name-crlf", None),
    ("name-colon", None),
    ("name-space", None),
    ("name-upper", None),
    ("name-empty", None),
    ("transfer-encoding", None),
    ("connection", None),
    ("keep-alive", None),
    ("proxy-connection", None),
    ("upgrade", None),
    ("te-gzip", None),
    ("path-empty", None),
    ("path-missing", None),
    ("path-relative", None),
    ("path-space", None),
    ("path-crlf", None),
    ("path-absolute", None),
    ("path-bytes", None),
    ("path-star", None),
    ("method-space", None),
    ("method-crlf", None),
    ("method-missing", None),
    ("method-connect", Some(501)),
    ("method-trace", Some(501)),
    ("scheme-missing", None),
    ("scheme-ftp", None),
    ("scheme-crlf", None),
    ("authority-user", None),
    ("authority-crlf", None),
    ("authority-path", None),
    ("authority-missing", None),
    ("authority-against-host", Some(400)),
    ("two-hosts", Some(400)),
    ("pseudo-twice", None),
    ("pseudo-unknown", None),
    ("pseudo-late", None),
    ("pseudo-of-responses", None),
    ("length-twice", None),
    ("length-sign", None),
    ("expect-other", Some(417)),
    ("stream-zero", None),
    ("stream-even", None),
    ("frame-too-large", None),
    ("window-zero", None),
    ("window-overflow", None),
    ("settings-bad", None),
    ("headers-split-by-other", None),
    ("bad-hpack", None),
];

#[tokio::test]
async fn malformed_requests_do_not_reach_the_upstream() {
    let gate = Gate::default();
    let upstream = upstream(&gate);
    let gateway = gateway(&upstream).await;
    let cases = MALFORMED.map(|(case, _)| case);
    let Some(outcomes) = abuse(&gateway, &cases).await else {
        return;
    };
    let mut wrong = Vec::new();
    for (case, status) in MALFORMED {
        let outcome = &outcomes[case];
        let statuses: Vec<u64> = outcome["statuses"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(Value::as_u64)
            .collect();
        let right = match status {
            Some(status) => statuses == [u64::from(status)],
            None if statuses.is_empty() => {
                !outcome["goaway"].is_null() || outcome["resets"] != 0 || outcome["closed"] == true
            }
            None => statuses.iter().all(|status| (400..500).contains(status)),
        };
        if !right {
            wrong.push(format!("{case}: {outcome}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let reached: Vec<String> = upstream
        .requests()
        .into_iter()
        .map(|request| request.head)
        .collect();
    assert!(reached.is_empty(), "the upstream got {reached:#?}");
}

#[tokio::test]
async fn a_body_that_does_not_have_its_length_does_not_reach_the_upstream_whole() {
    let gate = Gate::default();
    let upstream = upstream(&gate);
    let gateway = gateway(&upstream).await;
    let cases = ["length-short", "length-long"];
    let Some(outcomes) = abuse(&gateway, &cases).await else {
        return;
    };
    for case in cases {
        let statuses = &outcomes[case]["statuses"];
        assert_ne!(*statuses, serde_json::json!([200]), "{case}");
    }
    assert!(upstream.requests().iter().all(|request| !request.complete));
}
