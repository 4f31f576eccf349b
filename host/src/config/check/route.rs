//! `[[route]]`

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Checker;
use super::quantity::TIMEOUT;
use crate::config::defaults as default;
use crate::config::entry::Entry;
use crate::config::file::RouteFile;
use crate::config::resolved::{OriginConfig, Position, RouteConfig};

/// No upload is larger; the size is counted while it streams, so it costs no memory.
const MAX_REQUEST_BODY: u64 = 1 << 40;

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
        let name = self.required(place, &here, &file.name, "name", "\"orders\"");
        if let Some(name) = name {
            let text = &name.get_ref().0;
            self.unique(
                names,
                Arc::clone(text),
                place.at(name),
                &format!("the route name \"{text}\""),
            );
        }
        let path = self.required(place, &here, &file.path, "path", "\"/orders/{*rest}\"");
        self.distinct(place, file.hosts.as_ref(), |host| host.0.to_string());
        self.distinct(place, file.methods.as_ref(), |method| method.0.to_string());
        let plugins = self.existing(place, file.plugins.as_ref(), "plugin");
        let origin = self.origin(table, &here);
        let timeout = self.duration(
            place,
            &file.timeout,
            default::DEFAULT_ROUTE_TIMEOUT,
            TIMEOUT,
        );
        let max_request_body = self.size(
            place,
            &file.max_request_body,
            default::DEFAULT_ROUTE_MAX_REQUEST_BODY,
            0..=MAX_REQUEST_BODY,
        );
        Some(RouteConfig {
            name: Arc::clone(&name?.get_ref().0),
            hosts: file
                .hosts
                .iter()
                .flatten()
                .map(|host| Arc::clone(&host.get_ref().0))
                .collect(),
            path: Arc::clone(&path?.get_ref().0),
            methods: file
                .methods
                .iter()
                .flatten()
                .map(|method| method.get_ref().0.clone())
                .collect(),
            plugins,
            origin: origin?,
            timeout,
            max_request_body,
            position: here,
        })
    }

    /// Exactly one answers.
    fn origin(&mut self, table: &Entry<'_, RouteFile>, here: &Position) -> Option<OriginConfig> {
        let Entry { file, place, .. } = table;
        let upstream = file
            .upstream
            .as_ref()
            .map(|name| OriginConfig::Upstream(self.existing_one(place, name, "upstream")));
        let responder = file
            .responder
            .as_ref()
            .map(|name| OriginConfig::Responder(self.existing_one(place, name, "plugin")));
        if let (Some(_), Some(field)) = (&upstream, &file.responder) {
            let help = "keep the one that is to answer".to_owned();
            self.report.at(
                &place.at(field),
                "a route has an `upstream` or a `responder`, not both",
                Some(help),
            );
        }
        let is_lost = place.is_lost(here, "upstream") || place.is_lost(here, "responder");
        if upstream.is_none() && responder.is_none() && !is_lost {
            let help = "add `upstream = \"NAME\"`, or `responder = \"NAME\"` for a plugin that answers itself".to_owned();
            self.report.at(
                here,
                "the route has no `upstream` and no `responder`",
                Some(help),
            );
        }
        upstream.or(responder)
    }
}
