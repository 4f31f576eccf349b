//! The path of a request, from top to bottom.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};

use super::error::ProxyError;
use super::interim::Interim;
use super::rewrite::Redirect;
use super::secure;
use super::snapshot::{Origin, Route, View};
use super::tunnel::{self, Tunnel, Wish};
use super::{deadline, fallback, find, forwarding, grpc, headers, rescue};
use crate::body::{Arriving, Body, BodyError};
use crate::exchange::Exchange;
use crate::plugin::{Plugin, Reply, RequestOutcome, ResponseOutcome, Run};
use crate::router::{Found, Head};
use crate::types::Source;
use crate::upstream::{Affinity, Answer, Features, Sending, Upstream, UpstreamError};

/// An exchange, and what came of a step.
pub(super) type Step<T> = (Box<Exchange>, Result<T, ProxyError>);

/// An exchange, its response, and the tunnel that begins with it.
type Outcome = (Box<Exchange>, Response<Body>, Option<Tunnel>);

/// Takes an exchange from its request to its response. There is always a response.
pub(super) async fn run(view: &View, mut exchange: Box<Exchange>, body: Arriving) -> Outcome {
    let mut run = Run::default();
    exchange.grpc = grpc::is_call(&exchange.request);
    let mut wish = None;
    let (returned, answer) = match begin(view, &mut exchange, &mut wish, body) {
        Ok((route, body)) => request(view, route, &mut run, exchange, body, wish.as_ref()).await,
        Err(error) => (exchange, Err(error)),
    };
    exchange = returned;
    let mut response = answer.unwrap_or_else(|error| rescue::respond(&error, &mut exchange));
    let route = exchange
        .route_index
        .and_then(|index| view.snapshot.routes.get(index));
    if let Some(route) = route {
        (exchange, response) = respond(view, route, &mut run, exchange, response).await;
    }
    if exchange.grpc {
        response = grpc::answer(&mut exchange, response).await;
    }
    let idle_timeout = route.and_then(|route| route.websocket);
    let tunnel = match (wish, idle_timeout) {
        (Some(wish), Some(limit)) => wish.tunnel(&mut exchange, &mut response, limit),
        _ => None,
    };
    (exchange, response, tunnel)
}

