//! One call of one phase: the exchange goes in with the head, a checked verdict comes out.

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

use super::bindings::exports::postern::plugin::response_body_phase;
use super::bindings::postern::plugin::types::{
    HeaderParam, RequestHead, RequestVerdict, ResponseHead, ResponseVerdict, Scheme, Source,
};
use super::error::{CallError, FailureReason};
use super::instance::{Instance, Mode};
use super::pool::Worker;
use super::verdict::{self, Reply, RequestEdited};
use super::{Plugin, Selection, convert};
use crate::exchange::Exchange;
use crate::telemetry::{PluginOutcome, PluginPhase as Phase};
use crate::types;

/// What a call left behind. The exchange always comes back.
pub(super) struct Called<T> {
    pub(super) exchange: Box<Exchange>,
    pub(super) result: Result<T, CallError>,
    pub(super) nanos: u64,
}

/// What becomes of the message.
pub(super) enum Verdict<E> {
    /// It goes on as it is.
    Next,
    /// It goes on, changed; what is still to be done with it.
    Edited(E),
    /// It is answered, or replaced, with this.
    Reply(Reply),
}

/// Of a response, a new body may be left.
type ResponseEdited = Option<Bytes>;

impl<E> Verdict<E> {
    fn outcome(&self) -> PluginOutcome {
        match self {
            Self::Next => PluginOutcome::Next,
            Self::Edited(_) => PluginOutcome::Edit,
            Self::Reply(_) => PluginOutcome::Reply,
        }
    }
}

/// The guest that serves an exchange; with `isolation = "request"` the same one in all phases.
pub(super) type Held = Option<Instance>;

impl Plugin {
    pub(super) async fn on_request(
        &self,
        worker: &Worker,
        held: &mut Held,
        exchange: Box<Exchange>,
    ) -> Called<Verdict<RequestEdited>> {
        let headers = Selected::new(&self.interest.request, &exchange.request.headers);
        let facts = RequestFacts::of(&exchange);
        let params = headers.params();
        let head = facts.head(&params);
        let call = async |instance: &mut Instance, mode| match instance.guests().request.clone() {
            Some(guest) => instance.call(guest.func_on_request(), (head,), mode).await,
            None => Ok(RequestVerdict::Next),
        };
        let called = self.run(worker, held, exchange, call).await;
        self.judge_request(called, false)
    }

    pub(super) async fn on_request_body(
        &self,
        worker: &Worker,
        held: &mut Held,
        exchange: Box<Exchange>,
        body: &Bytes,
    ) -> Called<Verdict<RequestEdited>> {
        let call =
            async |instance: &mut Instance, mode| match instance.guests().request_body.clone() {
                Some(guest) => {
                    instance
                        .call(guest.func_on_request_body(), (&body[..],), mode)
                        .await
                }
                None => Ok(RequestVerdict::Next),
            };
        let called = self.run(worker, held, exchange, call).await;
        self.judge_request(called, true)
    }

    pub(super) async fn on_response(
        &self,
        worker: &Worker,
        held: &mut Held,
        exchange: Box<Exchange>,
        head: &mut http::response::Parts,
        has_body: bool,
    ) -> Called<Verdict<ResponseEdited>> {
        let selected = Selected::new(&self.interest.response, &head.headers);
        let params = selected.params();
        let source = export_source(exchange.source);
        let view = ResponseHead {
            status: head.status.as_u16(),
            headers: &params,
            has_body,
            source,
        };
        let call = async |instance: &mut Instance, mode| match instance.guests().response.clone() {
            Some(guest) => instance.call(guest.func_on_response(), (view,), mode).await,
            None => Ok(ResponseVerdict::Next),
        };
        let called = self.run(worker, held, exchange, call).await;
        self.judge_response(called, head, false)
    }

    pub(super) async fn on_response_body(
        &self,
        worker: &Worker,
        held: &mut Held,
        exchange: Box<Exchange>,
        head: &mut http::response::Parts,
        body: (&Bytes, &HeaderMap),
    ) -> Called<Verdict<ResponseEdited>> {
        let trailers: Vec<response_body_phase::Header<'_>> = body
            .1
            .iter()
            .map(|(name, value)| HeaderParam {
                name: name.as_str(),
                value: value.as_bytes(),
            })
            .collect();
        let call =
            async |instance: &mut Instance, mode| match instance.guests().response_body.clone() {
                Some(guest) => {
                    instance
                        .call(
                            guest.func_on_response_body(),
                            (&body.0[..], &trailers[..]),
                            mode,
                        )
                        .await
                }
                None => Ok(ResponseVerdict::Next),
            };
        let called = self.run(worker, held, exchange, call).await;
        self.judge_response(called, head, true)
    }

