//! The standard plugins through the whole gateway. `jwt` and `aggregate` have files of their own.

use std::time::Duration;

use postern_tests::{Call, Gateway, Upstream, eventually, reply};

async fn with_plugin(upstream: &Upstream, plugin: &str, tables: &str) -> Gateway {
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        plugin.p = {{ {plugin} }}
        route = [{{ name = "r", path = "/{{*rest}}", plugins = ["p"], upstream = "u" }}]
        {tables}
        "#
    );
    Gateway::with(fragment).start().await
}

const CONSUMERS: &str = r#"
    [tier.premium]
    limits = ["7/hour"]
    [consumer.shop]
    tier = "premium"
    groups = ["apps", "partners"]
    custom-id = "crm-4711"
    [[consumer.shop.api-key]]
    name = "shop-2026"
    key = "file:shop.key"
    [consumer.till]
    [[consumer.till.api-key]]
    key = "file:till.key"
"#;

fn keys(setup: postern_tests::setup::Setup) -> postern_tests::setup::Setup {
    setup
        .file("shop.key", "key-of-the-shop\n")
        .file("till.key", "key-of-the-till\n")
}

async fn keyed(upstream: &Upstream, config: &str) -> Gateway {
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        plugin.p = {{ file = "api-key.wasm", grants = ["identity"], config = {{ {config} }} }}
        route = [{{ name = "r", path = "/{{*rest}}", plugins = ["p"], upstream = "u" }}]
        {CONSUMERS}
        "#
    );
    keys(Gateway::with(fragment)).start().await
}

#[tokio::test]
async fn an_api_key_names_the_consumer_and_does_not_go_on() {
    let upstream = Upstream::says("served");
    let gateway = keyed(
        &upstream,
        r#"header = ["x-key"], query = ["key"], realm = "shop""#,
    )
    .await;
    for call in [
        Call::get("/a").header("x-key", "key-of-the-shop"),
        Call::get("/a?key=key-of-the-shop"),
        Call::get("/a?key=key-of-the-shop").header("x-key", "key-of-the-shop"),
    ] {
        let spoofed = call
            .header("x-consumer-name", "admin")
            .header("X-Consumer-Groups", "admins");
        assert_eq!(gateway.call(&spoofed).await.text(), "served", "{spoofed:?}");
        let request = upstream.last();
        assert_eq!(
            (request.target.as_str(), request.header("x-key")),
            ("/a", None),
            "{}",
            request.head
        );
        for (name, value) in [
            ("x-consumer-name", "shop"),
            ("x-consumer-tier", "premium"),
            ("x-consumer-groups", "apps, partners"),
            ("x-consumer-custom-id", "crm-4711"),
            ("x-credential-identifier", "shop-2026"),
        ] {
            let found = request
                .header(name)
                .map(|found| found.replace(", ", ","))
                .unwrap_or_default();
            assert_eq!(found, value.replace(", ", ","), "{name}");
        }
    }
    let log = eventually!(gateway.access_log(), |lines| lines.len() == 3);
    assert!(
        log.iter()
            .all(|line| line["consumer"] == "shop" && !line.to_string().contains("key-of")),
        "{log:#?}"
    );
}

