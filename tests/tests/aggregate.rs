//! The plugin `aggregate` through the whole gateway: several services in one document.

use std::time::{Duration, Instant};

use postern_tests::upstream::Refusing;
use postern_tests::{Answer, Call, Gate, Gateway, Script, Upstream, eventually, reply};
use serde_json::json;

fn serves(document: &'static str) -> Upstream {
    Upstream::start(move |_| {
        reply(200)
            .header("content-type", "application/json")
            .body(document)
            .into()
    })
}

/// A page of three branches: the customer is required, orders are not, payments have a fallback.
async fn page(targets: [&dyn std::fmt::Display; 3], more: &str) -> Gateway {
    let [customers, orders, payments] = targets;
    let fragment = format!(
        r#"
        upstream.customers.targets = ["{customers}"]
        upstream.orders.targets = ["{orders}"]
        upstream.payments.targets = ["{payments}"]
        route = [{{ name = "page", path = "/page/{{customer}}", responder = "page" }}]
        [plugin.page]
        file = "aggregate.wasm"
        upstreams = ["customers", "orders", "payments"]
        # What is asked here is not how fast the machine is.
        budget.cpu = "1s"
        [plugin.page.config]
        {more}
        [[plugin.page.config.branches]]
        name = "customer"
        upstream = "customers"
        path = "/customers/{{path.customer}}"
        deny = ["score"]
        group = "customer"
        pass-status = [404]
        timeout = "1s"
        [[plugin.page.config.branches]]
        name = "orders"
        upstream = "orders"
        path = "/orders?customer={{path.customer}}&page={{query.page}}"
        target = "data"
        timeout = "200ms"
        required = false
        [[plugin.page.config.branches]]
        name = "payments"
        upstream = "payments"
        path = "/payments"
        rename = {{ "payments.cents" = "amount" }}
        timeout = "200ms"
        fallback = {{ payments = [] }}
        "#
    );
    Gateway::with(fragment).start().await
}

const CUSTOMER: &str = r#"{"id":"alice","score":17}"#;
const ORDERS: &str = r#"{"data":{"orders":[{"id":1}]},"took":3}"#;
const PAYMENTS: &str = r#"{"payments":[{"cents":450}]}"#;

#[tokio::test]
async fn three_answers_become_one_document() {
    let (customers, orders, payments) = (serves(CUSTOMER), serves(ORDERS), serves(PAYMENTS));
    let gateway = page([&customers, &orders, &payments], "").await;
    let answer = gateway
        .call(&Call::get("/page/a%20b?page=2").header("authorization", "Bearer x"))
        .await;
    // Byte for byte: the order is that of the configuration.
    let expected = r#"{"customer":{"id":"alice"},"orders":[{"id":1}],"payments":[{"amount":450}]}"#;
    assert_eq!((answer.status, answer.text().as_str()), (200, expected));
    assert_eq!(
        answer.header("content-type").as_deref(),
        Some("application/json")
    );
    assert_eq!(
        answer.header("gateway-completeness").as_deref(),
        Some("complete")
    );
    assert_eq!(customers.last().target, "/customers/a%20b");
    assert_eq!(orders.last().target, "/orders?customer=a%20b&page=2");
    assert_eq!(
        customers.last().header("authorization"),
        None,
        "nothing of the client's goes along unasked"
    );
}

#[tokio::test]
async fn the_services_are_asked_at_the_same_time() {
    let gates = [Gate::default(), Gate::default(), Gate::default()];
    let held = |gate: &Gate, document: &'static str| {
        let gate = gate.clone();
        Upstream::start(move |_| {
            let length = document.len();
            Script::after_body().wait(&gate).send(format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{document}"
            ))
        })
    };
    let services = [
        held(&gates[0], CUSTOMER),
        held(&gates[1], ORDERS),
        held(&gates[2], PAYMENTS),
    ];
    let gateway = page([&services[0], &services[1], &services[2]], "").await;
    let address = gateway.address();
    let asking = tokio::spawn(async move {
        postern_tests::client::call(address, &Call::get("/page/alice")).await
    });
    // All three have been asked before any of them has answered.
    for service in &services {
        eventually!(service.count(), |count| *count == 1);
    }
    gates.iter().for_each(Gate::open);
    assert_eq!(asking.await.expect("no panic").status, 200);
}

fn assert_partial(answer: &Answer, missing: &str) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let expected = format!("partial; missing=\"{missing}\"");
    assert_eq!(answer.header("gateway-completeness"), Some(expected));
    assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
}