/// Reads the head and finds the route.
fn begin<'v>(
    view: &'v View,
    exchange: &mut Exchange,
    wish: &mut Option<Wish>,
    body: Arriving,
) -> Result<(&'v Route, Body), ProxyError> {
    *wish = tunnel::wish(exchange)?;
    headers::receive(exchange)?;
    secure::require(exchange)?;
    let snapshot = &view.snapshot;
    let index = route_of(view, exchange)?;
    let route = snapshot.routes.get(index).ok_or(ProxyError::NoRoute)?;
    exchange.route = Some(Arc::clone(&route.name));
    exchange.route_index = Some(index);
    if route.websocket.is_none()
        && let Some(wish) = wish.take()
    {
        wish.deny()?;
    }
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

fn route_of(view: &View, exchange: &mut Exchange) -> Result<usize, ProxyError> {
    let head = Head {
        host: &exchange.authority,
        path: exchange.matched_uri.path(),
        query: exchange.matched_uri.query(),
        method: &exchange.request.method,
        headers: &exchange.request.headers,
    };
    match find::find(&view.snapshot.router, &head) {
        Found::Route { index, parameters } => {
            exchange.parameters = parameters;
            Ok(index)
        }
        Found::MethodNotAllowed { allow } => Err(ProxyError::MethodNotAllowed { allow }),
        Found::NotFound => Err(ProxyError::NoRoute),
    }
}

/// Runs the request phases and the origin.
async fn request(
    view: &View,
    route: &Route,
    run: &mut Run,
    exchange: Box<Exchange>,
    body: Body,
    wish: Option<&Wish>,
) -> Step<Response<Body>> {
    let (exchange, outcome) = route
        .chain
        .request_phases(&view.worker, run, exchange, body)
        .await;
    match outcome {
        RequestOutcome::Forward(body) => match &route.fallback {
            None => origin(view, route, exchange, body, wish).await,
            Some(fallback) => {
                Box::pin(fallback::run(view, route, fallback, exchange, body, wish)).await
            }
        },
        other => conclude(exchange, other),
    }
}

/// Lets the origin answer.
pub(super) async fn origin(
    view: &View,
    route: &Route,
    exchange: Box<Exchange>,
    body: Body,
    wish: Option<&Wish>,
) -> Step<Response<Body>> {
    if let Some(faults) = &route.faults
        && let Some(status) = Box::pin(faults.strike(&exchange)).await
    {
        return (exchange, Err(ProxyError::Fault(status)));
    }
    // A plugin chose another one.
    if exchange.upstream.is_some() {
        return reroute(view, route, exchange, body, wish).await;
    }
    match &route.origin {
        Origin::Upstream(upstream) => forward(view, route, upstream, exchange, body, wish).await,
        Origin::Split(split) => match split.choose(&exchange) {
            Some(upstream) => forward(view, route, upstream, exchange, body, wish).await,
            None => (exchange, Err(ProxyError::NoRoute)),
        },
        Origin::Responder(plugin) => answer(view, plugin, exchange, body).await,
        Origin::Redirect(redirect) => send_elsewhere(redirect, exchange),
    }
}

fn send_elsewhere(redirect: &Redirect, mut exchange: Box<Exchange>) -> Step<Response<Body>> {
    let answer = redirect.answer(&mut exchange);
    (exchange, answer)
}

async fn reroute(
    view: &View,
    route: &Route,
    exchange: Box<Exchange>,
    body: Body,
    wish: Option<&Wish>,
) -> Step<Response<Body>> {
    let name = exchange.upstream.clone().unwrap_or_default();
    match view.snapshot.upstreams.get(&name) {
        Some(upstream) => forward(view, route, upstream, exchange, body, wish).await,
        None => (exchange, Err(ProxyError::NoUpstream(name))),
    }
}

pub(super) async fn answer(
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

/// The request as it goes to an upstream.
fn outgoing(
    route: &Route,
    exchange: &mut Exchange,
    body: Body,
) -> Result<Request<Body>, ProxyError> {
    let mut request = Request::new(body);
    *request.method_mut() = exchange.request.method.clone();
    *request.uri_mut() = match &route.path_change {
        None => exchange.request.uri.clone(),
        Some(change) => change.apply(exchange)?,
    };
    *request.headers_mut() = match route.chain.sees_responses() {
        true => exchange.request.headers.clone(),
        false => std::mem::take(&mut exchange.request.headers),
    };
    forwarding::forward(exchange, &mut request);
    Ok(request)
}

/// Sends the request to an upstream.
pub(super) async fn forward(
    view: &View,
    route: &Route,
    upstream: &Upstream,
    mut exchange: Box<Exchange>,
    body: Body,
    wish: Option<&Wish>,
) -> Step<Response<Body>> {
    let time = deadline::of(route, &exchange);
    let mut request = match outgoing(route, &mut exchange, body) {
        Ok(request) => request,
        Err(error) => return (exchange, Err(error)),
    };
    let affinity = affinity(upstream, &exchange, &request);
    exchange.upstream = Some(Arc::clone(upstream.name()));
    let sent = exchange.mark;
    let begun = sent.saturating_sub(exchange.started);
    let limit = Some(route.patience(begun).min(time.limit.saturating_sub(begun)));
    let worker = view.worker.index;
    if let Some(wish) = wish {
        wish.ask(request.headers_mut());
    } else if let Some(mirror) = &route.mirror {
        request = mirror.copy(worker, request);
    }
    if let Some(interim) = exchange.request.extensions.get::<Interim>() {
        interim.attend(&mut request);
    }
    let sending = Sending {
        worker,
        limit,
        retry: route.retry.as_ref(),
        importance: view.snapshot.importance(route, &exchange),
        deadline_header: route.deadline_header.as_ref(),
        grpc_timeout: time.grpc.map(|time| time.saturating_sub(begun)),
        upgrade: wish.is_some(),
        affinity: affinity.as_ref(),
    };
    let delivered = upstream.send(sending, request).await;
    exchange.attempts.extend(delivered.attempts);
    exchange.may_repeat &= delivered.may_repeat;
    exchange.mark = exchange.clock.now();
    let waited = exchange.mark.saturating_sub(sent);
    exchange.upstream_time = Some(waited);
    match delivered.answer {
        Ok(answer) if wish.is_some() => accept(exchange, answer, wish),
        Ok(answer) => accept(exchange, hurried(route, waited, answer), wish),
        // Over HTTP/2 the stream is reset, whatever was wrong with the body.
        Err(UpstreamError::Closed { .. } | UpstreamError::Protocol { .. })
            if exchange.received() > route.max_request_body =>
        {
            (exchange, Err(ProxyError::RequestTooLarge))
        }
        Err(UpstreamError::Plugin(name)) => (exchange, Err(ProxyError::PluginFailed(name))),
        Err(error) => (exchange, Err(error.into())),
    }
}

/// What binds a request to some of the upstream's targets, if anything does.
fn affinity(upstream: &Upstream, exchange: &Exchange, request: &Request<Body>) -> Option<Affinity> {
    let identity = exchange.identity.as_ref();
    upstream.affinity(&Features {
        headers: request.headers(),
        uri: request.uri(),
        client: Some(exchange.client),
        consumer: identity.map(|identity| &*identity.consumer.name),
    })
}

/// Takes over what an upstream answered.
fn accept(
    mut exchange: Box<Exchange>,
    answer: Answer,
    wish: Option<&Wish>,
) -> Step<Response<Body>> {
    let mut response = answer.response;
    exchange.target = Some(Arc::clone(&answer.target));
    if response.status() == StatusCode::SWITCHING_PROTOCOLS
        && !wish.is_some_and(|wish| wish.is_granted(response.headers()))
    {
        let target = answer.target;
        return (exchange, Err(UpstreamError::Switched { target }.into()));
    }
    exchange.source = Some(Source::Upstream);
    let via = headers::via(response.version());
    headers::strip_hop_by_hop(response.headers_mut());
    response.headers_mut().append(http::header::VIA, via);
    // The target's version is between it and us (RFC 9110, 2.5).
    *response.version_mut() = http::Version::HTTP_11;
    (exchange, Ok(response))
}

/// The answer to a request that was sent `waited` ago, with the route's own limits on its body.
fn hurried(route: &Route, waited: Duration, answer: Answer) -> Answer {
    let (read, total) = (route.read_timeout, route.total_timeout);
    if read.is_none() && total.is_none() {
        return answer;
    }
    let rest = total.map(|total| total.saturating_sub(waited));
    Answer {
        response: answer.response.map(|body| body.hurried(read, rest)),
        ..answer
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
            ResponseOutcome::Body(BodyError::Plugin(name)) => ProxyError::PluginFailed(name),
            ResponseOutcome::Body(error) => ProxyError::ResponseBody(error),
        };
        response = rescue::respond(&error, &mut exchange);
    }
}
