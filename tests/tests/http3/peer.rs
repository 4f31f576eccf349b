//! HTTP/3 with a client that is not ours, PyPI's `aioquic`: it is served, what it may not do is refused before an upstream
//! hears of it, and its floods end.

use aws_lc_rs::digest;
use postern_tests::peers::Peer;
use postern_tests::pki::Authority;
use postern_tests::{Gate, Gateway, Script, Upstream, eventually, reply};
use serde_json::{Value, json};

use super::client::{Client, HOST};
use super::setup;

const H3_NO_ERROR: u64 = 0x100;
const H3_EXCESSIVE_LOAD: u64 = 0x107;
const MAX_STREAMS: usize = 100;
const MAX_RESETS: usize = 50;
const MEBIBYTE: usize = 1 << 20;
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n";

fn upstream(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n";
    let late = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate";
    Upstream::start(move |request| match request.target.as_str() {
        "/slow" => Script::after_body().wait(&gate).send(late),
        "/large" => reply(200).body(vec![b'x'; MEBIBYTE]).into(),
        "/echo" => Script::at_once().send(CHUNKED).echo_chunks(),
        "/endless" => Script::at_once()
            .send(CHUNKED)
            .chunk(&"x".repeat(MEBIBYTE))
            .until_hung_up(),
        "/trailers" => Script::after_body()
            .send(CHUNKED)
            .chunk("ok")
            .send("0\r\nx-sum: 8\r\n\r\n"),
        "/interim" => Script::after_body().send([hints, hints, late].concat()),
        _ => reply(200).body("served").into(),
    })
}

async fn gateway(upstream: &Upstream, authority: &Authority) -> Gateway {
    let limits = format!(
        r#"
        max-header-bytes = "16KiB"
        max-headers = 50
        max-streams = {MAX_STREAMS}
        max-resets = {MAX_RESETS}
        header-timeout = "1s"
        write-timeout = "1s"
        interim-responses = true
        "#
    );
    setup(upstream, authority, &limits).start().await
}

/// What the peer is told.
fn arguments(gateway: &Gateway, cases: &[&str]) -> Vec<String> {
    let (address, authority) = (gateway.address(), gateway.folder().join("ca.pem"));
    let server = [
        address.ip().to_string(),
        address.port().to_string(),
        HOST.to_owned(),
        authority.display().to_string(),
    ];
    let cases = cases.iter().map(|case| (*case).to_owned());
    server.into_iter().chain(cases).collect()
}

/// Runs cases of the peer, one after another. None without the peer.
async fn outcomes(gateway: &Gateway, cases: &[&str]) -> Option<Value> {
    let peer = Peer::find("h3_peer.py", "aioquic")?;
    let arguments = arguments(gateway, cases);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcomes = peer.call(&arguments).await;
    for case in cases {
        assert!(outcomes[case].is_object(), "{case} is not in {outcomes}");
    }
    Some(outcomes)
}

fn described(body: &[u8]) -> Value {
    let digest = digest::digest(&digest::SHA256, body);
    let digest: String = digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    json!({ "length": body.len(), "sha256": digest })
}

fn numbers(value: &Value) -> Vec<u64> {
    let list = value.as_array().expect("a list").iter();
    list.map(|number| number.as_u64().expect("a number"))
        .collect()
}

#[tokio::test]
async fn a_client_of_others_is_served() {
    let (gate, authority) = (Gate::default(), Authority::default());
    let upstream = upstream(&gate);
    let gateway = gateway(&upstream, &authority).await;
    let echoed: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    let cases = [
        ("get", described(b"served")),
        ("post", described(&echoed)),
        ("large", described(&vec![b'x'; MEBIBYTE])),
        ("trailers", described(b"ok")),
        ("grease", described(b"served")),
        ("interim", described(b"late")),
        ("alternative", described(b"served")),
    ];
    let names = cases.each_ref().map(|(case, _)| *case);
    let Some(seen) = outcomes(&gateway, &names).await else {
        return;
    };
    for (case, body) in cases {
        let outcome = &seen[case];
        assert_eq!(outcome["statuses"], json!([200]), "{case}: {outcome}");
        assert_eq!(outcome["bodies"], json!([body]), "{case}");
        let errors = [&outcome["resets"], &outcome["closed"]];
        assert_eq!(errors, [&json!([]), &Value::Null], "{case}: {outcome}");
    }
    assert_eq!(seen["get"]["heads"][0]["content-length"], "6");
    assert_eq!(seen["trailers"]["trailers"], json!([{ "x-sum": "8" }]));
    let interim = &seen["interim"]["interim"][0];
    assert_eq!(interim.as_array().map(Vec::len), Some(2), "{interim}");
    assert_eq!(interim[1][":status"], "103");
    assert_eq!(interim[1]["link"], "</a.css>");
    assert!(upstream.requests().iter().all(|request| request.complete));
}

