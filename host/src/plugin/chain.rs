//! The ordered plugins of a route: request phases forwards, response phases backwards, and what a failure means.

use std::sync::Arc;

use bytes::Bytes;

use super::instance::Instance;
use super::phases::{Called, Verdict};
use super::pool::Worker;
use super::verdict::{self, Edit, Reply, RequestEdited};
use super::{CallError, Plugin};
use crate::body::{Body, BodyError};
use crate::config::OnFailure;
use crate::exchange::Exchange;
use crate::telemetry::PluginPhase;
use crate::types::Source;

/// The chain of one route, computed when the snapshot is built: a phase that no plugin exports costs nothing.
#[derive(Default)]
pub struct Chain {
    links: Vec<Arc<Plugin>>,
    sees_responses: bool,
}

/// How far an exchange came in its chain.
#[derive(Default)]
pub struct Run {
    /// Plugins whose request side was reached and did not fail: their response phases run.
    reached: usize,
    /// The response side of these is skipped: they failed, and `on-failure` is `open`.
    skipped: Vec<usize>,
    /// What plugins decided about the headers of the response while there was none yet.
    deferred: Vec<(usize, Vec<Edit>)>,
    /// Guests of plugins with `isolation = "request"`.
    held: Vec<(usize, Instance)>,
}

/// What became of the request.
pub enum RequestOutcome {
    /// It goes to the origin, with this body.
    Forward(Body),
    /// A plugin answered.
    Reply(Reply),
    /// A plugin failed, and its `on-failure` is `closed`.
    Failed(Arc<str>),
    /// The body could not be read.
    Body(BodyError),
}

/// What became of the response.
pub enum ResponseOutcome {
    /// It goes to the client.
    Send(http::Response<Body>),
    /// A plugin failed, and its `on-failure` is `closed`.
    Failed(Arc<str>),
    /// The body could not be read.
    Body(BodyError),
}

/// What a failure means for the message.
enum Rescue {
    Skip,
    Reply(Reply),
    Close,
}

impl Chain {
    /// A chain of these plugins.
    #[must_use]
    pub fn new(links: Vec<Arc<Plugin>>) -> Self {
        let sees_responses = links.iter().any(|plugin| plugin.sees_responses());
        Self {
            links,
            sees_responses,
        }
    }

    /// The plugins, in the order of their request phases.
    #[must_use]
    pub fn plugins(&self) -> &[Arc<Plugin>] {
        &self.links
    }

    /// Whether any plugin looks at responses: the request's headers must then be kept.
    #[must_use]
    pub fn sees_responses(&self) -> bool {
        self.sees_responses
    }

    /// Runs the request phases in order, until a plugin answers.
    pub async fn request_phases(
        &self,
        worker: &Worker,
        run: &mut Run,
        mut exchange: Box<Exchange>,
        mut body: Body,
    ) -> (Box<Exchange>, RequestOutcome) {
        if !self.links.is_empty() {
            exchange.mark = exchange.clock.now();
        }
        for (index, plugin) in self.links.iter().enumerate() {
            run.reached = index + 1;
            if !plugin.sees_requests() {
                continue;
            }
            let mut held = run.take_held(index);
            let mut deferred = Vec::new();
            let (returned, step) = plugin
                .request_side(worker, &mut held, exchange, body, &mut deferred)
                .await;
            exchange = returned;
            if !deferred.is_empty() {
                run.deferred.push((index, deferred));
            }
            run.hold(index, held, plugin);
            match step {
                Step::Next(next) => body = next,
                Step::Reply(reply) => return (exchange, RequestOutcome::Reply(reply)),
                Step::Body(error) => return (exchange, RequestOutcome::Body(error)),
                Step::Failed(rest) => match plugin.rescue() {
                    Rescue::Skip => {
                        run.skipped.push(index);
                        body = rest;
                    }
                    Rescue::Reply(reply) => {
                        run.reached = index;
                        return (exchange, RequestOutcome::Reply(reply));
                    }
                    Rescue::Close => {
                        run.reached = index;
                        return (exchange, RequestOutcome::Failed(Arc::clone(plugin.name())));
                    }
                },
            }
        }
        (exchange, RequestOutcome::Forward(body))
    }

