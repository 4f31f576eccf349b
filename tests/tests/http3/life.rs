//! HTTP/3 over time: certificates that change, how clients learn of it, drains, and the next process.

use h3::error::Code;
use postern_tests::eventually::within;
use postern_tests::pki::Authority;
use postern_tests::{Gate, Gateway, Upstream, eventually, tool};
use rustix::process::{Pid, Signal, kill_process};

use super::client::{Client, HOST, dial, request};
use super::{fragment, gateway, listener, setup};

#[tokio::test]
async fn a_new_certificate_is_shown_and_open_connections_stay() {
    let (upstream, authority) = (Upstream::says("served"), Authority::default());
    let gateway = gateway(&upstream, &authority).await;
    let kept = Client::connect(gateway.address(), &authority).await;
    assert_eq!(kept.get().await.unwrap().status(), 200);
    let next = authority.issue(&[HOST]);
    gateway.replace("a.pem", next.both().as_bytes());
    let shown = || async { Client::connect(gateway.address(), &authority).await.shown() };
    eventually!(shown().await, |shown| *shown == next.der);
    assert_ne!(kept.shown(), next.der);
    assert_eq!(kept.get().await.unwrap().status(), 200);
}

/// The value of `Alt-Svc` over TCP.
fn alternative(gateway: &Gateway) -> Option<String> {
    let port = gateway.address().port();
    let resolve = format!("{HOST}:{port}:127.0.0.1");
    let url = format!("https://{HOST}:{port}/");
    let arguments = [
        "-s",
        "-i",
        "--cacert",
        "ca.pem",
        "--resolve",
        &resolve,
        &url,
    ];
    let answer = tool::run(gateway.folder(), "curl", &arguments, "").stdout;
    assert!(answer.contains(" 200"), "{answer}");
    let value = answer
        .lines()
        .find_map(|line| line.strip_prefix("alt-svc: "));
    value.map(str::to_owned)
}

#[tokio::test]
async fn answers_over_tcp_tell_of_http3_while_it_is_served() {
    if !tool::is_there("curl") {
        return;
    }
    let (upstream, authority) = (Upstream::says("served"), Authority::default());
    let gateway = gateway(&upstream, &authority).await;
    let port = gateway.address().port();
    let expected = format!("h3=\":{port}\"; ma=86400");
    eventually!(alternative(&gateway), |value| *value
        == Some(expected.clone()));
    let client = Client::connect(gateway.address(), &authority).await;
    assert_eq!(client.get().await.unwrap().status(), 200);
    // Off, and on again: the port stays, and connections are told to go.
    gateway.edit(&fragment(&upstream, &listener("public", "")));
    eventually!(alternative(&gateway), |value| value.is_none());
    assert_eq!(client.closed().await, Code::H3_NO_ERROR.value());
    gateway.edit(&fragment(&upstream, &listener("public", "http3 = true")));
    eventually!(alternative(&gateway), |value| *value
        == Some(expected.clone()));
    assert_eq!(gateway.listener("public").port(), port);
    let client = Client::connect(gateway.address(), &authority).await;
    assert_eq!(client.get().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_drain_finishes_requests_and_closes_connections() {
    let (authority, gate) = (Authority::default(), Gate::default());
    let upstream = Upstream::held(&gate, "late");
    let gateway = gateway(&upstream, &authority).await;
    let address = gateway.address();
    let client = Client::connect(address, &authority).await;
    let waiting = async {
        eventually!(upstream.count(), |count| *count == 1);
        let drained = tokio::spawn(gateway.drain());
        // Nobody new is let in.
        let refused = || async { dial(address, &authority, None).await.is_err() };
        eventually!(refused().await, |refused| *refused);
        gate.open();
        (drained,)
    };
    let (answer, (drained,)) = tokio::join!(client.get(), waiting);
    let answer = answer.unwrap();
    assert_eq!((answer.status(), &*answer.body), (200, &b"late"[..]));
    assert_eq!(client.closed().await, Code::H3_NO_ERROR.value());
    drained.await.unwrap();
}

#[tokio::test]
async fn a_slow_client_has_its_whole_answer_before_a_drain_ends() {
    let authority = Authority::default();
    let body = vec![b'x'; 900_000];
    let sent = body.clone();
    let upstream = Upstream::start(move |_| {
        postern_tests::upstream::reply(200)
            .body(sent.clone())
            .into()
    });
    let gateway = gateway(&upstream, &authority).await;
    let client = Client::connect(gateway.address(), &authority).await;
    client.connection.set_receive_window(20_000_u32.into());
    let mut sender = client.sender.clone();
    let mut stream = sender
        .send_request(request("GET").body(()).unwrap())
        .await
        .unwrap();
    stream.finish().await.unwrap();
    within("a head", stream.recv_response()).await.unwrap();
    let drained = tokio::spawn(gateway.drain());
    let mut received = Vec::new();
    while let Some(data) = within("data", stream.recv_data()).await.unwrap() {
        received.extend_from_slice(bytes::Buf::chunk(&data));
        tokio::task::yield_now().await;
    }
    assert!(received == body, "{} bytes came", received.len());
    drained.await.unwrap();
}

/// A process that is not our child. It ends with the test.
struct Process(Pid);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

#[tokio::test]
async fn a_new_process_serves_http3_when_the_old_one_has_finished() {
    let (authority, gate) = (Authority::default(), Gate::default());
    let upstream = Upstream::held(&gate, "late");
    let mut gateway = setup(&upstream, &authority, "").process().await;
    let address = gateway.address();
    let client = Client::connect(address, &authority).await;
    let replaced = async {
        eventually!(upstream.count(), |count| *count == 1);
        gateway.signal(Signal::USR2);
        let lines = eventually!(gateway.log("serves: draining"), |lines| lines.len() == 1);
        let (_, rest) = lines[0].split_once("process ").unwrap();
        let number = rest.split(' ').next().unwrap().parse().unwrap();
        let next = Process(Pid::from_raw(number).unwrap());
        gate.open();
        next
    };
    let (answer, _next) = tokio::join!(client.get(), replaced);
    assert_eq!(
        answer.unwrap().body,
        b"late",
        "it is finished where it began"
    );
    assert_eq!(client.closed().await, Code::H3_NO_ERROR.value());
    assert_eq!(gateway.ended().await.code(), Some(0));
    let served = || async {
        match Client::try_connect(address, &authority, None).await {
            Ok(client) => client.get().await.is_ok(),
            Err(_) => false,
        }
    };
    eventually!(served().await, |served| *served);
}
