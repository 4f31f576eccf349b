//! Every metric of the gateway: names, labels and help texts are in this file and nowhere else.
//!
//! What is labelled by a name of the configuration (route, plugin, upstream, listener) has a handle for each name, whose
//! collectors are registered when the name appears and removed when it goes. No label takes a value from a request, but
//! the status code, and so the number of series is bounded by the configuration.

mod handles;
mod protection;
mod state;
mod vocabulary;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::{
    Counter, CounterVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use super::plugin_metrics::{GuestMetrics, GuestRegistry};
pub use handles::{
    DiscoveryMetrics, ListenerMetrics, MirrorMetrics, PluginMetrics, RouteMetrics, UpstreamMetrics,
};
pub use protection::{FallbackMetrics, FaultMetrics, ProtectionMetrics};
pub use state::{StateMetrics, StateOutcome};
pub use vocabulary::{
    ConnectionRefusal, HandshakeOutcome, MirrorOutcome, PluginOutcome, PluginPhase, ReloadOutcome,
};

/// Seconds. A gateway adds well under a millisecond; upstreams take from one to thousands.
const DURATION_BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// What belongs to one name of the configuration, by name.
type Named<T> = Mutex<BTreeMap<Arc<str>, Arc<T>>>;

/// All metrics of a gateway.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    routes: Named<RouteMetrics>,
    plugins: Named<PluginMetrics>,
    upstreams: Named<UpstreamMetrics>,
    protections: Named<ProtectionMetrics>,
    listeners: Named<ListenerMetrics>,
    discoveries: Named<DiscoveryMetrics>,
    guests: GuestRegistry,
    config_reloads: IntCounterVec,
    config_generation: IntGauge,
    exchanges: IntGauge,
    access_log_dropped: IntCounter,
    log_dropped: IntCounter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics of a gateway that has done nothing yet.
    #[must_use]
    pub fn new() -> Self {
        let config_reloads = counters(
            "postern_config_reloads_total",
            "Attempts to load a changed configuration.",
            &[],
            &["outcome"],
        );
        let config_generation = gauge(
            "postern_config_generation",
            "Number of the configuration in force, from 1.",
            &[],
        );
        let exchanges = gauge(
            "postern_exchanges_in_flight",
            "Requests whose answer has not ended.",
            &[],
        );
        let access_log_dropped = counter(
            "postern_access_log_dropped_total",
            "Lines of the access log that were dropped because its output was too slow or failed.",
            &[],
        );
        let log_dropped = counter(
            "postern_log_dropped_total",
            "Lines of the log that were dropped because its output was too slow or failed.",
            &[],
        );
        let metrics = Self {
            registry: Registry::new(),
            routes: Named::default(),
            plugins: Named::default(),
            upstreams: Named::default(),
            protections: Named::default(),
            listeners: Named::default(),
            discoveries: Named::default(),
            guests: GuestRegistry::default(),
            config_reloads,
            config_generation,
            exchanges,
            access_log_dropped,
            log_dropped,
        };
        metrics.register_own();
        metrics
    }