    /// Runs the response phases backwards, of the plugins that the request reached.
    pub async fn response_phases(
        &self,
        worker: &Worker,
        run: &mut Run,
        mut exchange: Box<Exchange>,
        mut response: http::Response<Body>,
    ) -> (Box<Exchange>, ResponseOutcome) {
        if self.sees_responses {
            exchange.mark = exchange.clock.now();
        }
        while let Some(index) = run.reached.checked_sub(1) {
            run.reached = index;
            let Some(plugin) = self.links.get(index) else {
                continue;
            };
            let deferred = run.take_deferred(index);
            if run.skipped.contains(&index) {
                continue;
            }
            verdict::apply(response.headers_mut(), deferred);
            if !plugin.sees_responses() {
                continue;
            }
            let mut held = run.take_held(index);
            let (returned, step) = plugin
                .response_side(worker, &mut held, exchange, response)
                .await;
            exchange = returned;
            match step {
                Step::Next(next) => response = next,
                Step::Reply(reply) => response = replaced(&mut exchange, reply),
                Step::Body(error) => return (exchange, ResponseOutcome::Body(error)),
                Step::Failed(rest) => match plugin.rescue() {
                    Rescue::Skip => response = rest,
                    Rescue::Reply(reply) => response = replaced(&mut exchange, reply),
                    Rescue::Close => {
                        return (exchange, ResponseOutcome::Failed(Arc::clone(plugin.name())));
                    }
                },
            }
        }
        (exchange, ResponseOutcome::Send(response))
    }
}

/// A response in the place of another: it is the plugin's from here on.
fn replaced(exchange: &mut Exchange, reply: Reply) -> http::Response<Body> {
    exchange.source = Some(Source::Plugin);
    exchange.code = reply.code;
    reply.response.map(Body::whole)
}

impl Run {
    fn take_held(&mut self, index: usize) -> Option<Instance> {
        let at = self.held.iter().position(|(held, _)| *held == index)?;
        Some(self.held.swap_remove(at).1)
    }

    /// They were put there in ascending order, and are taken in descending order.
    fn take_deferred(&mut self, index: usize) -> Vec<Edit> {
        let last = self.deferred.pop_if(|(plugin, _)| *plugin >= index);
        match last {
            Some((plugin, edits)) if plugin == index => edits,
            // Of a plugin that failed.
            Some(_) => self.take_deferred(index),
            None => Vec::new(),
        }
    }

    /// Keeps a guest only if it will be called again.
    fn hold(&mut self, index: usize, held: Option<Instance>, plugin: &Plugin) {
        if let Some(instance) = held.filter(|_| plugin.sees_responses()) {
            self.held.push((index, instance));
        }
    }
}

/// What one plugin made of a message.
pub(super) enum Step<M> {
    Next(M),
    Reply(Reply),
    /// It failed; the message is as it was.
    Failed(M),
    Body(BodyError),
}

impl Plugin {
    pub(super) async fn request_step(
        &self,
        worker: &Worker,
        held: &mut Option<Instance>,
        mut exchange: Box<Exchange>,
        body: Body,
        deferred: &mut Vec<Edit>,
    ) -> (Box<Exchange>, Step<Body>) {
        if self.calls(PluginPhase::Request) {
            let called = self.on_request(worker, held, exchange).await;
            exchange = called.exchange;
            match called.result {
                Ok(Verdict::Next) => {}
                Ok(Verdict::Edited(edited)) => *deferred = edited.response,
                Ok(Verdict::Reply(reply)) => return (exchange, Step::Reply(reply)),
                Err(CallError { .. }) => return (exchange, Step::Failed(body)),
            }
        }
        if !self.calls(PluginPhase::RequestBody) || !exchange.has_body {
            return (exchange, Step::Next(body));
        }
        let bytes = match body.collect(self.interest.max_request_body).await {
            Ok((bytes, _)) => bytes,
            Err(error) => return (exchange, Step::Body(error)),
        };
        // Waiting for the body was not the plugin's time.
        exchange.mark = exchange.clock.now();
        let Called {
            mut exchange,
            result,
            ..
        } = self.on_request_body(worker, held, exchange, &bytes).await;
        match result {
            Ok(Verdict::Next) => (exchange, Step::Next(Body::whole(bytes))),
            Ok(Verdict::Edited(RequestEdited { body, response })) => {
                deferred.extend(response);
                let bytes = body.unwrap_or(bytes);
                exchange.content_length = Some(bytes.len() as u64);
                exchange.has_body = !bytes.is_empty();
                (exchange, Step::Next(Body::whole(bytes)))
            }
            Ok(Verdict::Reply(reply)) => (exchange, Step::Reply(reply)),
            Err(_) => (exchange, Step::Failed(Body::whole(bytes))),
        }
    }

