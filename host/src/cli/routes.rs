//! `postern routes`: the table of routes.

use std::path::Path;
use std::process::ExitCode;

use super::table::table;
use crate::app;
use crate::config::{Config, OriginConfig, Part, RouteConfig, Template};
use crate::router::explain::in_words;

const HEADINGS: [&str; 7] = [
    "PRIORITY", "NAME", "HOSTS", "PATH", "METHODS", "PLUGINS", "GOES TO",
];

pub(super) fn routes(path: &Path) -> ExitCode {
    let loaded = app::load(path).and_then(|config| app::router(&config).map(|_| config));
    match loaded {
        Ok(config) => {
            print(&config);
            ExitCode::SUCCESS
        }
        Err(error) => super::refuse(&error),
    }
}

#[expect(clippy::print_stdout, reason = "the answer to the command")]
fn print(config: &Config) {
    let mut rows = vec![HEADINGS.map(str::to_owned).to_vec()];
    let mut routes: Vec<&RouteConfig> = config.routes.iter().collect();
    // Those of one priority in the order of the file.
    routes.sort_by_key(|route| std::cmp::Reverse(route.priority));
    rows.extend(routes.into_iter().map(row));
    print!("{}", table(&rows));
}

fn row(route: &RouteConfig) -> Vec<String> {
    let methods: Vec<&str> = route.methods.iter().map(http::Method::as_str).collect();
    let mut path = route.path.to_string();
    let conditions = route.headers.iter().map(|header| ("header", header));
    let conditions = conditions.chain(route.query.iter().map(|parameter| ("query", parameter)));
    for (kind, condition) in conditions {
        path += &format!(", {kind} {}", in_words(condition));
    }
    vec![
        route.priority.to_string(),
        route.name.to_string(),
        list(&route.hosts, "*"),
        path,
        if methods.is_empty() {
            "*".into()
        } else {
            methods.join(",")
        },
        list(&route.plugins, "-"),
        goes_to(route),
    ]
}

fn list(names: &[std::sync::Arc<str>], none: &str) -> String {
    match names {
        [] => none.to_owned(),
        names => names.join(","),
    }
}

/// Who answers, in words.
pub(super) fn goes_to(route: &RouteConfig) -> String {
    let mut text = match &route.origin {
        OriginConfig::Upstream(name) => name.to_string(),
        OriginConfig::Split(shares) => {
            let shares: Vec<String> = shares
                .iter()
                .map(|(name, weight)| format!("{name} {weight}"))
                .collect();
            format!("split {}", shares.join(" : "))
        }
        OriginConfig::Responder(name) => format!("plugin {name}"),
        OriginConfig::Redirect { status, to } => format!("{status} {}", shown(to)),
    };
    for rule in &route.canary {
        text += &format!(", canary {}", rule.upstream);
    }
    if let Some(mirror) = &route.mirror {
        text += &format!(", mirror {}", mirror.upstream);
    }
    text
}

/// A template as it is written.
fn shown(template: &Template) -> String {
    let part = |part: &Part| match part {
        Part::Text(text) => text.replace('{', "{{").replace('}', "}}"),
        Part::Parameter(name) => format!("{{{name}}}"),
        Part::Host => "{$host}".into(),
        Part::Path => "{$path}".into(),
    };
    template.0.iter().map(part).collect()
}
