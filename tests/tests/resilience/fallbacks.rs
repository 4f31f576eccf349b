//! Who answers instead, faults on purpose, and drills.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use postern_tests::upstream::Refusing;
use postern_tests::{Call, Gateway, Upstream, eventually, reply};

use super::{attempts, gateway, hangs_up, problem, with_route};

#[tokio::test]
async fn others_answer_in_the_place_of_a_service_that_is_gone() {
    let (gone, standby) = (Refusing::default(), Upstream::says("standby"));
    let tables = format!("[upstream.standby]\ntargets = [\"{standby}\"]");
    let gateway = Gateway::with(with_route(
        &[&gone],
        &tables,
        r#"fallback = [{ upstream = "standby" }]"#,
    ))
    .start()
    .await;
    for call in [Call::get("/"), Call::post("/", "order")] {
        let answer = gateway.call(&call).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "standby"));
        assert_eq!(
            answer.header("proxy-status").as_deref(),
            Some("postern; error=connection_refused; details=\"answered by a fallback\"")
        );
    }
    assert_eq!(standby.last().body, b"order", "nobody has seen it before");
    let series = "postern_fallbacks_total{route=\"r\",to=\"upstream\"}";
    assert_eq!(gateway.metric(series).await, Some(2.0));
    let lines = eventually!(gateway.access_log(), |lines| lines.len() == 2);
    assert_eq!(lines[0]["fallback"], "upstream");
    assert_eq!(lines[0]["code"], "upstream-unreachable");
    assert_eq!(lines[0]["upstream"], "standby");
    assert_eq!(attempts(&gateway, 0).await[0].1, "connect-failure");
}

#[tokio::test]
async fn an_order_that_may_have_been_taken_is_given_to_nobody_else() {
    let (bad, standby) = (hangs_up(), Upstream::says("standby"));
    let tables = format!("[upstream.standby]\ntargets = [\"{standby}\"]");
    let route =
        r#"fallback = [{ upstream = "standby" }, { status = 503, json = { again = false } }]"#;
    let gateway = Gateway::with(with_route(&[&bad], &tables, route))
        .start()
        .await;
    let answer = gateway.call(&Call::post("/", "order")).await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (503, r#"{"again":false}"#)
    );
    assert_eq!(standby.count(), 0);
    assert_eq!(
        gateway.call(&Call::new("PUT", "/").body("x")).await.text(),
        "standby"
    );
    assert_eq!(standby.last().body, b"x");
}

#[tokio::test]
async fn the_gateway_answers_as_the_operator_wrote_it_by_status() {
    let service = Upstream::start(|request| match request.target.as_str() {
        "/503" => reply(503).body("no").into(),
        "/500" => reply(500).body("no").into(),
        "/404" => reply(404).body("not here").into(),
        _ => reply(200).body("ok").into(),
    });
    let route = r#"fallback = [
        { statuses = [503], json = { orders = [] } },
        { statuses = [500], status = 503, file = "soon.html" },
    ]"#;
    let gateway = Gateway::with(with_route(&[&service], "", route))
        .file("soon.html", "<p>soon</p>")
        .start()
        .await;
    let answer = gateway.get("/503").await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, r#"{"orders":[]}"#)
    );
    assert_eq!(
        answer.header("content-type").as_deref(),
        Some("application/json")
    );
    assert_eq!(
        answer.header("proxy-status").as_deref(),
        Some("postern; received-status=503; details=\"answered by a fallback\"")
    );
    let answer = gateway.get("/500").await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (503, "<p>soon</p>")
    );
    assert_eq!(
        answer.header("content-type").as_deref(),
        Some("text/html; charset=utf-8")
    );
    for (path, status) in [("/404", 404), ("/", 200)] {
        let answer = gateway.get(path).await;
        assert_eq!(
            (answer.status, answer.header("proxy-status")),
            (status, None)
        );
    }
    let lines = eventually!(gateway.access_log(), |lines| lines.len() == 4);
    assert_eq!(lines[0]["source"], "gateway");
    assert_eq!(
        lines[0]["detail"],
        "the origin answered 503 Service Unavailable"
    );
}

#[tokio::test]
async fn one_after_the_other_is_asked_until_one_can_answer() {
    let (gone, standby) = (Refusing::default(), Upstream::start(|_| reply(503).into()));
    let knows = Arc::new(AtomicBool::new(true));
    let knowing = Arc::clone(&knows);
    let archive = Upstream::start(move |_| match knowing.load(Ordering::SeqCst) {
        true => reply(200).body(r#"{"orders":[]}"#).into(),
        false => reply(500).into(),
    });
    let tables = format!(
        r#"
        [upstream.standby]
        targets = ["{standby}"]
        [upstream.archive]
        targets = ["{archive}"]
        [plugin.page]
        file = "aggregate.wasm"
        upstreams = ["archive"]
        config.branches = [{{ name = "orders", upstream = "archive", path = "/last" }}]
        "#
    );
    let route = r#"fallback = [{ upstream = "standby" }, { responder = "page" }, { status = 503, body = "Back soon." }]"#;
    let gateway = Gateway::with(with_route(&[&gone], &tables, route))
        .start()
        .await;
    let answer = gateway.get("/").await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, r#"{"orders":[]}"#)
    );
    let told = answer.header("proxy-status").unwrap_or_default();
    assert!(told.contains("answered by a fallback"), "{told}");
    assert_eq!(
        (standby.count(), archive.last().target.as_str()),
        (1, "/last")
    );
    knows.store(false, Ordering::SeqCst);
    let answer = gateway.get("/").await;
    assert_eq!((answer.status, answer.text().as_str()), (503, "Back soon."));
    let taken = async |to: &str| {
        let series = format!("postern_fallbacks_total{{route=\"r\",to=\"{to}\"}}");
        gateway.metric(&series).await
    };
    assert_eq!(taken("upstream").await, Some(2.0));
    assert_eq!(taken("responder").await, Some(2.0));
    assert_eq!(taken("answer").await, Some(1.0));
    let lines = eventually!(gateway.access_log(), |lines| lines.len() == 2);
    let last = |line: &serde_json::Value| line["fallback"].clone();
    assert_eq!([last(&lines[0]), last(&lines[1])], ["responder", "answer"]);
}

