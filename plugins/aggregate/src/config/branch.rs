//! One branch in the `config` table.

use std::collections::BTreeMap;
use std::time::Duration;

use postern_plugin::{Method, config, header};
use serde::Deserialize;

use super::{Defaults, method, positive};
use crate::answer::ERRORS_KEY;
use crate::branch::Branch;
use crate::fallback::Fallback;
use crate::json;
use crate::shape::{self, Rules};
use crate::template::Template;

/// Headers that would make a service answer with something else than the whole document in plain JSON.
const NEVER_FORWARDED: [&str; 7] = [
    "accept-encoding",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "range",
];

/// `[[plugin.NAME.config.branches]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct BranchTable {
    pub(super) name: String,
    upstream: String,
    path: String,
    method: Option<String>,
    #[serde(default)]
    forward_headers: Vec<String>,
    #[serde(default)]
    forward_body: bool,
    target: Option<String>,
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    deny: Vec<String>,
    #[serde(default)]
    rename: BTreeMap<String, String>,
    group: Option<String>,
    #[serde(default, deserialize_with = "config::optional_duration")]
    timeout: Option<Duration>,
    #[serde(default, deserialize_with = "config::optional_size")]
    max_body: Option<u32>,
    #[serde(default)]
    pass_status: Vec<u16>,
    required: Option<bool>,
    fallback: Option<Fallback>,
}

impl BranchTable {
    /// Checks what the types cannot.
    pub(super) fn check(self, defaults: &Defaults) -> Result<Branch, String> {
        let named = |key: &'static str| move |reason: String| format!("{key}: {reason}");
        let is_name = |name: &str| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        if !is_name(&self.name) {
            return Err(format!(
                "name: expected letters, digits, - and _, found {:?}",
                self.name
            ));
        }
        if self.upstream.is_empty() {
            return Err("upstream: expected the name of one of the plugin's upstreams".into());
        }
        self.check_policy(defaults)?;
        let method = self.method().map_err(named("method"))?;
        let target = self
            .target
            .as_deref()
            .map(shape::segments)
            .transpose()
            .map_err(named("target"))?;
        let timeout = positive(self.timeout)
            .map_err(named("timeout"))?
            .unwrap_or(defaults.timeout);
        Ok(Branch {
            path: Template::parse(&self.path).map_err(named("path"))?,
            method,
            forward_headers: self.forwarded()?,
            forward_body: self.forward_body,
            target: target.unwrap_or_default(),
            rules: Rules::new(&self.allow, &self.deny, &self.rename)?,
            group: self.group.as_deref().map(json::string),
            timeout,
            max_body: self.max_body.unwrap_or(defaults.max_body),
            required: self.required.unwrap_or(self.fallback.is_none()),
            fallback: self.fallback.map(|Fallback(text)| text),
            pass_status: self.pass_status,
            name: self.name,
            upstream: self.upstream,
        })
    }

    /// What is said about failure must make sense together.
    fn check_policy(&self, defaults: &Defaults) -> Result<(), String> {
        if self.required == Some(true) && self.fallback.is_some() {
            return Err(
                "fallback: a required branch is never replaced; leave `required` out".into(),
            );
        }
        if self.group.is_none()
            && self
                .fallback
                .as_ref()
                .is_some_and(|Fallback(value)| !json::is_object(value))
        {
            return Err("fallback: expected a table, or a `group` to put the value under".into());
        }
        if let Some(status) = self
            .pass_status
            .iter()
            .find(|status| !(400..=599).contains(*status))
        {
            return Err(format!(
                "pass-status: expected statuses from 400 to 599, found {status}"
            ));
        }
        if defaults.errors && self.group.as_deref() == Some(ERRORS_KEY) {
            return Err(format!(
                "group: {ERRORS_KEY} is the list of failures, because of `errors = true`"
            ));
        }
        Ok(())
    }

    fn method(&self) -> Result<Method, String> {
        let method = method(self.method.as_deref().unwrap_or("GET"))?;
        match method {
            Method::Head => Err("an answer to HEAD has no body to merge".into()),
            Method::Get if self.forward_body => {
                Err("forward-body needs a method with a body, such as \"POST\"".into())
            }
            method => Ok(method),
        }
    }

    fn forwarded(&self) -> Result<Vec<String>, String> {
        // A body means nothing without its type.
        let content_type = self.forward_body.then_some("content-type");
        let mut forwarded: Vec<String> = Vec::new();
        for (index, name) in self
            .forward_headers
            .iter()
            .map(String::as_str)
            .chain(content_type)
            .enumerate()
        {
            let wrong = |reason: String| format!("forward-headers[{index}]: {reason}");
            let name = header::editable_name(name).map_err(wrong)?;
            if NEVER_FORWARDED.contains(&name.as_str()) {
                return Err(wrong(format!(
                    "{name:?} would make the service answer with less than plain JSON"
                )));
            }
            if !forwarded.contains(&name) {
                forwarded.push(name);
            }
        }
        Ok(forwarded)
    }
}