#[tokio::test]
async fn a_branch_that_is_not_required_may_fail_in_any_way() {
    let down = Refusing::default();
    let slow = Upstream::start(|_| Script::after_body().until_hung_up());
    let broken = Upstream::start(|_| reply(503).body("{}").into());
    let html = serves("<html>");
    let nonsense = Upstream::start(|_| Script::after_body().send("nonsense\r\n\r\n").close());
    let other = serves(r#"{"other":1}"#);
    let (customers, payments) = (serves(CUSTOMER), serves(PAYMENTS));
    let failing: [(&dyn std::fmt::Display, &str); 6] = [
        (&down, "unreachable"),
        (&slow, "timeout"),
        (&broken, "status"),
        (&html, "not-json"),
        (&nonsense, "broken-answer"),
        (&other, "target-missing"),
    ];
    for (orders, code) in failing {
        let gateway = page([&customers, orders, &payments], "errors = true").await;
        let begun = Instant::now();
        let answer = gateway.get("/page/alice").await;
        assert_partial(&answer, "orders");
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "{code}: {:?}",
            begun.elapsed()
        );
        let document = answer.json();
        assert_eq!(document["customer"], json!({ "id": "alice" }));
        assert_eq!(document["payments"], json!([{ "amount": 450 }]));
        assert_eq!(document.get("orders"), None);
        assert_eq!(
            (
                &document["_errors"][0]["branch"],
                &document["_errors"][0]["code"]
            ),
            (&json!("orders"), &json!(code))
        );
    }
}

#[tokio::test]
async fn a_fallback_stands_in() {
    let (customers, orders, down) = (serves(CUSTOMER), serves(ORDERS), Refusing::default());
    let gateway = page([&customers, &orders, &down], "").await;
    let answer = gateway.get("/page/alice").await;
    assert_partial(&answer, "payments");
    assert_eq!(answer.json()["payments"], json!([]));
}

#[tokio::test]
async fn without_a_required_branch_there_is_no_document() {
    let (orders, payments) = (serves(ORDERS), serves(PAYMENTS));
    let absent = Upstream::start(|_| reply(404).body("{}").into());
    let failing = Upstream::start(|_| reply(500).body("{}").into());
    let slow = Upstream::start(|_| Script::after_body().until_hung_up());
    let down = Refusing::default();
    let required: [(&dyn std::fmt::Display, u16); 4] =
        [(&absent, 404), (&failing, 502), (&slow, 504), (&down, 502)];
    for (customers, status) in required {
        let gateway = page([customers, &orders, &payments], "").await;
        let answer = gateway.get("/page/alice").await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, "branch-failed"),
            "{}",
            answer.text()
        );
        assert_eq!(
            answer.header("content-type").as_deref(),
            Some("application/problem+json")
        );
        assert!(
            !answer.text().contains("127.0.0.1"),
            "clients do not learn addresses: {}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn a_path_that_climbs_is_not_called() {
    let (customers, orders, payments) = (serves(CUSTOMER), serves(ORDERS), serves(PAYMENTS));
    let gateway = page([&customers, &orders, &payments], "").await;
    for climbing in ["/page/..", "/page/%2e%2e", "/page/%2E."] {
        let mut raw = postern_tests::Raw::connect(gateway.address()).await;
        raw.send(format!("GET {climbing} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        let answer = raw.answer().await.expect("an answer");
        assert!(
            matches!(answer.status, 400 | 404),
            "{climbing}: {}",
            answer.head
        );
    }
    assert_eq!(customers.count(), 0);
}

#[tokio::test]
async fn other_methods_are_refused_and_head_has_no_body() {
    let (customers, orders, payments) = (serves(CUSTOMER), serves(ORDERS), serves(PAYMENTS));
    let gateway = page([&customers, &orders, &payments], "").await;
    let answer = gateway.call(&Call::post("/page/alice", "{}")).await;
    assert_eq!(answer.status, 405);
    assert!(
        answer
            .header("allow")
            .is_some_and(|allow| allow.contains("GET"))
    );
    let answer = gateway.call(&Call::new("HEAD", "/page/alice")).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
}

#[tokio::test]
async fn the_document_passes_the_response_phases_of_the_route() {
    let (customers, orders) = (serves(CUSTOMER), serves(r#"{"x":1}"#));
    let fragment = format!(
        r#"
        upstream.customers.targets = ["{customers}"]
        upstream.orders.targets = ["{orders}"]
        plugin.greeter = {{ file = "greeter.wasm" }}
        plugin.cors = {{ file = "cors.wasm", config = {{ origins = ["*"] }} }}
        route = [{{ name = "page", path = "/", plugins = ["cors", "greeter"], responder = "page" }}]
        [plugin.page]
        file = "aggregate.wasm"
        upstreams = ["customers", "orders"]
        config.branches = [
            {{ name = "a", upstream = "customers", path = "/a" }},
            {{ name = "b", upstream = "orders", path = "/b" }},
        ]
        "#
    );
    let gateway = Gateway::with(fragment).start().await;
    let answer = gateway
        .call(&Call::get("/").header("origin", "https://a.test"))
        .await;
    assert_eq!(answer.text(), r#"{"id":"alice","score":17,"x":1}"#);
    assert_eq!(answer.header("x-greeting").as_deref(), Some("hello"));
    assert_eq!(
        answer.header("access-control-allow-origin").as_deref(),
        Some("*")
    );
}
