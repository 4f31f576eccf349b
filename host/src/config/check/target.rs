//! `[[upstream.NAME.targets]]`

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;

use super::Checker;
use crate::config::entry::{Entry, Place};
use crate::config::file::{TargetEntry, TargetFile, UpstreamFile};
use crate::config::resolved::{Placement, TargetConfig};
use crate::config::tls::UpstreamTls;

const MAX_WEIGHT: u64 = 10_000;
const MAX_TAGS: usize = 16;

impl Checker<'_> {
    pub(super) fn targets(
        &mut self,
        table: &Entry<'_, UpstreamFile>,
        tls: Option<&UpstreamTls>,
    ) -> Vec<TargetConfig> {
        let Entry { file, place, .. } = table;
        if file.discovery.is_some() || place.is_lost(&place.here(), "discovery") {
            return Vec::new();
        }
        let targets = self.required(
            place,
            &place.here(),
            &file.targets,
            "targets",
            "[\"http://127.0.0.1:7001\"]",
        );
        if let Some(list) = targets
            .filter(|list| list.get_ref().is_empty() && !place.is_lost(&place.here(), "targets"))
        {
            self.report
                .at(&place.at(list), "expected at least one target", None);
        }
        targets
            .iter()
            .flat_map(|list| list.get_ref())
            .filter_map(|entry| self.target(place, entry, tls))
            .collect()
    }

    fn target(
        &mut self,
        place: &Place<'_>,
        entry: &Spanned<TargetEntry>,
        tls: Option<&UpstreamTls>,
    ) -> Option<TargetConfig> {
        let placement = match entry.get_ref() {
            TargetEntry::Address(_) => Placement::default(),
            TargetEntry::Table(file) => {
                let here = place.at(entry);
                self.required(place, &here, &file.url, "url", "\"http://127.0.0.1:7001\"");
                self.placement(place, file)
            }
        };
        let endpoint = self.endpoint(place, entry.get_ref().address()?, tls);
        Some(TargetConfig {
            endpoint,
            placement,
        })
    }

    fn placement(&mut self, place: &Place<'_>, file: &TargetFile) -> Placement {
        let backup = file.backup.as_ref().is_some_and(|backup| *backup.get_ref());
        if let Some(priority) = file.priority.as_ref().filter(|_| backup) {
            let message = "a backup is used after all priorities";
            let help = "remove `priority`, or `backup`";
            self.report
                .at(&place.at(priority), message, Some(help.into()));
        }
        Placement {
            weight: self.count(place, &file.weight, 1, 1..=MAX_WEIGHT),
            priority: self.count(place, &file.priority, 0, 0..=u64::from(u8::MAX)),
            backup,
            zone: file.zone.as_ref().map(|zone| Arc::clone(&zone.get_ref().0)),
            tags: self.tags(place, file),
        }
    }

    fn tags(&mut self, place: &Place<'_>, file: &TargetFile) -> BTreeMap<Arc<str>, Arc<str>> {
        let Some(tags) = &file.tags else {
            return BTreeMap::new();
        };
        if tags.get_ref().len() > MAX_TAGS {
            let message = format!("a target has at most {MAX_TAGS} tags");
            self.report.at(&place.at(tags), message, None);
        }
        let shared =
            |(key, value): (&String, &String)| (key.as_str().into(), value.as_str().into());
        tags.get_ref().iter().map(shared).collect()
    }
}
