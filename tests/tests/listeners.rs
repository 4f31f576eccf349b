//! Listeners: limits of connections, sockets with a path, and the way to `https://`.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use postern_tests::{Call, Connection, Gateway, Raw, Upstream, eventually, reply};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use tokio::net::UnixStream;

fn fragment(upstream: &Upstream, listener: &str) -> String {
    format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/{{*rest}}", upstream = "u" }}]
        [listen.public]
        {listener}
        "#
    )
}

fn refused(reason: &str) -> String {
    format!("postern_connections_refused_total{{listener=\"public\",reason=\"{reason}\"}}")
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once_and_places_are_given_back() {
    let upstream = Upstream::says("ok");
    let listener = "address = \"127.0.0.1:0\"\nmax-connections = 2";
    let gateway = Gateway::with(fragment(&upstream, listener)).process().await;
    let mut first = gateway.connect().await;
    let mut second = gateway.connect().await;
    for connection in [&mut first, &mut second] {
        assert_eq!(connection.call(&Call::get("/")).await.status, 200);
    }
    for number in 1..=20 {
        let mut raw = Raw::connect(gateway.address()).await;
        assert_eq!(raw.rest().await, b"");
        let count = Some(f64::from(number));
        eventually!(
            gateway.metric(&refused("max-connections")).await,
            |now| *now == count
        );
    }
    assert_eq!(
        gateway.log("connection refused").len(),
        1,
        "the log is not flooded"
    );
    assert_eq!(
        first.call(&Call::get("/")).await.status,
        200,
        "others are untouched"
    );
    drop(second);
    eventually!(
        gateway
            .metric("postern_connections{listener=\"public\"}")
            .await,
        |open| *open == Some(1.0)
    );
    assert_eq!(gateway.get("/").await.status, 200);
}

#[tokio::test]
async fn a_client_has_places_of_its_own_and_a_trusted_proxy_as_many_as_it_likes() {
    let upstream = Upstream::says("ok");
    let listener = "address = \"127.0.0.1:0\"\nmax-connections-per-address = 2\ntrusted-proxies = [\"127.0.0.9\"]";
    let gateway = Gateway::with(fragment(&upstream, listener)).start().await;
    let call = Call::get("/");
    let mut kept = Vec::new();
    for client in [
        "127.0.0.2",
        "127.0.0.2",
        "127.0.0.3",
        "127.0.0.9",
        "127.0.0.9",
        "127.0.0.9",
    ] {
        let mut connection = Connection::h1_from(client, gateway.address()).await;
        assert_eq!(connection.call(&call).await.status, 200, "{client}");
        kept.push(connection);
    }
    assert!(
        Connection::h1_from("127.0.0.2", gateway.address())
            .await
            .try_call(&call)
            .await
            .is_err()
    );
    let reason = refused("max-connections-per-address");
    eventually!(gateway.metric(&reason).await, |count| *count == Some(1.0));
    kept.remove(0);
    eventually!(
        Connection::h1_from("127.0.0.2", gateway.address())
            .await
            .try_call(&call)
            .await
            .is_ok(),
        |served| *served
    );
}

#[tokio::test]
async fn without_descriptors_nothing_is_accepted_and_then_everything_is() {
    let upstream = Upstream::says("ok");
    let gateway = Gateway::with(fragment(&upstream, "address = \"127.0.0.1:0\""))
        .process()
        .await;
    let mut before = gateway.connect().await;
    assert_eq!(before.call(&Call::get("/")).await.status, 200);
    let pid = Pid::from_raw(gateway.process_id().cast_signed());
    // It has the limits that we have.
    let few = Rlimit {
        current: Some(3),
        ..getrlimit(Resource::Nofile)
    };
    let old = prlimit(pid, Resource::Nofile, few).expect("it is ours");
    let waiting = tokio::spawn({
        let address = gateway.address();
        async move { Connection::h1(address).await.call(&Call::get("/")).await }
    });
    eventually!(gateway.log("connections cannot be accepted"), |lines| {
        !lines.is_empty()
    });
    // Long enough for many more attempts.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        gateway.log("connections cannot be accepted").len(),
        1,
        "the log is not flooded"
    );
    assert_eq!(
        before.call(&Call::get("/")).await.status,
        200,
        "what is open is served"
    );
    prlimit(pid, Resource::Nofile, old).expect("it is ours");
    assert_eq!(
        waiting.await.expect("no panic").status,
        200,
        "it waited in the queue"
    );
}