    /// Registers what is there from the start.
    fn register_own(&self) {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        let build = gauge(
            "postern_build_info",
            "1, labelled with the version that runs.",
            &version,
        );
        build.set(1);
        self.register(vec![
            Box::new(self.config_reloads.clone()),
            Box::new(self.config_generation.clone()),
            Box::new(self.exchanges.clone()),
            Box::new(self.access_log_dropped.clone()),
            Box::new(self.log_dropped.clone()),
            Box::new(build),
        ]);
        #[cfg(target_os = "linux")]
        self.register(vec![Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        )]);
    }

    /// The handle of a route; `""` is for requests without one.
    #[must_use]
    pub fn route(&self, name: &str) -> Arc<RouteMetrics> {
        self.named(&self.routes, name, || {
            let route = [("route", name)];
            RouteMetrics {
                requests: counters(
                    "postern_requests_total",
                    "Requests whose answer has ended, by status and by who made the answer; \
                     499 are clients that went away before it.",
                    &route,
                    &["status", "source"],
                ),
                grpc: counters(
                    "postern_grpc_calls_total",
                    "Calls of gRPC whose answer has ended, by the status of gRPC.",
                    &route,
                    &["grpc_status"],
                ),
                duration: histogram(
                    "postern_request_duration_seconds",
                    "From a request's head to the end of its answer.",
                    &route,
                ),
                request_bytes: counter(
                    "postern_request_bytes_total",
                    "Bytes of request bodies that arrived.",
                    &route,
                ),
                response_bytes: counter(
                    "postern_response_bytes_total",
                    "Bytes of response bodies handed to connections.",
                    &route,
                ),
                mirrored: counters(
                    "postern_mirrored_requests_total",
                    "Copies of requests for the route's mirror.",
                    &route,
                    &["outcome"],
                ),
                fallbacks: counters(
                    "postern_fallbacks_total",
                    "Answers that were given in the place of the route's origin, by who gave them.",
                    &route,
                    &["to"],
                ),
                faults: counters(
                    "postern_faults_total",
                    "Requests that were held or failed on purpose.",
                    &route,
                    &["kind"],
                ),
                codes: RouteMetrics::no_codes(),
            }
        })
    }

    /// The handle of a plugin.
    #[must_use]
    pub fn plugin(&self, name: &str) -> Arc<PluginMetrics> {
        self.named(&self.plugins, name, || {
            let plugin = [("plugin", name)];
            PluginMetrics::new(
                counters(
                    "postern_plugin_calls_total",
                    "Calls of plugins.",
                    &plugin,
                    &["phase", "outcome"],
                ),
                seconds(
                    "postern_plugin_duration_seconds_total",
                    "Time spent in calls of plugins, outbound requests included.",
                    &plugin,
                    &["phase"],
                ),
                counters(
                    "postern_plugin_failures_total",
                    "Calls of plugins that failed.",
                    &plugin,
                    &["reason"],
                ),
                gauge(
                    "postern_plugin_instances",
                    "Instances of plugins that exist.",
                    &plugin,
                ),
                counters(
                    "postern_plugin_reloads_total",
                    "Attempts to load a plugin.",
                    &plugin,
                    &["outcome"],
                ),
            )
        })
    }

    /// The handle of an upstream.
    #[must_use]
    pub fn upstream(&self, name: &str) -> Arc<UpstreamMetrics> {
        self.named(&self.upstreams, name, || {
            let help = "From a forwarded request's head to its response's head.";
            UpstreamMetrics::new(histogram(
                "postern_upstream_duration_seconds",
                help,
                &[("upstream", name)],
            ))
        })
    }

    /// The handle of what protects an upstream.
    #[must_use]
    pub fn protection(&self, upstream: &str) -> Arc<ProtectionMetrics> {
        self.named(&self.protections, upstream, || {
            let upstream = [("upstream", upstream)];
            ProtectionMetrics::new(
                counters(
                    "postern_upstream_retries_total",
                    "Requests that were sent to an upstream once more, by what was wrong before.",
                    &upstream,
                    &["reason"],
                ),
                (
                    counter(
                        "postern_upstream_retry_budget_exhausted_total",
                        "Requests that would have been sent once more, had there not been too many of them.",
                        &upstream,
                    ),
                    gauge(
                        "postern_upstream_retry_budget_left",
                        "Requests that may be sent once more now.",
                        &upstream,
                    ),
                ),
                counters(
                    "postern_upstream_ejections_total",
                    "Targets that were ejected because requests to them failed, by reason.",
                    &upstream,
                    &["reason"],
                ),
                counters(
                    "postern_upstream_rejected_total",
                    "Requests that were not sent: breaker-open, queue-full, queue-timeout, displaced.",
                    &upstream,
                    &["reason"],
                ),
                gauges(
                    "postern_upstream_breaker",
                    "1 for the state that the circuit breaker is in.",
                    &upstream,
                    &["state"],
                ),
                counters(
                    "postern_upstream_breaker_changes_total",
                    "Changes of the circuit breaker, by its new state.",
                    &upstream,
                    &["state"],
                ),
                gauges(
                    "postern_upstream_concurrency",
                    "Where requests are limited: most at once, those under way, and those that wait.",
                    &upstream,
                    &["of"],
                ),
            )
        })
    }

    /// The handle of an upstream's discovery.
    #[must_use]
    pub fn discovery(&self, upstream: &str) -> Arc<DiscoveryMetrics> {
        self.named(&self.discoveries, upstream, || {
            let upstream = [("upstream", upstream)];
            DiscoveryMetrics::new(
                counter(
                    "postern_discovery_updates_total",
                    "Changes of the targets that discovery found.",
                    &upstream,
                ),
                counter(
                    "postern_discovery_failures_total",
                    "Times that a source of targets could not be asked or understood.",
                    &upstream,
                ),
                gauge(
                    "postern_discovery_answered_timestamp_seconds",
                    "When the source of targets last said what is there, in seconds since 1970.",
                    &upstream,
                ),
                gauge(
                    "postern_discovery_targets",
                    "Targets that discovery found.",
                    &upstream,
                ),
            )
        })
    }

    /// Removes the series of an upstream's discovery.
    pub fn forget_discovery(&self, upstream: &str) {
        self.forget(&self.discoveries, upstream);
    }

    /// The handle of a listener.
    #[must_use]
    pub fn listener(&self, name: &str) -> Arc<ListenerMetrics> {
        self.named(&self.listeners, name, || {
            let listener = [("listener", name)];
            ListenerMetrics::new(
                gauge(
                    "postern_connections",
                    "Connections that are open.",
                    &listener,
                ),
                counter(
                    "postern_connections_total",
                    "Connections that were accepted.",
                    &listener,
                ),
                counters(
                    "postern_tls_handshakes_total",
                    "TLS handshakes with clients, by outcome: done, failed, timeout, refused (too many at once).",
                    &listener,
                    &["outcome"],
                ),
                gauges(
                    "postern_certificate_expiry_seconds",
                    "When a certificate ends, in seconds since 1970, by its file.",
                    &listener,
                    &["certificate"],
                ),
                counters(
                    "postern_connections_refused_total",
                    "Connections that were closed before anything was served on them.",
                    &listener,
                    &["reason"],
                ),
            )
        })
    }

    /// Removes the series of a route that is no longer configured. Handles still work, unseen.
    pub fn forget_route(&self, name: &str) {
        self.forget(&self.routes, name);
    }

    /// Removes the series of a plugin, those that it defined included.
    pub fn forget_plugin(&self, name: &str) {
        self.forget(&self.plugins, name);
        self.guests.forget(name);
    }

    /// Removes the series of an upstream.
    pub fn forget_upstream(&self, name: &str) {
        self.forget(&self.upstreams, name);
        self.forget(&self.protections, name);
    }

    /// Removes the series of a listener.
    pub fn forget_listener(&self, name: &str) {
        self.forget(&self.listeners, name);
    }

    /// A configuration was loaded, or could not be.
    pub fn config_reloaded(&self, outcome: ReloadOutcome) {
        self.config_reloads
            .with_label_values(&[outcome.as_str()])
            .inc();
    }

    /// The number of the configuration in force.
    pub fn set_config_generation(&self, generation: u64) {
        self.config_generation
            .set(i64::try_from(generation).unwrap_or(i64::MAX));
    }

    /// An exchange began. Its end is noted by whoever records it.
    pub fn exchange_began(&self) {
        self.exchanges.inc();
    }

    pub(super) fn exchange_ended(&self) {
        self.exchanges.dec();
    }

    pub(super) fn access_log_dropped(&self) -> IntCounter {
        self.access_log_dropped.clone()
    }

    pub(super) fn log_dropped(&self) -> IntCounter {
        self.log_dropped.clone()
    }

    /// For the metrics that a plugin's new instances define: to be called when it is loaded. Nothing is shown until
    /// they are published.
    #[must_use]
    pub fn prepare_guest(&self, plugin: &str) -> Arc<GuestMetrics> {
        self.guests.prepare(plugin)
    }

    /// Shows these in the place of what the plugin defined before. Metrics that stayed the same go on counting.
    pub fn publish_guest(&self, metrics: &Arc<GuestMetrics>) {
        self.guests.publish(metrics);
    }

    /// The metrics page, in the text format of Prometheus.
    #[must_use]
    pub fn render(&self) -> String {
        let mut families = self.registry.gather();
        families.extend(self.guests.gather());
        // Fails only for families without metrics, which are left out.
        TextEncoder::new()
            .encode_to_string(&families)
            .unwrap_or_default()
    }

    fn named<T: Handle>(&self, all: &Named<T>, name: &str, new: impl FnOnce() -> T) -> Arc<T> {
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = all.get(name) {
            return handle.clone();
        }
        let handle = Arc::new(new());
        self.register(handle.collectors());
        all.insert(name.into(), handle.clone());
        handle
    }

    fn forget<T: Handle>(&self, all: &Named<T>, name: &str) {
        if let Some(handle) = all
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name)
        {
            for collector in handle.collectors() {
                // The error would be that it is not there.
                let _ = self.registry.unregister(collector);
            }
        }
    }

    fn register(&self, collectors: Vec<Box<dyn Collector>>) {
        for collector in collectors {
            self.registry
                .register(collector)
                .expect("names and labels in this file are consistent");
        }
    }
}

