//! HTTP/2 to upstreams: streams on few connections, and what becomes of requests that the other side refuses.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::join_all;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::BodyExt;
use postern_tests::client::RequestBody;
use postern_tests::raw::ByHand;
use postern_tests::{Call, Connection, Gate, Gateway, eventually};
use tokio::net::TcpListener;

/// What a service does with a request.
#[derive(Clone)]
enum Act {
    /// Answers, when the gate is open.
    Say(&'static str, Option<Gate>),
    /// Sends back what comes, then trailers.
    Echo,
    /// So many bytes.
    Send(usize),
    /// Refuses the stream.
    Refuse,
    /// Answers, and says that the connection goes away.
    SayAndLeave(&'static str),
    /// Does nothing until the stream is reset.
    Nothing,
}

/// A service that speaks HTTP/2 only.
struct Service {
    address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: Mutex<Vec<Parts>>,
    resets: Mutex<Vec<Reason>>,
    closed: AtomicUsize,
}

impl Seen {
    fn note(&self, request: Parts) -> usize {
        let mut requests = self.requests.lock().expect("no panic");
        requests.push(request);
        requests.len() - 1
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.address)
    }
}

impl Service {
    /// `act` gets the number of each request, from 0.
    async fn start(act: impl Fn(usize) -> Act + Clone + Send + 'static) -> Self {
        Self::with(Builder::new(), act).await
    }