    pub(super) async fn response_step(
        &self,
        worker: &Worker,
        held: &mut Option<Instance>,
        mut exchange: Box<Exchange>,
        response: http::Response<Body>,
    ) -> (Box<Exchange>, Step<http::Response<Body>>) {
        let (mut head, body) = response.into_parts();
        let has_body = has_body(&exchange, &head, &body);
        if self.calls(PluginPhase::Response) {
            let called = self
                .on_response(worker, held, exchange, &mut head, has_body)
                .await;
            exchange = called.exchange;
            match called.result {
                Ok(Verdict::Next | Verdict::Edited(_)) => {}
                Ok(Verdict::Reply(reply)) => return (exchange, Step::Reply(reply)),
                Err(CallError { .. }) => {
                    return (
                        exchange,
                        Step::Failed(http::Response::from_parts(head, body)),
                    );
                }
            }
        }
        if !self.calls(PluginPhase::ResponseBody) || !has_body {
            return (exchange, Step::Next(http::Response::from_parts(head, body)));
        }
        let (bytes, trailers) = match body.collect(self.interest.max_response_body).await {
            Ok(collected) => collected,
            Err(error) => return (exchange, Step::Body(error)),
        };
        exchange.mark = exchange.clock.now();
        let Called {
            exchange, result, ..
        } = self
            .on_response_body(worker, held, exchange, &mut head, (&bytes, &trailers))
            .await;
        let whole = |mut head: http::response::Parts, bytes: Bytes| {
            head.headers.remove(http::header::CONTENT_LENGTH);
            http::Response::from_parts(head, Body::whole(bytes))
        };
        match result {
            Ok(Verdict::Next) => (exchange, Step::Next(whole(head, bytes))),
            Ok(Verdict::Edited(new)) => (exchange, Step::Next(whole(head, new.unwrap_or(bytes)))),
            Ok(Verdict::Reply(reply)) => (exchange, Step::Reply(reply)),
            Err(_) => (exchange, Step::Failed(whole(head, bytes))),
        }
    }

    /// Runs a responder: the answer, or what its failure means.
    pub async fn answer(
        &self,
        worker: &Worker,
        mut exchange: Box<Exchange>,
        body: Body,
    ) -> (Box<Exchange>, RequestOutcome) {
        let bytes = match body.collect(self.interest.max_request_body).await {
            Ok((bytes, _)) => bytes,
            Err(error) => return (exchange, RequestOutcome::Body(error)),
        };
        exchange.mark = exchange.clock.now();
        let called = self.respond(worker, &mut None, exchange, &bytes).await;
        exchange = called.exchange;
        match called.result.map_err(|_| self.rescue()) {
            Ok(reply) | Err(Rescue::Reply(reply)) => (exchange, RequestOutcome::Reply(reply)),
            // There is nobody else who could answer: open is closed.
            Err(Rescue::Close | Rescue::Skip) => {
                (exchange, RequestOutcome::Failed(Arc::clone(self.name())))
            }
        }
    }

    fn rescue(&self) -> Rescue {
        match &self.on_failure {
            OnFailure::Closed => Rescue::Close,
            OnFailure::Open => Rescue::Skip,
            OnFailure::Reply { status, body } => {
                let mut response = http::Response::new(Bytes::copy_from_slice(body.as_bytes()));
                *response.status_mut() = http::StatusCode::from_u16(*status)
                    .unwrap_or(http::StatusCode::SERVICE_UNAVAILABLE);
                let text = http::HeaderValue::from_static("text/plain; charset=utf-8");
                response
                    .headers_mut()
                    .insert(http::header::CONTENT_TYPE, text);
                Rescue::Reply(Reply {
                    response,
                    code: Some("plugin-failed".into()),
                })
            }
        }
    }
}

/// Whether the client will get a body (RFC 9110, 6.4.1).
pub(super) fn has_body(exchange: &Exchange, head: &http::response::Parts, body: &Body) -> bool {
    let bodiless = exchange.request.method == http::Method::HEAD
        || head.status == http::StatusCode::NO_CONTENT
        || head.status == http::StatusCode::NOT_MODIFIED;
    !bodiless && !http_body::Body::is_end_stream(body)
}
