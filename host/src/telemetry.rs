//! What operators see of a running gateway: metrics, the access log, the log.
//!
//! Recording is on the path of every request: it works on handles that were resolved when the configuration was loaded,
//! and takes no lock but a short one for a line of the access log.

mod access_log;
mod line_writer;
mod logging;
mod metrics;
mod plugin_metrics;
mod recorder;
mod target_metrics;

pub use access_log::AccessLog;
pub use logging::{Logging, LoggingError};
pub use metrics::{
    ConnectionRefusal, DiscoveryMetrics, FallbackMetrics, FaultMetrics, HandshakeOutcome,
    ListenerMetrics, Metrics, MirrorMetrics, MirrorOutcome, PluginMetrics, PluginOutcome,
    PluginPhase, ProtectionMetrics, ReloadOutcome, RouteMetrics, StateMetrics, StateOutcome,
    UpstreamMetrics,
};
pub use plugin_metrics::{GuestMetricKind, GuestMetrics, ObserveError};
pub use recorder::ExchangeRecorder;
pub use target_metrics::{TargetSample, render_targets};

#[cfg(test)]
mod testing;
