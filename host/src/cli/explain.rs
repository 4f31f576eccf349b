//! `postern explain METHOD URL`: which route, plugins and upstream a request would meet, and why no other route.

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::routes::goes_to;
use super::table::table;
use crate::app::{self, Inspection};
use crate::config::{Config, ListenerConfig, RouteConfig};
use crate::plugin::Chain;
use crate::proxy;
use crate::router::explain::{Why, why_not};
use crate::router::{Found, Head, normalise};
use crate::telemetry::PluginPhase;
use crate::types::{EncodedInPath, PathParameters};

/// Exit code when no route takes the request.
const EXIT_NO_ROUTE: u8 = 1;

/// The request that is asked about.
#[derive(Debug, Args)]
pub(super) struct Request {
    /// Its method.
    method: Method,
    /// Its URL, such as `http://shop.example/orders?page=2`.
    url: String,
    /// One of its headers, as `NAME: VALUE`.
    #[arg(short = 'H', long = "header", value_name = "HEADER", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The listener that it comes to; by default the first one.
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "postern.toml")]
    config: PathBuf,
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("expected `NAME: VALUE`")?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|error| error.to_string())?;
    let value = HeaderValue::from_str(value.trim()).map_err(|error| error.to_string())?;
    Ok((name, value))
}

/// A URL taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Target<'u> {
    host: String,
    path: &'u str,
    query: Option<&'u str>,
}

impl<'u> Target<'u> {
    /// A URL, or only the path of one.
    fn of(url: &'u str) -> Self {
        let url = url.split('#').next().unwrap_or_default();
        let (host, rest) = match url.split_once("://") {
            _ if url.starts_with('/') => ("", url),
            Some((_, rest)) => rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())),
            None => url.split_at(url.find(['/', '?']).unwrap_or(url.len())),
        };
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        Self {
            host: host.to_ascii_lowercase(),
            path: if path.is_empty() { "/" } else { path },
            query,
        }
    }
}

pub(super) fn explain(request: &Request) -> ExitCode {
    let inspection = match app::load(&request.config).and_then(app::inspect) {
        Ok(inspection) => inspection,
        Err(error) => return super::refuse(&error),
    };
    let Some(listener) = listener(&inspection.config, request.listener.as_deref()) else {
        return super::fail(super::EXIT_CONFIG, "there is no listener of this name");
    };
    let (text, code) = answer(request, &inspection, listener);
    print(&text);
    code
}

#[expect(clippy::print_stdout, reason = "the answer to the command")]
fn print(text: &str) {
    print!("{text}");
}

fn listener<'c>(config: &'c Config, name: Option<&str>) -> Option<&'c ListenerConfig> {
    let mut listeners = config.listeners.iter();
    listeners.find(|listener| name.is_none_or(|name| *listener.name == *name))
}

fn answer(
    request: &Request,
    inspection: &Inspection,
    listener: &ListenerConfig,
) -> (String, ExitCode) {
    let target = Target::of(&request.url);
    let headers: HeaderMap = request.headers.iter().cloned().collect();
    let named = headers
        .get(http::header::HOST)
        .and_then(|host| host.to_str().ok());
    let host = match target.host.as_str() {
        "" => named.unwrap_or_default().to_ascii_lowercase(),
        host => host.to_owned(),
    };
    let mut rows = vec![row(
        "request",
        &format!("{} {}", request.method, request.url),
    )];
    let path = match normalise(target.path, listener.allow_encoded) {
        Ok(path) => path,
        Err(error) => {
            rows.push(row("answer", &format!("400 bad-request: {error}")));
            return (table(&rows), ExitCode::from(EXIT_NO_ROUTE));
        }
    };
    rows.push(row("host", if host.is_empty() { "(none)" } else { &host }));
    rows.push(row("path", &path));
    let head = Head {
        host: &host,
        path: &path,
        query: target.query,
        method: &request.method,
        headers: &headers,
    };
    let found = proxy::find(&inspection.snapshot.router, &head);
    let index = match &found {
        Found::Route { index, .. } => Some(*index),
        Found::MethodNotAllowed { .. } | Found::NotFound => None,
    };
    match &found {
        Found::Route { index, parameters } => {
            let allowed = listener.allow_encoded;
            describe(&mut rows, inspection, *index, (&path, parameters, allowed));
        }
        Found::MethodNotAllowed { allow } => {
            rows.push(row("answer", &format!("405 method-not-allowed: {allow}")));
        }
        Found::NotFound => rows.push(row("answer", "404 no-route")),
    }
    let text = table(&rows) + &others(&inspection.config, index, &head);
    (
        text,
        ExitCode::from(if index.is_some() { 0 } else { EXIT_NO_ROUTE }),
    )
}

fn row(name: &str, value: &str) -> Vec<String> {
    vec![name.to_owned(), value.to_owned()]
}

