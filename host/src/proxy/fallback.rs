//! Who answers when the origin cannot: another upstream, a plugin, or the gateway with an answer of the operator's.
//!
//! A request goes to somebody else only where nothing is done twice by that. Every answer of a fallback says in
//! `Proxy-Status` (RFC 9209) what it takes the place of.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::error::ProxyError;
use super::pipeline::{self, Step};
use super::rescue::PROXY_STATUS;
use super::snapshot::{Origin, Route, View};
use super::tunnel::Wish;
use crate::body::{Body, Replay};
use crate::exchange::Exchange;
use crate::plugin::Plugin;
use crate::telemetry::FallbackMetrics;
use crate::types::Source;
use crate::upstream::{Upstream, UpstreamError};

/// What is kept of a request's body, to give it to somebody else.
const MAX_KEPT: usize = 64 << 10;

/// The fallbacks of a route.
pub struct Fallback {
    /// The first that is for the status answers.
    pub steps: Vec<FallbackStep>,
    /// Counts them.
    pub metrics: FallbackMetrics,
}

/// One of them.
pub struct FallbackStep {
    /// What it takes the place of.
    pub statuses: Vec<u16>,
    /// Who answers.
    pub to: Substitute,
}

/// Who answers in the place of the origin.
pub enum Substitute {
    /// A service.
    Upstream(Arc<Upstream>),
    /// A plugin.
    Responder(Arc<Plugin>),
    /// The gateway.
    Answer {
        /// Status.
        status: StatusCode,
        /// What the body is.
        content_type: HeaderValue,
        /// Body.
        body: Bytes,
    },
}

impl Substitute {
    /// The word for metrics and logs.
    fn as_str(&self) -> &'static str {
        match self {
            Self::Upstream(_) => "upstream",
            Self::Responder(_) => "responder",
            Self::Answer { .. } => "answer",
        }
    }

    fn wants_request(&self) -> bool {
        !matches!(self, Self::Answer { .. })
    }
}

/// What is left of a request after it went to the origin.
struct Rest {
    headers: HeaderMap,
    replay: Option<Replay>,
}

impl Rest {
    /// The request once more, if nothing is done twice by that.
    fn renew(&mut self, exchange: &mut Exchange) -> Option<Body> {
        // What a plugin has called, has seen the request, too.
        let is_seen = exchange.outbound_calls > 0 && !exchange.request.method.is_idempotent();
        if !exchange.may_repeat || is_seen {
            return None;
        }
        let (body, replay) = self.replay.take()?.again()?.recorded(MAX_KEPT);
        self.replay = Some(replay);
        exchange.request.headers.clone_from(&self.headers);
        Some(body)
    }
}

/// Asks the origin, and those who stand in for it when it fails.
pub(super) async fn run(
    view: &View,
    route: &Route,
    fallback: &Fallback,
    exchange: Box<Exchange>,
    body: Body,
    wish: Option<&Wish>,
) -> Step<Response<Body>> {
    let keeps = fallback.steps.iter().any(|step| step.to.wants_request());
    let (body, replay) = match keeps {
        true => {
            let (body, replay) = body.recorded(MAX_KEPT);
            (body, Some(replay))
        }
        false => (body, None),
    };
    let headers = match keeps {
        true => exchange.request.headers.clone(),
        false => HeaderMap::new(),
    };
    let mut rest = Rest { headers, replay };
    let (mut exchange, mut result) = pipeline::origin(view, route, exchange, body, wish).await;
    for step in &fallback.steps {
        let Some(status) = failure(route, &result) else {
            break;
        };
        // Callers of gRPC understand no other answers than those of gRPC.
        let is_strange = exchange.grpc && !step.to.wants_request();
        if !step.statuses.contains(&status) || is_strange {
            continue;
        }
        let reason = reason(&result, status);
        let returned = substitute(view, route, &step.to, &mut rest, exchange, &mut result).await;
        let is_taken;
        (exchange, is_taken) = returned;
        if !is_taken {
            continue;
        }
        fallback.metrics.count(step.to.as_str());
        exchange.fallback = Some(step.to.as_str());
        if let Ok(response) = &mut result
            && let Ok(value) = HeaderValue::try_from(reason)
        {
            response.headers_mut().append(PROXY_STATUS, value);
        }
    }
    (exchange, result)
}

/// Answers in the place of the origin, if that is possible; whether it was.
async fn substitute(
    view: &View,
    route: &Route,
    to: &Substitute,
    rest: &mut Rest,
    mut exchange: Box<Exchange>,
    result: &mut Result<Response<Body>, ProxyError>,
) -> (Box<Exchange>, bool) {
    if let Substitute::Answer {
        status,
        content_type,
        body,
    } = to
    {
        note(&mut exchange, result);
        exchange.source = Some(Source::Gateway);
        let mut response = Response::new(Body::whole(body.clone()));
        *response.status_mut() = *status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, content_type.clone());
        replace(result, Ok(response));
        return (exchange, true);
    }
    let Some(body) = rest.renew(&mut exchange) else {
        return (exchange, false);
    };
    note(&mut exchange, result);
    let (exchange, answer) = match to {
        Substitute::Upstream(upstream) => {
            pipeline::forward(view, route, upstream, exchange, body, None).await
        }
        Substitute::Responder(plugin) => pipeline::answer(view, plugin, exchange, body).await,
        Substitute::Answer { .. } => return (exchange, false),
    };
    replace(result, answer);
    (exchange, true)
}

/// Notes what was wrong with the origin, for the log.
fn note(exchange: &mut Exchange, result: &Result<Response<Body>, ProxyError>) {
    match result {
        Ok(response) => {
            exchange.detail = Some(format!("the origin answered {}", response.status()))
        }
        Err(error) => {
            exchange.code = Some(error.code().into());
            exchange.detail = Some(error.to_string());
        }
    }
}

/// Takes another answer. The old one is read to its end, so that its connection can be used again.
fn replace(
    result: &mut Result<Response<Body>, ProxyError>,
    other: Result<Response<Body>, ProxyError>,
) {
    if let Ok(old) = std::mem::replace(result, other) {
        old.into_body().discard();
    }
}

/// The status that a client would get of an origin; none where it is not the origin that failed.
fn failure(route: &Route, result: &Result<Response<Body>, ProxyError>) -> Option<u16> {
    let error = match result {
        Ok(response) => return Some(response.status().as_u16()),
        Err(error) => error,
    };
    let is_origin = match error {
        ProxyError::Upstream(UpstreamError::RequestBody { .. } | UpstreamError::Plugin(_)) => false,
        ProxyError::Upstream(_) | ProxyError::NoUpstream(_) | ProxyError::Fault(_) => true,
        ProxyError::PluginFailed(name) => {
            matches!(&route.origin, Origin::Responder(plugin) if plugin.name() == name)
        }
        _ => false,
    };
    is_origin.then(|| error.status().as_u16())
}

/// What `Proxy-Status` says about an answer that takes the place of this one.
fn reason(result: &Result<Response<Body>, ProxyError>, status: u16) -> String {
    let kind = result.as_ref().err().and_then(ProxyError::proxy_status);
    match kind {
        Some(kind) => format!("postern; error={kind}; details=\"answered by a fallback\""),
        None => format!("postern; received-status={status}; details=\"answered by a fallback\""),
    }
}
