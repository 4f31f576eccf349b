//! Metrics of targets: read when somebody looks, because targets come and go, and count for themselves.

use std::fmt::Write as _;

/// What a target has counted, and how it is.
#[derive(Debug, Clone)]
pub struct TargetSample {
    /// Its upstream.
    pub upstream: String,
    /// Its address.
    pub target: String,
    /// Whether it gets requests.
    pub usable: bool,
    /// Requests under way.
    pub in_flight: u64,
    /// Requests so far.
    pub requests: u64,
    /// Of these, those that gave no response, one that broke off, or one with status 5xx.
    pub failures: u64,
    /// Connections with requests under way.
    pub active: usize,
    /// Connections that wait for requests.
    pub idle: usize,
    /// Requests that wait for a connection.
    pub waiting: usize,
}

/// Name, type and help of a metric, and where its value is.
type Family = (
    &'static str,
    &'static str,
    &'static str,
    fn(&TargetSample) -> u64,
);

const FAMILIES: [Family; 7] = [
    (
        "postern_target_usable",
        "gauge",
        "1 while a target gets requests, 0 while it is ejected or fails its health checks.",
        |sample| u64::from(sample.usable),
    ),
    (
        "postern_target_requests_in_flight",
        "gauge",
        "Requests to a target whose response has not ended.",
        |sample| sample.in_flight,
    ),
    (
        "postern_target_requests_total",
        "counter",
        "Requests that were sent to a target, retries included.",
        |sample| sample.requests,
    ),
    (
        "postern_target_failures_total",
        "counter",
        "Requests to a target that gave no response, one that broke off, or one with status 5xx.",
        |sample| sample.failures,
    ),
    (
        "postern_target_connections_active",
        "gauge",
        "Connections to a target with requests under way; those of tunnels and of health checks are not counted.",
        |sample| sample.active as u64,
    ),
    (
        "postern_target_connections_idle",
        "gauge",
        "Connections to a target that wait for requests.",
        |sample| sample.idle as u64,
    ),
    (
        "postern_target_connections_awaited",
        "gauge",
        "Requests that wait for a connection to a target, because there are as many as there may be.",
        |sample| sample.waiting as u64,
    ),
];

/// The metrics of targets, in the text format of Prometheus.
#[must_use]
pub fn render_targets(samples: &[TargetSample]) -> String {
    let mut page = String::new();
    if samples.is_empty() {
        return page;
    }
    for (name, kind, help, value) in FAMILIES {
        // Writing to a string does not fail.
        let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for sample in samples {
            let (upstream, target) = (escaped(&sample.upstream), escaped(&sample.target));
            let value = value(sample);
            let _ = writeln!(
                page,
                "{name}{{target=\"{target}\",upstream=\"{upstream}\"}} {value}"
            );
        }
    }
    page
}

/// The value of a label: backslashes, quotes and ends of lines are escaped.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_a_line_for_each_target() {
        let sample = TargetSample {
            upstream: "orders".into(),
            target: "unix:/run/\"a\"".into(),
            usable: true,
            in_flight: 2,
            requests: 10,
            failures: 3,
            active: 4,
            idle: 5,
            waiting: 6,
        };
        let page = render_targets(&[sample.clone(), sample]);
        assert_eq!(page.lines().count(), 7 * 4);
        let line =
            "postern_target_failures_total{target=\"unix:/run/\\\"a\\\"\",upstream=\"orders\"} 3";
        assert!(page.lines().any(|found| found == line), "{page}");
        assert!(render_targets(&[]).is_empty());
    }
}
