//! What plugins may define and observe.

use super::GuestMetricKind::{Counter, Gauge, Histogram};
use super::*;
use crate::telemetry::Metrics;

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn lines(metrics: &Metrics) -> Vec<String> {
    let page = metrics.render();
    let own = page
        .lines()
        .filter(|line| line.starts_with("postern_plugin_"));
    own.map(|line| line.trim_start_matches("postern_plugin_").to_owned())
        .collect()
}

#[test]
fn each_kind_records_in_its_way() {
    let metrics = Metrics::new();
    let guest = metrics.prepare_guest("p");
    let counter = guest
        .define(Counter, "hits", &strings(&["kind", "where"]))
        .unwrap();
    let gauge = guest.define(Gauge, "depth", &[]).unwrap();
    let histogram = guest.define(Histogram, "seconds", &[]).unwrap();
    for value in [1.0, 2.5] {
        guest
            .observe(counter, value, &strings(&["a", "bc"]))
            .unwrap();
        guest
            .observe(counter, value, &strings(&["ab", "c"]))
            .unwrap();
        guest.observe(gauge, -value, &[]).unwrap();
        guest.observe(histogram, value, &[]).unwrap();
    }
    assert!(
        lines(&metrics).is_empty(),
        "nothing is shown before it is published"
    );
    metrics.publish_guest(&guest);
    let lines = lines(&metrics);
    for expected in [
        "hits{kind=\"a\",plugin=\"p\",where=\"bc\"} 3.5",
        "hits{kind=\"ab\",plugin=\"p\",where=\"c\"} 3.5",
        "depth{plugin=\"p\"} -2.5",
        "seconds_count{plugin=\"p\"} 2",
        "seconds_sum{plugin=\"p\"} 3.5",
    ] {
        assert!(
            lines.iter().any(|line| line == expected),
            "{expected} is not in {lines:#?}"
        );
    }
}

#[test]
fn defining_the_same_again_gives_the_same_number() {
    let guest = Metrics::new().prepare_guest("p");
    let first = guest.define(Counter, "a", &strings(&["x"])).unwrap();
    let second = guest.define(Counter, "b", &[]).unwrap();
    assert_eq!(guest.define(Counter, "a", &strings(&["x"])), Ok(first));
    assert_eq!(guest.define(Counter, "b", &[]), Ok(second));
    assert_ne!(first, second);
    assert!(
        guest
            .define(Gauge, "a", &strings(&["x"]))
            .unwrap_err()
            .contains("defined twice")
    );
    assert!(
        guest
            .define(Counter, "a", &[])
            .unwrap_err()
            .contains("defined twice")
    );
}

#[test]
fn names_and_numbers_of_definitions_are_checked() {
    let guest = Metrics::new().prepare_guest("p");
    let long = "a".repeat(65);
    for name in ["", "A", "1a", "_a", "a-b", "a\n", "ä", long.as_str()] {
        assert!(
            guest
                .define(Counter, name, &[])
                .unwrap_err()
                .contains("consists of"),
            "{name}"
        );
        assert!(
            guest
                .define(Counter, "ok", &strings(&[name]))
                .unwrap_err()
                .contains("consists of"),
            "{name}"
        );
    }
    let error = |name, labels: &[&str]| guest.define(Counter, name, &strings(labels)).unwrap_err();
    assert!(error("calls_total", &[]).contains("gateway's own"));
    assert!(error("x_bucket", &[]).contains("cannot end"));
    assert!(error("x", &["le"]).contains("gateway's own"));
    assert!(error("x", &["plugin"]).contains("gateway's own"));
    assert!(error("x", &["a", "a"]).contains("twice"));
    assert!(error("x", &["a", "b", "c", "d", "e"]).contains("at most 4"));
    for number in 0..16 {
        assert_eq!(
            guest.define(Counter, &format!("m{number}"), &[]),
            Ok(number)
        );
    }
    assert!(error("m16", &[]).contains("at most 16"));
    assert_eq!(guest.define(Counter, "m3", &[]), Ok(3));
}

#[test]
fn what_does_not_fit_the_definition_is_not_recorded() {
    let metrics = Metrics::new();
    let guest = metrics.prepare_guest("p");
    let counter = guest.define(Counter, "c", &strings(&["a"])).unwrap();
    let gauge = guest.define(Gauge, "g", &[]).unwrap();
    let one = strings(&["x"]);
    assert_eq!(
        guest.observe(7, 1.0, &one),
        Err(ObserveError::UnknownMetric)
    );
    assert_eq!(
        guest.observe(u32::MAX, 1.0, &one),
        Err(ObserveError::UnknownMetric)
    );
    assert_eq!(guest.observe(counter, 1.0, &[]), Err(ObserveError::Labels));
    for value in [-1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(
            guest.observe(counter, value, &one),
            Err(ObserveError::Value),
            "{value}"
        );
    }
    assert_eq!(
        guest.observe(gauge, f64::NAN, &[]),
        Err(ObserveError::Value)
    );
    metrics.publish_guest(&guest);
    assert!(lines(&metrics).is_empty());
}

