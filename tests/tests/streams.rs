//! Stream phases: bodies pass through plugins piece by piece, in both directions, over both versions of HTTP.

use bytes::Bytes;
use http_body_util::BodyExt;
use postern_tests::client::RequestBody;
use postern_tests::{Call, Connection, Gate, Gateway, Script, Upstream, eventually, reply};

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

/// A gateway with these plugins, all of them `streamer`, in the order of the chain.
async fn gateway(upstream: &Upstream, plugins: &[(&str, &str)]) -> Gateway {
    Gateway::with(fragment(upstream, plugins)).start().await
}

fn fragment(upstream: &Upstream, plugins: &[(&str, &str)]) -> String {
    let tables = plugins.iter().map(|(name, config)| {
        format!("[plugin.{name}]\nfile = \"streamer.wasm\"\nconfig = {{ {config} }}\n")
    });
    let names: Vec<&str> = plugins.iter().map(|(name, _)| *name).collect();
    format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [
            {{ name = "r", path = "/{{*rest}}", plugins = {names:?}, upstream = "u", max-request-body = "1GiB" }},
            {{ name = "plain", path = "/plain", upstream = "u" }},
        ]
        {}
        "#,
        tables.collect::<String>()
    )
}

async fn both(gateway: &Gateway) -> [Connection; 2] {
    [
        Connection::h1(gateway.address()).await,
        Connection::h2(gateway.address()).await,
    ]
}

/// Answers with the request's body, as soon as a part of it is there.
fn echo() -> Upstream {
    Upstream::start(|_| Script::at_once().send(CHUNKED).echo_chunks())
}

async fn post_in_parts(connection: &mut Connection, parts: impl Iterator<Item = Bytes>) -> String {
    let (sender, body) = RequestBody::parts();
    let parts: Vec<Bytes> = parts.collect();
    tokio::spawn(async move {
        for part in parts {
            if sender.send(part).await.is_err() {
                return;
            }
        }
    });
    let response = connection.begin(&Call::post("/", ""), body).await;
    let response = response.expect("the head of an answer");
    let answer = postern_tests::client::whole(response).await;
    answer.expect("the rest of the answer").text()
}

