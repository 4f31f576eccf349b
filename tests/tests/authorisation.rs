//! Who may do what: the plugins acl, scopes, ip-filter, request-size, bot-detection and external-auth through the whole gateway.

use postern_tests::{Call, Connection, Gateway, Script, Upstream, reply};

/// A gateway with these plugins in its chain, after `api-key`, and two consumers with keys.
async fn gateway(upstream: &Upstream, chain: &str, tables: &str) -> Gateway {
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/{{*rest}}", plugins = [{chain}], upstream = "u" }}]
        plugin.api-key = {{ file = "api-key.wasm", grants = ["identity"] }}
        tier.premium.limits = []
        [consumer.alice]
        groups = ["staff", "ops"]
        tier = "premium"
        api-key = [{{ key = "file:alice" }}]
        [consumer.bob]
        groups = ["trial"]
        api-key = [{{ key = "file:bob" }}]
        {tables}
        "#
    );
    let setup = Gateway::with(fragment).file("alice", "key-of-alice");
    setup.file("bob", "key-of-bob").start().await
}

fn by(consumer: &str, call: Call) -> Call {
    call.header("x-api-key", &format!("key-of-{consumer}"))
}

/// Status and code of the answer.
async fn answer(gateway: &Gateway, call: &Call) -> (u16, String) {
    let answer = gateway.call(call).await;
    (answer.status, answer.code())
}

