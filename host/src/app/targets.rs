//! The upstreams and their targets, for the admin listener.

use std::collections::BTreeMap;

use crate::telemetry::{TargetSample, render_targets};
use crate::upstream::{TargetReport, UpstreamReport, Upstreams};

/// How each upstream is.
pub(super) fn reports(upstreams: &Upstreams) -> BTreeMap<String, UpstreamReport> {
    let each = upstreams.iter();
    each.map(|upstream| (upstream.name().to_string(), upstream.report()))
        .collect()
}

/// The targets as metrics.
pub(super) fn metrics(upstreams: &Upstreams) -> String {
    let mut samples = Vec::new();
    for upstream in upstreams.iter() {
        let sample = |report: TargetReport| TargetSample {
            upstream: upstream.name().to_string(),
            target: report.target.to_string(),
            usable: report.state == "usable",
            in_flight: report.in_flight,
            requests: report.requests,
            failures: report.failures,
            active: report.connections.active,
            idle: report.connections.idle,
            waiting: report.connections.waiting,
        };
        samples.extend(upstream.report().targets.into_iter().map(sample));
    }
    render_targets(&samples)
}
