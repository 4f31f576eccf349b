//! Listeners that come, go and change while the gateway serves.

use postern_tests::load::Load;
use postern_tests::{Call, Connection, Gate, Gateway, Script, Upstream, eventually};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// A configuration with these tables of listeners.
fn fragment(upstream: &Upstream, listeners: &str) -> String {
    format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/{{*rest}}", upstream = "u" }}]
        {listeners}
        "#
    )
}

const PUBLIC: &str = "[listen.public]\naddress = \"127.0.0.1:0\"\n";
const SECOND: &str = "[listen.second]\naddress = \"127.0.0.1:0\"\n";

/// An upstream that answers `/slow` when the gate opens.
fn held(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::start(move |request| {
        let script = Script::after_body();
        let script = if request.target == "/slow" {
            script.wait(&gate)
        } else {
            script
        };
        script.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    })
}

#[tokio::test]
async fn listeners_come_and_go_and_nobody_else_notices() {
    let gate = Gate::default();
    let upstream = held(&gate);
    let gateway = Gateway::with(fragment(&upstream, PUBLIC))
        .workers(2)
        .start()
        .await;
    let mut kept = gateway.connect().await;
    assert_eq!(kept.call(&Call::get("/")).await.status, 200);

    gateway.edit(&fragment(&upstream, &format!("{SECOND}{PUBLIC}")));
    let listening = eventually!(gateway.listening().await, |all| all.contains_key("second"));
    assert_eq!(
        listening["public"],
        gateway.address().to_string(),
        "it kept its port"
    );
    let second = listening["second"].parse().expect("it is an address");
    let mut idle = Connection::h1(second).await;
    assert_eq!(idle.call(&Call::get("/")).await.status, 200);
    let mut slow = Connection::h1(second).await;
    let slow = tokio::spawn(async move { slow.try_call(&Call::get("/slow")).await });
    eventually!(upstream.count(), |count| *count == 3);

    gateway.edit(&fragment(&upstream, PUBLIC));
    eventually!(gateway.listening().await, |all| !all.contains_key("second"));
    eventually!(TcpStream::connect(second).await.is_err(), |refused| {
        *refused
    });
    eventually!(idle.is_closed(), |closed| *closed);
    gate.open();
    let answer = slow
        .await
        .expect("no panic")
        .expect("what had begun is finished");
    assert_eq!(answer.header("connection").as_deref(), Some("close"));
    assert_eq!(
        kept.call(&Call::get("/")).await.status,
        200,
        "it is still the same connection"
    );
    let series = "postern_connections_total{listener=\"second\"}";
    eventually!(gateway.metric(series).await, |value| value.is_none());
}

#[tokio::test]
async fn what_outlives_its_listener_is_cut_off_after_the_drain_timeout() {
    let gate = Gate::default();
    let upstream = held(&gate);
    let server = "[server]\nworkers = 1\ndrain-timeout = \"300ms\"\n";
    let gateway = Gateway::with(fragment(&upstream, &format!("{server}{PUBLIC}{SECOND}")))
        .start()
        .await;
    let mut slow = Connection::h1(gateway.listener("second")).await;
    let slow = tokio::spawn(async move { slow.try_call(&Call::get("/slow")).await });
    eventually!(upstream.count(), |count| *count == 1);
    gateway.edit(&fragment(&upstream, &format!("{server}{PUBLIC}")));
    slow.await
        .expect("no panic")
        .expect_err("its answer has no end");
    assert_eq!(gateway.get("/").await.status, 200, "the others serve on");
}

#[tokio::test]
async fn changed_settings_hold_for_new_connections_and_the_port_stays() {
    let upstream = Upstream::says("ok");
    let gateway = Gateway::with(fragment(&upstream, PUBLIC)).start().await;
    let mut kept = gateway.connect().await;
    assert_eq!(kept.call(&Call::get("/")).await.status, 200);
    gateway.edit(&fragment(
        &upstream,
        &format!("{PUBLIC}redirect-https = true\nmax-connections = 2\n"),
    ));
    eventually!(gateway.get("/").await.status, |status| *status == 301);
    assert_eq!(
        kept.call(&Call::get("/")).await.status,
        200,
        "it keeps what it began with"
    );
    // With `kept`, this is the second.
    let mut second = gateway.connect().await;
    assert_eq!(second.call(&Call::get("/")).await.status, 301);
    let third = Connection::h1(gateway.address())
        .await
        .try_call(&Call::get("/"))
        .await;
    assert!(
        third.is_err(),
        "the limit counts connections from before, too"
    );
}