#[tokio::test]
async fn a_socket_with_a_path_serves_whom_its_permissions_let_in() {
    let upstream = Upstream::says("ok");
    let listener = "address = \"unix:run/s\"\nsocket-mode = \"0600\"";
    let setup = || Gateway::with(fragment(&upstream, listener)).file("run/.keep", "");
    let mut gateway = setup().process().await;
    let path = gateway.folder().join("run/s");
    let mode = std::fs::metadata(&path)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let stream = UnixStream::connect(&path).await.expect("it listens");
    let answer = Connection::over(stream).await.call(&Call::get("/")).await;
    assert_eq!(answer.text(), "ok");
    let request = upstream.last();
    assert_eq!(
        request.header("x-forwarded-for").as_deref(),
        Some("127.0.0.1")
    );

    gateway.signal(rustix::process::Signal::TERM);
    assert!(gateway.ended().await.success());
    assert!(!path.exists(), "it was removed");
}

#[tokio::test]
async fn what_a_killed_gateway_left_behind_is_replaced_and_nothing_else_is() {
    let upstream = Upstream::says("ok");
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("s");
    let listener = format!("address = \"unix:{}\"", path.display());
    let mut first = Gateway::with(fragment(&upstream, &listener))
        .process()
        .await;
    let second = Gateway::with(fragment(&upstream, &listener)).run();
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    assert!(
        second.stderr.contains("another process listens there"),
        "{}",
        second.stderr
    );

    first.signal(rustix::process::Signal::KILL);
    first.ended().await;
    assert!(path.exists(), "it had no time to clean up");
    let _third = Gateway::with(fragment(&upstream, &listener))
        .process()
        .await;
    let stream = UnixStream::connect(&path).await.expect("it listens");
    assert_eq!(
        Connection::over(stream)
            .await
            .call(&Call::get("/"))
            .await
            .text(),
        "ok"
    );

    let file = folder.path().join("precious");
    std::fs::write(&file, "data").expect("there is room");
    let listener = format!("address = \"unix:{}\"", file.display());
    let fourth = Gateway::with(fragment(&upstream, &listener)).run();
    assert_eq!(fourth.code, Some(1), "{}", fourth.stderr);
    assert_eq!(std::fs::read(&file).expect("it is still there"), b"data");
}

#[tokio::test]
async fn requests_without_tls_are_sent_on_to_https() {
    let upstream = Upstream::start(|_| reply(200).body("ok").into());
    let listener = "address = \"127.0.0.1:0\"\nredirect-https = true\nredirect-https-port = 8443\ntrusted-proxies = [\"127.0.0.9\"]";
    let gateway = Gateway::with(fragment(&upstream, listener)).start().await;
    for (call, status, location) in [
        (
            Call::get("/a%20b?x=1&y").host("shop.test"),
            301,
            "https://shop.test:8443/a%20b?x=1&y",
        ),
        (
            Call::new("HEAD", "/").host("shop.test:8080"),
            301,
            "https://shop.test:8443/",
        ),
        (
            Call::post("/cart", "x").host("[::1]:8080"),
            308,
            "https://[::1]:8443/cart",
        ),
        // What a stranger says about itself changes nothing.
        (
            Call::get("/")
                .host("shop.test")
                .header("x-forwarded-proto", "https"),
            301,
            "https://shop.test:8443/",
        ),
        (
            Call::get("/")
                .host("shop.test")
                .header("x-forwarded-host", "evil.test"),
            301,
            "https://shop.test:8443/",
        ),
    ] {
        let answer = gateway.call(&call).await;
        assert_eq!(answer.status, status, "{call:?}");
        assert_eq!(
            answer.header("location").as_deref(),
            Some(location),
            "{call:?}"
        );
    }
    assert_eq!(upstream.count(), 0);
    let challenge = gateway.get("/.well-known/acme-challenge/token").await;
    assert_eq!(challenge.text(), "ok");
    // The proxy in front speaks TLS, and the host is what its client named.
    let mut proxy = Connection::h1_from("127.0.0.9", gateway.address()).await;
    let secure = Call::get("/")
        .header("x-forwarded-for", "192.0.2.1")
        .header("x-forwarded-proto", "https");
    assert_eq!(proxy.call(&secure).await.text(), "ok");
    let plain = Call::get("/")
        .header("x-forwarded-for", "192.0.2.1")
        .header("x-forwarded-host", "shop.test");
    let answer = proxy.call(&plain).await;
    assert_eq!(
        answer.header("location").as_deref(),
        Some("https://shop.test:8443/")
    );
    assert_eq!(answer.code(), "https-required");
}
