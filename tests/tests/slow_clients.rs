//! Clients that are slow on purpose: each costs one bounded buffer, and for a bounded time.

use std::time::{Duration, Instant};

use postern_tests::setup::one_route;
use postern_tests::{Call, Connection, Gate, Gateway, Raw, Upstream, eventually, reply};
use tokio::task::JoinSet;

/// How many slow clients there are at once, of all kinds.
const CLIENTS: usize = 200;
/// What each may cost: what is being written and what was read meanwhile, 128 KiB each, and what is allocated beside them.
const COST: u64 = 288 << 10;
/// More than the system keeps for a connection whose client takes little at once.
const LARGE: usize = 8 << 20;

async fn gateway(upstream: &Upstream) -> Gateway {
    let listener = r#"
        header-timeout = "1s"
        body-timeout = "1s"
        min-body-rate = "1KiB"
        write-timeout = "1s"
        idle-timeout = "1s"
    "#;
    Gateway::with(one_route(upstream, listener)).process().await
}

fn upstream() -> Upstream {
    Upstream::start(|request| match request.target.as_str() {
        "/large" => reply(200).body(vec![b'x'; LARGE]).into(),
        _ => reply(200).body("ok").into(),
    })
}

/// Sends one byte after another until the connection is closed, and says how long that took.
async fn drip(gateway: &Gateway, beginning: &str, byte: &'static str) -> Duration {
    let mut raw = Raw::connect(gateway.address()).await;
    let begun = Instant::now();
    raw.send(beginning).await;
    while tokio::time::timeout(Duration::from_millis(50), raw.rest())
        .await
        .is_err()
    {
        raw.send(byte).await;
    }
    begun.elapsed()
}

const SLOW_HEAD: &str = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
const SLOW_BODY: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n";
const SLOW_CHUNKS: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Far more than any limit of the gateway, for machines that do much else.
const LONG: Duration = Duration::from_secs(10);

#[tokio::test]
async fn heads_and_bodies_that_drip_are_given_up() {
    let upstream = upstream();
    let gateway = gateway(&upstream).await;
    let (head, body, chunks) = tokio::join!(
        drip(&gateway, SLOW_HEAD, "x"),
        drip(&gateway, SLOW_BODY, "x"),
        drip(&gateway, SLOW_CHUNKS, "1\r\nx\r\n"),
    );
    for time in [head, body, chunks] {
        assert!(time >= Duration::from_millis(900), "after {time:?} already");
        assert!(time < LONG, "only after {time:?}");
    }
    assert!(upstream.requests().iter().all(|request| !request.complete));
}

#[tokio::test]
async fn a_body_that_is_fast_enough_is_not_given_up() {
    let upstream = upstream();
    let gateway = gateway(&upstream).await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8192\r\n\r\n")
        .await;
    // Two seconds in all, twice what a body without bytes is given.
    for _ in 0..16 {
        tokio::time::sleep(Duration::from_millis(125)).await;
        raw.send([b'x'; 512]).await;
    }
    assert_eq!(raw.answer().await.expect("an answer").text(), "ok");
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_given_up() {
    let upstream = upstream();
    let gateway = gateway(&upstream).await;
    let mut raw = Raw::connect_narrow(gateway.address()).await;
    raw.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let came = || gateway.metric("postern_connections_total{listener=\"public\"}");
    eventually!(came().await, |came| *came == Some(1.0));
    let open = || gateway.metric("postern_connections{listener=\"public\"}");
    eventually!(open().await, |open| *open == Some(0.0));
    let taken = raw.rest().await.len();
    assert!(taken < LARGE, "all of it was taken");
}

#[tokio::test]
async fn many_slow_clients_cost_little_and_nobody_notices() {
    let upstream = upstream();
    let gateway = gateway(&upstream).await;
    let mut neighbour = Connection::h1(gateway.address()).await;
    for _ in 0..50 {
        assert_eq!(neighbour.call(&Call::get("/")).await.text(), "ok");
    }
    let before = gateway.resident_bytes();
    let mut clients = JoinSet::new();
    let address = gateway.address();
    let all_gone = Gate::default();
    for number in 0..CLIENTS {
        let gone = all_gone.clone();
        clients.spawn(async move {
            let mut raw = Raw::connect_narrow(address).await;
            raw.send(match number % 3 {
                0 => SLOW_HEAD,
                1 => SLOW_BODY,
                _ => "GET /large HTTP/1.1\r\nHost: a\r\n\r\n",
            })
            .await;
            // Slow readers read nothing, slow writers write nothing more; all wait to be sent away.
            if number % 3 == 2 {
                gone.pass().await;
            }
            raw.rest().await.len()
        });
    }
    let mut most = before;
    let mut slowest = Duration::ZERO;
    while !clients.is_empty() {
        let asked = Instant::now();
        assert_eq!(neighbour.call(&Call::get("/")).await.text(), "ok");
        slowest = slowest.max(asked.elapsed());
        most = most.max(gateway.resident_bytes());
        let came = gateway.metric(r#"postern_connections_total{listener="public"}"#);
        let stay = gateway.metric(r#"postern_connections{listener="public"}"#);
        if (came.await, stay.await) == (Some(CLIENTS as f64 + 1.0), Some(1.0)) {
            all_gone.open();
        }
        let finished = tokio::time::timeout(Duration::from_millis(20), clients.join_next()).await;
        if let Ok(Some(taken)) = finished {
            assert!(
                taken.expect("no panic") < LARGE,
                "a slow client was served whole"
            );
        }
    }
    let grown = most - before;
    assert!(
        grown < CLIENTS as u64 * COST,
        "{} KiB for {CLIENTS} clients",
        grown >> 10
    );
    assert!(
        slowest < Duration::from_secs(2),
        "a neighbour waited {slowest:?}"
    );
}