    pub(super) async fn respond(
        &self,
        worker: &Worker,
        held: &mut Held,
        exchange: Box<Exchange>,
        body: &Bytes,
    ) -> Called<Reply> {
        let headers = Selected::new(&self.interest.request, &exchange.request.headers);
        let facts = RequestFacts::of(&exchange);
        let params = headers.params();
        let head = facts.head(&params);
        let call = async |instance: &mut Instance, mode| match instance.guests().responder.clone() {
            Some(guest) => {
                instance
                    .call(guest.func_respond(), (head, &body[..]), mode)
                    .await
            }
            None => Ok(Err("it is not a responder".into())),
        };
        let called = self.run(worker, held, exchange, call).await;
        let result = called.result.and_then(|reply| match reply {
            Ok(reply) => verdict::reply(reply, &self.shared),
            Err(message) => Err(CallError::new(FailureReason::Error, message)),
        });
        self.settle(
            Phase::Respond,
            Called {
                result,
                exchange: called.exchange,
                nanos: called.nanos,
            },
            |_| PluginOutcome::Reply,
        )
    }

    /// Checks an instance out, calls it with the exchange, and checks it in if the call went well.
    async fn run<T>(
        &self,
        worker: &Worker,
        held: &mut Held,
        exchange: Box<Exchange>,
        call: impl AsyncFnOnce(&mut Instance, Mode) -> Result<T, CallError>,
    ) -> Called<T> {
        let (called, instance) = self.lend(worker, held.take(), exchange, call).await;
        match instance {
            Some(instance) if self.isolated => *held = Some(instance),
            Some(instance) => self.check_in(worker, instance),
            None => {}
        }
        called
    }

    /// Calls an instance with the exchange. It comes back if the call went well.
    pub(super) async fn lend<T>(
        &self,
        worker: &Worker,
        held: Held,
        exchange: Box<Exchange>,
        call: impl AsyncFnOnce(&mut Instance, Mode) -> Result<T, CallError>,
    ) -> (Called<T>, Held) {
        let begun = exchange.mark;
        let _turn = self.turn(worker).await;
        let mut instance = match held {
            Some(instance) => instance,
            None => match self.check_out(worker).await {
                Ok(instance) => instance,
                Err(error) => {
                    let called = Called {
                        exchange,
                        result: Err(error),
                        nanos: 0,
                    };
                    return (called, None);
                }
            },
        };
        instance.begin(exchange);
        let result = self.spend(&mut instance, call).await;
        let mut exchange = instance
            .end()
            .expect("the call borrowed the exchange and does not take it");
        exchange.mark = exchange.clock.now();
        let nanos = exchange.mark.saturating_sub(begun).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        let kept = result.is_ok().then_some(instance);
        let called = Called {
            exchange,
            result,
            nanos,
        };
        (called, kept)
    }

    /// Calls an instance within the plugin's budgets of time.
    pub(super) async fn spend<T>(
        &self,
        instance: &mut Instance,
        call: impl AsyncFnOnce(&mut Instance, Mode) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let budget = &self.shared.budget;
        if !(self.linked.suspends || self.shared.is_heavy()) {
            return call(instance, Mode::Inline(budget.cpu)).await;
        }
        let call = call(instance, Mode::Fiber(budget.cpu));
        match tokio::time::timeout(budget.wall, call).await {
            Ok(result) => result,
            Err(_) => Err(CallError::new(
                FailureReason::Wall,
                format!("the call took more than {:?} (budget.wall)", budget.wall),
            )),
        }
    }

    fn judge_request(
        &self,
        called: Called<RequestVerdict>,
        body_allowed: bool,
    ) -> Called<Verdict<RequestEdited>> {
        let Called {
            mut exchange,
            result,
            nanos,
        } = called;
        let result = result.and_then(|verdict| match verdict {
            RequestVerdict::Next => Ok(Verdict::Next),
            RequestVerdict::Edit(edits) => {
                verdict::edit_request(&mut exchange, &self.shared, edits, body_allowed)
                    .map(Verdict::Edited)
            }
            RequestVerdict::Reply(reply) => verdict::reply(reply, &self.shared).map(Verdict::Reply),
        });
        let phase = if body_allowed {
            Phase::RequestBody
        } else {
            Phase::Request
        };
        self.settle(
            phase,
            Called {
                exchange,
                result,
                nanos,
            },
            Verdict::outcome,
        )
    }

    fn judge_response(
        &self,
        called: Called<ResponseVerdict>,
        head: &mut http::response::Parts,
        body_allowed: bool,
    ) -> Called<Verdict<ResponseEdited>> {
        let Called {
            exchange,
            result,
            nanos,
        } = called;
        let result = result.and_then(|verdict| match verdict {
            ResponseVerdict::Next => Ok(Verdict::Next),
            ResponseVerdict::Edit(edits) => {
                verdict::edit_response(head, &self.shared, edits, body_allowed).map(Verdict::Edited)
            }
            ResponseVerdict::Replace(reply) => {
                verdict::reply(reply, &self.shared).map(Verdict::Reply)
            }
        });
        let phase = if body_allowed {
            Phase::ResponseBody
        } else {
            Phase::Response
        };
        self.settle(
            phase,
            Called {
                exchange,
                result,
                nanos,
            },
            Verdict::outcome,
        )
    }

