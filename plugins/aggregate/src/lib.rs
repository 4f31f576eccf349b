//! Answers a request with one JSON document, made of the answers of several upstreams that are called in parallel.

mod answer;
mod branch;
mod config;
mod failure;
mod fallback;
mod json;
mod merge;
mod shape;
mod template;
#[cfg(test)]
mod tests;

use postern_plugin::outbound::{self, OutboundRequest};
use postern_plugin::{Interest, Plugin, Reply, RequestHead, Responder};

use branch::Called;
use config::{Config, Plan};
use failure::Failure;

struct Aggregate(Plan);

impl Plugin for Aggregate {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        Plan::new(config).map(Aggregate)
    }

    fn interest(&self) -> Interest {
        Interest::new().request_headers(self.0.request_headers())
    }
}

impl Responder for Aggregate {
    fn respond(&self, head: RequestHead, body: Vec<u8>) -> Result<Reply, String> {
        let Aggregate(plan) = self;
        if !plan.methods.contains(&head.method) {
            return Ok(answer::method_not_allowed(&plan.methods));
        }
        let requests = plan
            .branches
            .iter()
            .map(|branch| branch.request(&head, &body));
        let requests: Vec<_> = requests.collect();
        if let Some(refusal) = answer::refusal(plan, &requests) {
            return Ok(refusal);
        }
        let called = call(requests);
        let shaped = plan
            .branches
            .iter()
            .zip(&called)
            .map(|(branch, called)| branch.shape(called));
        Ok(answer::assemble(plan, &shaped.collect::<Vec<_>>()))
    }
}

/// Calls all branches at once, but those that the request lacks a value for.
fn call(requests: Vec<Result<OutboundRequest, Failure>>) -> Vec<Called> {
    let mut ready = Vec::with_capacity(requests.len());
    let failures: Vec<Option<Failure>> = requests
        .into_iter()
        .map(|request| request.map(|request| ready.push(request)).err())
        .collect();
    let mut answers = outbound::send_all(&ready).into_iter();
    let mut next = || branch::judge(answers.next().expect("there is an answer to each request"));
    failures
        .into_iter()
        .map(|failure| failure.map_or_else(&mut next, Err))
        .collect()
}

postern_plugin::export!(Aggregate: responder);
