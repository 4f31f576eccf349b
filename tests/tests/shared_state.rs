//! Limits and the store on a Redis server, which several gateways share; what they do without it; and how limits count, there
//! and in memory.
//!
//! Where redis-server is not installed, these tests say that they were skipped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_tests::load::Load;
use postern_tests::pki::Authority;
use postern_tests::{Answer, Call, Connection, Gateway, Redis, Upstream, eventually, tool};
use tokio::sync::Barrier;

/// These tests are about what is counted: a machine that does much else must not end a call.
const BUDGET: &str = "cpu = \"1s\"";

/// A gateway whose only route has these limits for everybody, with its state on a server.
fn limited(upstream: &Upstream, state: &str, limits: &str) -> String {
    format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        plugin.p = {{ file = "rate-limit.wasm", grants = ["limits"], budget = {{ {BUDGET} }}, config = {{ limits = [{limits}] }} }}
        route = [{{ name = "r", path = "/", plugins = ["p"], upstream = "u" }}]
        {state}
        "#
    )
}

/// `[state]` with a server, and more lines for the server's table.
fn on(redis: &Redis, more: &str) -> String {
    format!(
        "[state]\nbackend = \"redis\"\n{more}\n[state.redis]\nurl = \"{}\"\ntimeout = \"2s\"",
        redis.url()
    )
}

/// As [`on`], with as little patience as in real life.
fn impatient(redis: &Redis, more: &str) -> String {
    on(redis, more).replace("\"2s\"", "\"50ms\"")
}

/// What so many clients get that each make so many calls, all beginning at once.
async fn storm(gateways: &[&Gateway], clients: usize, calls: usize) -> Vec<u16> {
    let start = Arc::new(Barrier::new(gateways.len() * clients));
    let client = |gateway: &&Gateway| {
        let (address, start) = (gateway.address(), Arc::clone(&start));
        tokio::spawn(async move {
            let mut connection = Connection::h1(address).await;
            start.wait().await;
            let mut statuses = Vec::new();
            for _ in 0..calls {
                statuses.push(connection.call(&Call::get("/")).await.status);
            }
            statuses
        })
    };
    let tasks = gateways
        .iter()
        .flat_map(|gateway| (0..clients).map(move |_| gateway))
        .map(client);
    let all = futures_util::future::join_all(tasks).await;
    all.into_iter()
        .flat_map(|client| client.expect("no panic"))
        .collect()
}

fn count(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|found| **found == status).count()
}

async fn asked(gateway: &Gateway, outcome: &str) -> u64 {
    let series = format!("postern_state_requests_total{{outcome=\"{outcome}\"}}");
    gateway.metric(&series).await.unwrap_or_default() as u64
}

#[tokio::test]
async fn one_node_with_sixty_four_connections_grants_exactly_the_limit() {
    if !tool::is_there("redis-server") {
        return;
    }
    let (redis, upstream) = (Redis::start(&[]).await, Upstream::says("served"));
    let fragment = limited(&upstream, &on(&redis, ""), "\"300/hour\", \"1000/day\"");
    let gateway = Gateway::with(fragment).workers(2).start().await;
    let statuses = storm(&[&gateway], 64, 10).await;
    assert_eq!((count(&statuses, 200), count(&statuses, 429)), (300, 340));
    assert_eq!(upstream.count(), 300);
    // One round trip for each decision, refusals included.
    assert_eq!(asked(&gateway, "answered").await, 640);
    assert_eq!(redis.ask(&["KEYS", "*"]), ["postern:l:p:address:127.0.0.1"]);
    let counted = redis.ask(&["HGET", "postern:l:p:address:127.0.0.1", "uf3600000"]);
    assert_eq!(counted, ["300"]);
    // What was counted is forgotten with its windows.
    let left = redis.ask(&["PTTL", "postern:l:p:address:127.0.0.1"]);
    let left: u64 = left[0].parse().expect("a time");
    assert!((80_000_000..=86_400_000).contains(&left), "{left}");
}

