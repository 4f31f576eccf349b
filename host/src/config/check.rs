//! From what the files say to what the host may rely on: rules between keys and tables, defaults, secrets.
//!
//! Every function here reports what is wrong and goes on, with a stand-in where it must, so that one run finds everything. The
//! stand-ins never leave this module: there is no configuration unless the report is clean.

mod balance;
mod consumer;
mod discovery;
mod fallback;
mod health;
mod key_set;
mod keys;
mod origin;
mod plugin;
mod quantity;
mod resilience;
mod route;
mod server;
mod state;
mod target;
mod tls;
mod upstream;
mod upstream_tls;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use toml::Spanned;

use super::entry::{Entry, Place};
use super::error::{Problem, Report};
use super::file::{Field, TierFile};
use super::reference::Environment;
use super::resolved::{Config, Position};
use super::suggest;
use super::tables::Tables;
use super::text::Texts;
use crate::types::Importance;

/// Checks `tables`, whose main file is `main`. What comes back is usable only when `report` is clean.
pub(super) fn check(
    tables: &Tables<'_>,
    main: PathBuf,
    sources: Vec<PathBuf>,
    environment: Environment<'_>,
    report: &mut Report,
) -> Config {
    let names = Names {
        upstreams: names(&tables.upstreams),
        plugins: names(&tables.plugins),
        tiers: names(&tables.tiers),
        consumers: names(&tables.consumers),
    };
    let mut checker = Checker {
        report,
        names,
        environment,
        sources,
    };
    if !tables.has_strangers {
        checker.presence(tables, main);
    }
    let engine = checker.engine(tables.engine.as_ref());
    let plugins = checker.plugins(&tables.plugins, &engine);
    let admin = checker.admin(tables.admin.as_ref());
    Config {
        server: checker.server(tables.server.as_ref()),
        access_log: checker.access_log(tables.access_log.as_ref()),
        dns: checker.dns(tables.dns.as_ref()),
        log: checker.log(tables.log.as_ref()),
        state: checker.state(tables.state.as_ref()),
        listeners: checker.listeners(&tables.listeners, tables.admin.as_ref()),
        upstreams: checker.upstreams(&tables.upstreams),
        consumers: checker.consumers(&tables.consumers),
        tiers: checker.tiers(&tables.tiers),
        importances: importances(&tables.tiers),
        keys: checker.keys(&tables.keys),
        key_sets: checker.key_sets(&tables.keys),
        routes: checker.routes(&tables.routes),
        admin,
        engine,
        plugins,
        sources: checker.sources(),
        texts: Texts::default(),
    }
}

fn importances(tables: &[Entry<'_, TierFile>]) -> BTreeMap<Arc<str>, Importance> {
    let importance = |table: &Entry<'_, TierFile>| {
        let word = table.file.importance?;
        Some((Arc::clone(&table.name), word.0))
    };
    tables.iter().filter_map(importance).collect()
}

/// What other tables may name.
struct Names {
    upstreams: Vec<Arc<str>>,
    plugins: Vec<Arc<str>>,
    tiers: Vec<Arc<str>>,
    consumers: Vec<Arc<str>>,
}

fn names<T>(entries: &[Entry<'_, T>]) -> Vec<Arc<str>> {
    entries
        .iter()
        .map(|entry| Arc::clone(&entry.name))
        .collect()
}

/// What all checks share.
struct Checker<'c> {
    report: &'c mut Report,
    names: Names,
    environment: Environment<'c>,
    /// Files that were read; those of secrets are added when they are.
    sources: Vec<PathBuf>,
}

