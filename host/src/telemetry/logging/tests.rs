//! Lines, levels, and how they change.

use tracing::{debug, info, trace, warn};

use super::*;
use crate::telemetry::testing::Sink;

fn config(filter: &str, json: bool) -> LogConfig {
    LogConfig {
        filter: filter.to_owned(),
        json,
    }
}

/// What is written while `write` runs.
fn written(config: &LogConfig, write: impl FnOnce(&Logging)) -> String {
    let sink = Sink::default();
    let (logging, subscriber) =
        Logging::build(config, false, Box::new(sink.clone()), &Metrics::new()).unwrap();
    tracing::subscriber::with_default(subscriber, || write(&logging));
    logging.flush();
    sink.text()
}

#[test]
fn text_lines_hold_level_target_message_and_fields() {
    let text = written(&config("info", false), |_| {
        warn!(target: "plugin", plugin = "jwt", "no key");
        debug!("not written");
    });
    assert!(
        text.ends_with("WARN plugin: no key plugin=\"jwt\"\n"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn json_lines_are_flat_objects() {
    let text = written(
        &config("info", true),
        |_| info!(target: "plugin", plugin = "jwt", "line\nbreak"),
    );
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["target"], "plugin");
    assert_eq!(line["message"], "line\nbreak");
    assert_eq!(line["plugin"], "jwt");
}

#[test]
fn the_filter_can_be_changed_while_it_runs() {
    let text = written(&config("warn", false), |logging| {
        info!("first");
        logging.set_filter("debug").unwrap();
        debug!("second");
        assert!(logging.set_filter("info=nonsense").is_err());
        debug!("third");
        trace!("fourth");
    });
    let messages: Vec<_> = text
        .lines()
        .map(|line| line.rsplit(' ').next().unwrap())
        .collect();
    assert_eq!(messages, ["second", "third"]);
}

#[test]
fn the_level_of_plugins_follows_the_filter() {
    for (filter, level) in [
        ("info", LevelFilter::INFO),
        ("postern=debug,warn", LevelFilter::WARN),
        ("warn,plugin=trace", LevelFilter::TRACE),
        ("off", LevelFilter::OFF),
        ("postern=debug", LevelFilter::OFF),
    ] {
        let text = written(&config(filter, false), |logging| {
            assert_eq!(logging.plugin_level(), level, "{filter}")
        });
        assert!(text.is_empty());
    }
}

#[test]
fn a_filter_that_cannot_be_read_is_an_error() {
    let error = Logging::build(
        &config("a=b=c", false),
        false,
        Box::new(Sink::default()),
        &Metrics::new(),
    )
    .err();
    let message = error.unwrap().to_string();
    assert_eq!(
        message,
        "the log filter \"a=b=c\" is not like \"info\" or \"postern=debug,warn\""
    );
}
