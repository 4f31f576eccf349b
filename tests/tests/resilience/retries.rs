//! What is sent again, to whom, how often, and what never is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use postern_tests::upstream::Refusing;
use postern_tests::{Call, Gate, Gateway, Script, Upstream, eventually, reply};

use super::{attempts, fragment, gateway, hangs_up, host, problem, retries};

#[tokio::test]
async fn whatever_reached_nobody_goes_to_another_target() {
    let (gone, well) = (Refusing::default(), Upstream::says("well"));
    let gateway = gateway(&[&gone, &well], "").await;
    let mut connection = gateway.connect().await;
    for number in 0..10 {
        let call = match number % 2 {
            0 => Call::get("/"),
            _ => Call::post("/", "order"),
        };
        let answer = connection.call(&call).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "well"));
    }
    assert_eq!(well.count(), 10);
    assert!(well.requests().iter().all(|request| request.complete));
    assert!(retries(&gateway, "connect-failure").await >= 4.0);
    eventually!(gateway.access_log(), |lines| lines.len() == 10);
    let mut told = Vec::new();
    for number in 0..10 {
        told.push(attempts(&gateway, number).await);
    }
    let both = vec![
        (host(&gone), "connect-failure".to_owned()),
        (host(&well), "200".to_owned()),
    ];
    assert!(told.contains(&both), "{told:?}");
    assert!(
        told.iter().all(|told| told.is_empty() || *told == both),
        "{told:?}"
    );
}

#[tokio::test]
async fn when_nobody_is_there_every_target_is_named() {
    let (one, two) = (Refusing::default(), Refusing::default());
    let gateway = gateway(&[&one, &two], "").await;
    let answer = gateway.get("/").await;
    assert_eq!(problem(&answer), (503, "upstream-unreachable".into()));
    let told = attempts(&gateway, 0).await;
    let mut targets: Vec<_> = told.iter().map(|(target, _)| target.clone()).collect();
    targets.sort();
    let mut expected = vec![host(&one), host(&two)];
    expected.sort();
    assert_eq!(targets, expected);
    assert!(told.iter().all(|(_, outcome)| outcome == "connect-failure"));
}

#[tokio::test]
async fn what_a_service_may_have_seen_is_not_sent_again_by_itself() {
    let (one, two) = (hangs_up(), hangs_up());
    let gateway = gateway(&[&one, &two], "").await;
    for call in [Call::get("/"), Call::post("/", "order")] {
        let answer = gateway.call(&call).await;
        assert_eq!(problem(&answer), (502, "upstream-closed".into()));
    }
    assert_eq!(one.count() + two.count(), 2);
}

#[tokio::test]
async fn a_reset_is_repeated_where_the_method_allows_it() {
    let (bad, well) = (hangs_up(), Upstream::says("well"));
    let gateway = gateway(&[&bad, &well], "retry = { on = [\"reset\"] }").await;
    let body = "x".repeat(10_000);
    let mut failed = 0;
    for _ in 0..4 {
        for method in ["GET", "PUT", "DELETE"] {
            let call = Call::new(method, "/").body(body.clone());
            assert_eq!(gateway.call(&call).await.text(), "well", "{method}");
            assert_eq!(
                well.last().body,
                body.as_bytes(),
                "the whole body is sent again"
            );
        }
        let before = bad.count() + well.count();
        let answer = gateway.call(&Call::post("/", "order")).await;
        assert_eq!(
            bad.count() + well.count(),
            before + 1,
            "an order is sent once"
        );
        failed += usize::from(answer.status == 502);
    }
    assert!(failed > 0, "some of the orders met the bad target");
    assert!(bad.count() >= 4);
}

#[tokio::test]
async fn the_operator_may_say_that_orders_can_be_sent_twice() {
    let (bad, well) = (hangs_up(), Upstream::says("well"));
    let retry = "retry = { on = [\"reset\"], methods = [\"POST\"] }";
    let gateway = gateway(&[&bad, &well], retry).await;
    for _ in 0..4 {
        assert_eq!(gateway.call(&Call::post("/", "order")).await.text(), "well");
        assert_eq!(well.last().body, b"order");
    }
    assert!(bad.count() >= 1);
}

#[tokio::test]
async fn a_body_that_was_too_large_to_keep_is_not_sent_again() {
    let (one, two) = (hangs_up(), hangs_up());
    let retry = "retry = { on = [\"reset\"], max-body = \"1KiB\" }";
    let gateway = gateway(&[&one, &two], retry).await;
    let small = Call::new("PUT", "/").body("x".repeat(1_000));
    assert_eq!(problem(&gateway.call(&small).await).0, 502);
    assert_eq!(one.count() + two.count(), 2);
    let large = Call::new("PUT", "/").body("x".repeat(100_000));
    assert_eq!(problem(&gateway.call(&large).await).0, 502);
    assert_eq!(one.count() + two.count(), 3);
}

