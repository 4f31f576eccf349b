//! Connections to targets: how many there may be, how long they are used, and which are there before they are needed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use postern_tests::load::Load;
use postern_tests::{Call, Gate, Gateway, Script, Upstream, eventually, reply};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

/// An upstream with one target and these settings, behind one route.
fn config(target: impl std::fmt::Display, settings: &str) -> String {
    format!(
        "[upstream.orders]\ntargets = [\"{target}\"]\n{settings}\n\
         [[route]]\nname = \"orders\"\npath = \"/{{*rest}}\"\nupstream = \"orders\"\n"
    )
}

/// How many connections are open at once.
#[derive(Default)]
struct Counted {
    open: AtomicUsize,
    most: AtomicUsize,
    all: AtomicUsize,
}

impl Counted {
    /// Answers one request after the other, each a little later, until the peer hangs up.
    async fn serve(self: Arc<Self>, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(open, Ordering::SeqCst);
        self.all.fetch_add(1, Ordering::SeqCst);
        let mut buffer = Vec::new();
        while stream
            .read_buf(&mut buffer)
            .await
            .is_ok_and(|read| read > 0)
        {
            if !buffer.ends_with(b"\r\n\r\n") {
                continue;
            }
            buffer.clear();
            tokio::time::sleep(Duration::from_millis(2)).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            if stream.write_all(answer).await.is_err() {
                break;
            }
        }
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn all_workers_share_the_connections_that_there_may_be() {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    let counted = Arc::new(Counted::default());
    let counting = Arc::clone(&counted);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(Arc::clone(&counting).serve(stream));
        }
    });
    let settings = "max-connections = 2\nconnect-timeout = \"10s\"";
    let setup = Gateway::with(config(format_args!("http://{address}"), settings)).workers(3);
    let gateway = setup.start().await;
    let good = |answer: &postern_tests::Answer| answer.status == 200;
    let load = Load::start(gateway.address(), 9, vec![Call::get("/")], good);
    eventually!(counted.all.load(Ordering::SeqCst), |all: &usize| *all >= 2);
    eventually!(gateway.access_log().len(), |lines: &usize| *lines > 300);
    let report = load.stop().await;
    assert!(report.failures.is_empty(), "{report:?}");
    // One that was just closed here may not have been noticed there yet.
    let most = counted.most.load(Ordering::SeqCst);
    assert!((2..=4).contains(&most), "{most} connections at once");
}

#[tokio::test]
async fn who_finds_no_connection_waits_for_one_and_not_for_ever() {
    let gate = Gate::default();
    let held = gate.clone();
    let service = Upstream::start(move |request| match request.target.as_str() {
        "/held" => Script::after_body()
            .wait(&held)
            .send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nheld"),
        _ => reply(200).body("free").into(),
    });
    let settings = "max-connections = 1\nmax-waiting = 1\nconnect-timeout = \"500ms\"";
    let gateway = Gateway::with(config(&service, settings)).start().await;
    let address = gateway.address();
    let call = move |path: &'static str| {
        tokio::spawn(async move { postern_tests::client::call(address, &Call::get(path)).await })
    };
    let first = call("/held");
    eventually!(service.count(), |count: &usize| *count == 1);
    // One waits until its time is over, and whoever comes meanwhile is one too many.
    let second = call("/second");
    let refused = eventually!(
        gateway.get("/third").await,
        |answer: &postern_tests::Answer| { answer.status == 503 }
    );
    assert_eq!(refused.code(), "upstream-pool-full");
    let told = refused.header("proxy-status").unwrap_or_default();
    assert!(told.contains("connection_limit_reached"), "{told}");
    let late = second.await.expect("a client does not panic");
    assert_eq!(
        (late.status, late.code().as_str()),
        (503, "upstream-pool-full")
    );
    assert_eq!(service.count(), 1, "none of them was sent");
    // One that waits is served by the connection that comes back.
    let third = call("/third");
    gate.open();
    assert_eq!(first.await.expect("a client does not panic").text(), "held");
    let answer = third.await.expect("a client does not panic");
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, "free"),
        "{answer:?}"
    );
    assert_eq!(service.connections(), 1);
}

#[tokio::test]
async fn a_connection_carries_so_many_requests_and_no_more() {
    let service = Upstream::says("ok");
    let gateway = Gateway::with(config(&service, "max-requests-per-connection = 3"))
        .start()
        .await;
    for _ in 0..9 {
        assert_eq!(gateway.get("/").await.status, 200);
    }
    assert_eq!(service.connections(), 3);
    let numbers: Vec<usize> = service.requests().iter().map(|it| it.connection).collect();
    assert_eq!(numbers, [0, 0, 0, 1, 1, 1, 2, 2, 2]);
}