#[tokio::test]
async fn three_nodes_grant_exactly_the_limit_together() {
    if !tool::is_there("redis-server") {
        return;
    }
    let (redis, upstream) = (Redis::start(&[]).await, Upstream::says("served"));
    let fragment = limited(&upstream, &on(&redis, "nodes = 3"), "\"301/hour\"");
    let start = || Gateway::with(fragment.clone()).start();
    let nodes = [start().await, start().await, start().await];
    let nodes: Vec<&Gateway> = nodes.iter().collect();
    let statuses = storm(&nodes, 22, 10).await;
    assert_eq!((count(&statuses, 200), count(&statuses, 429)), (301, 359));
    assert_eq!(upstream.count(), 301);
    for node in &nodes {
        assert_eq!(asked(node, "answered").await, 220);
    }
    // What one node counted, a node that is started later knows.
    let later = start().await;
    let answer = later.get("/").await;
    assert_eq!((answer.status, &*answer.code()), (429, "rate-limited"));
}

#[tokio::test]
async fn all_windows_of_a_key_are_one_decision() {
    if !tool::is_there("redis-server") {
        return;
    }
    let (redis, upstream) = (Redis::start(&[]).await, Upstream::says("served"));
    let fragment = limited(&upstream, &on(&redis, ""), "\"4/400ms\", \"6/hour\"");
    let gateway = Gateway::with(fragment).start().await;
    let mut granted = 0;
    // What the short window refuses is not counted in the long one.
    while granted < 6 {
        let answer = gateway.get("/").await;
        granted += usize::from(answer.status == 200);
        let left = answer.header("ratelimit").expect("it tells what is left");
        let expected = format!("\"hour\";r={}", 6 - granted);
        assert!(left.contains(&expected), "{left} after {granted}");
    }
    let refused = gateway.get("/").await;
    assert_eq!(refused.status, 429);
    let wait = refused.header("retry-after").expect("it says when");
    let wait: u64 = wait.parse().expect("seconds");
    assert!((3_590..=3_600).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_server_that_forgot_the_scripts_is_told_them_again() {
    if !tool::is_there("redis-server") {
        return;
    }
    let (redis, upstream) = (Redis::start(&[]).await, Upstream::says("served"));
    let fragment = limited(&upstream, &on(&redis, ""), "\"3/hour\"");
    let gateway = Gateway::with(fragment).start().await;
    assert_eq!(gateway.get("/").await.status, 200);
    for expected in [200, 200, 429, 429] {
        assert_eq!(redis.ask(&["SCRIPT", "FLUSH"]), ["OK"]);
        assert_eq!(gateway.get("/").await.status, expected);
    }
}

#[tokio::test]
async fn without_its_server_each_node_grants_its_share() {
    if !tool::is_there("redis-server") {
        return;
    }
    let (mut redis, upstream) = (Redis::start(&[]).await, Upstream::says("served"));
    let state = impatient(&redis, "nodes = 3");
    let fragment = limited(&upstream, &state, "\"10/hour\"");
    let start = || Gateway::with(fragment.clone()).start();
    let nodes = [start().await, start().await];
    assert_eq!(nodes[0].get("/").await.status, 200);
    redis.kill();
    for node in &nodes {
        let statuses = storm(&[node], 4, 3).await;
        assert_eq!((count(&statuses, 200), count(&statuses, 429)), (4, 8));
    }
    redis.restart().await;
    // It is empty now: all ten are there again, for both.
    eventually!(nodes[0].get("/").await.status, |status| *status == 200);
    eventually!(nodes[1].get("/").await.status, |status| *status == 200);
    assert!(!nodes[0].log("the state is away").is_empty());
}

#[tokio::test]
async fn without_its_server_a_gateway_is_open_or_closed_as_it_was_told() {
    if !tool::is_there("redis-server") {
        return;
    }
    let upstream = Upstream::says("served");
    for (policy, status) in [("open", 200), ("closed", 503)] {
        let mut redis = Redis::start(&[]).await;
        let state = impatient(&redis, &format!("on-failure = \"{policy}\""));
        let gateway = Gateway::with(limited(&upstream, &state, "\"2/hour\"")).start();
        let gateway = gateway.await;
        for expected in [200, 200, 429] {
            assert_eq!(gateway.get("/").await.status, expected, "{policy}");
        }
        redis.kill();
        for _ in 0..5 {
            let answer = gateway.get("/").await;
            assert_eq!(answer.status, status, "{policy}");
            if status == 503 {
                assert_eq!(answer.code(), "limits-unavailable");
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_was_never_there_delays_nobody() {
    let upstream = Upstream::says("served");
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = port.local_addr().expect("it is bound");
    drop(port);
    let state =
        format!("[state]\nbackend = \"redis\"\n[state.redis]\nurl = \"redis://{address}\"\n");
    let fragment = limited(&upstream, &state, "\"2/hour\"");
    let gateway = Gateway::with(fragment).start().await;
    for expected in [200, 200, 429] {
        assert_eq!(gateway.get("/").await.status, expected);
    }
    assert_eq!(asked(&gateway, "away").await, 3);
    assert_eq!(asked(&gateway, "late").await, 0);
}

#[tokio::test]
async fn a_server_that_hangs_is_asked_no_more_until_it_answers() {
    if !tool::is_there("redis-server") {
        return;
    }
    let (redis, upstream) = (Redis::start(&[]).await, Upstream::says("served"));
    let state = impatient(&redis, "");
    let gateway = Gateway::with(limited(&upstream, &state, "\"1000000/hour\""));
    let gateway = gateway.start().await;
    assert_eq!(gateway.get("/").await.status, 200);
    redis.stop();
    let begun = Instant::now();
    // Three are waited for, and then nobody.
    for _ in 0..200 {
        assert_eq!(gateway.get("/").await.status, 200);
    }
    let took = begun.elapsed();
    assert_eq!(asked(&gateway, "late").await, 3);
    assert!(asked(&gateway, "away").await >= 197);
    assert!(took < Duration::from_secs(5), "{took:?}");
    redis.go_on();
    let before = asked(&gateway, "answered").await;
    eventually!(
        {
            assert_eq!(gateway.get("/").await.status, 200);
            asked(&gateway, "answered").await
        },
        |now| *now > before
    );
}

#[tokio::test]
async fn a_server_that_is_killed_under_load_fails_no_request() {
    if !tool::is_there("redis-server") {
        return;
    }
    let (mut redis, upstream) = (Redis::start(&[]).await, Upstream::says("served"));
    let state = impatient(&redis, "");
    let gateway = Gateway::with(limited(&upstream, &state, "\"1000000/hour\""));
    let gateway = gateway.workers(2).start().await;
    let good = |answer: &Answer| answer.status == 200;
    let load = Load::start(gateway.address(), 16, vec![Call::get("/")], good);
    for round in 0..3 {
        let before = asked(&gateway, "answered").await;
        eventually!(asked(&gateway, "answered").await, |now| *now > before + 50);
        if round == 1 {
            redis.stop();
        } else {
            redis.kill();
        }
        let before = asked(&gateway, "away").await;
        eventually!(asked(&gateway, "away").await, |now| *now > before + 50);
        if round == 1 {
            redis.go_on();
        } else {
            redis.restart().await;
        }
    }
    let before = asked(&gateway, "answered").await;
    eventually!(asked(&gateway, "answered").await, |now| *now > before + 50);
    let report = load.stop().await;
    let told = gateway.log("plugin");
    assert!(report.failures.is_empty(), "{:?} {told:?}", report.failures);
    assert!(report.answered > 300, "{}", report.answered);
}

#[tokio::test]
async fn a_server_with_tls_and_users_is_spoken_to_as_one_of_them() {
    if !tool::is_there("redis-server") {
        return;
    }
    let (authority, upstream) = (Authority::default(), Upstream::says("served"));
    let identity = authority.issue(&["localhost"]);
    let user = ["--user", "gateway", "on", ">sesame", "~shop:*", "+@all"];
    let redis = Redis::start_tls(&identity, &user).await;
    let url = redis.url().replace("127.0.0.1", "localhost");
    let state = |password: &str, ca: &str| {
        format!(
            "[state]\nbackend = \"redis\"\non-failure = \"closed\"\n[state.redis]\nurl = \"{url}\"\n\
             username = \"gateway\"\npassword = \"file:{password}\"\nca = \"{ca}\"\nprefix = \"shop\"\ntimeout = \"2s\""
        )
    };
    let cases = [
        ("right", "ca.pem", [200, 429]),
        ("wrong", "ca.pem", [503, 503]),
        ("right", "other.pem", [503, 503]),
    ];
    for (password, ca, expected) in cases {
        let fragment = limited(&upstream, &state(password, ca), "\"1/hour\"");
        let gateway = Gateway::with(fragment)
            .file("right", "sesame\n")
            .file("wrong", "abracadabra\n")
            .file("ca.pem", authority.pem())
            .file("other.pem", Authority::new("Another").pem());
        let gateway = gateway.start().await;
        for status in expected {
            assert_eq!(gateway.get("/").await.status, status, "{password} {ca}");
        }
    }
}

#[tokio::test]
async fn nodes_share_what_plugins_store() {
    if !tool::is_there("redis-server") {
        return;
    }
    let mut redis = Redis::start(&[]).await;
    let fragment = format!(
        r#"
        plugin.keeper = {{ file = "keeper.wasm", grants = ["store"] }}
        route = [{{ name = "r", path = "/{{*rest}}", responder = "keeper" }}]
        {}
        "#,
        impatient(&redis, "").replace("50ms", "1s")
    );
    let start = || Gateway::with(fragment.clone()).start();
    let nodes = [start().await, start().await];
    let ask = async |node: usize, path: String| {
        let answer = nodes[node].get(&path).await;
        (answer.status, answer.text())
    };
    let said = |status: u16, text: &str| (status, text.to_owned());
    assert_eq!(ask(0, "/get/a".into()).await, said(200, "nothing"));
    assert_eq!(ask(0, "/set/a/one".into()).await, said(200, "done"));
    let (_, entry) = ask(1, "/get/a".into()).await;
    let (version, value) = entry.split_once(' ').expect("version and value");
    assert_eq!(value, "one");
    let swapped = ask(1, format!("/swap/a/{version}/two")).await;
    assert_eq!(swapped.0, 200);
    let late = ask(0, format!("/swap/a/{version}/three")).await;
    assert_eq!(late, said(409, "conflict"));
    assert_eq!(
        ask(0, "/get/a".into()).await,
        said(200, &format!("{} two", swapped.1))
    );
    assert_eq!(ask(0, "/swap/a/none/x".into()).await.0, 409);
    assert_eq!(ask(0, "/delete/a".into()).await, said(200, "done"));
    assert_eq!(ask(1, "/swap/a/none/x".into()).await.0, 200);
    // Numbers, exactly, and only numbers.
    assert_eq!(ask(0, "/add/n/40".into()).await, said(200, "40"));
    assert_eq!(ask(1, "/add/n/2".into()).await, said(200, "42"));
    let large = format!("/add/n/{}", i64::MAX - 42);
    assert_eq!(
        ask(0, large).await,
        said(200, &i64::MAX.to_string()),
        "no digit is lost"
    );
    assert_eq!(ask(0, "/add/n/1".into()).await, said(409, "conflict"));
    assert_eq!(ask(0, "/add/a/1".into()).await, said(409, "conflict"));
    // Time ends entries; writing begins it anew, adding does not.
    assert_eq!(ask(0, "/set/short/x/150".into()).await, said(200, "done"));
    eventually!(ask(1, "/get/short".into()).await, |it| *it
        == said(200, "nothing"));
    assert_eq!(ask(0, "/add/sum/1/60000".into()).await, said(200, "1"));
    let life = || redis.ask(&["PTTL", "postern:s:keeper:sum"])[0].clone();
    let life: i64 = life().parse().expect("a time");
    assert!((1..=60_000).contains(&life), "{life}");
    let long = "k".repeat(600);
    assert_eq!(ask(0, format!("/get/{long}")).await, said(413, "too large"));
    redis.kill();
    let away = ask(0, "/get/n".into()).await;
    assert!(away.0 == 503 && away.1.contains("away"), "{away:?}");
}

/// A gateway whose only route has this configuration of `rate-limit`, with its state in memory or elsewhere.
async fn counting(upstream: &Upstream, state: &str, config: &str) -> Gateway {
    let fragment = limited(upstream, state, "").replace("limits = []", config);
    Gateway::with(fragment).workers(2).start().await
}

/// In memory, and on a server where there is one.
async fn both() -> Vec<(Option<Redis>, String)> {
    let mut states = vec![(None, String::new())];
    if tool::is_there("redis-server") {
        let redis = Redis::start(&[]).await;
        let state = on(&redis, "");
        states.push((Some(redis), state));
    }
    states
}

#[tokio::test]
async fn every_algorithm_is_exact_with_sixty_four_connections() {
    let upstream = Upstream::says("served");
    for (_redis, state) in both().await {
        for algorithm in ["fixed-window", "sliding-window", "token-bucket"] {
            let config = format!(
                "limits = [\"150/day\", \"10000/31days\"], algorithm = \"{algorithm}\", scope = \"{algorithm}\""
            );
            let gateway = counting(&upstream, &state, &config).await;
            let statuses = storm(&[&gateway], 64, 5).await;
            let granted = count(&statuses, 200);
            assert_eq!(granted, 150, "{algorithm} {state}");
            assert_eq!(count(&statuses, 429), 170, "{algorithm} {state}");
        }
    }
}

#[tokio::test]
async fn a_bucket_fills_and_a_sliding_window_slides() {
    let upstream = Upstream::says("served");
    for (_redis, state) in both().await {
        let bucket = "limits = [\"20/2s\"], burst = 3, algorithm = \"token-bucket\"";
        let gateway = counting(&upstream, &state, bucket).await;
        let begun = Instant::now();
        let mut granted = 0;
        while begun.elapsed() < Duration::from_millis(1_050) {
            granted += usize::from(gateway.get("/").await.status == 200);
        }
        // Three at once, and then one each 100 ms.
        let most = 4 + begun.elapsed().as_millis() as usize / 100;
        assert!(
            (11..=most).contains(&granted),
            "{granted} of {most} {state}"
        );
        let sliding = "limits = [\"4/600ms\"], algorithm = \"sliding-window\", scope = \"s\"";
        let gateway = counting(&upstream, &state, sliding).await;
        for expected in [200, 200, 200, 200, 429] {
            assert_eq!(gateway.get("/").await.status, expected);
        }
        let begun = Instant::now();
        eventually!(gateway.get("/").await.status, |status| *status == 200);
        // A quarter of the next window, when three quarters of the four count.
        assert!(begun.elapsed() > Duration::from_millis(500), "{state}");
        assert_eq!(gateway.get("/").await.status, 429, "{state}");
    }
}

#[tokio::test]
async fn a_response_says_what_its_request_has_cost() {
    let upstream = Upstream::start(|_| {
        let reply = postern_tests::reply(200).header("X-Cost", "6");
        reply.body("dear").into()
    });
    for (_redis, state) in both().await {
        let config = "limits = [\"10/hour\"], cost-header = \"x-cost\"";
        let gateway = counting(&upstream, &state, config).await;
        for left in [9, 3] {
            let answer = gateway.get("/").await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("x-cost"), None);
            let told = answer.header("ratelimit").expect("it tells what is left");
            assert!(told.contains(&format!(";r={left};")), "{told} {state}");
        }
        assert_eq!(gateway.get("/").await.status, 429);
    }
}

#[tokio::test]
async fn a_place_is_taken_until_the_response_has_ended() {
    for (_redis, state) in both().await {
        let gate = postern_tests::Gate::default();
        let upstream = Upstream::held(&gate, "at last");
        let config = "limits = [], by = \"address\", concurrency = 3";
        let gateway = counting(&upstream, &state, config).await;
        let address = gateway.address();
        let held: Vec<_> = (0..3)
            .map(|_| {
                tokio::spawn(
                    async move { postern_tests::client::call(address, &Call::get("/")).await },
                )
            })
            .collect();
        eventually!(upstream.count(), |count| *count == 3);
        let answer = gateway.get("/").await;
        assert_eq!(
            (answer.status, &*answer.code()),
            (429, "concurrency-limited")
        );
        assert_eq!(answer.header("retry-after").as_deref(), Some("1"));
        gate.open();
        for held in held {
            assert_eq!(held.await.expect("no panic").status, 200);
        }
        eventually!(gateway.get("/").await.status, |status| *status == 200);
    }
}

#[tokio::test]
async fn a_dry_run_refuses_nobody() {
    let upstream = Upstream::says("served");
    let config = "limits = [\"1/hour\"], dry-run = true";
    let gateway = counting(&upstream, "", config).await;
    for left in [0, 0, 0] {
        let answer = gateway.get("/").await;
        let told = answer.header("ratelimit").expect("it tells what is left");
        assert!(answer.status == 200 && told.contains(&format!(";r={left};")));
    }
    assert_eq!(gateway.log("dry run, it passes").len(), 2);
}
