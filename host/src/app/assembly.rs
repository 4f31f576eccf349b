//! From the configuration of a route to a route that serves.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::config::{FallbackConfig, FallbackTo, OriginConfig, RouteConfig, UpgradeProtocol};
use crate::plugin::{Chain, Plugin};
use crate::proxy::{
    Drills, Fallback, FallbackStep, Fault, Faults, Mirror, Origin, PathChange, Redirect, Route,
    Split, Substitute,
};
use crate::telemetry::Metrics;
use crate::upstream::{Upstream, Upstreams};

/// A checked configuration holds nothing that could be refused here.
const CHECKED: &str = "a checked configuration names only what exists, and compiles";

/// What routes are made of, by name: there may be thousands of each.
pub(super) struct Assembly<'a> {
    upstreams: HashMap<&'a str, &'a Arc<Upstream>>,
    plugins: HashMap<&'a str, &'a Arc<Plugin>>,
    metrics: &'a Metrics,
    drills: Option<&'a Drills>,
}

impl<'a> Assembly<'a> {
    pub(super) fn new(
        upstreams: &'a Upstreams,
        plugins: &'a [Arc<Plugin>],
        metrics: &'a Metrics,
        drills: Option<&'a Drills>,
    ) -> Self {
        Self {
            upstreams: upstreams
                .iter()
                .map(|upstream| (&**upstream.name(), upstream))
                .collect(),
            plugins: plugins
                .iter()
                .map(|plugin| (&**plugin.name(), plugin))
                .collect(),
            metrics,
            drills,
        }
    }

    /// A route that serves.
    pub(super) fn route(&self, route: &RouteConfig) -> Route {
        let chain = route.plugins.iter().map(|name| self.plugin(name)).collect();
        let mirror = route.mirror.as_ref().map(|mirror| {
            let metrics = self.metrics.route(&route.name).mirror();
            let upstream = self.upstream(&mirror.upstream);
            Arc::new(Mirror::new(mirror, upstream, route.timeout, metrics))
        });
        Route {
            name: Arc::clone(&route.name),
            chain: Chain::new(chain),
            origin: self.origin(route),
            path_change: route.path_change.as_ref().map(PathChange::new),
            mirror,
            retry: route.retry.clone(),
            importance: route.importance,
            deadline_header: route.deadline_header.clone(),
            fallback: self.fallback(route),
            faults: self.faults(route),
            timeout: route.timeout,
            read_timeout: route.read_timeout,
            total_timeout: route.total_timeout,
            max_request_body: route.max_request_body,
            websocket: route
                .upgrade
                .contains(&UpgradeProtocol::WebSocket)
                .then_some(route.tunnel_idle_timeout),
        }
    }

    fn fallback(&self, route: &RouteConfig) -> Option<Fallback> {
        if route.fallback.is_empty() {
            return None;
        }
        let step = |config: &FallbackConfig| FallbackStep {
            statuses: config.statuses.clone(),
            to: match &config.to {
                FallbackTo::Upstream(name) => Substitute::Upstream(self.upstream(name)),
                FallbackTo::Responder(name) => Substitute::Responder(self.plugin(name)),
                FallbackTo::Answer {
                    status,
                    content_type,
                    body,
                } => Substitute::Answer {
                    status: http::StatusCode::from_u16(*status).expect(CHECKED),
                    content_type: content_type.clone(),
                    body: Bytes::copy_from_slice(body),
                },
            },
        };
        Some(Fallback {
            steps: route.fallback.iter().map(step).collect(),
            metrics: self.metrics.route(&route.name).fallback(),
        })
    }

    /// What may go wrong on purpose: where drills are allowed, a drill may come any time.
    fn faults(&self, route: &RouteConfig) -> Option<Faults> {
        let fault = route.fault.as_ref();
        let fault = fault.map(|config| Fault::new(config).expect(CHECKED));
        let drill = self.drills.map(|drills| drills.slot(&route.name));
        if fault.is_none() && drill.is_none() {
            return None;
        }
        Some(Faults {
            fault,
            drill,
            metrics: self.metrics.route(&route.name).fault(),
        })
    }

    fn origin(&self, route: &RouteConfig) -> Origin {
        let weighted = match &route.origin {
            OriginConfig::Responder(name) => return Origin::Responder(self.plugin(name)),
            OriginConfig::Redirect { status, to } => {
                let status = http::StatusCode::from_u16(*status).expect(CHECKED);
                let to = to.clone();
                return Origin::Redirect(Redirect { status, to });
            }
            OriginConfig::Upstream(name) if route.canary.is_empty() => {
                return Origin::Upstream(self.upstream(name));
            }
            OriginConfig::Upstream(name) => vec![(self.upstream(name), 1)],
            OriginConfig::Split(shares) => {
                let shares = shares
                    .iter()
                    .map(|(name, weight)| (self.upstream(name), *weight));
                shares.collect()
            }
        };
        let canaries = route
            .canary
            .iter()
            .map(|rule| (self.upstream(&rule.upstream), rule));
        Origin::Split(Split::new(weighted, canaries.collect()).expect(CHECKED))
    }

    fn upstream(&self, name: &str) -> Arc<Upstream> {
        Arc::clone(self.upstreams.get(name).expect(CHECKED))
    }

    fn plugin(&self, name: &str) -> Arc<Plugin> {
        Arc::clone(self.plugins.get(name).expect(CHECKED))
    }
}
