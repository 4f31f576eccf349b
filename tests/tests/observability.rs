//! What operators see: the access log, the metrics page, the admin listener.

use postern_tests::upstream::Refusing;
use postern_tests::{Call, Connection, Gateway, Raw, Upstream, client, eventually, golden, reply};

/// A gateway with a route of each kind.
async fn gateway(log: &str) -> (Gateway, Upstream, Refusing) {
    let upstream = Upstream::start(|_| reply(200).body("served").into());
    let down = Refusing::default();
    let fragment = format!(
        r#"
        upstream.up.targets = ["{upstream}"]
        upstream.down.targets = ["{down}"]
        plugin.key = {{ file = "api-key.wasm", grants = ["identity"] }}
        plugin.bad = {{ file = "misbehaving.wasm", config = {{ do = "trap" }} }}
        route = [
            {{ name = "open", path = "/open/{{*rest}}", upstream = "up" }},
            {{ name = "keyed", path = "/keyed", plugins = ["key"], upstream = "up" }},
            {{ name = "down", path = "/down", upstream = "down" }},
            {{ name = "bad", path = "/bad", plugins = ["bad"], upstream = "up" }},
        ]
        consumer.app.api-key = [{{ key = "file:key" }}]
        {log}
        [listen.public]
        address = "127.0.0.1:0"
        allow-encoded = ["control"]
        "#
    );
    (
        Gateway::with(fragment)
            .file("key", "the-key-of-the-app")
            .start()
            .await,
        upstream,
        down,
    )
}

/// The same calls, one after the other.
async fn calls(gateway: &Gateway) {
    let mut connection = gateway.connect().await;
    for call in [
        Call::get("/open/a?secret=1"),
        Call::post("/open/b", "12 bytes too"),
        Call::get("/keyed").header("x-api-key", "the-key-of-the-app"),
        Call::get("/keyed"),
        Call::get("/down"),
        Call::get("/bad"),
        Call::get("/nowhere"),
        Call::get("/open/%22%0A%1B[31m"),
    ] {
        connection.call(&call).await;
    }
    Connection::h2(gateway.address())
        .await
        .call(&Call::get("/open/h2"))
        .await;
}

/// A line without what changes from run to run.
fn portable(line: &str, ports: &[(String, &str)]) -> String {
    let mut out = String::new();
    let mut rest = line.to_owned();
    for (from, to) in ports {
        rest = rest.replace(from, to);
    }
    // Times and ids: digits and hexadecimal numbers after these words.
    for word in rest.split_inclusive([',', ' ', '}']) {
        let changing = [
            "\"time\":",
            "\"id\":",
            "\"duration_ms\":",
            "\"upstream_ms\":",
            "\"ms\":",
            "duration=",
            "id=",
            "upstream_time=",
        ];
        match changing
            .iter()
            .find(|name| word.trim_start_matches('{').starts_with(**name))
        {
            Some(name) => {
                let end = word.trim_end_matches([',', ' ', '}']);
                out += if word.starts_with('{') { "{" } else { "" };
                out += name;
                out += "...";
                out += &word[end.len()..];
            }
            // The time of an attempt stands behind its target and outcome.
            None if word.starts_with("attempt=") => {
                let (before, time) = word.rsplit_once(':').expect("an attempt has a time");
                out += before;
                out += ":...";
                out += &time[time.trim_end().len()..];
            }
            None => out += word,
        }
    }
    out
}