impl Checker<'_> {
    /// A gateway without a listener or a route does nothing, which nobody wants.
    fn presence(&mut self, tables: &Tables<'_>, main: PathBuf) {
        let mut absent = |what: &str, help: &str| {
            self.report.add(Problem::of_file(
                main.clone(),
                format!("there is no {what}"),
                Some(help.to_owned()),
            ));
        };
        if tables.listeners.is_empty() {
            absent(
                "listener",
                "add one: `[listen.public]` with `address = \"0.0.0.0:8080\"`",
            );
        }
        if tables.routes.is_empty() {
            absent(
                "route",
                "add one: `[[route]]` with `name`, `path` and `upstream`",
            );
        }
    }

    /// The value of a key that must be there; `table` is the part of `place` that it belongs to.
    fn required<'f, T>(
        &mut self,
        place: &Place<'_>,
        table: &Position,
        field: &'f Field<T>,
        key: &str,
        example: &str,
    ) -> Option<&'f Spanned<T>> {
        if field.is_none() && !place.is_lost(table, key) {
            self.report.at(
                table,
                format!("the key `{key}` is missing"),
                Some(format!("for example `{key} = {example}`")),
            );
        }
        field.as_ref()
    }

    /// The values of `list`, each once.
    fn distinct<T: PartialEq>(
        &mut self,
        place: &Place<'_>,
        list: Option<&Vec<Spanned<T>>>,
        show: impl Fn(&T) -> String,
    ) {
        let list = list.map(Vec::as_slice).unwrap_or_default();
        for (index, value) in list.iter().enumerate() {
            if list
                .iter()
                .take(index)
                .any(|earlier| earlier.get_ref() == value.get_ref())
            {
                self.report.at(
                    &place.at(value),
                    format!("\"{}\" is listed twice", show(value.get_ref())),
                    None,
                );
            }
        }
    }

    /// Names of tables, each of which exists. `kind` is the table's, such as `upstream`.
    fn existing(
        &mut self,
        place: &Place<'_>,
        list: Option<&Vec<Spanned<String>>>,
        kind: &str,
    ) -> Vec<Arc<str>> {
        self.distinct(place, list, String::clone);
        let list = list.map(Vec::as_slice).unwrap_or_default();
        list.iter()
            .map(|name| self.existing_one(place, name, kind))
            .collect()
    }

    /// The name of a table that exists.
    fn existing_one(&mut self, place: &Place<'_>, name: &Spanned<String>, kind: &str) -> Arc<str> {
        let known = match kind {
            "upstream" => &self.names.upstreams,
            "plugin" => &self.names.plugins,
            "consumer" => &self.names.consumers,
            _ => &self.names.tiers,
        };
        let found = known.iter().find(|known| ***known == **name.get_ref());
        if let Some(found) = found {
            // Shared: thousands of consumers may name the same tier.
            return Arc::clone(found);
        }
        let hint = suggest::hint(
            name.get_ref(),
            &format!("{kind}s"),
            known.iter().map(|known| &**known),
        );
        let message = format!("there is no `[{kind}.{}]`", name.get_ref().escape_debug());
        self.report.at(&place.at(name), message, Some(hint));
        name.get_ref().as_str().into()
    }

    /// A text that says something.
    fn not_empty(&mut self, place: &Place<'_>, text: &Spanned<String>) -> Arc<str> {
        if text.get_ref().trim().is_empty() {
            self.report
                .at(&place.at(text), "expected a text that is not empty", None);
        }
        text.get_ref().as_str().into()
    }

    /// Notes that `value` stands at `position`; a second time is a problem that names both. `what` never holds a secret.
    fn unique<K: Ord>(
        &mut self,
        seen: &mut BTreeMap<K, Position>,
        value: K,
        position: Position,
        what: &str,
    ) {
        if let Some(first) = seen.get(&value) {
            let first = self.report.place(first);
            return self.report.at(
                &position,
                format!("{what} is used twice"),
                Some(format!("the first is at {first}")),
            );
        }
        seen.insert(value, position);
    }

    fn sources(&mut self) -> Vec<PathBuf> {
        // Each consumer may have a file of its own.
        let mut seen = BTreeSet::new();
        self.sources
            .drain(..)
            .filter(|source| seen.insert(source.clone()))
            .collect()
    }
}
