//! Stream phases: a plugin says with the head whether it wants the body, and the instance that said so then serves this body
//! alone, to its end.

mod guest;
mod pipe;

use std::sync::Arc;

use http::header::CONTENT_LENGTH;

use super::bindings::exports::postern::plugin::request_stream_phase::RequestStreamVerdict;
use super::bindings::exports::postern::plugin::response_stream_phase::ResponseStreamVerdict;
use super::bindings::postern::plugin::types::ResponseHead;
use super::chain::{Step, has_body};
use super::instance::Instance;
use super::phases::{Called, Held, RequestFacts, Selected, export_source};
use super::pool::Worker;
use super::verdict::{self, Edit, Reply};
use super::{CallError, Plugin};
use crate::body::Body;
use crate::exchange::Exchange;
use crate::telemetry::{PluginOutcome, PluginPhase as Phase};
use guest::{Guest, Side};
use pipe::Piped;

/// What a plugin makes of a message whose body it may have piece by piece.
enum Decision {
    Next,
    Edited,
    Take,
    Reply(Reply),
}

impl Decision {
    fn outcome(&self) -> PluginOutcome {
        match self {
            Self::Next => PluginOutcome::Next,
            Self::Edited | Self::Take => PluginOutcome::Edit,
            Self::Reply(_) => PluginOutcome::Reply,
        }
    }
}

impl Plugin {
    /// All that a plugin does with a request: its head, its body as a whole, and its body piece by piece.
    pub(super) async fn request_side(
        self: &Arc<Self>,
        worker: &Worker,
        held: &mut Held,
        exchange: Box<Exchange>,
        body: Body,
        deferred: &mut Vec<Edit>,
    ) -> (Box<Exchange>, Step<Body>) {
        let (exchange, step) = self
            .request_step(worker, held, exchange, body, deferred)
            .await;
        match step {
            Step::Next(body) if exchange.has_body && self.streams_requests() => {
                self.stream_request(worker, exchange, body, deferred).await
            }
            step => (exchange, step),
        }
    }

    /// The same for a response.
    pub(super) async fn response_side(
        self: &Arc<Self>,
        worker: &Worker,
        held: &mut Held,
        exchange: Box<Exchange>,
        response: http::Response<Body>,
    ) -> (Box<Exchange>, Step<http::Response<Body>>) {
        let (exchange, step) = self.response_step(worker, held, exchange, response).await;
        match step {
            Step::Next(response) if self.streams_responses() => {
                self.stream_response(worker, exchange, response).await
            }
            step => (exchange, step),
        }
    }

    /// Asks whether the plugin wants the body of a request, and pipes the body through it if so.
    async fn stream_request(
        self: &Arc<Self>,
        worker: &Worker,
        exchange: Box<Exchange>,
        body: Body,
        deferred: &mut Vec<Edit>,
    ) -> (Box<Exchange>, Step<Body>) {
        let (called, instance) = self.on_request_stream(worker, exchange, deferred).await;
        let mut exchange = called.exchange;
        match called.result {
            Ok(Decision::Take) => {
                exchange.content_length = None;
                let guest = self.guest(worker, instance, &exchange, Side::Request);
                (exchange, Step::Next(through(guest, body)))
            }
            Ok(Decision::Next | Decision::Edited) => {
                self.give_back(worker, instance);
                (exchange, Step::Next(body))
            }
            Ok(Decision::Reply(reply)) => {
                self.give_back(worker, instance);
                (exchange, Step::Reply(reply))
            }
            Err(CallError { .. }) => (exchange, Step::Failed(body)),
        }
    }

    /// The same for a response. A plugin is asked about bodies that will not be sent too: the head should be the same.
    async fn stream_response(
        self: &Arc<Self>,
        worker: &Worker,
        exchange: Box<Exchange>,
        response: http::Response<Body>,
    ) -> (Box<Exchange>, Step<http::Response<Body>>) {
        let (mut head, body) = response.into_parts();
        let follows = has_body(&exchange, &head, &body);
        let (called, instance) = self
            .on_response_stream(worker, exchange, &mut head, follows)
            .await;
        let exchange = called.exchange;
        match called.result {
            Ok(Decision::Take) => {
                head.headers.remove(CONTENT_LENGTH);
                let body = if follows {
                    let guest = self.guest(worker, instance, &exchange, Side::Response);
                    through(guest, body)
                } else {
                    self.give_back(worker, instance);
                    body
                };
                (exchange, Step::Next(http::Response::from_parts(head, body)))
            }
            Ok(Decision::Next | Decision::Edited) => {
                self.give_back(worker, instance);
                (exchange, Step::Next(http::Response::from_parts(head, body)))
            }
            Ok(Decision::Reply(reply)) => {
                self.give_back(worker, instance);
                (exchange, Step::Reply(reply))
            }
            Err(CallError { .. }) => (
                exchange,
                Step::Failed(http::Response::from_parts(head, body)),
            ),
        }
    }