#[tokio::test]
async fn without_a_good_api_key_nobody_gets_in() {
    let upstream = Upstream::says("served");
    let gateway = keyed(
        &upstream,
        r#"header = ["x-key"], query = ["key"], realm = "shop""#,
    )
    .await;
    for (call, status, code) in [
        (Call::get("/"), 401, "api-key-missing"),
        (
            Call::get("/").header("x-consumer-name", "shop"),
            401,
            "api-key-missing",
        ),
        (Call::get("/").header("x-key", ""), 401, ""),
        (
            Call::get("/").header("x-key", "key-of-the-sho"),
            401,
            "api-key-invalid",
        ),
        (
            Call::get("/").header("x-key", "key-of-the-shop2"),
            401,
            "api-key-invalid",
        ),
        (
            Call::get("/").header("x-key", "Key-of-the-shop"),
            401,
            "api-key-invalid",
        ),
        (
            Call::get("/").header("x-key", &"x".repeat(600)),
            401,
            "api-key-invalid",
        ),
        (
            Call::get("/?key=key-of-the-till").header("x-key", "key-of-the-shop"),
            400,
            "api-key-ambiguous",
        ),
    ] {
        let answer = gateway.call(&call).await;
        assert_eq!(answer.status, status, "{call:?}: {}", answer.text());
        assert!(
            answer.code().starts_with("api-key-") && answer.code().contains(code),
            "{}",
            answer.text()
        );
        assert_eq!(
            answer.header("content-type").as_deref(),
            Some("application/problem+json")
        );
        if status == 401 {
            let challenge = answer.header("www-authenticate").unwrap_or_default();
            assert!(
                challenge.starts_with("ApiKey") && challenge.contains("realm=\"shop\""),
                "{challenge}"
            );
        }
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn of_two_hundred_concurrent_requests_exactly_one_hundred_pass() {
    let upstream = Upstream::says("served");
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        plugin.p = {{ file = "rate-limit.wasm", grants = ["limits"], config = {{ limits = ["100/hour"] }} }}
        route = [{{ name = "r", path = "/", plugins = ["p"], upstream = "u" }}]
        "#
    );
    let gateway = Gateway::with(fragment).workers(2).start().await;
    let address = gateway.address();
    let start = std::sync::Arc::new(tokio::sync::Barrier::new(64));
    let clients = (0..64).map(|number| {
        let start = std::sync::Arc::clone(&start);
        tokio::spawn(async move {
            let mut connection = postern_tests::Connection::h1(address).await;
            start.wait().await;
            let mut statuses = Vec::new();
            // 64 connections share 200 requests.
            for _ in 0..(if number < 8 { 4 } else { 3 }) {
                statuses.push(connection.call(&Call::get("/")).await.status);
            }
            statuses
        })
    });
    let statuses = futures_util::future::join_all(clients).await;
    let statuses: Vec<u16> = statuses
        .into_iter()
        .flat_map(|client| client.expect("no panic"))
        .collect();
    let count = |status| statuses.iter().filter(|found| **found == status).count();
    assert_eq!((statuses.len(), count(200), count(429)), (200, 100, 100));
    assert_eq!(upstream.count(), 100);
}

#[tokio::test]
async fn a_limit_tells_how_much_is_left_and_when_to_come_back() {
    let upstream = Upstream::says("served");
    let plugin = r#"file = "rate-limit.wasm", grants = ["limits"], config = { limits = ["2/minute", "100/hour"] }"#;
    let gateway = with_plugin(&upstream, plugin, "").await;
    for left in [1, 0] {
        let answer = gateway.get("/").await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.header("ratelimit-policy").as_deref(),
            Some(r#""minute";q=2;w=60, "hour";q=100;w=3600"#)
        );
        let limit = answer.header("ratelimit").expect("it tells what is left");
        assert!(
            limit.starts_with(&format!("\"minute\";r={left};t=")),
            "{limit}"
        );
    }
    let answer = gateway.get("/").await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (429, "rate-limited")
    );
    let wait: u64 = answer
        .header("retry-after")
        .and_then(|wait| wait.parse().ok())
        .expect("it says when to come back");
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn the_older_headers_of_limits_are_an_option() {
    let upstream = Upstream::says("served");
    let plugin = r#"file = "rate-limit.wasm", grants = ["limits"], config = { limits = ["5/minute"], headers = "legacy" }"#;
    let gateway = with_plugin(&upstream, plugin, "").await;
    let answer = gateway.get("/").await;
    assert_eq!(
        answer.header("x-ratelimit-limit-minute").as_deref(),
        Some("5")
    );
    assert_eq!(
        answer.header("x-ratelimit-remaining-minute").as_deref(),
        Some("4")
    );
    assert_eq!(answer.header("ratelimit-policy"), None);
}

#[tokio::test]
async fn a_consumer_has_the_limits_of_its_tier_and_others_have_their_own() {
    let upstream = Upstream::says("served");
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        plugin.key = {{ file = "api-key.wasm", grants = ["identity"] }}
        plugin.limit = {{ file = "rate-limit.wasm", grants = ["limits"], config = {{ limits = ["2/hour"] }} }}
        route = [{{ name = "r", path = "/", plugins = ["key", "limit"], upstream = "u" }}]
        {CONSUMERS}
        "#
    );
    let gateway = keys(Gateway::with(fragment)).start().await;
    for (key, passes) in [("key-of-the-shop", 7), ("key-of-the-till", 2)] {
        let call = Call::get("/").header("x-api-key", key);
        for _ in 0..passes {
            assert_eq!(gateway.call(&call).await.status, 200, "{key}");
        }
        assert_eq!(gateway.call(&call).await.status, 429, "{key}");
    }
}

#[tokio::test]
async fn clients_are_told_apart_by_address_behind_a_trusted_proxy() {
    let upstream = Upstream::says("served");
    let plugin = r#"file = "rate-limit.wasm", grants = ["limits"], config = { by = "address", limits = ["1/hour"] }"#;
    let listener = "[listen.public]\naddress = \"127.0.0.1:0\"\ntrusted-proxies = [\"127.0.0.1\"]";
    let gateway = with_plugin(&upstream, plugin, listener).await;
    for (client, status) in [
        ("192.0.2.1", 200),
        ("192.0.2.2", 200),
        ("192.0.2.1", 429),
        ("192.0.2.9, 192.0.2.2", 429),
    ] {
        let answer = gateway
            .call(&Call::get("/").header("x-forwarded-for", client))
            .await;
        assert_eq!(answer.status, status, "{client}");
    }
}

