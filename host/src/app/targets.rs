//! The targets of all upstreams, for the admin listener.

use std::collections::BTreeMap;

use crate::admin::TargetReport;
use crate::telemetry::{TargetSample, render_targets};
use crate::upstream::{TargetState, Upstreams};

/// How the targets of each upstream are.
pub(super) fn reports(upstreams: &Upstreams) -> BTreeMap<String, Vec<TargetReport>> {
    let reports = |states: Vec<TargetState>| states.into_iter().map(report).collect();
    let each = upstreams.iter();
    each.map(|upstream| (upstream.name().to_string(), reports(upstream.states())))
        .collect()
}

fn report(state: TargetState) -> TargetReport {
    let millis = |left: std::time::Duration| u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    TargetReport {
        target: state.address.to_string(),
        state: match (state.usable, state.check_failed) {
            (true, _) => "usable",
            (false, true) => "failing",
            (false, false) => "ejected",
        },
        ejected_for_ms: state.ejected_for.map(millis),
        check_failure: state.check_failure,
        in_flight: state.in_flight,
        requests: state.requests,
        failures: state.failures,
    }
}

/// The same as metrics.
pub(super) fn metrics(upstreams: &Upstreams) -> String {
    let mut samples = Vec::new();
    for upstream in upstreams.iter() {
        let sample = |state: TargetState| TargetSample {
            upstream: upstream.name().to_string(),
            target: state.address.to_string(),
            usable: state.usable,
            in_flight: state.in_flight,
            requests: state.requests,
            failures: state.failures,
        };
        samples.extend(upstream.states().into_iter().map(sample));
    }
    render_targets(&samples)
}