#[tokio::test]
async fn answers_are_repeated_by_their_status_and_the_last_one_is_passed_on() {
    let failing = Arc::new(AtomicUsize::new(2));
    let left = Arc::clone(&failing);
    let service = Upstream::start(move |_| {
        let fails = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        });
        match fails {
            Ok(_) => reply(503).body("busy").into(),
            Err(_) => reply(200).body("ok").into(),
        }
    });
    let retry = "retry = { retries = 2, statuses = [503], backoff = \"1ms\" }";
    let gateway = gateway(&[&service], retry).await;
    let mut connection = gateway.connect().await;
    assert_eq!(connection.call(&Call::get("/")).await.text(), "ok");
    assert_eq!(service.count(), 3);
    failing.store(5, Ordering::SeqCst);
    let answer = connection.call(&Call::get("/")).await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (503, "busy"),
        "as the service said it"
    );
    let told = attempts(&gateway, 1).await;
    assert_eq!(told, vec![(host(&service), "503".to_owned()); 3]);
    assert_eq!(retries(&gateway, "status").await, 4.0);
    // Answers that nobody wants are read to their end: not each takes its connection with it.
    assert!(service.connections() <= 3, "{}", service.connections());
}

#[tokio::test]
async fn a_service_is_left_alone_for_as_long_as_it_asks() {
    let service = Upstream::start(|request| match request.target.as_str() {
        "/soon" => reply(503).header("retry-after", "1").into(),
        _ => reply(503).header("retry-after", "3600").into(),
    });
    let retry = "retry = { statuses = [503], backoff = \"1ms\" }";
    let gateway = gateway(&[&service], retry).await;
    let begun = Instant::now();
    assert_eq!(gateway.get("/later").await.status, 503);
    assert_eq!(service.count(), 1, "an hour is too long to wait");
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(gateway.get("/soon").await.status, 503);
    assert_eq!(service.count(), 3);
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn there_is_no_more_patience_than_the_operator_has() {
    let service = Upstream::start(|_| reply(503).header("retry-after", "1").into());
    let retry = "retry = { statuses = [503], backoff = \"1ms\", max-retry-after = \"900ms\" }";
    let gateway = gateway(&[&service], retry).await;
    assert_eq!(gateway.get("/").await.status, 503);
    assert_eq!(service.count(), 1);
}

#[tokio::test]
async fn no_more_than_the_budget_is_sent_again() {
    let service = Upstream::start(|_| reply(503).into());
    let tables = r#"
        retry-budget = "10%"
        retry-budget-min = 0
        retry = { statuses = [503], backoff = "0ms", max-backoff = "0ms" }
    "#;
    let gateway = gateway(&[&service], tables).await;
    let mut connection = gateway.connect().await;
    for _ in 0..100 {
        assert_eq!(connection.call(&Call::get("/")).await.status, 503);
    }
    assert_eq!(service.count(), 110);
    let series = "postern_upstream_retry_budget_exhausted_total{upstream=\"u\"}";
    assert_eq!(gateway.metric(series).await, Some(90.0));
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_given_up_within_the_deadline_of_all() {
    let never = Upstream::start(|_| Script::after_body().until_hung_up());
    let well = Upstream::says("well");
    let tables = "retry = { on = [\"timeout\"], per-try-timeout = \"200ms\" }";
    let gateway = gateway(&[&never, &well], tables).await;
    for _ in 0..4 {
        assert_eq!(gateway.get("/").await.text(), "well");
    }
    eventually!(never.hung_up(), |count| *count == never.count()
        && *count > 0);
    let only =
        fragment(&[&never], tables).replace("name = \"r\"", "name = \"r\"\ntimeout = \"300ms\"");
    gateway.edit(&only);
    eventually!(gateway.generation().await, |generation| *generation >= 2);
    let (begun, before) = (Instant::now(), never.count());
    assert_eq!(
        problem(&gateway.get("/").await),
        (504, "upstream-timeout".into())
    );
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(never.count(), before + 2);
}

#[tokio::test]
async fn a_second_target_is_asked_when_the_first_takes_long() {
    let gate = Gate::default();
    let slow = Upstream::held(&gate, "slow");
    let quick = Upstream::says("quick");
    let tables = "retry-budget-min = 100\nretry = { hedge-after = \"50ms\" }";
    let gateway = gateway(&[&slow, &quick], tables).await;
    for _ in 0..4 {
        assert_eq!(gateway.get("/").await.text(), "quick");
    }
    assert_eq!(retries(&gateway, "hedge").await, slow.count() as f64);
    assert_eq!(quick.count(), 4);
    // An order is never sent beside another.
    let all = slow.count() + quick.count();
    let address = gateway.address();
    let orders: Vec<_> = (0..2)
        .map(|_| {
            let call = Call::post("/", "order");
            tokio::spawn(async move { postern_tests::client::call(address, &call).await.text() })
        })
        .collect();
    eventually!(slow.count() + quick.count(), |count| *count == all + 2);
    tokio::time::sleep(Duration::from_millis(150)).await;
    gate.open();
    for order in orders {
        order.await.expect("no panic");
    }
    assert_eq!(slow.count() + quick.count(), all + 2);
}

#[tokio::test]
async fn a_route_has_the_last_word_about_retries() {
    let (gone, well) = (Refusing::default(), Upstream::says("well"));
    let fragment = fragment(&[&gone, &well], "").replace(
        "upstream = \"u\"",
        "upstream = \"u\"\nretry = { retries = 0 }",
    );
    let gateway = Gateway::with(fragment).start().await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(gateway.get("/").await.status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 503, 503]);
}