#[test]
fn label_sets_beyond_the_limit_are_counted_as_other() {
    let metrics = Metrics::new();
    let guest = metrics.prepare_guest("p");
    let counter = guest
        .define(Counter, "c", &strings(&["user", "way"]))
        .unwrap();
    for round in 0..2 {
        for number in 0..1_000 {
            guest
                .observe(counter, 1.0, &strings(&[&format!("{number}"), "in"]))
                .unwrap();
        }
        assert!(round < 2);
    }
    metrics.publish_guest(&guest);
    let lines = lines(&metrics);
    assert_eq!(lines.len(), 201);
    assert!(lines.contains(&"c{plugin=\"p\",user=\"199\",way=\"in\"} 2".to_owned()));
    assert!(lines.contains(&"c{plugin=\"p\",user=\"other\",way=\"other\"} 1600".to_owned()));
}

#[test]
fn long_label_values_are_cut_between_characters() {
    let metrics = Metrics::new();
    let guest = metrics.prepare_guest("p");
    let counter = guest.define(Counter, "c", &strings(&["v"])).unwrap();
    guest
        .observe(counter, 1.0, &[format!("a{}", "ä".repeat(10_000))])
        .unwrap();
    metrics.publish_guest(&guest);
    assert_eq!(
        lines(&metrics),
        [format!("c{{plugin=\"p\",v=\"a{}\"}} 1", "ä".repeat(63))]
    );
}

#[test]
fn a_new_version_keeps_what_stayed_the_same() {
    let metrics = Metrics::new();
    let old = metrics.prepare_guest("p");
    let (same, other) = (
        old.define(Counter, "same", &[]).unwrap(),
        old.define(Counter, "other", &[]).unwrap(),
    );
    old.define(Counter, "gone", &[]).unwrap();
    metrics.publish_guest(&old);
    old.observe(same, 5.0, &[]).unwrap();
    old.observe(other, 5.0, &[]).unwrap();
    // One that is never published changes nothing.
    metrics
        .prepare_guest("p")
        .define(Histogram, "same", &[])
        .unwrap();
    let new = metrics.prepare_guest("p");
    let other = new.define(Gauge, "other", &[]).unwrap();
    let same = new.define(Counter, "same", &[]).unwrap();
    assert_eq!(
        lines(&metrics),
        ["other{plugin=\"p\"} 5", "same{plugin=\"p\"} 5"]
    );
    metrics.publish_guest(&new);
    new.observe(other, 7.0, &[]).unwrap();
    new.observe(same, 1.0, &[]).unwrap();
    assert_eq!(
        lines(&metrics),
        ["other{plugin=\"p\"} 7", "same{plugin=\"p\"} 6"]
    );
}

#[test]
fn a_name_has_one_kind_for_all_plugins() {
    let metrics = Metrics::new();
    let (one, two) = (metrics.prepare_guest("one"), metrics.prepare_guest("two"));
    let first = one.define(Counter, "hits", &[]).unwrap();
    let second = two.define(Counter, "hits", &strings(&["x"])).unwrap();
    let error = metrics
        .prepare_guest("three")
        .define(Gauge, "hits", &[])
        .unwrap_err();
    assert_eq!(
        error,
        "metric \"hits\" is a counter of plugin \"one\"; a name has one kind"
    );
    one.observe(first, 1.0, &[]).unwrap();
    two.observe(second, 1.0, &strings(&["y"])).unwrap();
    metrics.publish_guest(&one);
    metrics.publish_guest(&two);
    assert_eq!(
        lines(&metrics),
        ["hits{plugin=\"one\"} 1", "hits{plugin=\"two\",x=\"y\"} 1"]
    );
    assert_eq!(
        metrics
            .render()
            .matches("# TYPE postern_plugin_hits counter")
            .count(),
        1
    );
    drop((one, two));
    metrics.forget_plugin("one");
    metrics.forget_plugin("two");
    assert!(
        metrics
            .prepare_guest("three")
            .define(Gauge, "hits", &[])
            .is_ok()
    );
}

#[test]
fn threads_that_observe_lose_nothing() {
    let metrics = Metrics::new();
    let guest = metrics.prepare_guest("p");
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let counter = guest.define(Counter, "c", &strings(&["x"])).unwrap();
                for number in 0..1_000 {
                    guest
                        .observe(counter, 1.0, &strings(&[&format!("{}", number % 10)]))
                        .unwrap();
                }
            });
        }
    });
    metrics.publish_guest(&guest);
    let lines = lines(&metrics);
    assert_eq!(lines.len(), 10);
    assert!(lines.iter().all(|line| line.ends_with(" 1600")));
}
