//! `[plugin.NAME]` and its budget.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::ser::{Serialize, SerializeMap, Serializer};
use toml::{Spanned, Value};

use super::Checker;
use super::quantity::TIMEOUT;
use super::server::INSTANCE_MEMORY;
use crate::config::defaults as default;
use crate::config::entry::{Entry, Place};
use crate::config::file::{BudgetFile, PluginFile, ReplyFile};
use crate::config::reference::describe;
use crate::config::resolved::{
    BudgetConfig, EngineConfig, Grant, Isolation, OnFailure, PluginConfig,
};
use crate::config::units::show_size;
use crate::config::values::OnFailureValue;

/// The most of anything that is held in memory for one call.
const MAX_BODY: u64 = 1 << 30;
/// A stream phase can at least return what it was given.
const MIN_CHUNK: u64 = 16 << 10;

impl Checker<'_> {
    pub(super) fn plugins(
        &mut self,
        tables: &[Entry<'_, PluginFile>],
        engine: &EngineConfig,
    ) -> Vec<PluginConfig> {
        tables
            .iter()
            .map(|table| self.plugin(table, engine))
            .collect()
    }

    fn plugin(&mut self, table: &Entry<'_, PluginFile>, engine: &EngineConfig) -> PluginConfig {
        let Entry { file, place, .. } = table;
        self.distinct(place, file.grants.as_ref(), |grant| {
            grant_name(grant.0).to_owned()
        });
        PluginConfig {
            name: Arc::clone(&table.name),
            file: self.component(place, file),
            config: self.json(place, file.config.as_ref()),
            position: file
                .config
                .as_ref()
                .map_or_else(|| place.here(), |config| place.at(config)),
            grants: file
                .grants
                .iter()
                .flatten()
                .map(|grant| grant.get_ref().0)
                .collect(),
            upstreams: self.existing(place, file.upstreams.as_ref(), "upstream"),
            isolation: file
                .isolation
                .as_ref()
                .map_or(Isolation::Reuse, |isolation| isolation.0),
            on_failure: self.on_failure(place, file.on_failure.as_ref()),
            budget: self.budget(
                place,
                file.budget.as_ref().unwrap_or(&BudgetFile::default()),
                engine,
            ),
        }
    }

    /// The path of the component, which must be a file. What is in it is judged when it is loaded.
    fn component(&mut self, place: &Place<'_>, file: &PluginFile) -> PathBuf {
        let Some(path) = self.required(
            place,
            &place.here(),
            &file.file,
            "file",
            "\"plugins/jwt.wasm\"",
        ) else {
            return PathBuf::new();
        };
        let resolved = place.directory().join(path.get_ref());
        let problem = match std::fs::metadata(&resolved) {
            Ok(metadata) if metadata.is_file() => None,
            Ok(_) => Some("it is not a file".to_owned()),
            Err(error) => Some(describe(&error)),
        };
        if let Some(problem) = problem {
            let message = format!("cannot read \"{}\": {problem}", resolved.display());
            let help = "the path is relative to the file that names it".to_owned();
            self.report.at(&place.at(path), message, Some(help));
        }
        resolved
    }

    fn json(&mut self, place: &Place<'_>, config: Option<&Spanned<toml::Table>>) -> Arc<str> {
        let Some(config) = config else {
            return "{}".into();
        };
        if config.get_ref().values().any(has_no_json) {
            self.report.at(
                &place.at(config),
                "`inf` and `nan` cannot be handed to a plugin: JSON does not have them",
                None,
            );
        }
        match serde_json::to_string(&TableAsJson(config.get_ref())) {
            Ok(json) => json.into(),
            Err(error) => {
                self.report.at(
                    &place.at(config),
                    format!("cannot be written as JSON: {error}"),
                    None,
                );
                "{}".into()
            }
        }
    }

    fn on_failure(
        &mut self,
        place: &Place<'_>,
        value: Option<&Spanned<OnFailureValue>>,
    ) -> OnFailure {
        let Some(value) = value else {
            return OnFailure::Closed;
        };
        match value.get_ref() {
            OnFailureValue::Closed => OnFailure::Closed,
            OnFailureValue::Open => OnFailure::Open,
            OnFailureValue::Reply(ReplyFile { status, body }) => {
                self.required(place, &place.at(value), status, "status", "503");
                OnFailure::Reply {
                    status: self.count(place, status, 503, 400..=599),
                    body: body.as_deref().unwrap_or_default().into(),
                }
            }
        }
    }

    /// Memory of one instance, which fits into a slot.
    fn instance_memory(
        &mut self,
        place: &Place<'_>,
        file: &BudgetFile,
        engine: &EngineConfig,
    ) -> usize {
        let default = default::DEFAULT_BUDGET_MEMORY.min(engine.max_memory);
        let memory = self.memory_size(place, &file.memory, default, INSTANCE_MEMORY);
        if let Some(field) = file.memory.as_ref().filter(|_| memory > engine.max_memory) {
            let most = show_size(engine.max_memory as u64);
            let memory = show_size(memory as u64);
            let message = format!("{memory} is more than `max-memory` of `[plugins]`, {most}");
            let help = format!("raise `max-memory`, or ask for at most \"{most}\"");
            self.report.at(&place.at(field), message, Some(help));
        }
        memory
    }

    fn budget(
        &mut self,
        place: &Place<'_>,
        file: &BudgetFile,
        engine: &EngineConfig,
    ) -> BudgetConfig {
        let cpu = Duration::from_micros(100)..=Duration::from_secs(60);
        BudgetConfig {
            cpu: self.duration(place, &file.cpu, default::DEFAULT_BUDGET_CPU, cpu),
            wall: self.duration(place, &file.wall, default::DEFAULT_BUDGET_WALL, TIMEOUT),
            memory: self.instance_memory(place, file, engine),
            host_call_bytes: self.memory_size(
                place,
                &file.host_call_bytes,
                default::DEFAULT_BUDGET_HOST_CALL_BYTES,
                1 << 10..=MAX_BODY,
            ),
            outbound_calls: self.count(
                place,
                &file.outbound_calls,
                default::DEFAULT_BUDGET_OUTBOUND_CALLS,
                0..=10_000,
            ),
            outbound_concurrency: self.count(
                place,
                &file.outbound_concurrency,
                default::DEFAULT_BUDGET_OUTBOUND_CONCURRENCY,
                1..=100_000,
            ),
            reply_size: self.memory_size(
                place,
                &file.reply_size,
                default::DEFAULT_BUDGET_REPLY_SIZE,
                0..=MAX_BODY,
            ),
            body_size: self.memory_size(
                place,
                &file.body_size,
                default::DEFAULT_BUDGET_BODY_SIZE,
                0..=MAX_BODY,
            ),
            chunk_size: self.memory_size(
                place,
                &file.chunk_size,
                default::DEFAULT_BUDGET_CHUNK_SIZE,
                MIN_CHUNK..=MAX_BODY,
            ),
            max_calls: self.count(
                place,
                &file.max_calls,
                default::DEFAULT_BUDGET_MAX_CALLS,
                1..=u64::from(u32::MAX),
            ),
        }
    }
}