    /// Records a call, in one place, however it ended.
    pub(super) fn settle<T>(
        &self,
        phase: Phase,
        called: Called<T>,
        outcome: impl FnOnce(&T) -> PluginOutcome,
    ) -> Called<T> {
        match &called.result {
            Ok(verdict) => {
                let metrics = &self.shared.metrics;
                metrics.called(phase, outcome(verdict), called.nanos);
            }
            Err(error) => self.failed(phase, error, called.nanos, &called.exchange),
        }
        called
    }

    /// Records a call that failed.
    pub(super) fn failed(&self, phase: Phase, error: &CallError, nanos: u64, exchange: &Exchange) {
        let metrics = &self.shared.metrics;
        metrics.called(phase, PluginOutcome::Failed, nanos);
        metrics.failed(error.reason.as_str());
        error.log(
            self.name(),
            phase.as_str(),
            exchange.route.as_ref(),
            &exchange.id,
        );
        if error.reason == FailureReason::Cpu {
            self.shared
                .heavy
                .store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

/// The headers that a plugin asked for, copied: the exchange that they are in goes into the store for the call, and a
/// few short copies are cheaper than counting references.
pub(super) struct Selected<'p> {
    text: SmallVec<[u8; 512]>,
    fields: SmallVec<[(Name<'p>, Range<usize>); 4]>,
}

enum Name<'p> {
    Known(&'p HeaderName),
    Copied(Range<usize>),
}

impl<'p> Selected<'p> {
    pub(super) fn new(selection: &'p Selection, headers: &HeaderMap) -> Self {
        let mut selected = Self {
            text: SmallVec::new(),
            fields: SmallVec::new(),
        };
        match selection {
            Selection::All => {
                for (name, value) in headers {
                    let name = Name::Copied(selected.copy(name.as_str().as_bytes()));
                    let value = selected.copy(value.as_bytes());
                    selected.fields.push((name, value));
                }
            }
            Selection::Only(names) => {
                for name in names {
                    for value in headers.get_all(name) {
                        let value = selected.copy(value.as_bytes());
                        selected.fields.push((Name::Known(name), value));
                    }
                }
            }
        }
        selected
    }

    fn copy(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.text.len();
        self.text.extend_from_slice(bytes);
        start..self.text.len()
    }

    pub(super) fn params(&self) -> SmallVec<[HeaderParam<'_>; 8]> {
        let text = |range: &Range<usize>| self.text.get(range.clone()).unwrap_or_default();
        let fields = self.fields.iter().map(|(name, value)| HeaderParam {
            name: match name {
                Name::Known(name) => name.as_str(),
                Name::Copied(range) => std::str::from_utf8(text(range)).unwrap_or_default(),
            },
            value: text(value),
        });
        fields.collect()
    }
}

/// What a request head borrows from: the exchange itself is in the store during the call.
pub(super) struct RequestFacts {
    method: http::Method,
    uri: http::Uri,
    authority: std::sync::Arc<str>,
    version: http::Version,
    client: std::net::IpAddr,
    secure: bool,
    content_length: Option<u64>,
    has_body: bool,
}

impl RequestFacts {
    pub(super) fn of(exchange: &Exchange) -> Self {
        Self {
            method: exchange.request.method.clone(),
            uri: exchange.request.uri.clone(),
            authority: std::sync::Arc::clone(&exchange.authority),
            version: exchange.request.version,
            client: exchange.client,
            secure: exchange.secure,
            content_length: exchange.content_length,
            has_body: exchange.has_body,
        }
    }

    pub(super) fn head<'a>(&'a self, headers: &'a [HeaderParam<'a>]) -> RequestHead<'a> {
        RequestHead {
            method: convert::export_method(&self.method),
            scheme: if self.secure {
                Scheme::Https
            } else {
                Scheme::Http
            },
            version: convert::export_version(self.version),
            authority: &self.authority,
            path_and_query: self
                .uri
                .path_and_query()
                .map_or("/", http::uri::PathAndQuery::as_str),
            client: convert::export_address(self.client),
            content_length: self.content_length,
            has_body: self.has_body,
            headers,
        }
    }
}

pub(super) fn export_source(source: Option<types::Source>) -> Source {
    match source {
        Some(types::Source::Upstream) => Source::Upstream,
        Some(types::Source::Plugin) => Source::Plugin,
        Some(types::Source::Gateway) | None => Source::Gateway,
    }
}
