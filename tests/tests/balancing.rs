//! Which targets get requests: by weight, by what a request is bound to, and by their health.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Response};
use postern_tests::load::Load;
use postern_tests::upstream::Refusing;
use postern_tests::{Answer, Call, Gateway, Upstream, client, eventually, reply};
use rustix::process::Signal;
use serde_json::Value;
use tokio::net::TcpListener;

/// A configuration with one route to an upstream with these lines.
fn fragment(lines: &str) -> String {
    format!(
        r#"
        upstream.u = {{ {lines} }}
        [[route]]
        name = "r"
        path = "/{{*rest}}"
        upstream = "u"
        "#
    )
}

async fn gateway(lines: &str) -> Gateway {
    Gateway::with(fragment(lines)).start().await
}

fn plain(targets: &[&dyn Display]) -> String {
    let targets: Vec<String> = targets
        .iter()
        .map(|target| format!("\"{target}\""))
        .collect();
    format!("targets = [{}]", targets.join(", "))
}

/// A service that says its name, and fails while it is told to. Health checks ask at `/healthz`.
struct Service {
    upstream: Upstream,
    fails: Arc<AtomicBool>,
    is_sick: Arc<AtomicBool>,
}

impl Service {
    fn new(name: &'static str) -> Self {
        let (fails, is_sick): (Arc<AtomicBool>, Arc<AtomicBool>) = Default::default();
        let (failing, sick) = (Arc::clone(&fails), Arc::clone(&is_sick));
        let upstream = Upstream::start(move |request| {
            let is_check = request.target == "/healthz";
            let flag = if is_check { &sick } else { &failing };
            let status = if flag.load(Ordering::SeqCst) {
                500
            } else {
                200
            };
            reply(status).body(name).into()
        });
        Self {
            upstream,
            fails,
            is_sick,
        }
    }

    fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    fn sicken(&self, sick: bool) {
        self.is_sick.store(sick, Ordering::SeqCst);
    }

    /// Requests that are no health checks.
    fn count(&self) -> usize {
        let requests = self.upstream.requests();
        requests
            .iter()
            .filter(|request| request.target != "/healthz")
            .count()
    }

    fn checks(&self) -> usize {
        self.upstream.count() - self.count()
    }
}

impl Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.upstream.fmt(f)
    }
}

/// What was said how often in so many answers.
async fn said(gateway: &Gateway, count: usize, call: &Call) -> BTreeMap<String, usize> {
    let mut said = BTreeMap::new();
    let mut connection = gateway.connect().await;
    for _ in 0..count {
        *said.entry(connection.call(call).await.text()).or_default() += 1;
    }
    said
}

