//! `metrics`: a plugin's own metrics.

use wasmtime::Result;

use crate::plugin::bindings::postern::plugin::metrics::{Host, Kind};
use crate::plugin::state::State;
use crate::telemetry::GuestMetricKind;

impl Host for State {
    fn define(
        &mut self,
        kind: Kind,
        name: String,
        labels: Vec<String>,
    ) -> Result<Result<u32, String>> {
        if self.exchange.is_some() {
            return Ok(Err("metrics are defined in configure only".into()));
        }
        let kind = match kind {
            Kind::Counter => GuestMetricKind::Counter,
            Kind::Gauge => GuestMetricKind::Gauge,
            Kind::Histogram => GuestMetricKind::Histogram,
        };
        Ok(self.shared.guest_metrics.define(kind, &name, &labels))
    }

    fn observe(&mut self, metric: u32, value: f64, labels: Vec<String>) -> Result<()> {
        if let Err(error) = self.shared.guest_metrics.observe(metric, value, &labels) {
            super::log::line(
                tracing::Level::WARN,
                &self.shared.name,
                self.exchange.as_deref(),
                &error.to_string(),
            );
        }
        Ok(())
    }
}
