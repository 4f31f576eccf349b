//! The answer to the client: one document, or a problem.

use postern_plugin::outbound::OutboundRequest;
use postern_plugin::{Method, Reply, log};

use crate::branch::{Branch, Shaped};
use crate::config::Plan;
use crate::failure::{Cause, Failure};
use crate::json::{self, Member};
use crate::merge::{Conflict, Merge};

const COMPLETENESS: &str = "gateway-completeness";
/// The key of the list of failures.
pub(crate) const ERRORS_KEY: &str = "_errors";

/// The answer if a required branch cannot be called: then no other is, either.
pub(crate) fn refusal(plan: &Plan, requests: &[Result<OutboundRequest, Failure>]) -> Option<Reply> {
    let mut failed = plan
        .branches
        .iter()
        .zip(requests)
        .filter_map(|(branch, request)| Some((branch, request.as_ref().err()?)));
    let (branch, failure) = failed.find(|(branch, _)| branch.required)?;
    report(branch, failure);
    Some(problem(branch, failure.cause))
}

/// Puts the branches' pieces together.
pub(crate) fn assemble(plan: &Plan, shaped: &[Shaped<'_>]) -> Reply {
    let outcomes = || plan.branches.iter().zip(shaped);
    let failed: Vec<(&Branch, &Failure)> = outcomes()
        .filter_map(|(branch, shaped)| Some((branch, shaped.as_ref().err()?)))
        .collect();
    for (branch, failure) in &failed {
        report(branch, failure);
    }
    let is_empty =
        failed.len() == shaped.len() && failed.iter().all(|(branch, _)| branch.fallback.is_none());
    // A document of nothing would look like an answer.
    if let Some((branch, failure)) = failed
        .iter()
        .find(|(branch, _)| branch.required || is_empty)
    {
        return problem(branch, failure.cause);
    }
    match document(plan, shaped, &failed) {
        Ok(document) => reply(document, &failed),
        Err(Conflict(key)) => {
            log::warn(format_args!("two branches answered with the key {key:?}"));
            Reply::problem(
                502,
                "branch-conflict",
                "Two services answered with the same key.",
            )
        }
    }
}

fn report(branch: &Branch, failure: &Failure) {
    let (code, detail) = (failure.cause.code(), &failure.detail);
    log::warn(format_args!(
        "branch {:?} failed, {code}: {detail}",
        branch.name
    ));
}

fn document(
    plan: &Plan,
    shaped: &[Shaped<'_>],
    failed: &[(&Branch, &Failure)],
) -> Result<String, Conflict> {
    let mut merge = Merge::new(plan.on_conflict);
    let reserved = plan.errors.then_some(ERRORS_KEY);
    let mut size = 64;
    for (index, (branch, shaped)) in plan.branches.iter().zip(shaped).enumerate() {
        let Some(value) = shaped.as_deref().ok().or(branch.fallback.as_deref()) else {
            continue;
        };
        size += value.len() + branch.group.as_ref().map_or(0, String::len) + 2;
        match &branch.group {
            Some(key) => merge.add_group(index, Member { key, value })?,
            None => merge.add_members(index, value, reserved)?,
        }
    }
    let errors = (plan.errors && !failed.is_empty()).then(|| errors(failed));
    let key = json::string(ERRORS_KEY);
    let mut document = String::with_capacity(size);
    merge.write(
        &mut document,
        errors.as_deref().map(|errors| (key.as_str(), errors)),
    );
    Ok(document)
}

fn errors(failed: &[(&Branch, &Failure)]) -> String {
    let error = |(branch, failure): &(&Branch, &Failure)| {
        let (name, code) = (json::string(&branch.name), failure.cause.code());
        match failure.cause.branch_status() {
            Some(status) => format!(r#"{{"branch":{name},"code":"{code}","status":{status}}}"#),
            None => format!(r#"{{"branch":{name},"code":"{code}"}}"#),
        }
    };
    format!(
        "[{}]",
        failed.iter().map(error).collect::<Vec<_>>().join(",")
    )
}

fn reply(document: String, failed: &[(&Branch, &Failure)]) -> Reply {
    let reply = Reply::new(200)
        .header("content-type", "application/json")
        .body(document);
    if failed.is_empty() {
        return reply.header(COMPLETENESS, "complete");
    }
    let missing: Vec<&str> = failed
        .iter()
        .map(|(branch, _)| branch.name.as_str())
        .collect();
    // What is missing now may be there in a moment: no cache may keep it.
    reply
        .header(
            COMPLETENESS,
            format!("partial; missing=\"{}\"", missing.join(", ")),
        )
        .header("cache-control", "no-store")
}

fn problem(branch: &Branch, cause: Cause) -> Reply {
    let passed = cause
        .branch_status()
        .filter(|status| branch.pass_status.contains(status));
    let detail = format!(
        "The part {:?} of the answer is not available ({}).",
        branch.name,
        cause.code()
    );
    Reply::problem(passed.unwrap_or(cause.status()), "branch-failed", &detail)
}

/// Tells a client which methods there are (RFC 9110, 15.5.6).
pub(crate) fn method_not_allowed(methods: &[Method]) -> Reply {
    let allow: Vec<&str> = methods.iter().map(Method::as_str).collect();
    Reply::problem(
        405,
        "method-not-allowed",
        "This resource does not support the method.",
    )
    .header("allow", allow.join(", "))
}