#[tokio::test]
async fn a_listener_that_cannot_be_opened_refuses_the_whole_change() {
    let upstream = Upstream::says("ok");
    let gateway = Gateway::with(fragment(&upstream, PUBLIC)).start().await;
    let before = gateway.generation().await;
    let blocker = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("there is a port");
    let address = blocker.local_addr().expect("it is bound");
    let third = format!("[listen.third]\naddress = \"{address}\"\n");
    let changed = fragment(
        &upstream,
        &format!("{SECOND}{third}{PUBLIC}redirect-https = true\n"),
    );
    gateway.edit(&changed.replace("/{*rest}", "/other"));
    let status = eventually!(gateway.status().await, |status| !status["config_problem"]
        .is_null());
    let problem = status["config_problem"].as_str().expect("it is a text");
    assert!(
        problem.contains("listener \"third\" cannot listen on"),
        "{problem}"
    );
    assert!(
        problem.contains("another process listens there"),
        "{problem}"
    );
    assert_eq!(gateway.generation().await, before);
    assert_eq!(
        gateway.listening().await.keys().collect::<Vec<_>>(),
        ["public"]
    );
    assert_eq!(
        gateway.get("/").await.status,
        200,
        "routes and settings are the old ones"
    );

    drop(blocker);
    gateway.reload();
    let listening = eventually!(gateway.listening().await, |all| all.len() == 3);
    assert_eq!(listening["third"], address.to_string());
    assert_eq!(gateway.get("/other").await.status, 301);
}

#[tokio::test]
async fn a_listener_may_get_another_name_without_a_gap() {
    let upstream = Upstream::says("ok");
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("s");
    let named = |name: &str| {
        let table = format!("[listen.{name}]\naddress = \"unix:{}\"\n", path.display());
        fragment(&upstream, &table)
    };
    let gateway = Gateway::with(named("before")).workers(2).start().await;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let callers: Vec<_> = (0..2)
        .map(|_| {
            let (stop, path) = (stop.clone(), path.clone());
            tokio::spawn(async move {
                let mut answered = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let stream = UnixStream::connect(&path)
                        .await
                        .expect("somebody always listens");
                    let mut connection = Connection::over(stream).await;
                    let answer = connection.try_call(&Call::get("/")).await;
                    assert_eq!(answer.expect("nothing is lost").text(), "ok");
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    for name in ["after", "before", "after"] {
        gateway.edit(&named(name));
        eventually!(gateway.listening().await, |all| all.keys().eq([name]));
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for caller in callers {
        assert!(caller.await.expect("nothing is lost") > 0);
    }
    assert!(
        path.exists(),
        "the socket of the new one was not removed by the old one"
    );
}

#[tokio::test]
async fn a_hundred_reloads_that_change_listeners_lose_nothing() {
    let upstream = Upstream::says("ok");
    let gateway = Gateway::with(fragment(&upstream, PUBLIC))
        .workers(2)
        .process()
        .await;
    let call = Call::get("/");
    let load = Load::start(gateway.address(), 4, vec![call.clone()], |answer| {
        answer.text() == "ok"
    });
    for round in 0..100 {
        let name = format!("extra-{}", round % 7);
        let listeners = format!(
            "[listen.{name}]\naddress = \"127.0.0.1:0\"\n{PUBLIC}max-connections = {}\n",
            100 + round
        );
        gateway.edit(&fragment(&upstream, &listeners));
        gateway.reload();
        let listening = eventually!(gateway.listening().await, |all| all.len() == 2
            && all.contains_key(&name));
        let extra = listening[&name].parse().expect("it is an address");
        assert_eq!(Connection::h1(extra).await.call(&call).await.text(), "ok");
    }
    let report = load.stop().await;
    assert!(report.failures.is_empty(), "{:#?}", report.failures);
    assert!(report.answered > 100, "{report:?}");
    // What is gone keeps no socket: the process holds no more descriptors than a few listeners need.
    let descriptors = || {
        let folder = format!("/proc/{}/fd", gateway.process_id());
        std::fs::read_dir(folder)
            .expect("it lives, on Linux")
            .count()
    };
    eventually!(descriptors(), |count| *count < 80);
}
