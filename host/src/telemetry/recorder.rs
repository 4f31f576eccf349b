//! Records exchanges that have ended: metrics, then the access log.

use std::sync::Arc;

use hashbrown::HashMap;

use super::access_log::AccessLog;
use super::metrics::{Metrics, RouteMetrics, UpstreamMetrics};
use crate::exchange::{Exchange, Recorder};

/// The recorder of one configuration: it holds the metrics of its routes by their number.
#[derive(Debug)]
pub struct ExchangeRecorder {
    metrics: Arc<Metrics>,
    access_log: Arc<AccessLog>,
    routes: Vec<Arc<RouteMetrics>>,
    unrouted: Arc<RouteMetrics>,
    upstreams: HashMap<Arc<str>, Arc<UpstreamMetrics>>,
}

impl ExchangeRecorder {
    /// For routes and upstreams by these names, in the order of the configuration.
    #[must_use]
    pub fn new<'n>(
        metrics: Arc<Metrics>,
        access_log: Arc<AccessLog>,
        routes: impl IntoIterator<Item = &'n Arc<str>>,
        upstreams: impl IntoIterator<Item = &'n Arc<str>>,
    ) -> Self {
        let routes = routes.into_iter().map(|name| metrics.route(name)).collect();
        let upstreams = upstreams
            .into_iter()
            .map(|name| (name.clone(), metrics.upstream(name)))
            .collect();
        let unrouted = metrics.route("");
        Self {
            metrics,
            access_log,
            routes,
            unrouted,
            upstreams,
        }
    }

    /// Counts an exchange that begins. Each must be recorded in the end.
    pub fn began(&self) {
        self.metrics.exchange_began();
    }
}

impl Recorder for ExchangeRecorder {
    fn record(&self, exchange: &Exchange) {
        let duration = exchange.elapsed();
        let route = exchange
            .route_index
            .and_then(|index| self.routes.get(index))
            .unwrap_or(&self.unrouted);
        // Without an answer, the client went away: 499, as in the access log.
        let status = exchange.status.unwrap_or(499);
        let source = exchange.status.and(exchange.source);
        route.ended(
            status,
            source,
            duration,
            exchange.received(),
            exchange.response_bytes,
        );
        if let Some(status) = exchange.grpc_status {
            route.ended_with_grpc(status);
        }
        if let (Some(time), Some(upstream)) = (exchange.upstream_time, &exchange.upstream)
            && let Some(upstream) = self.upstreams.get(&**upstream)
        {
            upstream.answered(time);
        }
        self.metrics.exchange_ended();
        self.access_log.write(exchange, duration);
    }
}

#[cfg(test)]
mod tests;