fn grant_name(grant: Grant) -> &'static str {
    match grant {
        Grant::Identity => "identity",
        Grant::Keys => "keys",
        Grant::Limits => "limits",
        Grant::Store => "store",
        Grant::Metrics => "metrics",
    }
}

pub(super) fn has_no_json(value: &Value) -> bool {
    match value {
        Value::Float(float) => !float.is_finite(),
        Value::Array(values) => values.iter().any(has_no_json),
        Value::Table(table) => table.values().any(has_no_json),
        Value::String(_) | Value::Integer(_) | Value::Boolean(_) | Value::Datetime(_) => false,
    }
}

/// A table in the order of the file; dates become strings, which is what plugins can read.
struct TableAsJson<'v>(&'v toml::Table);

impl Serialize for TableAsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in self.0 {
            map.serialize_entry(key, &AsJson(value))?;
        }
        map.end()
    }
}

pub(super) struct AsJson<'v>(pub(super) &'v Value);

impl Serialize for AsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::String(text) => serializer.serialize_str(text),
            Value::Integer(number) => serializer.serialize_i64(*number),
            Value::Float(number) => serializer.serialize_f64(*number),
            Value::Boolean(truth) => serializer.serialize_bool(*truth),
            Value::Datetime(moment) => serializer.collect_str(moment),
            Value::Array(values) => serializer.collect_seq(values.iter().map(AsJson)),
            Value::Table(table) => TableAsJson(table).serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_table_becomes_json_in_its_own_order() {
        let table: toml::Table = toml::from_str(
            "z = 1\na = { day = 2026-01-02, at = 2026-01-02T03:04:05Z }\nlist = [true, 1.5, \"x\"]",
        )
        .unwrap();
        assert_eq!(
            serde_json::to_string(&TableAsJson(&table)).unwrap(),
            r#"{"z":1,"a":{"day":"2026-01-02","at":"2026-01-02T03:04:05Z"},"list":[true,1.5,"x"]}"#
        );
    }
}
