//! `[[route]]`: which requests it is for. What becomes of them is in `origin`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::Checker;
use super::quantity::TIMEOUT;
use crate::config::condition::HeaderKey;
use crate::config::defaults as default;
use crate::config::entry::Entry;
use crate::config::file::{ConditionsFile, RouteFile};
use crate::config::resolved::{
    ConditionConfig, PathConfig, Position, RouteConfig, UpgradeProtocol,
};

use crate::types::Importance;

/// No upload is larger; the size is counted while it streams, so it costs no memory.
const MAX_REQUEST_BODY: u64 = 1 << 40;
/// Far more than anybody needs; each different one costs a look-up.
const PRIORITY: std::ops::RangeInclusive<i64> = -1_000..=1_000;
/// Conditions of one route: each is looked at for each request.
const MAX_CONDITIONS: usize = 16;

impl Checker<'_> {
    pub(super) fn routes(&mut self, tables: &[Entry<'_, RouteFile>]) -> Vec<RouteConfig> {
        let mut names = BTreeMap::new();
        tables
            .iter()
            .filter_map(|table| self.route(table, &mut names))
            .collect()
    }

    /// Whether routes stand in each other's way is for the router to say.
    fn route(
        &mut self,
        table: &Entry<'_, RouteFile>,
        names: &mut BTreeMap<Arc<str>, Position>,
    ) -> Option<RouteConfig> {
        let Entry { file, place, .. } = table;
        let here = place.here();
        let name = self.name(table, &here, names);
        let path = self.path(table, &here);
        self.distinct(place, file.hosts.as_ref(), |host| host.0.to_string());
        self.distinct(place, file.methods.as_ref(), |method| method.0.to_string());
        let hosts = file.hosts.iter().flatten();
        let methods = file.methods.iter().flatten();
        let (hosts, methods) = (
            hosts.map(|host| Arc::clone(&host.get_ref().0)).collect(),
            methods.map(|method| method.get_ref().0.clone()).collect(),
        );
        let (headers, query) = self.conditions(table, &here);
        let plugins = self.existing(place, file.plugins.as_ref(), "plugin");
        let origin = self.origin(table, &here);
        let path_change = self.path_change(table, path.as_ref());
        Some(RouteConfig {
            name: name?,
            hosts,
            methods,
            headers,
            query,
            priority: self.priority(table),
            plugins,
            canary: self.canaries(table),
            mirror: self.mirror(table),
            retry: self.retry(place, &file.retry, file.read_timeout.is_some()),
            fallback: self.fallbacks(table),
            fault: self.fault(place, &file.fault),
            importance: file
                .importance
                .map_or_else(Importance::default, |word| word.0),
            deadline_header: file.deadline_header.as_ref().map(|name| name.0.clone()),
            timeout: self.route_timeout(table),
            read_timeout: self.timeout(place, &file.read_timeout),
            total_timeout: self.timeout(place, &file.total_timeout),
            max_request_body: self.max_request_body(table),
            path: path?,
            path_change,
            origin: origin?,
            upgrade: self.upgrade(table),
            tunnel_idle_timeout: self.duration(
                place,
                &file.tunnel_idle_timeout,
                default::DEFAULT_ROUTE_TUNNEL_IDLE_TIMEOUT,
                TIMEOUT,
            ),
            position: here,
        })
    }

    fn route_timeout(&mut self, table: &Entry<'_, RouteFile>) -> Duration {
        let Entry { file, place, .. } = table;
        let default = default::DEFAULT_ROUTE_TIMEOUT;
        self.duration(place, &file.timeout, default, TIMEOUT)
    }

    fn max_request_body(&mut self, table: &Entry<'_, RouteFile>) -> u64 {
        let Entry { file, place, .. } = table;
        let default = default::DEFAULT_ROUTE_MAX_REQUEST_BODY;
        self.size(place, &file.max_request_body, default, 0..=MAX_REQUEST_BODY)
    }

    /// Where no upstream answers, there is no connection that a client could take over.
    fn upgrade(&mut self, table: &Entry<'_, RouteFile>) -> Vec<UpgradeProtocol> {
        let Entry { file, place, .. } = table;
        self.distinct(place, file.upgrade.as_ref(), |_| "websocket".to_owned());
        let protocols: Vec<_> = file.upgrade.iter().flatten().collect();
        let is_local = file.responder.is_some() || file.redirect.is_some();
        if let Some(first) = protocols.first().filter(|_| is_local) {
            self.report.at(
                &place.at(first),
                "only a route to an upstream can be upgraded",
                Some("name an `upstream`, or remove `upgrade`".to_owned()),
            );
        }
        protocols.iter().map(|word| word.get_ref().0).collect()
    }

    fn name(
        &mut self,
        table: &Entry<'_, RouteFile>,
        here: &Position,
        names: &mut BTreeMap<Arc<str>, Position>,
    ) -> Option<Arc<str>> {
        let Entry { file, place, .. } = table;
        let name = self.required(place, here, &file.name, "name", "\"orders\"")?;
        let text = &name.get_ref().0;
        let what = format!("the route name \"{text}\"");
        self.unique(names, Arc::clone(text), place.at(name), &what);
        Some(Arc::clone(text))
    }

    /// A pattern or a regular expression.
    fn path(&mut self, table: &Entry<'_, RouteFile>, here: &Position) -> Option<PathConfig> {
        let Entry { file, place, .. } = table;
        let regex = file.path_regex.as_ref();
        if let (Some(_), Some(field)) = (&file.path, regex) {
            self.report.at(
                &place.at(field),
                "a route has a `path` or a `path-regex`, not both",
                Some("keep one; for the other, add a route".into()),
            );
        }
        if let Some(regex) = regex {
            return Some(PathConfig::Regex(Arc::clone(&regex.get_ref().0)));
        }
        if place.is_lost(here, "path-regex") {
            return None;
        }
        let path = self.required(place, here, &file.path, "path", "\"/orders/{*rest}\"")?;
        Some(PathConfig::Pattern(Arc::clone(&path.get_ref().0)))
    }

    fn conditions(
        &mut self,
        table: &Entry<'_, RouteFile>,
        here: &Position,
    ) -> (Vec<ConditionConfig>, Vec<ConditionConfig>) {
        let (headers, query) = (
            on_headers(&table.file.headers),
            conditions(&table.file.query),
        );
        if headers.len() + query.len() > MAX_CONDITIONS {
            let message =
                format!("a route has at most {MAX_CONDITIONS} conditions on headers and query");
            self.report.at(here, message, None);
        }
        (headers, query)
    }

    fn priority(&mut self, table: &Entry<'_, RouteFile>) -> i32 {
        let Some(priority) = &table.file.priority else {
            return 0;
        };
        let value = *priority.get_ref();
        if !PRIORITY.contains(&value) {
            let (least, most) = (PRIORITY.start(), PRIORITY.end());
            let message = format!("expected {least} to {most}, found {value}");
            self.report.at(&table.place.at(priority), message, None);
        }
        i32::try_from(value).unwrap_or_default()
    }
}

/// Conditions on headers.
pub(super) fn on_headers(file: &ConditionsFile<HeaderKey>) -> Vec<ConditionConfig> {
    let all = file.iter().flatten();
    all.map(|(name, value)| condition(&name.0, value)).collect()
}

/// Conditions on anything else.
pub(super) fn conditions(file: &ConditionsFile<String>) -> Vec<ConditionConfig> {
    let all = file.iter().flatten();
    all.map(|(name, value)| condition(name, value)).collect()
}

fn condition(
    name: &str,
    value: &Spanned<crate::config::condition::ConditionValue>,
) -> ConditionConfig {
    ConditionConfig {
        name: name.into(),
        test: value.get_ref().0.clone(),
    }
}
