//! What is counted for an exchange.

use std::time::Duration;

use super::*;
use crate::telemetry::testing::{Sink, aborted, clock, exchange};

fn names(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

fn value(page: &str, series: &str) -> Option<String> {
    page.lines().find_map(|line| {
        line.strip_prefix(series)?
            .strip_prefix(' ')
            .map(str::to_owned)
    })
}

#[test]
fn an_exchange_is_counted_and_logged_when_it_is_dropped() {
    let (sink, clock, metrics) = (Sink::default(), clock(), Arc::new(Metrics::new()));
    let log =
        Arc::new(AccessLog::with_output(false, None, Box::new(sink.clone()), &metrics).unwrap());
    let upstreams = names(&["orders"]);
    let recorder = Arc::new(ExchangeRecorder::new(
        metrics.clone(),
        log,
        &names(&["orders"]),
        &upstreams,
    ));
    let begin = |mut exchange: Exchange| {
        recorder.began();
        exchange.recorder = Some(recorder.clone());
        exchange
    };
    let (well, left) = (begin(exchange(&clock)), begin(aborted(&clock)));
    assert_eq!(
        value(&metrics.render(), "postern_exchanges_in_flight").as_deref(),
        Some("2")
    );
    clock.advance(Duration::from_millis(30));
    drop(well);
    drop(left);
    let page = metrics.render();
    for (series, expected) in [
        ("postern_exchanges_in_flight", "0"),
        (
            "postern_requests_total{route=\"orders\",source=\"upstream\",status=\"200\"}",
            "1",
        ),
        (
            "postern_requests_total{route=\"\",source=\"client\",status=\"499\"}",
            "1",
        ),
        (
            "postern_request_duration_seconds_count{route=\"orders\"}",
            "1",
        ),
        (
            "postern_request_duration_seconds_sum{route=\"orders\"}",
            "0.03",
        ),
        (
            "postern_request_duration_seconds_bucket{route=\"orders\",le=\"0.025\"}",
            "0",
        ),
        (
            "postern_request_duration_seconds_bucket{route=\"orders\",le=\"0.05\"}",
            "1",
        ),
        ("postern_request_bytes_total{route=\"orders\"}", "12"),
        ("postern_response_bytes_total{route=\"orders\"}", "3456"),
        (
            "postern_upstream_duration_seconds_sum{upstream=\"orders\"}",
            "0.001002",
        ),
    ] {
        assert_eq!(
            value(&page, series).as_deref(),
            Some(expected),
            "{series} of {page}"
        );
    }
    recorder.access_log.flush();
    assert_eq!(sink.text().lines().count(), 2);
}

#[test]
fn a_new_configuration_goes_on_counting_where_the_old_one_was() {
    let (clock, metrics) = (clock(), Arc::new(Metrics::new()));
    let recorder = |routes: &[&str]| {
        ExchangeRecorder::new(
            metrics.clone(),
            Arc::new(AccessLog::off()),
            &names(routes),
            &names(&[]),
        )
    };
    let old = recorder(&["orders"]);
    old.record(&exchange(&clock));
    let new = recorder(&["users", "orders"]);
    old.record(&exchange(&clock));
    let mut second = exchange(&clock);
    second.route_index = Some(1);
    new.record(&second);
    let series = "postern_requests_total{route=\"orders\",source=\"upstream\",status=\"200\"}";
    assert_eq!(value(&metrics.render(), series).as_deref(), Some("3"));
}