    async fn with(builder: Builder, act: impl Fn(usize) -> Act + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let seen: Arc<Seen> = Arc::default();
        let service = Self {
            address,
            seen: Arc::clone(&seen),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                seen.connections.fetch_add(1, Ordering::SeqCst);
                let (builder, seen, act) = (builder.clone(), Arc::clone(&seen), act.clone());
                tokio::spawn(async move {
                    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else {
                        return;
                    };
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        let (parts, body) = request.into_parts();
                        let act = act(seen.note(parts));
                        if let Act::SayAndLeave(_) = act {
                            connection.graceful_shutdown();
                        }
                        tokio::spawn(serve(act, body, respond, Arc::clone(&seen)));
                    }
                    seen.closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        service
    }

    fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    fn count(&self) -> usize {
        self.seen.requests.lock().expect("no panic").len()
    }

    fn resets(&self) -> Vec<Reason> {
        self.seen.resets.lock().expect("no panic").clone()
    }
}

async fn serve(act: Act, body: RecvStream, mut respond: SendResponse<Bytes>, seen: Arc<Seen>) {
    match act {
        Act::Say(text, gate) => {
            if let Some(gate) = gate {
                gate.pass().await;
            }
            say(respond, text);
        }
        Act::SayAndLeave(text) => say(respond, text),
        Act::Echo => echo(body, respond).await,
        Act::Send(length) => {
            let Ok(mut stream) = respond.send_response(Response::new(()), false) else {
                return;
            };
            let _ = send(&mut stream, Bytes::from(vec![b'x'; length])).await;
            let _ = stream.send_data(Bytes::new(), true);
        }
        Act::Refuse => respond.send_reset(Reason::REFUSED_STREAM),
        Act::Nothing => {
            let reset = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            seen.resets.lock().expect("no panic").extend(reset);
        }
    }
}

fn say(mut respond: SendResponse<Bytes>, text: &'static str) {
    if let Ok(mut stream) = respond.send_response(Response::new(()), false) {
        let _ = stream.send_data(Bytes::from_static(text.as_bytes()), true);
    }
}

/// Sends as much as the other side has room for, and waits for more.
async fn send(stream: &mut h2::SendStream<Bytes>, mut bytes: Bytes) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let room = room.unwrap_or(Ok(0))?.min(bytes.len());
        stream.send_data(bytes.split_to(room), false)?;
    }
    Ok(())
}

async fn echo(mut body: RecvStream, mut respond: SendResponse<Bytes>) {
    let Ok(mut stream) = respond.send_response(Response::new(()), false) else {
        return;
    };
    let mut length = 0_u64;
    while let Some(Ok(part)) = body.data().await {
        length += part.len() as u64;
        let _ = body.flow_control().release_capacity(part.len());
        if send(&mut stream, part).await.is_err() {
            return;
        }
    }
    let mut trailers = body.trailers().await.ok().flatten().unwrap_or_default();
    trailers.insert("x-length", HeaderValue::from(length));
    trailers.insert("content-length", HeaderValue::from(7));
    let _ = stream.send_trailers(trailers);
}

async fn gateway(upstream: impl fmt::Display, more: &str) -> Gateway {
    let fragment = format!(
        r#"
        [upstream.u]
        targets = ["{upstream}"]
        protocol = "h2"
        {more}
        [[route]]
        name = "r"
        path = "/{{*rest}}"
        upstream = "u"
        max-request-body = "16MiB"
        "#
    );
    Gateway::with(fragment).start().await
}

async fn both(gateway: &Gateway) -> [Connection; 2] {
    [
        Connection::h1(gateway.address()).await,
        Connection::h2(gateway.address()).await,
    ]
}

#[tokio::test]
async fn many_requests_share_one_connection() {
    let gate = Gate::default();
    let held = gate.clone();
    let service = Service::start(move |_| Act::Say("ok", Some(held.clone()))).await;
    let gateway = gateway(&service, "").await;
    let answers: Vec<_> = (0..50)
        .map(|_| {
            let address = gateway.address();
            tokio::spawn(
                async move { postern_tests::client::call(address, &Call::get("/a?b")).await },
            )
        })
        .collect();
    // All are there before the first is answered.
    eventually!(service.count(), |count| *count == 50);
    gate.open();
    for answer in join_all(answers).await {
        let answer = answer.expect("no panic");
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        assert_eq!(answer.header("via").as_deref(), Some("2 postern"));
    }
    assert_eq!(service.connections(), 1);

    let requests = service.seen.requests.lock().expect("no panic");
    let request = requests.first().expect("there are 50");
    assert_eq!(request.uri.scheme_str(), Some("http"));
    assert_eq!(
        request.uri.authority().map(ToString::to_string),
        Some("gateway.test".into())
    );
    assert_eq!(
        request.uri.path_and_query().map(ToString::to_string),
        Some("/a?b".into())
    );
    for gone in ["host", "connection", "transfer-encoding"] {
        assert!(!request.headers.contains_key(gone), "{gone}");
    }
    assert_eq!(request.headers["x-forwarded-host"], "gateway.test");
}

#[tokio::test]
async fn bodies_and_trailers_go_both_ways() {
    let service = Service::start(|_| Act::Echo).await;
    let gateway = gateway(&service, "").await;
    let body: Vec<u8> = (0..1_u32 << 20).flat_map(u32::to_le_bytes).collect();
    for mut connection in both(&gateway).await {
        let answer = connection.call(&Call::post("/", body.clone())).await;
        assert!(answer.body == body, "the body came back different");
        if answer.version == http::Version::HTTP_2 {
            let expected = HeaderMap::from_iter([(
                http::HeaderName::from_static("x-length"),
                HeaderValue::from(body.len()),
            )]);
            assert_eq!(answer.trailers, expected);
        }
        assert_eq!(connection.call(&Call::post("/", "")).await.text(), "");
    }
    assert_eq!(service.connections(), 1);
}

#[tokio::test]
async fn the_answer_begins_before_the_request_has_ended() {
    let service = Service::start(|_| Act::Echo).await;
    let gateway = gateway(&service, "").await;
    for mut connection in both(&gateway).await {
        let (parts, body) = RequestBody::parts();
        let response = connection
            .begin(&Call::post("/", ""), body)
            .await
            .expect("the head");
        let mut answer = response.into_body();
        for word in ["first", "second"] {
            parts
                .send(Bytes::from_static(word.as_bytes()))
                .await
                .expect("it is read");
            let frame = answer
                .frame()
                .await
                .expect("there is a part")
                .expect("it is whole");
            assert_eq!(frame.into_data().expect("it is data"), word);
        }
        drop(parts);
        assert_eq!(answer.collect().await.expect("its end").to_bytes(), "");
    }
}

#[tokio::test]
async fn a_full_connection_gets_company() {
    let mut peers = Builder::new();
    peers.max_concurrent_streams(2);
    for (builder, more) in [(Builder::new(), "max-streams = 2"), (peers, "")] {
        let gate = Gate::default();
        let held = gate.clone();
        let service = Service::with(builder, move |_| Act::Say("ok", Some(held.clone()))).await;
        let gateway = gateway(&service, more).await;
        let answers: Vec<_> = (0..5)
            .map(|_| {
                let address = gateway.address();
                tokio::spawn(async move {
                    postern_tests::client::call(address, &Call::post("/", "x")).await
                })
            })
            .collect();
        eventually!(service.count(), |count| *count == 5);
        gate.open();
        for answer in join_all(answers).await {
            assert_eq!(answer.expect("no panic").text(), "ok");
        }
        assert_eq!(service.connections(), 3, "{more}");
    }
}

#[tokio::test]
async fn a_refused_stream_is_sent_again() {
    let service = Service::start(|number| match number % 2 {
        0 => Act::Refuse,
        _ => Act::Say("ok", None),
    })
    .await;
    let gateway = gateway(&service, "").await;
    for (number, mut connection) in both(&gateway).await.into_iter().enumerate() {
        assert_eq!(connection.call(&Call::get("/")).await.text(), "ok");
        assert_eq!(service.count(), 4 * number + 2);
        // Refused is not processed: that holds for whatever may not be repeated otherwise.
        assert_eq!(
            connection.call(&Call::post("/", "order")).await.text(),
            "ok"
        );
        assert_eq!(service.count(), 4 * number + 4);
    }
}

#[tokio::test]
async fn a_service_that_refuses_everything_is_asked_twice() {
    let service = Service::start(|_| Act::Refuse).await;
    let gateway = gateway(&service, "").await;
    let answer = gateway.get("/").await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "upstream-refused")
    );
    assert_eq!(
        answer.header("proxy-status").as_deref(),
        Some("postern; error=destination_unavailable")
    );
    assert_eq!(service.count(), 2);
}

