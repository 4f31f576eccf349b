//! `outbound`: HTTP requests of plugins, through the host's upstreams. The one interface that suspends a guest.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use wasmtime::Result;

use crate::plugin::bindings::postern::plugin::outbound::{
    Host, OutboundError, OutboundRequest, OutboundResponse,
};
use crate::plugin::bindings::postern::plugin::types::HeaderResult as Header;
use crate::plugin::convert;
use crate::plugin::ports::{self, OutboundFailure, OutboundFuture};
use crate::plugin::state::{Shared, State};

type Answer = Result<OutboundResponse, OutboundError>;

impl Host for State {
    async fn send(
        &mut self,
        request: OutboundRequest,
    ) -> Result<Result<OutboundResponse, OutboundError>> {
        let begun = self.begin(request);
        let answer = finish(begun).await;
        self.cpu.running().begins();
        Ok(answer)
    }

    async fn send_all(&mut self, requests: Vec<OutboundRequest>) -> Result<Vec<Answer>> {
        let begun: Vec<_> = requests
            .into_iter()
            .map(|request| self.begin(request))
            .collect();
        let answers = join_all(begun.into_iter().map(finish)).await;
        self.cpu.running().begins();
        Ok(answers)
    }
}

/// A request under way, its place among those that may be, and the headers wanted of its response.
type Begun = Result<(OutboundFuture, Place, Vec<String>), OutboundError>;

impl State {
    fn begin(&mut self, request: OutboundRequest) -> Begun {
        let budget = &self.shared.budget;
        let Some(exchange) = self.exchange.as_deref_mut() else {
            return Err(OutboundError::Denied(
                "configure cannot call upstreams".into(),
            ));
        };
        if exchange.outbound_calls >= budget.outbound_calls {
            let message = format!(
                "the exchange has used its {} outbound calls",
                budget.outbound_calls
            );
            return Err(OutboundError::Denied(message));
        }
        exchange.outbound_calls += 1;
        let place = Place::take(&self.shared)?;
        let mut request = request;
        let wanted = std::mem::take(&mut request.wanted_headers);
        let request = prepare(&self.shared, request)?;
        Ok((self.outbound.send(request), place, wanted))
    }
}

async fn finish(begun: Begun) -> Answer {
    let (response, _place, wanted) = begun?;
    match response.await {
        Ok(response) => Ok(export(response, &wanted)),
        Err(OutboundFailure::Timeout) => Err(OutboundError::Timeout),
        Err(OutboundFailure::Unavailable(reason)) => Err(OutboundError::Unavailable(reason)),
        Err(OutboundFailure::Protocol(reason)) => Err(OutboundError::Protocol(reason)),
        Err(OutboundFailure::TooLarge) => Err(OutboundError::TooLarge),
    }
}

/// One of the requests that a plugin may have under way.
struct Place(Arc<Shared>);

impl Place {
    fn take(shared: &Arc<Shared>) -> Result<Self, OutboundError> {
        let limit = shared.budget.outbound_concurrency;
        let under_way: &AtomicU32 = &shared.outbound_under_way;
        if under_way.fetch_add(1, Ordering::Relaxed) >= limit {
            under_way.fetch_sub(1, Ordering::Relaxed);
            return Err(OutboundError::Denied(format!(
                "{limit} outbound requests of this plugin are under way already"
            )));
        }
        Ok(Self(Arc::clone(shared)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.outbound_under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

fn prepare(
    shared: &Shared,
    request: OutboundRequest,
) -> Result<ports::OutboundRequest, OutboundError> {
    let upstream = shared
        .upstreams
        .iter()
        .find(|granted| ***granted == *request.upstream)
        .ok_or_else(|| {
            OutboundError::Denied(format!(
                "upstream {:?} is not among the plugin's upstreams",
                request.upstream
            ))
        })?;
    let budget = &shared.budget;
    let denied = |problem: String| OutboundError::Denied(problem);
    let mut message = http::Request::new(Bytes::from(request.body));
    *message.method_mut() = convert::method(&request.method).map_err(denied)?;
    *message.uri_mut() = convert::path_and_query(&request.path_and_query).map_err(denied)?;
    for Header { name, value } in request.headers {
        let (name, value) = convert::header(&name, value).map_err(denied)?;
        message.headers_mut().append(name, value);
    }
    let timeout = match request.timeout_ms {
        0 => budget.wall,
        millis => Duration::from_millis(millis.into()).min(budget.wall),
    };
    let max_body = match usize::try_from(request.max_body) {
        Ok(0) | Err(_) => budget.body_size,
        Ok(bytes) => bytes.min(budget.body_size),
    };
    Ok(ports::OutboundRequest {
        upstream: Arc::clone(upstream),
        request: message,
        timeout,
        max_body,
    })
}

fn export(response: http::Response<Bytes>, wanted: &[String]) -> OutboundResponse {
    let (parts, body) = response.into_parts();
    let all = wanted.iter().any(|name| name == "*");
    let is_wanted = |name: &http::HeaderName| {
        all || wanted
            .iter()
            .any(|wanted| name.as_str().eq_ignore_ascii_case(wanted))
    };
    let headers = parts.headers.iter().filter(|(name, _)| is_wanted(name));
    OutboundResponse {
        status: parts.status.as_u16(),
        headers: headers
            .map(|(name, value)| Header {
                name: name.as_str().into(),
                value: value.as_bytes().into(),
            })
            .collect(),
        body: body.into(),
    }
}