#[tokio::test]
async fn requests_pass_in_the_order_of_the_chain_and_responses_in_reverse() {
    let upstream = echo();
    let plugins = [
        ("a", r#"do = "wrap", side = "both", text = "a""#),
        ("b", r#"do = "wrap", side = "both", text = "b""#),
    ];
    let gateway = gateway(&upstream, &plugins).await;
    for mut connection in both(&gateway).await {
        let text = "every byte on its own";
        let bytes = text.bytes().map(|byte| Bytes::from(vec![byte]));
        let answer = post_in_parts(&mut connection, bytes).await;
        let request = format!("<b><a>{text}</a></b>");
        assert_eq!(answer, format!("<a><b>{request}</b></a>"));
        let received = upstream.last();
        assert_eq!(received.body, request.as_bytes());
        assert_eq!(received.header("x-streamed").as_deref(), Some("a, b"));
    }
}

#[tokio::test]
async fn pieces_are_small_and_lengths_are_dropped() {
    let upstream = Upstream::start(|_| reply(200).body(vec![b'x'; 100_000]).into());
    let gateway = gateway(&upstream, &[("a", r#"do = "count", side = "both""#)]).await;
    for mut connection in both(&gateway).await {
        let answer = connection.call(&Call::post("/", vec![b'y'; 50_000])).await;
        assert!(
            answer.text().starts_with("[100000 bytes in ")
                && answer.text().ends_with(" chunks, the longest of 16384]"),
            "{}",
            answer.text()
        );
        assert_eq!(answer.header("content-length"), None);
        let received = upstream.last();
        assert_eq!(received.header("content-length"), None);
        assert_eq!(
            received.header("transfer-encoding").as_deref(),
            Some("chunked")
        );
        let report = String::from_utf8_lossy(&received.body).into_owned();
        assert!(report.starts_with("[50000 bytes in "), "{report}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_taken_stays_as_it_is() {
    let upstream = Upstream::says("four");
    let plugins = [
        ("leave", r#"do = "leave", side = "both", text = "seen""#),
        (
            "other",
            r#"do = "trap", side = "both", when-header = "x-take""#,
        ),
    ];
    let gateway = gateway(&upstream, &plugins).await;
    let answer = gateway.call(&Call::post("/", "five5")).await;
    assert_eq!(
        (answer.text().as_str(), answer.header("content-length")),
        ("four", Some("4".into()))
    );
    assert_eq!(answer.header("x-streamed").as_deref(), Some("seen"));
    assert_eq!(
        upstream.last().header("content-length").as_deref(),
        Some("5")
    );
    let calls =
        r#"postern_plugin_calls_total{outcome="edit",phase="response-chunk",plugin="leave"}"#;
    assert_eq!(gateway.metric(calls).await, None);
}

#[tokio::test]
async fn heads_without_a_body_are_asked_about_too() {
    let upstream = Upstream::start(|request| match request.target.as_str() {
        "/304" => reply(304).header("etag", "\"e\"").into(),
        "/204" => reply(204).into(),
        _ => Script::after_body().send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"),
    });
    let gateway = gateway(&upstream, &[("a", r#"do = "wrap", text = "a""#)]).await;
    for mut connection in both(&gateway).await {
        for (call, status) in [
            (Call::new("HEAD", "/"), 200),
            (Call::get("/304"), 304),
            (Call::get("/204"), 204),
        ] {
            let answer = connection.call(&call).await;
            assert_eq!((answer.status, answer.text().as_str()), (status, ""));
            assert_eq!(answer.header("x-streamed").as_deref(), Some("a"));
            assert_eq!(answer.header("content-length"), None, "{status}");
        }
    }
}

#[tokio::test]
async fn a_stream_phase_can_answer() {
    let upstream = Upstream::says("never sent");
    let gateway = gateway(&upstream, &[("a", r#"do = "reply", side = "request""#)]).await;
    let answer = gateway.call(&Call::post("/", "body")).await;
    assert_eq!((answer.status, answer.text().as_str()), (418, "instead\n"));
    assert_eq!(upstream.count(), 0);
    let gateway = self::gateway(&upstream, &[("a", r#"do = "reply""#)]).await;
    let answer = gateway.get("/").await;
    assert_eq!((answer.status, answer.text().as_str()), (418, "instead\n"));
}

#[tokio::test]
async fn trailers_pass_and_can_be_added() {
    let upstream = Upstream::start(|_| {
        Script::after_body()
            .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n")
            .chunk("body")
            .send("0\r\nx-sum: 42\r\ncontent-length: 9\r\n\r\n")
    });
    let plugins = [
        ("a", r#"do = "pass""#),
        ("b", r#"do = "trailers""#),
        ("c", r#"do = "wrap""#),
    ];
    let gateway = gateway(&upstream, &plugins).await;
    let answer = Connection::h2(gateway.address())
        .await
        .call(&Call::get("/"))
        .await;
    assert_eq!(answer.text(), "<>body</>");
    let trailer = |name| answer.trailers.get(name).map(|value| value.as_bytes());
    assert_eq!(trailer("x-sum"), Some(&b"42"[..]));
    assert_eq!(trailer("x-bytes"), Some(&b"9"[..]));
    assert_eq!(trailer("content-length"), None);
}

#[tokio::test]
async fn a_guest_knows_the_exchange_to_the_end_of_its_body() {
    let upstream = Upstream::says("body ");
    let gateway = gateway(&upstream, &[("a", r#"do = "facts""#)]).await;
    let answer = gateway
        .call(&Call::get("/").header("x-fact", "a fact"))
        .await;
    let log = eventually!(gateway.access_log(), |lines| lines.len() == 1);
    let id = log[0]["id"].as_str().expect("lines name the request");
    assert_eq!(answer.text(), format!("body GET {id} on r: a fact"));
    let expected = answer.body.len() as u64;
    assert_eq!(log[0]["bytes_out"], expected, "what the client got");
}

#[tokio::test]
async fn bodies_at_the_same_time_do_not_meet() {
    let gates: [Gate; 2] = Default::default();
    let script = gates.clone();
    let upstream = Upstream::start(move |request| {
        let gate = &script[usize::from(request.target == "/1")];
        let body = if request.target == "/1" {
            "long body"
        } else {
            "short"
        };
        Script::after_body()
            .send(CHUNKED)
            .chunk(body)
            .wait(gate)
            .chunk(body)
            .send("0\r\n\r\n")
    });
    let gateway = gateway(&upstream, &[("a", r#"do = "count""#)]).await;
    let instances = r#"postern_plugin_instances{plugin="a"}"#;
    let chunks = r#"postern_plugin_calls_total{outcome="edit",phase="response-chunk",plugin="a"}"#;
    for round in 1..=3 {
        let calls = ["/0", "/1"].map(|path| {
            let address = gateway.address();
            tokio::spawn(
                async move { postern_tests::client::call(address, &Call::get(path)).await },
            )
        });
        if round == 1 {
            eventually!(gateway.metric(chunks).await, |count| *count == Some(2.0));
        }
        gates[1].open();
        gates[0].open();
        let mut answers = Vec::new();
        for call in calls {
            answers.push(call.await.expect("a call does not panic").text());
        }
        if round == 1 {
            assert_eq!(
                answers,
                [
                    "[10 bytes in 2 chunks, the longest of 5]",
                    "[18 bytes in 2 chunks, the longest of 9]"
                ]
            );
            eventually!(gateway.metric(instances).await, |count| *count == Some(2.0));
        }
    }
    assert_eq!(
        gateway.metric(instances).await,
        Some(2.0),
        "they serve again"
    );
}

#[tokio::test]
async fn an_event_arrives_before_the_next_one_is_sent() {
    let gate = Gate::default();
    let script = gate.clone();
    let upstream = Upstream::start(move |_| {
        Script::after_body()
            .send(CHUNKED)
            .chunk("data: 1\n\n")
            .wait(&script)
            .chunk("data: 2\n\n")
            .send("0\r\n\r\n")
    });
    let plugins = [("a", r#"do = "pass""#), ("b", r#"do = "pass""#)];
    let gateway = gateway(&upstream, &plugins).await;
    let mut connection = gateway.connect().await;
    let call = Call::get("/");
    let response = connection
        .begin(&call, RequestBody::whole(Bytes::new()))
        .await;
    let mut body = response.expect("the head").into_body();
    let first = body.frame().await.expect("a frame").expect("of data");
    assert_eq!(first.into_data().expect("data"), "data: 1\n\n");
    gate.open();
    let rest = body.collect().await.expect("the rest").to_bytes();
    assert_eq!(rest, "data: 2\n\n");
}

#[tokio::test]
async fn a_whole_body_phase_behind_a_stream_phase_sees_what_it_returned() {
    let upstream = Upstream::says("body");
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/", plugins = ["whole", "stream"], upstream = "u" }}]
        [plugin.stream]
        file = "streamer.wasm"
        config = {{ do = "wrap", text = "s" }}
        [plugin.whole]
        file = "misbehaving.wasm"
        config = {{ do = "nothing", phase = "response-body" }}
        "#
    );
    let gateway = Gateway::with(fragment).start().await;
    let answer = gateway.get("/").await;
    assert_eq!(answer.text(), "<s>body</s>");
    assert_eq!(answer.header("content-length").as_deref(), Some("11"));
}