#[tokio::test]
async fn a_window_ends() {
    let upstream = Upstream::says("served");
    let plugin =
        r#"file = "rate-limit.wasm", grants = ["limits"], config = { limits = ["1/300ms"] }"#;
    let gateway = with_plugin(&upstream, plugin, "").await;
    assert_eq!(gateway.get("/").await.status, 200);
    let begun = std::time::Instant::now();
    eventually!(gateway.get("/").await.status, |status| *status == 200);
    assert!(
        begun.elapsed() > Duration::from_millis(200),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn headers_are_transformed_in_both_directions() {
    let upstream = Upstream::start(|_| {
        reply(200)
            .header("X-Powered-By", "cgi")
            .header("Server", "old")
            .header("X-Old", "1")
            .body("served")
            .into()
    });
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/orders/{{id}}", plugins = ["p"], upstream = "u" }}]
        [plugin.p]
        file = "header-transform.wasm"
        [plugin.p.config.request]
        remove = ["x-internal"]
        rename = {{ "X-Old-Name" = "X-New-Name" }}
        replace = {{ "X-There" = "replaced", "X-Not-There" = "replaced" }}
        add = {{ "X-Order" = "order {{path.id}} of {{query.shop}}", "X-There" = "not added", "X-Agent" = "{{header.user-agent}}" }}
        append = {{ "X-Many" = "2" }}
        [plugin.p.config.response]
        remove = ["X-Powered-By"]
        rename = {{ "X-Old" = "X-New" }}
        replace = {{ "Server" = "gateway" }}
        add = {{ "X-Served" = "order {{path.id}}" }}
        "#
    );
    let gateway = Gateway::with(fragment).start().await;
    let call = Call::get("/orders/17?shop=b%C3%BCcher%0d%0ax:y")
        .header("x-internal", "1")
        .header("x-old-name", "moved")
        .header("x-there", "before")
        .header("x-many", "1")
        .header("user-agent", "test/1.0");
    let answer = gateway.call(&call).await;
    let request = upstream.last();
    for (name, value) in [
        ("x-internal", None),
        ("x-old-name", None),
        ("x-new-name", Some("moved")),
        ("x-there", Some("replaced")),
        ("x-not-there", None),
        ("x-agent", Some("test/1.0")),
        ("x-many", Some("1, 2")),
        // A value that could begin a header of its own counts as absent.
        ("x-order", Some("order 17 of")),
        ("x", None),
    ] {
        assert_eq!(request.header(name).as_deref(), value, "{name}");
    }
    for (name, value) in [
        ("x-powered-by", None),
        ("x-old", None),
        ("x-new", Some("1")),
        ("server", Some("gateway")),
        ("x-served", Some("order 17")),
    ] {
        assert_eq!(answer.header(name).as_deref(), value, "{name}");
    }
}

const CORS: &str = r#"file = "cors.wasm", config = {
    origins = ["https://shop.test", "https://*.preview.test"], methods = ["GET", "PUT"], allow-headers = ["x-a", "content-type"],
    expose-headers = ["x-total"], credentials = true, max-age = "10m" }"#;