/// What the request would meet.
fn describe(
    rows: &mut Vec<Vec<String>>,
    inspection: &Inspection,
    index: usize,
    (path, parameters, allowed): (&str, &PathParameters, EncodedInPath),
) {
    let (config, snapshot) = (&inspection.config, &inspection.snapshot);
    let (Some(route), Some(serving)) = (config.routes.get(index), snapshot.routes.get(index))
    else {
        return;
    };
    let place = config.texts.place(&route.position);
    rows.push(row("route", &format!("{} ({place})", route.name)));
    for (name, range) in &parameters.0 {
        let value = path.get(range.clone()).unwrap_or_default();
        rows.push(row("parameter", &format!("{name} = {value}")));
    }
    chains(rows, &serving.chain);
    rows.push(row("goes to", &goes_to(route)));
    if let Some(change) = &serving.path_change {
        let sent = change.change(path, parameters, allowed);
        rows.push(row(
            "path sent",
            &sent.map_or_else(|error| error.to_string(), Cow::into_owned),
        ));
    }
    let canaries = route.canary.iter().map(|rule| &rule.upstream);
    let mirror = route.mirror.iter().map(|mirror| &mirror.upstream);
    let mut names: Vec<_> = route
        .origin
        .upstreams()
        .chain(canaries)
        .chain(mirror)
        .collect();
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(Arc::clone(name)));
    for name in names {
        let upstream = snapshot.upstreams.get(name);
        let targets = upstream.iter().flat_map(|upstream| upstream.targets());
        let targets: Vec<Arc<str>> = targets.map(|target| Arc::clone(target.address())).collect();
        rows.push(row("targets", &format!("{name}: {}", targets.join(", "))));
    }
}

/// The plugins of each phase, in the order in which they are called.
fn chains(rows: &mut Vec<Vec<String>>, chain: &Chain) {
    let with = |phase: PluginPhase| {
        let plugins = chain.plugins().iter();
        let plugins = plugins.filter(|plugin| plugin.phases().any(|other| other == phase));
        plugins
            .map(|plugin| plugin.name().to_string())
            .collect::<Vec<String>>()
    };
    for (name, phase) in [
        ("request", PluginPhase::Request),
        ("request body", PluginPhase::RequestBody),
        ("request stream", PluginPhase::RequestStream),
        ("response", PluginPhase::Response),
        ("response body", PluginPhase::ResponseBody),
        ("response stream", PluginPhase::ResponseStream),
    ] {
        let mut plugins = with(phase);
        if name.starts_with("response") {
            plugins.reverse();
        }
        // Few plugins listen to streams: the row is there where one does.
        if !(name.ends_with("stream") && plugins.is_empty()) {
            rows.push(row(&format!("on {name}"), &in_order(plugins)));
        }
    }
}

fn in_order(plugins: Vec<String>) -> String {
    if plugins.is_empty() {
        return "-".into();
    }
    plugins.join(" > ")
}

/// Why the others do not take it.
fn others(config: &Config, found: Option<usize>, head: &Head<'_>) -> String {
    let winner = found.and_then(|index| config.routes.get(index));
    let mut rows = Vec::new();
    for (index, route) in config.routes.iter().enumerate() {
        if found != Some(index) {
            let why = why_not(route, winner, head);
            rows.push(vec![
                format!("  {}", route.name),
                reason(route, winner, &why),
            ]);
        }
    }
    match rows.is_empty() {
        true => String::new(),
        false => format!("\nnot these:\n{}", table(&rows)),
    }
}

fn reason(route: &RouteConfig, winner: Option<&RouteConfig>, why: &Why) -> String {
    let joined = |names: Vec<&str>| names.join(", ");
    match why {
        Why::Host => format!(
            "is for {}",
            joined(route.hosts.iter().map(|host| &**host).collect())
        ),
        Why::Path => format!("is for {}", route.path),
        Why::Method => format!(
            "is for {}",
            joined(route.methods.iter().map(Method::as_str).collect())
        ),
        Why::Header(wanted) => format!("only if header {wanted}"),
        Why::Query(wanted) => format!("only if query parameter {wanted}"),
        Why::Shadowed => {
            "would take it, but a more specific host or path has only other methods".into()
        }
        Why::Outranked(rule) => {
            let name = winner.map(|winner| &*winner.name).unwrap_or_default();
            format!("would take it, but {name} has {rule}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, host, path, query) in [
            (
                "http://A.example:8080/b?c#d",
                "a.example:8080",
                "/b",
                Some("c"),
            ),
            ("https://a.example", "a.example", "/", None),
            ("a.example/b", "a.example", "/b", None),
            ("/b//c?", "", "/b//c", Some("")),
            ("http://a?b=/c", "a", "/", Some("b=/c")),
        ] {
            let host = host.to_owned();
            assert_eq!(Target::of(url), Target { host, path, query }, "{url}");
        }
    }
}
