//! The `config` table.

mod branch;

use std::collections::BTreeSet;
use std::time::Duration;

use postern_plugin::{Method, config};
use serde::Deserialize;

use crate::branch::Branch;
use crate::merge::OnConflict;
use branch::BranchTable;

/// Below the default `budget.wall` of 10 s: a branch that hangs must fail before the whole call does.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// The default of `max-body` for all branches together: below the default `budget.host-call-bytes` of 4 MiB.
const DEFAULT_MAX_BODIES: u32 = 3 << 20;
/// No single answer may be larger by default: the default `budget.body-size`.
const DEFAULT_MAX_BODY: u32 = 1 << 20;
const MAX_BRANCHES: usize = 64;
/// `[plugin.NAME] config`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    branches: Vec<BranchTable>,
    #[serde(default)]
    on_conflict: OnConflict,
    #[serde(default)]
    errors: bool,
    #[serde(default = "default_methods")]
    methods: Vec<String>,
    #[serde(default, deserialize_with = "config::optional_duration")]
    timeout: Option<Duration>,
}

/// The config, checked.
#[derive(Debug)]
pub(crate) struct Plan {
    pub branches: Vec<Branch>,
    pub on_conflict: OnConflict,
    pub errors: bool,
    /// Of the client's requests.
    pub methods: Vec<Method>,
}

fn default_methods() -> Vec<String> {
    ["GET", "HEAD"].map(String::from).to_vec()
}

impl Plan {
    /// Checks what the types cannot.
    pub(crate) fn new(config: Config) -> Result<Self, String> {
        let count = config.branches.len();
        if count == 0 || count > MAX_BRANCHES {
            return Err(format!(
                "branches: expected 1 to {MAX_BRANCHES}, found {count}"
            ));
        }
        if config.methods.is_empty() {
            return Err("methods: expected at least one".into());
        }
        let methods = config
            .methods
            .iter()
            .map(|name| method(name))
            .collect::<Result<_, _>>();
        let methods = methods.map_err(|reason| format!("methods: {reason}"))?;
        let timeout = positive(config.timeout)
            .map_err(|reason| format!("timeout: {reason}"))?
            .unwrap_or(DEFAULT_TIMEOUT);
        let share = u32::try_from(count).map_or(1, |count| DEFAULT_MAX_BODIES / count);
        let defaults = Defaults {
            timeout,
            max_body: share.min(DEFAULT_MAX_BODY),
            errors: config.errors,
        };
        let mut names = BTreeSet::new();
        let mut branches = Vec::with_capacity(count);
        for (index, table) in config.branches.into_iter().enumerate() {
            if !names.insert(table.name.clone()) {
                return Err(format!(
                    "branches[{index}].name: {:?} is there already",
                    table.name
                ));
            }
            branches.push(
                table
                    .check(&defaults)
                    .map_err(|reason| format!("branches[{index}].{reason}"))?,
            );
        }
        Ok(Plan {
            branches,
            on_conflict: config.on_conflict,
            errors: config.errors,
            methods,
        })
    }

    /// The headers that a branch forwards, or has in its path.
    pub(crate) fn request_headers(&self) -> BTreeSet<&str> {
        self.branches
            .iter()
            .flat_map(|branch| {
                branch
                    .forward_headers
                    .iter()
                    .map(String::as_str)
                    .chain(branch.path.headers())
            })
            .collect()
    }
}

/// What a branch has that does not say otherwise.
struct Defaults {
    timeout: Duration,
    max_body: u32,
    errors: bool,
}

fn method(name: &str) -> Result<Method, String> {
    match name {
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" => Ok(Method::from(name)),
        _ => Err(format!(
            "expected GET, HEAD, POST, PUT, PATCH or DELETE, found {name:?}"
        )),
    }
}

fn positive(timeout: Option<Duration>) -> Result<Option<Duration>, String> {
    match timeout {
        Some(timeout) if timeout < Duration::from_millis(1) => Err("expected at least 1ms".into()),
        timeout => Ok(timeout),
    }
}