/// The metrics of one name.
trait Handle {
    /// All of them, to be registered and removed.
    fn collectors(&self) -> Vec<Box<dyn Collector>>;
}

/// Names that plugins must not define, because these metrics are the gateway's.
pub(super) const RESERVED_FOR_PLUGINS: [&str; 5] = [
    "calls_total",
    "duration_seconds_total",
    "failures_total",
    "instances",
    "reloads_total",
];

const VALID: &str = "names in this file are valid";

type Labels<'a> = [(&'a str, &'a str)];

fn options(name: &str, help: &str, labels: &Labels<'_>) -> Opts {
    let labels = labels
        .iter()
        .map(|(label, value)| ((*label).to_owned(), (*value).to_owned()));
    Opts::new(name, help).const_labels(labels.collect::<HashMap<_, _>>())
}

fn counter(name: &str, help: &str, labels: &Labels<'_>) -> IntCounter {
    IntCounter::with_opts(options(name, help, labels)).expect(VALID)
}

fn counters(name: &str, help: &str, labels: &Labels<'_>, variable: &[&str]) -> IntCounterVec {
    IntCounterVec::new(options(name, help, labels), variable).expect(VALID)
}

fn seconds(name: &str, help: &str, labels: &Labels<'_>, variable: &[&str]) -> CounterVec {
    CounterVec::new(options(name, help, labels), variable).expect(VALID)
}

fn gauges(name: &str, help: &str, labels: &Labels<'_>, variable: &[&str]) -> IntGaugeVec {
    IntGaugeVec::new(options(name, help, labels), variable).expect(VALID)
}

fn gauge(name: &str, help: &str, labels: &Labels<'_>) -> IntGauge {
    IntGauge::with_opts(options(name, help, labels)).expect(VALID)
}

fn histogram(name: &str, help: &str, labels: &Labels<'_>) -> Histogram {
    let options = HistogramOpts {
        common_opts: options(name, help, labels),
        buckets: DURATION_BUCKETS.to_vec(),
    };
    Histogram::with_opts(options).expect(VALID)
}

/// A child of `Counter` type, named here so that the handles need not know the crate's generics.
type Seconds = Counter;

#[cfg(test)]
mod tests;
