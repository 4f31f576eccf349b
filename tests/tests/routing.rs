//! Which route takes a request, and what reaches its upstream.

use postern_tests::{Call, Gateway, Upstream, reply};

/// Says which target a request was for.
fn named(name: &'static str) -> Upstream {
    Upstream::start(move |request| reply(200).body(format!("{name} {}", request.target)).into())
}

#[tokio::test]
async fn the_most_specific_path_wins() {
    let (list, special, any, rest) = (named("list"), named("special"), named("any"), named("rest"));
    let gateway = Gateway::with(format!(
        r#"
        upstream.list.targets = ["{list}"]
        upstream.special.targets = ["{special}"]
        upstream.any.targets = ["{any}"]
        upstream.rest.targets = ["{rest}"]
        route = [
            {{ name = "rest", path = "/{{*rest}}", upstream = "rest" }},
            {{ name = "any", path = "/orders/{{id}}", upstream = "any" }},
            {{ name = "special", path = "/orders/special", upstream = "special" }},
            {{ name = "list", path = "/orders", upstream = "list" }},
        ]
        "#
    ));
    let gateway = gateway.start().await;
    for (path, answer) in [
        ("/orders", "list /orders"),
        ("/orders/special", "special /orders/special"),
        ("/orders/17", "any /orders/17"),
        ("/orders/17/items?page=2", "rest /orders/17/items?page=2"),
        ("/elsewhere", "rest /elsewhere"),
    ] {
        assert_eq!(gateway.get(path).await.text(), answer);
    }
}

#[tokio::test]
async fn an_exact_host_wins_over_a_wildcard_and_a_wildcard_over_none() {
    let (exact, wild, none) = (named("exact"), named("wild"), named("none"));
    let gateway = Gateway::with(format!(
        r#"
        upstream.exact.targets = ["{exact}"]
        upstream.wild.targets = ["{wild}"]
        upstream.none.targets = ["{none}"]
        route = [
            {{ name = "none", path = "/{{*rest}}", upstream = "none" }},
            {{ name = "wild", hosts = ["*.shop.test"], path = "/{{*rest}}", upstream = "wild" }},
            {{ name = "exact", hosts = ["api.shop.test"], path = "/{{*rest}}", upstream = "exact" }},
        ]
        "#
    ));
    let gateway = gateway.start().await;
    for (host, name) in [
        ("api.shop.test", "exact /a"),
        ("API.Shop.Test:8080", "exact /a"),
        ("www.shop.test", "wild /a"),
        ("a.b.shop.test", "wild /a"),
        ("shop.test", "none /a"),
        ("evilshop.test", "none /a"),
    ] {
        assert_eq!(
            gateway.call(&Call::get("/a").host(host)).await.text(),
            name,
            "{host}"
        );
    }
}

#[tokio::test]
async fn the_method_chooses_between_routes_of_one_path() {
    let (read, write) = (named("read"), named("write"));
    let gateway = Gateway::with(format!(
        r#"
        upstream.read.targets = ["{read}"]
        upstream.write.targets = ["{write}"]
        route = [
            {{ name = "read", path = "/orders", methods = ["GET"], upstream = "read" }},
            {{ name = "write", path = "/orders", methods = ["POST", "PUT"], upstream = "write" }},
        ]
        "#
    ));
    let gateway = gateway.start().await;
    assert_eq!(gateway.get("/orders").await.text(), "read /orders");
    assert_eq!(
        gateway.call(&Call::post("/orders", "x")).await.text(),
        "write /orders"
    );
    let refused = gateway.call(&Call::new("DELETE", "/orders")).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (405, "method-not-allowed")
    );
    let allow = refused.header("allow").expect("405 says what is allowed");
    for method in ["GET", "POST", "PUT"] {
        assert!(
            allow.split(", ").any(|allowed| allowed == method),
            "{allow}"
        );
    }
    assert!(!allow.contains("DELETE"), "{allow}");
}

#[tokio::test]
async fn what_no_route_takes_is_not_found() {
    let upstream = Upstream::says("here");
    let gateway = Gateway::with(format!(
        r#"
        upstream.here.targets = ["{upstream}"]
        route = [{{ name = "here", hosts = ["here.test"], path = "/here", upstream = "here" }}]
        "#
    ));
    let gateway = gateway.start().await;
    for call in [
        Call::get("/here"),
        Call::get("/elsewhere").host("here.test"),
        Call::get("/here/").host("here.test"),
        Call::get("/HERE").host("here.test"),
    ] {
        let answer = gateway.call(&call).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (404, "no-route"),
            "{call:?}"
        );
    }
    assert_eq!(
        gateway
            .call(&Call::get("/here").host("here.test"))
            .await
            .text(),
        "here"
    );
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn path_and_query_reach_the_upstream_as_they_came() {
    let upstream = named("any");
    let gateway = Gateway::with(format!(
        r#"
        upstream.any.targets = ["{upstream}"]
        route = [{{ name = "any", path = "/api/{{*rest}}", upstream = "any" }}]
        "#
    ));
    let gateway = gateway.start().await;
    for path in [
        "/api/a%3Bb%20c?x=%26&y=1&&y=2/../%2f",
        "/api/%C3%A4?",
        "/api/a;b=c,d/(e)!$&'*+~",
    ] {
        assert_eq!(gateway.get(path).await.status, 200);
        assert_eq!(upstream.last().target, path);
    }
}

#[tokio::test]
async fn targets_of_an_upstream_take_turns() {
    let (one, two) = (Upstream::says("one"), Upstream::says("two"));
    let gateway = Gateway::with(format!(
        r#"
        upstream.both.targets = ["{one}", "{two}"]
        route = [{{ name = "both", path = "/", upstream = "both" }}]
        "#
    ));
    let gateway = gateway.start().await;
    let mut connection = gateway.connect().await;
    for _ in 0..10 {
        assert_eq!(connection.call(&Call::get("/")).await.status, 200);
    }
    assert_eq!((one.count(), two.count()), (5, 5));
}