async fn states(gateway: &Gateway) -> Vec<(String, String)> {
    let answer = client::call(gateway.admin(), &Call::get("/api/upstreams")).await;
    let targets = answer.json()["u"]["targets"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    targets
        .iter()
        .map(|target| (text(&target["target"]), text(&target["state"])))
        .collect()
}

async fn state(gateway: &Gateway, target: &impl Display) -> String {
    let address = target.to_string().replace("http://", "");
    let states = states(gateway).await;
    let found = states.into_iter().find(|(name, _)| *name == address);
    found.map(|(_, state)| state).unwrap_or_default()
}

async fn usable(gateway: &Gateway, target: &impl Display) -> Option<f64> {
    let address = target.to_string().replace("http://", "");
    let series = format!("postern_target_usable{{target=\"{address}\",upstream=\"u\"}}");
    gateway.metric(&series).await
}

#[tokio::test]
async fn targets_share_requests_by_weight() {
    let (one, two) = (Upstream::says("one"), Upstream::says("two"));
    let gateway = gateway(&format!(
        "targets = [{{ url = \"{one}\", weight = 3 }}, \"{two}\"]"
    ))
    .await;
    let said = said(&gateway, 40, &Call::get("/")).await;
    assert_eq!(
        said,
        BTreeMap::from([("one".into(), 30), ("two".into(), 10)])
    );
    let address = one.to_string().replace("http://", "");
    let series = format!("postern_target_requests_total{{target=\"{address}\",upstream=\"u\"}}");
    assert_eq!(gateway.metric(&series).await, Some(30.0));
}

#[tokio::test]
async fn a_backup_serves_when_nobody_else_does() {
    let (gone, backup) = (Refusing::default(), Upstream::says("backup"));
    let gateway = gateway(&format!(
        "targets = [\"{gone}\", {{ url = \"{backup}\", backup = true }}]"
    ))
    .await;
    let said = said(&gateway, 20, &Call::get("/")).await;
    assert_eq!(said, BTreeMap::from([("backup".into(), 20)]));
    // After five connections that were refused, nobody tries any more.
    assert_eq!(state(&gateway, &gone).await, "ejected");
    assert_eq!(usable(&gateway, &gone).await, Some(0.0));
}

#[tokio::test]
async fn equal_values_meet_the_same_target_on_every_node() {
    let (one, two) = (Upstream::says("one"), Upstream::says("two"));
    let balance = "balance = { policy = \"hash\", hash-on = \"header:x-user\" }";
    let here = gateway(&format!("{}, {balance}", plain(&[&one, &two]))).await;
    let there = gateway(&format!("{}, {balance}", plain(&[&two, &one]))).await;
    let mut all = BTreeMap::new();
    for user in 0..40 {
        let call = Call::get("/").header("x-user", &format!("user-{user}"));
        let same = said(&here, 3, &call).await;
        assert_eq!(same.len(), 1);
        assert_eq!(same, said(&there, 3, &call).await);
        all.extend(same);
    }
    assert_eq!(all.len(), 2, "users are spread");
}

#[tokio::test]
async fn a_sticky_client_stays_until_its_target_is_gone() {
    let (one, two) = (Service::new("one"), Service::new("two"));
    let lines = format!(
        "{}, sticky = {{ cookie = \"place\", secret = \"file:sticky.key\", secure = false, max-age = \"1h\" }}, outlier = {{ consecutive-5xx = 1, max-ejected = \"50%\" }}",
        plain(&[&one, &two])
    );
    let gateway = Gateway::with(fragment(&lines))
        .file("sticky.key", "correct-horse-battery-staple-123")
        .start()
        .await;
    let first = gateway.get("/").await;
    let cookie = first.header("set-cookie").expect("a cookie is set");
    let (value, attributes) = cookie.split_once("; ").expect("it has attributes");
    assert_eq!(attributes, "Path=/; Max-Age=3600; HttpOnly; SameSite=Lax");
    let bound = Call::get("/").header("cookie", value);
    for _ in 0..10 {
        let answer = gateway.call(&bound).await;
        assert_eq!(
            (answer.text(), answer.header("set-cookie")),
            (first.text(), None)
        );
    }
    // Nobody else's cookie binds.
    let forged = Call::get("/").header("cookie", "place=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(said(&gateway, 20, &forged).await.len(), 2);
    let own = if first.text() == "one" { &one } else { &two };
    own.fail(true);
    assert_eq!(gateway.call(&bound).await.status, 500);
    eventually!(state(&gateway, own).await, |state| state == "ejected");
    let moved = gateway.call(&bound).await;
    assert_ne!(moved.text(), first.text());
    assert!(
        moved
            .header("set-cookie")
            .is_some_and(|cookie| cookie.starts_with("place="))
    );
}

#[tokio::test]
async fn a_header_chooses_among_the_targets() {
    let (one, two) = (Upstream::says("one"), Upstream::says("two"));
    let gateway = gateway(&format!(
        "targets = [{{ url = \"{one}\", tags = {{ release = \"1\" }} }}, {{ url = \"{two}\", tags = {{ release = \"2\" }} }}], \
         balance = {{ subset-header = \"x-release\", subset-tag = \"release\", subset-fallback = \"none\" }}"
    ))
    .await;
    let call = |release: &str| Call::get("/").header("x-release", release);
    assert_eq!(
        said(&gateway, 5, &call("2")).await,
        BTreeMap::from([("two".into(), 5)])
    );
    let answer = gateway.call(&call("3")).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "upstream-no-target")
    );
}

