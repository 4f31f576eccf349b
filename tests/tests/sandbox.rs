//! Guests that misbehave cost the request that made them, and nobody else.

use std::time::{Duration, Instant};

use postern_tests::setup::Setup;
use postern_tests::{Answer, Call, Gateway, Upstream, eventually};

/// A gateway with one misbehaving plugin on `/bad`, which acts on requests with `x-crash`, and a route without.
async fn gateway(upstream: &Upstream, config: &str, keys: &str) -> Gateway {
    setup(upstream, config, keys).start().await
}

fn setup(upstream: &Upstream, config: &str, keys: &str) -> Setup {
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [
            {{ name = "bad", path = "/bad", plugins = ["bad"], upstream = "u" }},
            {{ name = "good", path = "/good", upstream = "u" }},
        ]
        [plugin.bad]
        file = "misbehaving.wasm"
        config = {{ when-header = "x-crash", {config} }}
        {keys}
        "#
    );
    Gateway::with(fragment)
}

fn crash() -> Call {
    Call::get("/bad").header("x-crash", "now")
}

fn assert_plugin_failed(answer: &Answer) {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "plugin-failed"),
        "{}",
        answer.text()
    );
    assert_eq!(
        answer.header("proxy-status").as_deref(),
        Some("postern; error=proxy_internal_error")
    );
    assert_eq!(
        answer.json()["title"],
        "The gateway cannot serve this request",
        "clients learn no details"
    );
}

/// The one line of the log about a failed request.
async fn failure(gateway: &Gateway, answer: &Answer) -> serde_json::Value {
    let id = answer.json()["request_id"]
        .as_str()
        .expect("a problem names its request")
        .to_owned();
    let lines = eventually!(gateway.log(&id), |lines| !lines.is_empty());
    let failures: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("\"reason\""))
        .collect();
    let [line] = failures[..] else {
        panic!("one failure is one line: {lines:#?}")
    };
    serde_json::from_str(line).expect("the log is JSON")
}

