//! Answers a request with one JSON document, made of the answers of several upstreams that are called in parallel.

mod answer;
mod branch;
mod config;
mod failure;
mod fallback;
mod json;
mod merge;
mod shape;
mod size;
mod template;
#[cfg(test)]
mod tests;

use postern_plugin::outbound::{self, OutboundRequest};
use postern_plugin::{Interest, Plugin, Reply, RequestHead, Responder};

use branch::{Branch, Called};
use config::{Config, Plan};

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
        let called = call(&plan.branches, &head, &body);
        let shaped: Vec<_> = plan
            .branches
            .iter()
            .zip(&called)
            .map(|(branch, called)| branch.shape(called))
            .collect();
        Ok(answer::assemble(plan, &shaped))
    }
}

/// Calls all branches at once; one that the request lacks a value for is not called.
fn call(branches: &[Branch], head: &RequestHead, body: &[u8]) -> Vec<Called> {
    let mut requests: Vec<OutboundRequest> = Vec::with_capacity(branches.len());
    let mut called: Vec<Option<Called>> = Vec::with_capacity(branches.len());
    for branch in branches {
        match branch.request(head, body) {
            Ok(request) => {
                requests.push(request);
                called.push(None);
            }
            Err(failure) => called.push(Some(Err(failure))),
        }
    }
    let mut answers = outbound::send_all(&requests).into_iter();
    let mut next = || branch::judge(answers.next().expect("there is an answer to each request"));
    called
        .into_iter()
        .map(|failed| failed.unwrap_or_else(&mut next))
        .collect()
}

postern_plugin::export!(Aggregate: responder);
