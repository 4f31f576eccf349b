//! `[keys.NAME]` with `jwks`.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::Checker;
use crate::config::defaults as default;
use crate::config::entry::{Entry, Place};
use crate::config::file::{Field, KeysFile};
use crate::config::key_set::KeySetReference;
use crate::config::resolved::{KeySetConfig, KeySetSource};

/// Neither a burden for the server, nor a key that counts for long when it is withdrawn.
const REFRESH: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);

impl Checker<'_> {
    pub(super) fn key_sets(&mut self, tables: &[Entry<'_, KeysFile>]) -> Vec<KeySetConfig> {
        tables
            .iter()
            .filter_map(|table| self.key_set(table, table.file.jwks.as_ref()?))
            .collect()
    }

    fn key_set(
        &mut self,
        table: &Entry<'_, KeysFile>,
        jwks: &Spanned<KeySetReference>,
    ) -> Option<KeySetConfig> {
        let Entry { name, file, place } = table;
        self.alone(place, "id", &file.id);
        self.alone(place, "secret", &file.secret);
        self.alone(place, "public-key", &file.public_key);
        let source = match jwks.get_ref() {
            KeySetReference::File(reference) => {
                self.only_fetched(place, "ca", &file.ca);
                self.only_fetched(place, "refresh", &file.refresh);
                let reference = Spanned::new(jwks.span(), reference.clone());
                KeySetSource::Document(self.read(place, &reference)?.1)
            }
            KeySetReference::Url { server, path } => {
                let tls = match server.secure {
                    true => Some(self.tls_of_server(place, file.ca.as_ref())?),
                    false => None,
                };
                let refresh =
                    self.duration(place, &file.refresh, default::DEFAULT_KEYS_REFRESH, REFRESH);
                KeySetSource::Url {
                    server: self.endpoint(place, server, tls.as_ref()),
                    path: path.as_str().into(),
                    refresh,
                }
            }
        };
        Some(KeySetConfig {
            name: Arc::clone(name),
            source,
            algorithm: file.algorithm.as_ref().map(|word| word.get_ref().0),
            position: place.at(jwks),
        })
    }

    /// Reports a key that says what the keys of the set say themselves.
    fn alone<T>(&mut self, place: &Place<'_>, key: &str, field: &Field<T>) {
        if let Some(value) = field {
            let message = format!("`{key}` and `jwks` are in one table");
            let help = "the keys of a set say themselves who they are; make a table of its own for the other";
            self.report.at(&place.at(value), message, Some(help.into()));
        }
    }

    pub(super) fn only_fetched<T>(&mut self, place: &Place<'_>, key: &str, field: &Field<T>) {
        if let Some(value) = field {
            let message = format!("`{key}` is only for keys that are fetched");
            let help =
                "write `jwks = \"https://...\"`; a file is watched, and read again when it changes";
            self.report.at(&place.at(value), message, Some(help.into()));
        }
    }
}