#[tokio::test]
async fn a_connection_grows_no_older_than_it_may() {
    let service = Upstream::says("ok");
    let gateway = Gateway::with(config(&service, "max-connection-age = \"300ms\""))
        .start()
        .await;
    let begun = std::time::Instant::now();
    eventually!(
        {
            assert_eq!(gateway.get("/").await.status, 200);
            service.connections()
        },
        |connections: &usize| *connections == 3
    );
    // Two lives, each of which chance makes up to a tenth shorter.
    assert!(
        begun.elapsed() >= Duration::from_millis(540),
        "{:?}",
        begun.elapsed()
    );
    let first = service
        .requests()
        .iter()
        .filter(|it| it.connection == 0)
        .count();
    assert!(first > 1, "{first} requests on the first connection");
}

#[tokio::test]
async fn connections_are_there_before_requests() {
    let service = Upstream::says("ok");
    let gateway = Gateway::with(config(&service, "warm-connections = 3"))
        .start()
        .await;
    eventually!(service.connections(), |connections: &usize| *connections
        == 3);
    assert_eq!(service.count(), 0);
    for _ in 0..3 {
        assert_eq!(gateway.get("/").await.status, 200);
    }
    assert_eq!(service.connections(), 3, "no other was needed");
}

#[tokio::test]
async fn connections_are_not_kept_ready_beyond_what_there_may_be() {
    let service = Upstream::says("ok");
    let settings = "warm-connections = 3\nmax-connections = 2";
    let gateway = Gateway::with(config(&service, settings))
        .workers(2)
        .start()
        .await;
    eventually!(service.connections(), |connections: &usize| *connections
        == 2);
    // Whichever worker gets them, the other takes one over.
    for _ in 0..10 {
        let answer = gateway.get("/").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[tokio::test]
async fn a_target_may_be_a_socket_of_this_machine() {
    let folder = tempfile::tempdir().expect("there is room for temporary files");
    let path = folder.path().join("orders.sock");
    let listener = UnixListener::bind(&path).expect("the folder is writable");
    let counted = Arc::new(Counted::default());
    let counting = Arc::clone(&counted);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(Arc::clone(&counting).serve(stream));
        }
    });
    let target = format!("unix:{}", path.display());
    let gateway = Gateway::with(config(&target, "")).start().await;
    for _ in 0..3 {
        let answer = gateway.get("/").await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "ok"),
            "{answer:?}"
        );
    }
    assert_eq!(counted.all.load(Ordering::SeqCst), 1, "it is kept");
    let lines = eventually!(gateway.access_log(), |lines: &Vec<serde_json::Value>| lines
        .len()
        == 3);
    assert_eq!(lines[0]["target"], target, "{}", lines[0]);
    let nobody = format!("unix:{}", folder.path().join("nobody.sock").display());
    gateway.edit(&config(&nobody, ""));
    let answer = eventually!(gateway.get("/").await, |answer: &postern_tests::Answer| {
        answer.status == 503
    });
    assert_eq!(answer.code(), "upstream-unreachable");
}

/// How many connections of the target are idle.
async fn idle(gateway: &Gateway, service: &Upstream) -> Option<f64> {
    let target = service.address();
    let series =
        format!("postern_target_connections_idle{{target=\"{target}\",upstream=\"orders\"}}");
    gateway.metric(&series).await
}

#[tokio::test]
async fn a_connection_is_not_idle_for_longer_than_it_may() {
    let service = Upstream::says("ok");
    let gateway = Gateway::with(config(&service, "idle-timeout = \"500ms\""))
        .start()
        .await;
    assert_eq!(gateway.get("/").await.status, 200);
    assert_eq!(idle(&gateway, &service).await, Some(1.0));
    eventually!(idle(&gateway, &service).await, |idle| *idle == Some(0.0));
    assert_eq!(gateway.get("/").await.status, 200);
    assert_eq!(service.connections(), 2);
}

#[tokio::test]
async fn no_more_connections_are_kept_than_may_be_idle() {
    let gate = Gate::default();
    let service = Upstream::held(&gate, "ok");
    let gateway = Gateway::with(config(&service, "max-idle = 1"))
        .start()
        .await;
    let address = gateway.address();
    let calls: Vec<_> = (0..3)
        .map(|_| {
            tokio::spawn(async move { postern_tests::client::call(address, &Call::get("/")).await })
        })
        .collect();
    eventually!(service.count(), |count: &usize| *count == 3);
    gate.open();
    for call in calls {
        assert_eq!(call.await.expect("a client does not panic").text(), "ok");
    }
    eventually!(idle(&gateway, &service).await, |idle| *idle == Some(1.0));
    assert_eq!(service.connections(), 3);
}