#[tokio::test]
async fn whatever_a_plugin_does_the_next_request_is_served() {
    for (config, reason, detail) in [
        (r#"do = "trap", message = "the last words""#, "trap", ""),
        (r#"do = "abort""#, "trap", ""),
        (r#"do = "exit""#, "trap", "exit"),
        (r#"do = "spin""#, "cpu", "2ms of CPU time (budget.cpu)"),
        (r#"do = "recurse""#, "trap", "stack"),
        (r#"do = "allocate""#, "memory", "budget.memory"),
        (
            r#"do = "many-headers", count = 129"#,
            "bad-verdict",
            "at most 128",
        ),
        (
            r#"do = "many-headers", count = 100000"#,
            "cpu",
            "budget.cpu",
        ),
        (
            r#"do = "huge-header", size = 65537"#,
            "bad-verdict",
            "at most 128",
        ),
    ] {
        let upstream = Upstream::says("served");
        let gateway = gateway(&upstream, config, "").await;
        assert_eq!(
            gateway.get("/bad").await.text(),
            "served",
            "{config}: it lets others pass"
        );
        let answer = gateway.call(&crash()).await;
        assert_plugin_failed(&answer);
        assert_eq!(
            gateway.get("/bad").await.text(),
            "served",
            "{config}: the next request"
        );
        assert_eq!(
            gateway.get("/good").await.text(),
            "served",
            "{config}: another route"
        );
        assert_eq!(
            upstream.count(),
            3,
            "{config}: the failed request did not go on"
        );

        let line = failure(&gateway, &answer).await;
        assert_eq!(line["reason"], reason, "{config}: {line}");
        assert_eq!(
            (line["plugin"].as_str(), line["route"].as_str()),
            (Some("bad"), Some("bad")),
            "{line}"
        );
        assert_eq!(
            (line["phase"].as_str(), line["level"].as_str()),
            (Some("request"), Some("ERROR")),
            "{line}"
        );
        assert!(
            line["message"]
                .as_str()
                .is_some_and(|message| message.contains(detail)),
            "{config}: {line}"
        );
        if matches!(reason, "trap" | "cpu" | "memory") {
            let backtrace = line["backtrace"].as_str().unwrap_or_default();
            assert!(
                backtrace.contains("misbehaving"),
                "{config}: function names of the guest: {line}"
            );
        }
        let series = format!(r#"postern_plugin_failures_total{{plugin="bad",reason="{reason}"}}"#);
        eventually!(gateway.metric(&series).await, |count| *count == Some(1.0));
        let log = eventually!(gateway.access_log(), |lines| lines.len() == 4);
        assert!(
            log.iter()
                .any(|line| line["code"] == "plugin-failed" && line["status"] == 503),
            "{log:#?}"
        );
    }
}

#[tokio::test]
async fn a_plugin_that_hands_over_too_many_bytes_at_once_is_ended() {
    let upstream = Upstream::says("served");
    let budget = "budget = { host-call-bytes = \"2KiB\" }";
    let gateway = gateway(&upstream, r#"do = "huge-header", size = 5000"#, budget).await;
    let answer = gateway.call(&crash()).await;
    assert_plugin_failed(&answer);
    assert_eq!(
        failure(&gateway, &answer).await["reason"],
        "host-call-bytes"
    );
    assert_eq!(gateway.get("/bad").await.text(), "served");
}

#[tokio::test]
async fn the_last_words_of_a_panic_are_in_the_log() {
    let upstream = Upstream::says("served");
    let gateway = gateway(
        &upstream,
        r#"do = "trap", message = "the guest's last words 4711""#,
        "",
    )
    .await;
    let answer = gateway.call(&crash()).await;
    assert_plugin_failed(&answer);
    let lines = eventually!(gateway.log("last words 4711"), |lines| !lines.is_empty());
    let id = answer.json()["request_id"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(
        lines
            .iter()
            .any(|line| line.contains(&id) && line.contains("\"plugin\":\"bad\"")),
        "{lines:#?}"
    );
}

#[tokio::test]
async fn a_failure_in_any_phase_is_contained() {
    for phase in ["request", "request-body", "response", "response-body"] {
        for isolation in ["reuse", "request"] {
            let upstream = Upstream::says("served");
            let config = format!(r#"do = "trap", phase = "{phase}""#);
            let gateway =
                gateway(&upstream, &config, &format!("isolation = \"{isolation}\"")).await;
            let call = Call::post("/bad", "body").header("x-crash", "now");
            let answer = gateway.call(&call).await;
            assert_plugin_failed(&answer);
            let line = failure(&gateway, &answer).await;
            assert_eq!(line["phase"], phase, "{line}");
            let answer = gateway.call(&Call::post("/bad", "body")).await;
            assert_eq!(answer.text(), "served", "{phase}, {isolation}");
        }
    }
}

#[tokio::test]
async fn a_responder_that_fails_is_contained() {
    for (config, reason) in [
        (r#"do = "trap""#, "trap"),
        (r#"do = "error", message = "no idea""#, "error"),
        (r#"do = "spin""#, "cpu"),
    ] {
        let fragment = format!(
            r#"
            route = [{{ name = "r", path = "/", responder = "bad" }}]
            plugin.bad = {{ file = "misbehaving.wasm", config = {{ {config}, phase = "respond", when-header = "x-crash" }} }}
            "#
        );
        let gateway = Gateway::with(fragment).start().await;
        assert_eq!(gateway.get("/").await.text(), "fine\n");
        let answer = gateway.call(&Call::get("/").header("x-crash", "now")).await;
        assert_plugin_failed(&answer);
        assert_eq!(failure(&gateway, &answer).await["reason"], reason);
        assert_eq!(gateway.get("/").await.text(), "fine\n");
    }
}

#[tokio::test]
async fn on_failure_open_goes_on_as_if_the_plugin_were_not_there() {
    for phase in ["request", "request-body", "response", "response-body"] {
        let upstream = Upstream::says("served");
        let config = format!(r#"do = "trap", phase = "{phase}""#);
        let gateway = gateway(&upstream, &config, r#"on-failure = "open""#).await;
        let answer = gateway
            .call(&Call::post("/bad", "the body").header("x-crash", "now"))
            .await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "served"),
            "{phase}"
        );
        assert_eq!(upstream.last().body, b"the body", "{phase}");
        let series = r#"postern_plugin_failures_total{plugin="bad",reason="trap"}"#;
        eventually!(gateway.metric(series).await, |count| *count == Some(1.0));
    }
}

#[tokio::test]
async fn on_failure_can_be_a_fixed_reply() {
    for phase in ["request", "response"] {
        let upstream = Upstream::says("served");
        let config = format!(r#"do = "trap", phase = "{phase}""#);
        let keys = r#"on-failure = { status = 502, body = "try again" }"#;
        let gateway = gateway(&upstream, &config, keys).await;
        let answer = gateway.call(&crash()).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (502, "try again"),
            "{phase}"
        );
        assert_eq!(
            answer.header("content-type").as_deref(),
            Some("text/plain; charset=utf-8")
        );
        let log = eventually!(gateway.access_log(), |lines| lines.len() == 1);
        assert_eq!(log[0]["code"], "plugin-failed", "{phase}: {}", log[0]);
        assert_eq!(gateway.get("/bad").await.text(), "served");
    }
}

#[tokio::test]
async fn a_flood_of_crashes_does_not_switch_the_plugin_off() {
    let upstream = Upstream::says("served");
    let gateway = gateway(&upstream, r#"do = "trap""#, "").await;
    let mut connection = gateway.connect().await;
    for _ in 0..200 {
        assert_eq!(connection.call(&crash()).await.status, 503);
        assert_eq!(connection.call(&Call::get("/bad")).await.status, 200);
    }
}

#[tokio::test]
async fn one_plugins_failure_does_not_keep_others_from_the_answer() {
    let upstream = Upstream::says("served");
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        plugin.greeter = {{ file = "greeter.wasm" }}
        plugin.bad = {{ file = "misbehaving.wasm", config = {{ do = "trap", phase = "PHASE" }} }}
        route = [{{ name = "r", path = "/", plugins = ["greeter", "bad"], upstream = "u" }}]
        "#
    );
    for phase in ["request", "response"] {
        let gateway = Gateway::with(fragment.replace("PHASE", phase))
            .start()
            .await;
        let answer = gateway.get("/").await;
        assert_plugin_failed(&answer);
        assert_eq!(
            answer.header("x-greeting").as_deref(),
            Some("hello"),
            "{phase}"
        );
    }
}

#[tokio::test]
async fn an_instance_that_grows_is_replaced_and_its_memory_is_not_the_hosts() {
    let upstream = Upstream::says("served");
    let gateway = gateway(&upstream, r#"do = "hoard""#, "").await;
    let mut connection = gateway.connect().await;
    for _ in 0..100 {
        // 2 MiB a call, 16 MiB for an instance: without replacement the eighth fails.
        assert_eq!(connection.call(&crash()).await.status, 200);
    }
    let instances = gateway
        .metric(r#"postern_plugin_instances{plugin="bad"}"#)
        .await;
    assert!(
        instances.is_some_and(|instances| instances <= 2.0),
        "{instances:?}"
    );
}

#[tokio::test]
async fn an_instance_is_replaced_after_its_calls() {
    let upstream = Upstream::says("served");
    let gateway = gateway(
        &upstream,
        r#"do = "nothing""#,
        "budget = { max-calls = 10 }",
    )
    .await;
    let mut connection = gateway.connect().await;
    for _ in 0..100 {
        assert_eq!(connection.call(&Call::get("/bad")).await.status, 200);
    }
    let instances = gateway
        .metric(r#"postern_plugin_instances{plugin="bad"}"#)
        .await;
    assert!(
        instances.is_some_and(|instances| instances <= 2.0),
        "{instances:?}"
    );
}

#[tokio::test]
async fn a_plugin_that_changes_its_mind_at_every_start_fails_and_is_contained() {
    let upstream = Upstream::says("served");
    let gateway = gateway(&upstream, r#"do = "fickle""#, "").await;
    let answer = gateway.get("/bad").await;
    assert_plugin_failed(&answer);
    assert_eq!(failure(&gateway, &answer).await["reason"], "start");
    assert_eq!(gateway.get("/good").await.text(), "served");
}

#[tokio::test]
async fn what_guests_print_and_log_is_escaped_bounded_and_signed() {
    for (config, words) in [
        (
            r#"do = "print""#,
            &[
                "to standard output",
                "to standard error, and no line end",
                "long long",
            ][..],
        ),
        (
            r#"do = "flood-log", count = 20"#,
            &["line 0", "line 19"][..],
        ),
    ] {
        let upstream = Upstream::says("served");
        let fragment = format!(
            r#"
            upstream.u.targets = ["{upstream}"]
            plugin.talker = {{ file = "misbehaving.wasm", config = {{ {config} }}, budget = {{ cpu = "200ms" }} }}
            route = [{{ name = "r", path = "/", plugins = ["talker"], upstream = "u" }}]
            "#
        );
        let gateway = Gateway::with(fragment).process().await;
        assert_eq!(gateway.get("/").await.text(), "served", "{config}");
        for word in words {
            eventually!(gateway.log(word), |lines| !lines.is_empty());
        }
        let log = eventually!(gateway.access_log(), |lines| lines.len() == 1);
        let id = log[0]["id"].as_str().expect("a line has an id");
        for line in gateway.log("\"talker\"") {
            assert!(line.len() < 20_000, "a line of {} bytes", line.len());
            assert!(!line.chars().any(char::is_control), "{line:?}");
            // What was read by a JSON parser must not hold control characters either: terminals see it next.
            let parsed: serde_json::Value =
                serde_json::from_str(&line).expect("each line is a whole one");
            let message = parsed["message"].as_str().expect("a line has a message");
            assert!(!message.chars().any(char::is_control), "{message:?}");
            assert_eq!(
                (parsed["request"].as_str(), parsed["route"].as_str()),
                (Some(id), Some("r")),
                "{line}"
            );
        }
    }
}

#[tokio::test]
async fn notes_are_bounded() {
    let upstream = Upstream::says("served");
    let gateway = gateway(
        &upstream,
        r#"do = "flood-notes", count = 1000"#,
        "budget = { cpu = \"200ms\" }",
    )
    .await;
    let answer = gateway.call(&crash()).await;
    assert!(matches!(answer.status, 200 | 503), "{}", answer.text());
    assert_eq!(gateway.get("/bad").await.text(), "served");
}

#[tokio::test]
async fn a_plugin_with_a_large_budget_shares_its_worker() {
    let upstream = Upstream::says("served");
    let gateway = gateway(
        &upstream,
        r#"do = "spin", milliseconds = 500"#,
        "budget = { cpu = \"5s\" }",
    )
    .await;
    let address = gateway.address();
    let slow = tokio::spawn(async move { postern_tests::client::call(address, &crash()).await });
    let mut neighbour = gateway.connect().await;
    let mut served = 0;
    while !slow.is_finished() {
        assert_eq!(neighbour.call(&Call::get("/good")).await.status, 200);
        served += 1;
    }
    assert_eq!(
        slow.await.expect("no panic").text(),
        "served",
        "it may take its time"
    );
    assert!(
        served > 10,
        "only {served} requests of another route were served meanwhile"
    );
}

/// The figure that is wanted is 5 ms; a test machine has other things to do, too.
const LONGEST_DELAY: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_loop_hardly_delays_other_routes_of_its_worker() {
    let upstream = Upstream::says("served");
    let gateway = setup(&upstream, r#"do = "spin""#, "").process().await;
    let mut neighbour = gateway.connect().await;
    let mut measure = async |time: Duration| {
        let (begun, mut delays) = (Instant::now(), Vec::new());
        while begun.elapsed() < time {
            let sent = Instant::now();
            assert_eq!(neighbour.call(&Call::get("/good")).await.status, 200);
            delays.push(sent.elapsed());
        }
        delays.sort();
        delays
    };
    measure(Duration::from_millis(200)).await;
    let calm = measure(Duration::from_secs(1)).await;
    let address = gateway.address();
    let spinning = tokio::spawn(async move {
        let mut connection = postern_tests::Connection::h1(address).await;
        let mut loops = 0;
        loop {
            assert_eq!(connection.call(&crash()).await.status, 503);
            loops += 1;
            if loops > 1_000_000 {
                return;
            }
        }
    });
    let series = r#"postern_plugin_failures_total{plugin="bad",reason="cpu"}"#;
    eventually!(gateway.metric(series).await, |count| count
        .is_some_and(|count| count >= 1.0));
    let stormy = measure(Duration::from_secs(3)).await;
    spinning.abort();
    let loops = gateway.metric(series).await.unwrap_or_default();
    let show = |delays: &[Duration]| {
        let at = |share: usize| delays[(delays.len() - 1) * share / 1_000];
        format!(
            "{} requests, median {:?}, p99 {:?}, p99.9 {:?}, longest {:?}",
            delays.len(),
            at(500),
            at(990),
            at(999),
            at(1_000)
        )
    };
    println!("undisturbed:              {}", show(&calm));
    println!("beside {loops} endless loops: {}", show(&stormy));
    assert!(loops > 10.0, "only {loops} loops ran");
    let longest = stormy.last().expect("requests were made");
    assert!(
        *longest <= LONGEST_DELAY,
        "a request of another route took {longest:?}"
    );
}