#[tokio::test]
async fn a_target_that_fails_is_left_alone_for_a_while() {
    let (good, bad) = (Service::new("good"), Service::new("bad"));
    let outlier =
        "outlier = { consecutive-5xx = 3, base-ejection-time = \"1s\", max-ejected = \"50%\" }";
    let gateway = gateway(&format!("{}, {outlier}", plain(&[&good, &bad]))).await;
    bad.fail(true);
    let is_ejected = async || {
        gateway.get("/").await;
        state(&gateway, &bad).await == "ejected"
    };
    eventually!(is_ejected().await, |ejected| *ejected);
    let before = bad.count();
    assert!((3..6).contains(&before), "{before}");
    let address = bad.to_string().replace("http://", "");
    let told = gateway.log(&address);
    assert!(
        told.iter().any(|line| line.contains("consecutive-5xx")),
        "{told:?}"
    );
    bad.fail(false);
    // It comes back by itself.
    let asked = async || {
        gateway.get("/").await;
        bad.count()
    };
    eventually!(asked().await, |count| *count > before);
    assert_eq!(state(&gateway, &bad).await, "usable");
}

#[tokio::test]
async fn the_only_target_is_never_ejected() {
    let only = Service::new("only");
    let outlier = "outlier = { consecutive-5xx = 1 }";
    let gateway = gateway(&format!("{}, {outlier}", plain(&[&only]))).await;
    only.fail(true);
    for _ in 0..20 {
        assert_eq!(gateway.get("/").await.status, 500);
    }
    assert_eq!(
        (only.count(), state(&gateway, &only).await.as_str()),
        (20, "usable")
    );
}

#[tokio::test]
async fn health_checks_take_targets_out_and_back_and_survive_a_reload() {
    let (well, ill) = (Service::new("well"), Service::new("ill"));
    let health = "health = { path = \"/healthz\", interval = \"100ms\", fall = 2, rise = 2 }";
    let lines = format!("{}, {health}", plain(&[&well, &ill]));
    let gateway = gateway(&lines).await;
    eventually!(well.checks(), |checks| *checks > 1);
    assert_eq!(state(&gateway, &ill).await, "usable");
    ill.sicken(true);
    eventually!(state(&gateway, &ill).await, |state| state == "failing");
    let said = said(&gateway, 10, &Call::get("/")).await;
    assert_eq!(said, BTreeMap::from([("well".into(), 10)]));
    let page = client::call(gateway.admin(), &Call::get("/api/upstreams"))
        .await
        .text();
    assert!(page.contains("status 500 is not expected"), "{page}");
    // What is known of it is known in the next generation, too, before its first check there.
    let before = gateway.generation().await;
    gateway.edit(&fragment(&format!("{lines}, read-timeout = \"30s\"")));
    eventually!(gateway.generation().await, |generation| *generation
        > before);
    for _ in 0..10 {
        assert_eq!(gateway.get("/").await.text(), "well");
    }
    ill.sicken(false);
    eventually!(state(&gateway, &ill).await, |state| state == "usable");
    let count = ill.count();
    for _ in 0..4 {
        gateway.get("/").await;
    }
    assert!(ill.count() > count);
    let address = ill.to_string().replace("http://", "");
    let told = gateway.log(&address);
    assert_eq!(
        told.iter()
            .filter(|line| line.contains("health check"))
            .count(),
        2,
        "{told:?}"
    );
}

#[tokio::test]
async fn a_body_is_compared_and_a_connection_is_enough_for_tcp() {
    let (one, gone) = (Upstream::says("maintenance"), Refusing::default());
    let health = |rest| format!("health = {{ interval = \"100ms\", fall = 1, {rest} }}");
    let body = health("expected-body = \"ready\"");
    let by_body = gateway(&format!("{}, {body}", plain(&[&one]))).await;
    eventually!(state(&by_body, &one).await, |state| state == "failing");
    // The only one is better than none.
    assert_eq!(by_body.get("/").await.text(), "maintenance");
    let tcp = health("kind = \"tcp\"");
    let by_tcp = gateway(&format!("{}, {tcp}", plain(&[&one, &gone]))).await;
    eventually!(state(&by_tcp, &gone).await, |state| state == "failing");
    assert_eq!(state(&by_tcp, &one).await, "usable");
}