    async fn on_request_stream(
        &self,
        worker: &Worker,
        exchange: Box<Exchange>,
        deferred: &mut Vec<Edit>,
    ) -> (Called<Decision>, Held) {
        let headers = Selected::new(&self.interest.request, &exchange.request.headers);
        let facts = RequestFacts::of(&exchange);
        let params = headers.params();
        let head = facts.head(&params);
        let call =
            async |instance: &mut Instance, mode| match instance.guests().request_stream.clone() {
                Some(guest) => {
                    instance
                        .call(guest.func_on_request_stream(), (head,), mode)
                        .await
                }
                None => Ok(RequestStreamVerdict::Next),
            };
        let (called, instance) = self.lend(worker, None, exchange, call).await;
        let mut exchange = called.exchange;
        let mut edit = |edits| {
            let edited = verdict::edit_request(&mut exchange, &self.shared, edits, false)?;
            deferred.extend(edited.response);
            Ok(())
        };
        let result = called.result.and_then(|verdict| match verdict {
            RequestStreamVerdict::Next => Ok(Decision::Next),
            RequestStreamVerdict::Edit(edits) => edit(edits).map(|()| Decision::Edited),
            RequestStreamVerdict::Take(edits) => edit(edits).map(|()| Decision::Take),
            RequestStreamVerdict::Reply(reply) => {
                verdict::reply(reply, &self.shared).map(Decision::Reply)
            }
        });
        let called = Called {
            exchange,
            result,
            nanos: called.nanos,
        };
        let called = self.settle(Phase::RequestStream, called, Decision::outcome);
        (called, instance)
    }

    async fn on_response_stream(
        &self,
        worker: &Worker,
        exchange: Box<Exchange>,
        head: &mut http::response::Parts,
        has_body: bool,
    ) -> (Called<Decision>, Held) {
        let selected = Selected::new(&self.interest.response, &head.headers);
        let params = selected.params();
        let view = ResponseHead {
            status: head.status.as_u16(),
            headers: &params,
            has_body,
            source: export_source(exchange.source),
        };
        let call =
            async |instance: &mut Instance, mode| match instance.guests().response_stream.clone() {
                Some(guest) => {
                    instance
                        .call(guest.func_on_response_stream(), (view,), mode)
                        .await
                }
                None => Ok(ResponseStreamVerdict::Next),
            };
        let (called, instance) = self.lend(worker, None, exchange, call).await;
        let mut edit = |edits| verdict::edit_response(head, &self.shared, edits, false).map(drop);
        let result = called.result.and_then(|verdict| match verdict {
            ResponseStreamVerdict::Next => Ok(Decision::Next),
            ResponseStreamVerdict::Edit(edits) => edit(edits).map(|()| Decision::Edited),
            ResponseStreamVerdict::Take(edits) => edit(edits).map(|()| Decision::Take),
            ResponseStreamVerdict::Replace(reply) => {
                verdict::reply(reply, &self.shared).map(Decision::Reply)
            }
        });
        let called = Called {
            exchange: called.exchange,
            result,
            nanos: called.nanos,
        };
        let called = self.settle(Phase::ResponseStream, called, Decision::outcome);
        (called, instance)
    }

    /// Gives the instance to one body, with the facts of its exchange.
    fn guest(
        self: &Arc<Self>,
        worker: &Worker,
        instance: Held,
        exchange: &Exchange,
        side: Side,
    ) -> Option<Guest> {
        let facts = exchange.facts();
        let plugin = Arc::clone(self);
        instance.map(|instance| Guest::new(plugin, worker.clone(), instance, facts, side))
    }

    fn give_back(&self, worker: &Worker, instance: Held) {
        if let Some(instance) = instance {
            self.check_in(worker, instance);
        }
    }
}

fn through(guest: Option<Guest>, body: Body) -> Body {
    match guest {
        Some(guest) => Body::piped(Piped::new(guest, body)),
        None => body,
    }
}