#[tokio::test]
async fn a_request_that_is_wrong_itself_gets_no_fallback() {
    let service = Upstream::says("ok");
    let route =
        "max-request-body = \"10B\"\nfallback = [{ statuses = [413, 400, 503], body = \"x\" }]";
    let gateway = Gateway::with(with_route(&[&service], "", route))
        .start()
        .await;
    let answer = gateway.call(&Call::post("/", "x".repeat(100))).await;
    assert_eq!(problem(&answer), (413, "request-too-large".into()));
}

#[tokio::test]
async fn faults_are_injected_by_header_and_end_in_fallbacks() {
    let service = Upstream::says("ok");
    let route = r#"
        fault = { delay = "100ms", abort = 503, headers = { x-drill = "1" } }
        fallback = [{ status = 503, body = "sorry" }]
    "#;
    let gateway = Gateway::with(with_route(&[&service], "", route))
        .start()
        .await;
    assert_eq!(gateway.get("/").await.text(), "ok");
    let begun = Instant::now();
    let answer = gateway.call(&Call::get("/").header("x-drill", "1")).await;
    assert_eq!((answer.status, answer.text().as_str()), (503, "sorry"));
    assert!(begun.elapsed() >= Duration::from_millis(100));
    assert_eq!(service.count(), 1);
    for kind in ["delay", "abort"] {
        let series = format!("postern_faults_total{{kind=\"{kind}\",route=\"r\"}}");
        assert_eq!(gateway.metric(&series).await, Some(1.0));
    }
}

#[tokio::test]
async fn faults_are_injected_into_a_share_of_the_requests() {
    let service = Upstream::says("ok");
    let route =
        r#"fault = { abort = 503, abort-share = "50%", delay = "1ms", delay-share = "30%" }"#;
    let gateway = Gateway::with(with_route(&[&service], "", route))
        .start()
        .await;
    let mut connection = gateway.connect().await;
    let mut aborted = 0;
    for _ in 0..200 {
        let answer = connection.call(&Call::get("/")).await;
        aborted += usize::from(answer.code() == "fault-injected");
    }
    // Five standard deviations to each side.
    assert!((65..=135).contains(&aborted), "{aborted} of 200");
    assert_eq!(service.count() + aborted, 200);
    let series = "postern_faults_total{kind=\"delay\",route=\"r\"}";
    let delayed = gateway.metric(series).await.unwrap_or_default();
    assert!((28.0..=92.0).contains(&delayed), "{delayed} of 200");
}

/// `postern drill` for a gateway that runs.
fn drill(gateway: &Gateway, arguments: &[&str]) -> (bool, String) {
    let admin = gateway.admin().to_string();
    let output = postern_tests::setup::program()
        .args(["drill", "--admin", &admin])
        .args(arguments)
        .output()
        .expect("the program starts");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_is_switched_on_and_off_on_a_running_gateway() {
    let service = Upstream::says("ok");
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\nallow-drills = true\n";
    let fragment = with_route(&[&service], "", "") + admin;
    let gateway = Gateway::with(fragment).start().await;
    assert_eq!(
        drill(&gateway, &[]),
        (true, "no drill is under way\n".into())
    );
    let (done, text) = drill(&gateway, &["--route", "r", "--abort", "500", "--for", "1m"]);
    assert!(
        done && text.starts_with("r: a drill goes on for 5"),
        "{text}"
    );
    let answer = gateway.get("/").await;
    assert_eq!(problem(&answer), (500, "fault-injected".into()));
    assert_eq!(
        answer.header("proxy-status").as_deref(),
        Some("postern; error=proxy_internal_response")
    );
    // A reload changes nothing about it.
    gateway.reload();
    eventually!(gateway.generation().await, |generation| *generation >= 2);
    assert_eq!(gateway.get("/").await.status, 500);
    assert_eq!(
        drill(&gateway, &["--stop"]),
        (true, "1 drills ended\n".into())
    );
    assert_eq!(gateway.get("/").await.text(), "ok");
    let (done, text) = drill(&gateway, &["--route", "other", "--abort", "500"]);
    assert!(
        !done && text.contains("there is no route \"other\""),
        "{text}"
    );
    assert!(!gateway.log("drill began").is_empty());
    assert!(!gateway.log("drill ended").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn drills_are_refused_unless_they_are_allowed() {
    let service = Upstream::says("ok");
    let gateway = gateway(&[&service], "").await;
    let (done, text) = drill(&gateway, &["--route", "r", "--abort", "500"]);
    assert!(!done && text.contains("allow-drills"), "{text}");
    // What a page in an operator's browser can send elsewhere.
    let order = r#"{"route":"r","abort":500,"seconds":60}"#;
    let call = Call::post("/api/drills", order).header("content-type", "text/plain");
    assert_eq!(
        postern_tests::client::call(gateway.admin(), &call)
            .await
            .status,
        415
    );
    assert_eq!(gateway.get("/").await.text(), "ok");
}
