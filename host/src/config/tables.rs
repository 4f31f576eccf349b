//! All tables of all files, read but not yet checked against each other.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use toml::de::DeValue;

use super::document::{Document, Node};
use super::entry::{Entry, quoted};
use super::error::Report;
use super::file::{
    AccessLogFile, AdminFile, ConsumerFile, DnsFile, KeysFile, ListenFile, LogFile, PluginFile,
    PluginsFile, RouteFile, ServerFile, StateFile, TOP_KEYS, TierFile, UpstreamFile,
};
use super::resolved::Position;
use super::{suggest, values};

/// What the files say, table by table.
#[derive(Default)]
pub(super) struct Tables<'d> {
    pub(super) server: Option<Entry<'d, ServerFile>>,
    pub(super) admin: Option<Entry<'d, AdminFile>>,
    pub(super) access_log: Option<Entry<'d, AccessLogFile>>,
    pub(super) log: Option<Entry<'d, LogFile>>,
    pub(super) engine: Option<Entry<'d, PluginsFile>>,
    pub(super) dns: Option<Entry<'d, DnsFile>>,
    pub(super) state: Option<Entry<'d, StateFile>>,
    pub(super) listeners: Vec<Entry<'d, ListenFile>>,
    pub(super) upstreams: Vec<Entry<'d, UpstreamFile>>,
    pub(super) plugins: Vec<Entry<'d, PluginFile>>,
    pub(super) consumers: Vec<Entry<'d, ConsumerFile>>,
    pub(super) tiers: Vec<Entry<'d, TierFile>>,
    pub(super) keys: Vec<Entry<'d, KeysFile>>,
    pub(super) routes: Vec<Entry<'d, RouteFile>>,
    /// Whether there are tables of no known kind: what seems to be missing may be misspelt.
    pub(super) has_strangers: bool,
}

/// Reads the tables of `documents`, the main file first.
pub(super) fn read<'d>(documents: &'d [Document<'d>], report: &mut Report) -> Tables<'d> {
    let mut tables = Tables::default();
    let mut reader = Reader {
        report,
        seen: BTreeMap::new(),
    };
    for document in documents {
        for (key, node) in &document.root {
            let at = At {
                document,
                key: key.get_ref(),
                key_position: document.position(key.span(), key.get_ref()),
                node,
            };
            match at.key {
                "version" | "include" => {}
                "server" => reader.single(&at, &mut tables.server),
                "admin" => reader.single(&at, &mut tables.admin),
                "access-log" => reader.single(&at, &mut tables.access_log),
                "log" => reader.single(&at, &mut tables.log),
                "plugins" => reader.single(&at, &mut tables.engine),
                "dns" => reader.single(&at, &mut tables.dns),
                "state" => reader.single(&at, &mut tables.state),
                "listen" => reader.named(&at, &mut tables.listeners),
                "upstream" => reader.named(&at, &mut tables.upstreams),
                "plugin" => reader.named(&at, &mut tables.plugins),
                "consumer" => reader.named(&at, &mut tables.consumers),
                "tier" => reader.named(&at, &mut tables.tiers),
                "keys" => reader.named(&at, &mut tables.keys),
                "route" => reader.listed(&at, &mut tables.routes),
                _ => {
                    tables.has_strangers = true;
                    reader.unknown(&at);
                }
            }
        }
    }
    tables
}

/// A key at the top of a file.
struct At<'d> {
    document: &'d Document<'d>,
    key: &'d str,
    key_position: Position,
    node: &'d Node<'d>,
}

struct Reader<'r> {
    report: &'r mut Report,
    /// Where each table was first seen: it may come again in another file.
    seen: BTreeMap<String, Position>,
}

impl Reader<'_> {
    /// `[key]`
    fn single<'d, T: DeserializeOwned + Default>(
        &mut self,
        at: &At<'d>,
        table: &mut Option<Entry<'d, T>>,
    ) {
        if self.is_first(at.key, at.document.position(at.node.span(), at.key)) {
            *table = Some(Entry::read(
                at.document,
                "",
                at.key.to_owned(),
                at.node,
                self.report,
            ));
        }
    }

    /// `[key.NAME]`
    fn named<'d, T: DeserializeOwned + Default>(
        &mut self,
        at: &At<'d>,
        tables: &mut Vec<Entry<'d, T>>,
    ) {
        let DeValue::Table(children) = at.node.get_ref() else {
            let found = at.node.get_ref().type_str();
            let position = at.document.position(at.node.span(), at.key);
            return self.report.at(
                &position,
                format!("expected tables, found {found}"),
                Some(format!("write `[{}.NAME]`", at.key)),
            );
        };
        for (name, node) in children {
            let path = format!("{}.{}", at.key, quoted(name.get_ref()));
            let position = at.document.position(node.span(), &path);
            if !matches!(node.get_ref(), DeValue::Table(_)) {
                let help = format!("the table needs a name: `[{}.NAME]`", at.key);
                self.report.at(
                    &position,
                    format!("expected a table, found {}", node.get_ref().type_str()),
                    Some(help),
                );
                continue;
            }
            if let Err(refusal) = values::check_name(name.get_ref()) {
                let (message, help) = refusal.into_parts();
                self.report
                    .at(&at.document.position(name.span(), &path), message, help);
            }
            if self.is_first(&path, position) {
                tables.push(Entry::read(
                    at.document,
                    name.get_ref(),
                    path,
                    node,
                    self.report,
                ));
            }
        }
    }

    /// `[[key]]`
    fn listed<'d, T: DeserializeOwned + Default>(
        &mut self,
        at: &At<'d>,
        tables: &mut Vec<Entry<'d, T>>,
    ) {
        let DeValue::Array(elements) = at.node.get_ref() else {
            let position = at.document.position(at.node.span(), at.key);
            let found = at.node.get_ref().type_str();
            return self.report.at(
                &position,
                format!("expected `[[{}]]`, found a {found}", at.key),
                Some(format!("write `[[{}]]` with two brackets", at.key)),
            );
        };
        for (index, node) in elements.iter().enumerate() {
            tables.push(Entry::read(
                at.document,
                "",
                format!("{}[{index}]", at.key),
                node,
                self.report,
            ));
        }
    }

    fn unknown(&mut self, at: &At<'_>) {
        let hint = suggest::hint(at.key, "known tables", TOP_KEYS);
        self.report.at(
            &at.key_position,
            format!("unknown table or key \"{}\"", at.key.escape_debug()),
            Some(hint),
        );
    }

    /// Whether the table `path` was not in another file before.
    fn is_first(&mut self, path: &str, position: Position) -> bool {
        let Some(first) = self.seen.get(path) else {
            self.seen.insert(path.to_owned(), position);
            return true;
        };
        let first = self.report.place(first);
        self.report.at(
            &position,
            format!("`[{path}]` is in two files"),
            Some(format!("the other one is at {first}")),
        );
        false
    }
}