#[tokio::test]
async fn a_preflight_is_answered_without_the_upstream() {
    let upstream = Upstream::says("served");
    let gateway = with_plugin(&upstream, &CORS.replace('\n', " "), "").await;
    let preflight = |origin: &str| {
        Call::new("OPTIONS", "/orders")
            .header("origin", origin)
            .header("access-control-request-method", "PUT")
            .header("access-control-request-headers", "x-a")
    };
    for origin in ["https://shop.test", "https://a.b.preview.test"] {
        let answer = gateway.call(&preflight(origin)).await;
        assert_eq!((answer.status, answer.body.len()), (204, 0));
        assert_eq!(
            answer.header("access-control-allow-origin").as_deref(),
            Some(origin)
        );
        assert_eq!(
            answer.header("access-control-allow-credentials").as_deref(),
            Some("true")
        );
        assert_eq!(
            answer.header("access-control-max-age").as_deref(),
            Some("600")
        );
        let methods = answer
            .header("access-control-allow-methods")
            .unwrap_or_default();
        assert!(
            methods.contains("GET") && methods.contains("PUT") && !methods.contains("DELETE"),
            "{methods}"
        );
        assert!(
            answer
                .header("access-control-allow-headers")
                .unwrap_or_default()
                .to_lowercase()
                .contains("x-a")
        );
        assert!(
            answer
                .header("vary")
                .unwrap_or_default()
                .to_lowercase()
                .contains("origin")
        );
    }
    for origin in [
        "https://evil.test",
        "https://shop.test.evil.test",
        "http://shop.test",
        "https://preview.test",
        "null",
    ] {
        let answer = gateway.call(&preflight(origin)).await;
        assert_eq!(
            answer.header("access-control-allow-origin"),
            None,
            "{origin}"
        );
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_preflight_reaches_the_plugins_of_the_route_that_it_asks_about() {
    let upstream = Upstream::says("served");
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        plugin.cors = {{ file = "cors.wasm", config = {{ origins = ["https://shop.test"] }} }}
        route = [
            {{ name = "read", path = "/orders", methods = ["GET"], upstream = "u" }},
            {{ name = "write", path = "/orders", methods = ["PUT"], plugins = ["cors"], upstream = "u" }},
        ]
        "#
    );
    let gateway = Gateway::with(fragment).start().await;
    let preflight = |method: &str| {
        Call::new("OPTIONS", "/orders")
            .header("origin", "https://shop.test")
            .header("access-control-request-method", method)
    };
    let answer = gateway.call(&preflight("PUT")).await;
    assert_eq!(answer.status, 204);
    assert_eq!(
        answer.header("access-control-allow-origin").as_deref(),
        Some("https://shop.test")
    );
    assert_eq!(gateway.call(&preflight("DELETE")).await.status, 405);
    assert_eq!(
        gateway.call(&Call::new("OPTIONS", "/orders")).await.status,
        405,
        "this is no preflight"
    );
}

#[tokio::test]
async fn answers_to_allowed_origins_say_so() {
    let upstream = Upstream::start(|_| {
        reply(200)
            .header("Access-Control-Allow-Origin", "*")
            .header("Vary", "Accept")
            .body("served")
            .into()
    });
    let gateway = with_plugin(&upstream, &CORS.replace('\n', " "), "").await;
    let answer = gateway
        .call(&Call::get("/").header("origin", "https://shop.test"))
        .await;
    assert_eq!(answer.text(), "served");
    assert_eq!(
        answer.header("access-control-allow-origin").as_deref(),
        Some("https://shop.test")
    );
    assert_eq!(
        answer.header("access-control-expose-headers").as_deref(),
        Some("x-total")
    );
    assert_eq!(
        answer
            .header("vary")
            .map(|vary| vary.to_lowercase())
            .as_deref(),
        Some("accept, origin")
    );
    let answer = gateway
        .call(&Call::get("/").header("origin", "https://evil.test"))
        .await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (200, None)
    );
    assert!(
        gateway
            .get("/")
            .await
            .header("vary")
            .unwrap_or_default()
            .to_lowercase()
            .contains("origin")
    );
}

#[tokio::test]
async fn one_id_is_with_the_upstream_the_client_and_the_log() {
    let upstream = Upstream::says("served");
    let gateway = with_plugin(&upstream, r#"file = "correlation-id.wasm""#, "").await;
    let made = gateway
        .get("/")
        .await
        .header("x-request-id")
        .expect("the client is told");
    assert_eq!(upstream.last().header("x-request-id").as_ref(), Some(&made));
    let answer = gateway
        .call(&Call::get("/").header("x-request-id", "mine-1"))
        .await;
    assert_eq!(answer.header("x-request-id").as_deref(), Some("mine-1"));
    assert_eq!(
        upstream.last().header("x-request-id").as_deref(),
        Some("mine-1")
    );
    for bad in ["two words", "", &"x".repeat(129)] {
        let answer = gateway
            .call(&Call::get("/").header("x-request-id", bad))
            .await;
        let id = answer.header("x-request-id").expect("it has one");
        assert!(id != bad && id.len() == 32, "{bad:?} became {id:?}");
    }
    let log = eventually!(gateway.access_log(), |lines| lines.len() == 5);
    assert_eq!(
        (log[0]["id"].as_str(), log[1]["id"].as_str()),
        (Some(made.as_str()), Some("mine-1"))
    );
}

#[tokio::test]
async fn a_correlation_id_is_on_errors_too() {
    let refusing = postern_tests::upstream::Refusing::default();
    let fragment = format!(
        r#"
        upstream.u.targets = ["{refusing}"]
        plugin.id = {{ file = "correlation-id.wasm", config = {{ header = "X-Correlation-ID", accept = false }} }}
        plugin.bad = {{ file = "misbehaving.wasm", config = {{ do = "trap", when-header = "x-crash" }} }}
        route = [{{ name = "r", path = "/", plugins = ["id", "bad"], upstream = "u" }}]
        "#
    );
    let gateway = Gateway::with(fragment).start().await;
    for call in [
        Call::get("/").header("x-correlation-id", "mine"),
        Call::get("/").header("x-crash", "now"),
    ] {
        let answer = gateway.call(&call).await;
        assert_eq!(answer.status, 503);
        assert_eq!(
            answer.header("x-correlation-id").as_deref(),
            answer.json()["request_id"].as_str()
        );
    }
}