fn code(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn groups_let_pass_or_keep_out() {
    let upstream = Upstream::says("served");
    let tables = r#"
        [plugin.acl]
        file = "acl.wasm"
        grants = ["identity"]
        config = { allow = ["staff"], deny = ["trial"] }"#;
    let gateway = gateway(&upstream, r#""api-key", "acl""#, tables).await;
    assert_eq!(
        answer(&gateway, &by("alice", Call::get("/"))).await,
        code(200, "")
    );
    assert_eq!(
        answer(&gateway, &by("bob", Call::get("/"))).await,
        code(403, "group-denied")
    );
    // What a client says about itself counts for nothing.
    let pretended = by("bob", Call::get("/")).header("x-consumer-groups", "staff");
    assert_eq!(
        answer(&gateway, &pretended).await,
        code(403, "group-denied")
    );
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn without_a_plugin_that_authenticates_nobody_is_in_a_group() {
    let upstream = Upstream::says("served");
    let tables = r#"
        [plugin.acl]
        file = "acl.wasm"
        grants = ["identity"]
        config = { deny = ["trial"] }"#;
    let gateway = gateway(&upstream, r#""acl""#, tables).await;
    let found = answer(&gateway, &by("alice", Call::get("/"))).await;
    assert_eq!(found, code(403, "consumer-missing"));
}

#[tokio::test]
async fn addresses_let_pass_or_keep_out() {
    let upstream = Upstream::says("served");
    let tables = r#"
        [plugin.ip-filter]
        file = "ip-filter.wasm"
        config = { allow = ["127.0.0.0/29"], deny = ["127.0.0.3"] }"#;
    let gateway = gateway(&upstream, r#""ip-filter""#, tables).await;
    for (client, expected) in [
        ("127.0.0.1", code(200, "")),
        ("127.0.0.3", code(403, "address-denied")),
        ("127.0.0.7", code(200, "")),
        ("127.0.0.8", code(403, "address-denied")),
    ] {
        let mut connection = Connection::h1_from(client, gateway.address()).await;
        let call = Call::get("/").header("x-forwarded-for", "127.0.0.1");
        let answer = connection.call(&call).await;
        assert_eq!((answer.status, answer.code()), expected, "{client}");
    }
}

#[tokio::test]
async fn bodies_are_as_large_as_the_tier_allows() {
    let upstream = Upstream::says("served");
    let tables = r#"
        [plugin.request-size]
        file = "request-size.wasm"
        config = { max = "1KiB", tiers = { premium = "2KiB" } }"#;
    let gateway = gateway(&upstream, r#""api-key", "request-size""#, tables).await;
    let post = |bytes| Call::post("/", vec![b'x'; bytes]);
    for (consumer, bytes, expected) in [
        ("alice", 2048, code(200, "")),
        ("alice", 2049, code(413, "request-too-large")),
        ("bob", 1024, code(200, "")),
        ("bob", 1025, code(413, "request-too-large")),
    ] {
        let found = answer(&gateway, &by(consumer, post(bytes))).await;
        assert_eq!(found, expected, "{consumer} {bytes}");
    }
    let mut connection = gateway.connect().await;
    let (sender, body) = postern_tests::client::RequestBody::parts();
    let response = connection
        .begin(&by("bob", Call::new("POST", "/")), body)
        .await;
    assert_eq!(response.expect("there is an answer").status(), 411);
    drop(sender);
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn programs_that_look_like_programs_are_kept_out() {
    let upstream = Upstream::says("served");
    let tables = r#"
        [plugin.bot-detection]
        file = "bot-detection.wasm"
        grants = ["limits"]
        config = { deny = ["^curl/"], burst = 2, burst-window = "1h", crawlers = [{ user-agent = "goodbot", addresses = ["127.0.0.2"] }] }"#;
    let gateway = gateway(&upstream, r#""bot-detection""#, tables).await;
    for (client, agent, expected) in [
        ("127.0.0.1", "curl/8.5", code(403, "bot-denied")),
        ("127.0.0.1", "sqlmap/1.8", code(403, "bot-denied")),
        ("127.0.0.1", "Goodbot/1.0", code(403, "crawler-pretended")),
        ("127.0.0.1", "Mozilla/5.0", code(200, "")),
        ("127.0.0.1", "Mozilla/5.0", code(200, "")),
        ("127.0.0.1", "Mozilla/5.0", code(429, "bot-burst")),
        ("127.0.0.3", "Mozilla/5.0", code(200, "")),
        ("127.0.0.2", "Goodbot/1.0", code(200, "")),
        ("127.0.0.2", "Goodbot/1.0", code(200, "")),
        ("127.0.0.2", "Goodbot/1.0", code(200, "")),
    ] {
        let mut connection = Connection::h1_from(client, gateway.address()).await;
        let answer = connection
            .call(&Call::get("/").header("user-agent", agent))
            .await;
        assert_eq!((answer.status, answer.code()), expected, "{client} {agent}");
    }
    assert_eq!(
        answer(&gateway, &Call::get("/")).await,
        code(403, "bot-suspected")
    );
}

#[tokio::test]
async fn a_service_of_the_operator_decides() {
    let upstream = Upstream::says("served");
    let service = Upstream::start(|request| {
        let allowed = request.header("authorization").as_deref() == Some("Bearer good");
        let answer = match allowed {
            true => reply(204).header("x-user", "alice"),
            false => reply(401)
                .header("www-authenticate", "Bearer realm=\"svc\"")
                .body("who are you?"),
        };
        Script::after_body().send(answer.bytes())
    });
    let tables = format!(
        r#"
        upstream.auth.targets = ["{service}"]
        [plugin.external-auth]
        file = "external-auth.wasm"
        grants = ["keys", "store"]
        upstreams = ["auth"]
        config = {{ upstream = "auth", path = "/verify", request-headers = ["x-user"], cache = "1h" }}"#
    );
    let tables = format!("{}\n{}", "", tables);
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/{{*rest}}", plugins = ["external-auth"], upstream = "u" }}]
        {tables}"#
    );
    let gateway = Gateway::with(fragment).start().await;
    let good = Call::get("/a?b=1")
        .header("authorization", "Bearer good")
        .header("x-user", "mallory");
    for _ in 0..2 {
        assert_eq!(gateway.call(&good).await.status, 200);
        assert_eq!(upstream.last().header("x-user").as_deref(), Some("alice"));
    }
    assert_eq!(service.count(), 1, "the second time it is remembered");
    let asked = service.last();
    assert_eq!(asked.target, "/verify");
    assert_eq!(asked.header("x-forwarded-uri").as_deref(), Some("/a?b=1"));
    assert_eq!(
        asked.header("x-forwarded-for").as_deref(),
        Some("127.0.0.1")
    );
    let refused = gateway
        .call(&Call::get("/a?b=1").header("authorization", "Bearer bad"))
        .await;
    assert_eq!(
        (refused.status, refused.text().as_str()),
        (401, "who are you?")
    );
    assert_eq!(
        refused.header("www-authenticate").as_deref(),
        Some("Bearer realm=\"svc\"")
    );
    assert_eq!(upstream.count(), 2);
}