#[tokio::test]
async fn connections_that_go_away_lose_no_request() {
    let service = Service::start(|number| match number % 3 {
        2 => Act::SayAndLeave("ok"),
        _ => Act::Say("ok", None),
    })
    .await;
    let gateway = gateway(&service, "").await;
    let mut connection = Connection::h2(gateway.address()).await;
    for _ in 0..60 {
        let answer = connection.call(&Call::post("/", "order")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    }
    assert_eq!(service.count(), 60, "none was sent twice");
    assert!(service.connections() >= 10, "{}", service.connections());
}

#[tokio::test]
async fn a_client_that_goes_away_resets_its_stream_and_no_other() {
    let gate = Gate::default();
    let held = gate.clone();
    let service = Service::start(move |number| match number {
        0 => Act::Say("ok", Some(held.clone())),
        _ => Act::Nothing,
    })
    .await;
    let gateway = gateway(&service, "").await;
    let address = gateway.address();
    let other =
        tokio::spawn(async move { postern_tests::client::call(address, &Call::get("/")).await });
    eventually!(service.count(), |count| *count == 1);
    for (number, mut connection) in both(&gateway).await.into_iter().enumerate() {
        let call =
            tokio::spawn(async move { connection.try_call(&Call::get("/")).await.map(|_| ()) });
        eventually!(service.count(), |count| *count == number + 2);
        call.abort();
        let resets = eventually!(service.resets(), |resets| resets.len() == number + 1);
        assert_eq!(resets[number], Reason::CANCEL);
    }
    gate.open();
    assert_eq!(other.await.expect("no panic").text(), "ok");
    assert_eq!(service.connections(), 1);
}

#[tokio::test]
async fn one_client_that_does_not_read_holds_up_nobody_else() {
    let service = Service::start(|_| Act::Send(8 << 20)).await;
    let gateway = gateway(&service, "").await;
    let mut lazy = Vec::new();
    for _ in 0..8 {
        let mut connection = gateway.connect().await;
        let whole = RequestBody::whole(Bytes::new());
        let response = connection
            .begin(&Call::get("/"), whole)
            .await
            .expect("the head");
        lazy.push((connection, response));
    }
    assert_eq!(gateway.get("/").await.body.len(), 8 << 20);
    assert_eq!(service.connections(), 1);
}

#[tokio::test]
async fn a_body_that_outgrows_the_limit_is_refused() {
    let service = Service::start(|_| Act::Nothing).await;
    let fragment = format!(
        r#"
        [upstream.u]
        targets = ["{service}"]
        protocol = "h2"
        [[route]]
        name = "r"
        path = "/"
        upstream = "u"
        max-request-body = "1KiB"
        "#
    );
    let gateway = Gateway::with(fragment).start().await;
    for mut connection in both(&gateway).await {
        let (parts, body) = RequestBody::parts();
        parts
            .send(Bytes::from(vec![b'x'; 2_000]))
            .await
            .expect("there is room");
        let response = connection
            .begin(&Call::post("/", ""), body)
            .await
            .expect("the head");
        assert_eq!(response.status(), 413);
    }
}

#[tokio::test]
async fn a_connection_without_streams_is_closed_after_a_while() {
    let service = Service::start(|_| Act::Say("ok", None)).await;
    let gateway = gateway(&service, r#"idle-timeout = "100ms""#).await;
    assert_eq!(gateway.get("/").await.text(), "ok");
    eventually!(service.seen.closed.load(Ordering::SeqCst), |closed| *closed
        == 1);
    assert_eq!(gateway.get("/").await.text(), "ok");
    assert_eq!(service.connections(), 2);
}

#[tokio::test]
async fn who_does_not_speak_http2_is_no_upstream() {
    let upstream = ByHand::listen().await;
    let gateway = gateway(&upstream, "retry = { retries = 0 }").await;
    let address = gateway.address();
    let answer =
        tokio::spawn(async move { postern_tests::client::call(address, &Call::get("/")).await });
    let mut seen = upstream.accept().await;
    seen.until("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    seen.send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        .await;
    drop(seen);
    let answer = answer.await.expect("no panic");
    assert_eq!(answer.status, 502, "{}", answer.text());
}

#[tokio::test]
async fn a_quiet_stream_is_kept_alive_with_pings() {
    let upstream = ByHand::listen().await;
    let gateway = gateway(&upstream, r#"ping-interval = "1s""#).await;
    let address = gateway.address();
    let answering =
        tokio::spawn(async move { postern_tests::client::call(address, &Call::get("/")).await });
    let mut seen = upstream.accept().await;
    // SETTINGS, empty, and their acknowledgement.
    seen.send([0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0])
        .await;
    const PING: [u8; 9] = [0, 0, 8, 6, 0, 0, 0, 0, 0];
    let mut bytes = Vec::new();
    while !bytes.windows(PING.len()).any(|window| window == PING) {
        bytes.extend(seen.bytes(1).await);
    }
    answering.abort();
}

#[tokio::test]
async fn where_there_may_be_one_connection_requests_wait_for_its_streams() {
    let gate = Gate::default();
    let held = gate.clone();
    let act = move |number| Act::Say("ok", (number == 0).then(|| held.clone()));
    let service = Service::start(act).await;
    let settings = "max-connections = 1\nmax-streams = 1\nconnect-timeout = \"10s\"";
    let gateway = gateway(&service, settings).await;
    let address = gateway.address();
    let call =
        || tokio::spawn(async move { postern_tests::client::call(address, &Call::get("/")).await });
    let first = call();
    eventually!(service.count(), |count| *count == 1);
    let others: Vec<_> = (0..5).map(|_| call()).collect();
    gate.open();
    for answer in join_all(others.into_iter().chain([first])).await {
        let answer = answer.expect("no panic");
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "ok"),
            "{answer:?}"
        );
    }
    assert_eq!((service.count(), service.connections()), (6, 1));
}

#[tokio::test]
async fn a_connection_carries_so_many_streams_and_no_more() {
    let service = Service::start(|_| Act::Say("ok", None)).await;
    let gateway = gateway(&service, "max-requests-per-connection = 2").await;
    for _ in 0..6 {
        assert_eq!(gateway.get("/").await.status, 200);
    }
    assert_eq!((service.count(), service.connections()), (6, 3));
}