#[tokio::test]
async fn many_requests_are_served() {
    let (gate, authority) = (Gate::default(), Authority::default());
    let upstream = upstream(&gate);
    let gateway = gateway(&upstream, &authority).await;
    let Some(seen) = outcomes(&gateway, &["many"]).await else {
        return;
    };
    // Three times as many as may be at once.
    assert_eq!(numbers(&seen["many"]["statuses"]), vec![200; 300]);
}

#[tokio::test]
async fn what_breaks_off_ends_at_the_upstream_and_the_connection_goes_on() {
    let (gate, authority) = (Gate::default(), Authority::default());
    let upstream = upstream(&gate);
    let gateway = gateway(&upstream, &authority).await;
    for (round, case) in ["reset-in-body", "stop-in-answer"].into_iter().enumerate() {
        let Some(seen) = outcomes(&gateway, &[case]).await else {
            return;
        };
        assert_eq!(seen[case]["statuses"], json!([200]), "{case}: {seen}");
        assert_eq!(seen[case]["closed"], Value::Null, "{case}");
        eventually!(upstream.hung_up(), |hung_up| *hung_up == round + 1);
    }
    let requests = upstream.requests();
    let broken: Vec<_> = requests.iter().filter(|it| !it.complete).collect();
    assert_eq!(broken.len(), 1, "{requests:?}");
    assert!(broken[0].target == "/echo" && broken[0].body.len() <= 50_000);
    let Some(seen) = outcomes(&gateway, &["cut-frame", "slow-head"]).await else {
        return;
    };
    assert_eq!(seen["cut-frame"]["statuses"], json!([400]), "{seen}");
    // Of a connection without any request, the stream and the whole are given up at the same time: whichever comes first.
    let (stops, closed) = (&seen["slow-head"]["stops"], &seen["slow-head"]["closed"]);
    assert!(
        *stops != json!([]) || *closed == json!(H3_NO_ERROR),
        "{seen}"
    );
    // None of them came whole: of the one, a part of the body, of the other not even a head.
    let requests = upstream.requests();
    assert_eq!(requests.iter().filter(|it| it.complete).count(), 3);
    assert!(requests.len() <= 5, "{requests:?}");
}

/// Malformed requests, and the status where there must be one. Otherwise a reset, a closed connection or a refusal will do.
const MALFORMED: [(&str, Option<u64>); 50] = [
    ("method-missing", None),
    ("method-empty", None),
    ("method-space", None),
    ("method-connect", Some(501)),
    ("method-trace", Some(501)),
    ("scheme-missing", None),
    ("scheme-crlf", None),
    ("path-missing", None),
    ("path-empty", None),
    ("path-relative", None),
    ("path-space", None),
    ("path-crlf", None),
    ("path-absolute", None),
    ("authority-missing", None),
    ("authority-user", None),
    ("authority-crlf", None),
    ("authority-against-host", None),
    ("two-hosts", Some(400)),
    ("pseudo-twice", None),
    ("pseudo-unknown", None),
    ("pseudo-of-responses", None),
    ("pseudo-late", None),
    ("name-upper", None),
    ("name-empty", None),
    ("name-space", None),
    ("name-colon", None),
    ("name-crlf", None),
    ("value-crlf", None),
    ("value-lf", None),
    ("value-null", None),
    ("connection", Some(400)),
    ("keep-alive", Some(400)),
    ("proxy-connection", Some(400)),
    ("transfer-encoding", Some(400)),
    ("upgrade", Some(400)),
    ("te-gzip", Some(400)),
    ("expect-other", Some(417)),
    ("length-sign", Some(400)),
    ("length-twice", Some(400)),
    ("data-first", None),
    ("no-head", None),
    ("settings-in-request", None),
    ("goaway-in-request", None),
    ("bad-qpack", None),
    ("dynamic-qpack", None),
    ("large-head", Some(431)),
    ("many-fields", Some(431)),
    ("long-path", Some(414)),
    ("length-short", None),
    ("length-long", None),
];