/// A gRPC server that says how it is when it is asked for `shop.Orders`.
async fn grpc(serving: Arc<AtomicU8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let serving = Arc::clone(&serving);
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else {
                    return;
                };
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let (head, mut body) = request.into_parts();
                    let serving = serving.load(Ordering::SeqCst);
                    tokio::spawn(async move {
                        let question = body.data().await.and_then(Result::ok).unwrap_or_default();
                        let is_asked = head.uri.path() == "/grpc.health.v1.Health/Check"
                            && question.as_ref() == b"\0\0\0\0\x0d\x0a\x0bshop.Orders";
                        let mut trailers = HeaderMap::new();
                        let status = if is_asked { "0" } else { "12" };
                        trailers.insert("grpc-status", status.parse().expect("a value"));
                        let answer = Response::builder().header("content-type", "application/grpc");
                        let answer = answer.body(()).expect("a response");
                        if let Ok(mut stream) = respond.send_response(answer, false) {
                            let message = Bytes::from(vec![0, 0, 0, 0, 2, 8, serving]);
                            let _ = stream.send_data(message, false);
                            let _ = stream.send_trailers(trailers);
                        }
                    });
                }
            });
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn grpc_services_are_asked_in_their_own_protocol() {
    let serving = Arc::new(AtomicU8::new(1));
    let (target, other) = (grpc(Arc::clone(&serving)).await, Refusing::default());
    let health = "protocol = \"h2\", health = { kind = \"grpc\", service = \"shop.Orders\", interval = \"100ms\", fall = 1, rise = 1 }";
    let gateway = gateway(&format!("{}, {health}", plain(&[&target, &other]))).await;
    eventually!(state(&gateway, &other).await, |state| state == "failing");
    assert_eq!(state(&gateway, &target).await, "usable");
    serving.store(2, Ordering::SeqCst);
    eventually!(state(&gateway, &target).await, |state| state == "failing");
    serving.store(1, Ordering::SeqCst);
    eventually!(state(&gateway, &target).await, |state| state == "usable");
}

/// A process of its own that passes requests on to a service, at an address that was used before or a new one.
async fn process(service: &Upstream, address: &str) -> Gateway {
    let fragment = format!(
        r#"
        listen.own.address = "{address}"
        upstream.u.targets = ["{service}"]
        route = [{{ name = "r", path = "/{{*rest}}", upstream = "u" }}]
        "#
    );
    Gateway::with(fragment).process().await
}

#[tokio::test]
async fn a_process_that_is_killed_is_left_alone_and_used_again_when_it_is_back() {
    let service = Upstream::says("ok");
    let mut processes = Vec::new();
    for _ in 0..3 {
        processes.push(process(&service, "127.0.0.1:0").await);
    }
    let urls: Vec<String> = processes
        .iter()
        .map(|one| format!("http://{}", one.address()))
        .collect();
    let targets: Vec<&dyn Display> = urls.iter().map(|url| url as &dyn Display).collect();
    let lines = format!(
        "{}, retry-budget = \"100%\", retry = {{ retries = 2, on = [\"connect-failure\", \"reset\", \"timeout\"], per-try-timeout = \"500ms\" }}, health = {{ kind = \"http\", interval = \"200ms\", timeout = \"200ms\", fall = 2, rise = 1 }}",
        plain(&targets)
    );
    let gateway = gateway(&lines).await;
    let is_good = |answer: &Answer| answer.text() == "ok";
    let load = Load::start(gateway.address(), 8, vec![Call::get("/")], is_good);
    eventually!(service.count(), |count| *count > 100);
    let killed = processes.remove(1);
    let address = killed.address().to_string();
    killed.signal(Signal::KILL);
    drop(killed);
    eventually!(state(&gateway, &urls[1]).await, |state| state != "usable");
    // While it is known to be gone, nobody is sent there.
    let series =
        |name: &str| format!("postern_target_{name}_total{{target=\"{address}\",upstream=\"u\"}}");
    let failures = gateway.metric(&series("failures")).await;
    let before = service.count();
    eventually!(service.count(), |count| *count > before + 300);
    assert_eq!(gateway.metric(&series("failures")).await, failures);
    let requests = gateway
        .metric(&series("requests"))
        .await
        .unwrap_or_default();
    let _again = process(&service, &address).await;
    eventually!(state(&gateway, &urls[1]).await, |state| state == "usable");
    eventually!(
        gateway
            .metric(&series("requests"))
            .await
            .unwrap_or_default(),
        |count| *count > requests + 20.0
    );
    let report = load.stop().await;
    assert_eq!(
        report.failures,
        Vec::<String>::new(),
        "of {}",
        report.answered
    );
}
