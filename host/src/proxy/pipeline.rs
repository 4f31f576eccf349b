//! The path of a request, from top to bottom.

use std::sync::Arc;

use http::{Method, Request, Response};
use hyper::body::Incoming;

use super::error::ProxyError;
use super::forwarding;
use super::headers;
use super::rescue;
use super::snapshot::{Origin, Route, View};
use crate::body::Body;
use crate::exchange::Exchange;
use crate::plugin::{Plugin, Reply, RequestOutcome, ResponseOutcome, Run};
use crate::router::Found;
use crate::types::Source;

/// An exchange, and what came of a step.
type Step<T> = (Box<Exchange>, Result<T, ProxyError>);

/// Takes an exchange from its request to its response. There is always a response.
pub(super) async fn run(
    view: &View,
    mut exchange: Box<Exchange>,
    body: Incoming,
) -> (Box<Exchange>, Response<Body>) {
    let mut run = Run::default();
    let (returned, answer) = match begin(view, &mut exchange, body) {
        Ok((route, body)) => request(view, route, &mut run, exchange, body).await,
        Err(error) => (exchange, Err(error)),
    };
    exchange = returned;
    let response = answer.unwrap_or_else(|error| rescue::respond(&error, &mut exchange));
    let Some(route) = exchange
        .route_index
        .and_then(|index| view.snapshot.routes.get(index))
    else {
        return (exchange, response);
    };
    respond(view, route, &mut run, exchange, response).await
}

/// Reads the head and finds the route.
fn begin<'v>(
    view: &'v View,
    exchange: &mut Exchange,
    body: Incoming,
) -> Result<(&'v Route, Body), ProxyError> {
    headers::receive(exchange)?;
    let snapshot = &view.snapshot;
    let index = find(view, exchange)?;
    let route = snapshot.routes.get(index).ok_or(ProxyError::NoRoute)?;
    exchange.route = Some(Arc::clone(&route.name));
    exchange.route_index = Some(index);
    if exchange
        .content_length
        .is_some_and(|length| length > route.max_request_body)
    {
        return Err(ProxyError::RequestTooLarge);
    }
    if !exchange.has_body {
        return Ok((route, Body::empty()));
    }
    let counter = Arc::default();
    exchange.request_bytes = Some(Arc::clone(&counter));
    Ok((route, Body::request(body, route.max_request_body, counter)))
}

fn find(view: &View, exchange: &mut Exchange) -> Result<usize, ProxyError> {
    let (path, method) = (exchange.matched_uri.path(), &exchange.request.method);
    let router = &view.snapshot.router;
    let mut found = router.find(&exchange.authority, path, method);
    if !matches!(found, Found::Route { .. })
        && let Some(requested) = requested_by_preflight(exchange)
    {
        found = router.find_preflight(&exchange.authority, path, &requested);
    }
    match found {
        Found::Route { index, parameters } => {
            exchange.parameters = parameters;
            Ok(index)
        }
        Found::MethodNotAllowed { allow } => Err(ProxyError::MethodNotAllowed { allow }),
        Found::NotFound => Err(ProxyError::NoRoute),
    }
}

/// The method that a CORS preflight asks about (Fetch, 4.8): the preflight belongs to that method's route.
fn requested_by_preflight(exchange: &Exchange) -> Option<Method> {
    if exchange.request.method != Method::OPTIONS
        || !exchange.request.headers.contains_key(http::header::ORIGIN)
    {
        return None;
    }
    let requested = exchange
        .request
        .headers
        .get(http::header::ACCESS_CONTROL_REQUEST_METHOD)?;
    Method::from_bytes(requested.as_bytes()).ok()
}

/// Runs the request phases and the origin.
async fn request(
    view: &View,
    route: &Route,
    run: &mut Run,
    exchange: Box<Exchange>,
    body: Body,
) -> Step<Response<Body>> {
    let (exchange, outcome) = route
        .chain
        .request_phases(&view.worker, run, exchange, body)
        .await;
    match outcome {
        RequestOutcome::Forward(body) => match &route.origin {
            Origin::Upstream(upstream) if exchange.upstream.is_none() => {
                let upstream = Arc::clone(upstream);
                forward(view, route, &upstream, exchange, body).await
            }
            Origin::Responder(plugin) if exchange.upstream.is_none() => {
                answer(view, plugin, exchange, body).await
            }
            // A plugin chose another origin.
            Origin::Upstream(_) | Origin::Responder(_) => {
                reroute(view, route, exchange, body).await
            }
        },
        other => conclude(exchange, other),
    }
}