#[tokio::test]
async fn malformed_requests_do_not_reach_the_upstream() {
    let (gate, authority) = (Gate::default(), Authority::default());
    let upstream = upstream(&gate);
    let gateway = gateway(&upstream, &authority).await;
    let cases = MALFORMED.map(|(case, _)| case);
    let Some(seen) = outcomes(&gateway, &cases).await else {
        return;
    };
    let mut wrong = Vec::new();
    for (case, status) in MALFORMED {
        let outcome = &seen[case];
        let statuses = numbers(&outcome["statuses"]);
        let right = match status {
            Some(status) => statuses == [status],
            None if statuses.is_empty() => {
                outcome["resets"] != json!([]) || !outcome["closed"].is_null()
            }
            None => statuses.iter().all(|status| (400..500).contains(status)),
        };
        if !right {
            wrong.push(format!("{case}: {outcome}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Of those whose body has not its length, the head was good.
    let whole: Vec<_> = upstream.requests();
    let whole: Vec<_> = whole.iter().filter(|request| request.complete).collect();
    assert!(whole.is_empty(), "the upstream got {whole:#?}");
    assert!(upstream.count() <= 2);
}

/// What no client may do on a connection, and the error that it is (RFC 9114, 6.2, 7.2 and 8.1; RFC 9204, 6).
const BREACHES: [(&str, u64); 9] = [
    ("data-on-control", 0x105),
    ("head-on-control", 0x105),
    ("second-settings", 0x105),
    ("control-closed", 0x104),
    ("huge-on-control", 0x104),
    ("second-control", 0x103),
    ("second-encoder", 0x103),
    // These two the library passes over. As no request comes in time, the connection ends.
    ("push-of-client", H3_NO_ERROR),
    ("bad-encoder", H3_NO_ERROR),
];

#[tokio::test]
async fn what_no_client_may_do_closes_its_connection() {
    let (gate, authority) = (Gate::default(), Authority::default());
    let upstream = upstream(&gate);
    let gateway = gateway(&upstream, &authority).await;
    let Some(seen) = outcomes(&gateway, &BREACHES.map(|(case, _)| case)).await else {
        return;
    };
    let codes = BREACHES.map(|(case, _)| (case, seen[case]["closed"].as_u64().unwrap_or(0)));
    assert_eq!(codes, BREACHES);
}

#[tokio::test]
async fn a_drain_tells_a_client_of_others_what_is_finished() {
    let Some(peer) = Peer::find("h3_peer.py", "aioquic") else {
        return;
    };
    let (gate, authority) = (Gate::default(), Authority::default());
    let upstream = upstream(&gate);
    let gateway = gateway(&upstream, &authority).await;
    let arguments = arguments(&gateway, &["goaway"]);
    let talk = tokio::spawn(async move {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        peer.call(&arguments).await
    });
    eventually!(upstream.count(), |count| *count == 1);
    let drained = tokio::spawn(gateway.drain());
    gate.open();
    let seen = talk.await.unwrap();
    let outcome = &seen["goaway"];
    assert_eq!(outcome["statuses"], json!([200]), "{outcome}");
    assert_eq!(outcome["bodies"], json!([described(b"late")]));
    assert!(!outcome["goaway"].is_null(), "{outcome}");
    assert_eq!(outcome["closed"], H3_NO_ERROR, "{outcome}");
    drained.await.unwrap();
}

#[tokio::test]
async fn floods_end_and_nobody_else_notices() {
    let (gate, authority) = (Gate::default(), Authority::default());
    let upstream = upstream(&gate);
    let gateway = gateway(&upstream, &authority).await;
    // The case, and how many of its requests may reach the upstream.
    for (flood, most) in [
        ("rapid-reset", 2 * MAX_RESETS),
        ("patient-reset", MAX_RESETS + 2),
        ("too-many-streams", MAX_STREAMS),
        ("too-many-unknown", 1),
        ("unknown-frames", 0),
        ("stalled", 10),
    ] {
        let before = upstream.count();
        let Some(seen) = outcomes(&gateway, &[flood]).await else {
            return;
        };
        let outcome = &seen[flood];
        let reached = upstream.count() - before;
        assert!(reached <= most, "{flood}: {reached} reached the upstream");
        let closed = outcome["closed"].as_u64();
        match flood {
            "rapid-reset" | "patient-reset" => {
                assert_eq!(closed, Some(H3_EXCESSIVE_LOAD), "{flood}: {outcome}");
            }
            // Whether the peer hears of it depends on its own patience.
            "stalled" => {
                let log = gateway.access_log().into_iter();
                let large: Vec<_> = log.filter(|line| line["path"] == "/large").collect();
                let cut = large.iter().filter(|line| line["aborted"] == true);
                assert!(large.len() == 10 && cut.count() >= 9, "{large:?}");
                let took = large.iter().filter_map(|line| line["duration_ms"].as_f64());
                assert!(took.fold(0.0, f64::max) < 2_900.0, "{large:?}");
            }
            "unknown-frames" => {
                assert!(
                    outcome["stops"] != json!([]) || closed.is_some(),
                    "{outcome}"
                );
            }
            _ => {}
        }
        let neighbour = Client::connect(gateway.address(), &authority).await;
        assert_eq!(neighbour.get().await.unwrap().body, b"served", "{flood}");
    }
    gate.open();
}