async fn written(gateway: &Gateway, upstream: &Upstream, down: &Refusing, text: bool) -> String {
    let path = gateway.folder().join("access.log");
    let log = eventually!(
        std::fs::read_to_string(&path).unwrap_or_default(),
        |log| log.lines().count() == 9
    );
    let ports = [
        (upstream.address().to_string(), "UPSTREAM"),
        (down.to_string().replace("http://", ""), "DOWN"),
    ];
    let lines = log.lines().map(|line| match text {
        // The time stands first.
        true => portable(line.split_once(' ').expect("a line has words").1, &ports),
        false => portable(line, &ports),
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

#[tokio::test]
async fn the_access_log_has_a_json_object_for_each_exchange() {
    let (gateway, upstream, down) = gateway("").await;
    calls(&gateway).await;
    golden::assert_golden(
        "access-log.jsonl",
        &written(&gateway, &upstream, &down, false).await,
    );
    for line in gateway.access_log() {
        assert_eq!(line["id"].as_str().map(str::len), Some(32), "{line}");
        assert!(
            line["duration_ms"].as_f64().is_some_and(|time| time > 0.0),
            "{line}"
        );
        assert!(
            !line.to_string().contains("secret"),
            "queries are not logged: {line}"
        );
    }
}

#[tokio::test]
async fn the_access_log_has_a_line_of_text_for_each_exchange() {
    let (gateway, upstream, down) =
        gateway("[access-log]\nformat = \"text\"\nfile = \"access.log\"").await;
    calls(&gateway).await;
    golden::assert_golden(
        "access-log.txt",
        &written(&gateway, &upstream, &down, true).await,
    );
}

#[tokio::test]
async fn the_metrics_page_counts_what_happened() {
    let (gateway, _upstream, _down) = gateway("").await;
    calls(&gateway).await;
    eventually!(gateway.access_log(), |lines| lines.len() == 9);
    for (series, value) in [
        (
            r#"postern_requests_total{route="open",source="upstream",status="200"}"#,
            4.0,
        ),
        (
            r#"postern_requests_total{route="keyed",source="upstream",status="200"}"#,
            1.0,
        ),
        (
            r#"postern_requests_total{route="keyed",source="plugin",status="401"}"#,
            1.0,
        ),
        (
            r#"postern_requests_total{route="down",source="gateway",status="503"}"#,
            1.0,
        ),
        (
            r#"postern_requests_total{route="bad",source="gateway",status="503"}"#,
            1.0,
        ),
        (
            r#"postern_requests_total{route="",source="gateway",status="404"}"#,
            1.0,
        ),
        (r#"postern_request_bytes_total{route="open"}"#, 12.0),
        (r#"postern_response_bytes_total{route="open"}"#, 24.0),
        (
            r#"postern_request_duration_seconds_count{route="open"}"#,
            4.0,
        ),
        (
            r#"postern_upstream_duration_seconds_count{upstream="up"}"#,
            5.0,
        ),
        (
            r#"postern_plugin_calls_total{outcome="edit",phase="request",plugin="key"}"#,
            1.0,
        ),
        (
            r#"postern_plugin_calls_total{outcome="reply",phase="request",plugin="key"}"#,
            1.0,
        ),
        (
            r#"postern_plugin_calls_total{outcome="failed",phase="request",plugin="bad"}"#,
            1.0,
        ),
        (
            r#"postern_plugin_failures_total{plugin="bad",reason="trap"}"#,
            1.0,
        ),
        (r#"postern_connections_total{listener="public"}"#, 2.0),
        ("postern_exchanges_in_flight", 0.0),
        ("postern_config_generation", 1.0),
        ("postern_access_log_dropped_total", 0.0),
    ] {
        assert_eq!(
            gateway.metric(series).await,
            Some(value),
            "{series}\n{}",
            gateway.metrics().await
        );
    }
}

#[tokio::test]
async fn strangers_cannot_make_series() {
    let (gateway, _upstream, _down) = gateway("").await;
    let series = async || {
        gateway
            .metrics()
            .await
            .lines()
            .filter(|line| !line.starts_with('#'))
            .count()
    };
    calls(&gateway).await;
    eventually!(gateway.access_log(), |lines| lines.len() == 9);
    let mut connection = gateway.connect().await;
    // A first one of each kind, which may make a series.
    for warm in [
        Call::new("FIRST", "/open/x"),
        Call::get("/first").host("first.test"),
    ] {
        connection.call(&warm).await;
    }
    let before = series().await;
    for number in 0..200 {
        connection
            .call(&Call::new(
                &format!("METHOD{number}"),
                &format!("/open/{number}"),
            ))
            .await;
        connection
            .call(&Call::get(&format!("/{number}")).host(&format!("host{number}.test")))
            .await;
        connection
            .call(&Call::get("/keyed").header("x-api-key", &format!("key-{number}")))
            .await;
    }
    eventually!(gateway.access_log(), |lines| lines.len() == 9 + 2 + 600);
    assert_eq!(series().await, before, "{}", gateway.metrics().await);
}

#[tokio::test]
async fn an_upstream_cannot_make_series_with_its_statuses() {
    let upstream = Upstream::start(|request| {
        let status: u16 = request
            .target
            .trim_start_matches('/')
            .parse()
            .unwrap_or(200);
        reply(status).into()
    });
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/{{*rest}}", upstream = "u" }}]
        "#
    );
    let gateway = Gateway::with(fragment).start().await;
    let mut connection = gateway.connect().await;
    for status in 600..1_000 {
        assert_eq!(
            connection
                .call(&Call::get(&format!("/{status}")))
                .await
                .status,
            status
        );
    }
    eventually!(gateway.access_log(), |lines| lines.len() == 400);
    let page = gateway.metrics().await;
    let series = page
        .lines()
        .filter(|line| line.starts_with("postern_requests_total{route=\"r\""))
        .count();
    assert!(
        series <= 2,
        "{series} series for statuses that do not exist"
    );
}

#[tokio::test]
async fn series_of_a_route_go_with_the_route() {
    let upstream = Upstream::says("served");
    let fragment = |route: &str| {
        format!(
            r#"
            upstream.u.targets = ["{upstream}"]
            route = [{{ name = "{route}", path = "/", upstream = "u" }}]
            "#
        )
    };
    let gateway = Gateway::with(fragment("before")).start().await;
    gateway.get("/").await;
    eventually!(gateway.metrics().await, |page| page
        .contains("route=\"before\""));
    gateway.edit(&fragment("after"));
    eventually!(gateway.generation().await, |generation| *generation == 2);
    gateway.get("/").await;
    let page = eventually!(gateway.metrics().await, |page| page
        .contains("route=\"after\""));
    assert!(!page.contains("route=\"before\""), "{page}");
}

#[tokio::test]
async fn the_admin_listener_tells_health_readiness_and_what_is_loaded() {
    let (gateway, _upstream, _down) = gateway("").await;
    let admin = gateway.admin();
    for (path, status, text) in [
        ("/healthz", 200, "ok\n"),
        ("/readyz", 200, "ready\n"),
        ("/nothing", 404, ""),
    ] {
        let answer = client::call(admin, &Call::get(path)).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.text().starts_with(text), "{path}: {}", answer.text());
    }
    let refused = client::call(admin, &Call::post("/metrics", "")).await;
    assert_eq!(
        (refused.status, refused.header("allow").as_deref()),
        (405, Some("GET, HEAD"))
    );
    let status = gateway.status().await;
    assert_eq!(
        (&status["ready"], &status["generation"]),
        (&true.into(), &1.into())
    );
    let plugins = status["plugins"].as_object().expect("plugins by name");
    assert_eq!(plugins.keys().collect::<Vec<_>>(), ["bad", "key"]);
    let page = client::call(admin, &Call::get("/metrics")).await;
    assert_eq!(
        page.header("content-type").as_deref(),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    // Every line of the page is one that Prometheus reads.
    for line in page.text().lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a series and a value");
        assert!(
            !series.is_empty() && (value.parse::<f64>().is_ok()),
            "{line}"
        );
    }
    // Nonsense on the admin listener is its own problem.
    let mut raw = Raw::connect(admin).await;
    raw.send("nonsense\r\n\r\n").await;
    raw.rest().await;
    assert_eq!(
        client::call(admin, &Call::get("/healthz")).await.status,
        200
    );
}