async fn reroute(
    view: &View,
    route: &Route,
    exchange: Box<Exchange>,
    body: Body,
) -> Step<Response<Body>> {
    let name = exchange.upstream.clone().unwrap_or_default();
    match view.snapshot.upstreams.get(&name) {
        Some(upstream) => forward(view, route, upstream, exchange, body).await,
        None => (exchange, Err(ProxyError::NoUpstream(name))),
    }
}

async fn answer(
    view: &View,
    plugin: &Plugin,
    exchange: Box<Exchange>,
    body: Body,
) -> Step<Response<Body>> {
    let (exchange, outcome) = plugin.answer(&view.worker, exchange, body).await;
    conclude(exchange, outcome)
}

/// What a plugin's answer, or its failure, means.
fn conclude(mut exchange: Box<Exchange>, outcome: RequestOutcome) -> Step<Response<Body>> {
    match outcome {
        RequestOutcome::Reply(Reply { response, code }) => {
            exchange.source = Some(Source::Plugin);
            exchange.code = code;
            (exchange, Ok(response.map(Body::whole)))
        }
        RequestOutcome::Failed(plugin) => (exchange, Err(ProxyError::PluginFailed(plugin))),
        RequestOutcome::Body(error) => (exchange, Err(error.into())),
        RequestOutcome::Forward(_) => (exchange, Err(ProxyError::NoRoute)),
    }
}

/// Sends the request to an upstream.
async fn forward(
    view: &View,
    route: &Route,
    upstream: &crate::upstream::Upstream,
    mut exchange: Box<Exchange>,
    body: Body,
) -> Step<Response<Body>> {
    let mut request = Request::new(body);
    *request.method_mut() = exchange.request.method.clone();
    *request.uri_mut() = exchange.request.uri.clone();
    *request.headers_mut() = match route.chain.sees_responses() {
        true => exchange.request.headers.clone(),
        false => std::mem::take(&mut exchange.request.headers),
    };
    forwarding::forward(&exchange, request.headers_mut());

    exchange.upstream = Some(Arc::clone(upstream.name()));
    let begun = exchange.elapsed();
    let answer = upstream
        .send(
            view.worker.index,
            request,
            Some(route.timeout.saturating_sub(begun)),
        )
        .await;
    exchange.upstream_time = Some(exchange.elapsed().saturating_sub(begun));
    match answer {
        Ok(answer) => {
            exchange.source = Some(Source::Upstream);
            exchange.target = Some(answer.target);
            let mut response = answer.response;
            let via = headers::via(response.version());
            headers::strip_hop_by_hop(response.headers_mut());
            response.headers_mut().append(http::header::VIA, via);
            // The target's version is between it and us (RFC 9110, 2.5).
            *response.version_mut() = http::Version::HTTP_11;
            (exchange, Ok(response))
        }
        Err(error) => (exchange, Err(error.into())),
    }
}

/// Runs the response phases. A failure in one is answered by the gateway, and that answer passes the rest of them.
async fn respond(
    view: &View,
    route: &Route,
    run: &mut Run,
    mut exchange: Box<Exchange>,
    mut response: Response<Body>,
) -> (Box<Exchange>, Response<Body>) {
    loop {
        let (returned, outcome) = route
            .chain
            .response_phases(&view.worker, run, exchange, response)
            .await;
        exchange = returned;
        let error = match outcome {
            ResponseOutcome::Send(response) => return (exchange, response),
            ResponseOutcome::Failed(plugin) => ProxyError::PluginFailed(plugin),
            ResponseOutcome::Body(error) => ProxyError::ResponseBody(error),
        };
        response = rescue::respond(&error, &mut exchange);
    }
}
