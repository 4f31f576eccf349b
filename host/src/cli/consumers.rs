//! `postern consumers`: the table of consumers.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::table::table;
use crate::app;
use crate::config::ConsumerConfig;

const HEADINGS: [&str; 5] = ["NAME", "TIER", "GROUPS", "CUSTOM ID", "CREDENTIALS"];

pub(super) fn consumers(path: &Path) -> ExitCode {
    match app::load(path) {
        Ok(config) => {
            print(&config.consumers);
            ExitCode::SUCCESS
        }
        Err(error) => super::refuse(&error),
    }
}

#[expect(clippy::print_stdout, reason = "the answer to the command")]
fn print(consumers: &[ConsumerConfig]) {
    let mut rows = vec![HEADINGS.map(str::to_owned).to_vec()];
    rows.extend(consumers.iter().map(row));
    print!("{}", table(&rows));
}

fn row(consumer: &ConsumerConfig) -> Vec<String> {
    let optional = |text: &Option<Arc<str>>| text.as_deref().unwrap_or("-").to_owned();
    vec![
        consumer.name.to_string(),
        optional(&consumer.tier),
        or_none(consumer.groups.join(",")),
        optional(&consumer.custom_id),
        or_none(credentials(consumer).join(", ")),
    ]
}

fn or_none(text: String) -> String {
    if text.is_empty() { "-".into() } else { text }
}

/// What each is, by what it may be called in public.
fn credentials(consumer: &ConsumerConfig) -> Vec<String> {
    let tokens = consumer.jwt.iter().map(|jwt| {
        let id = jwt.id.as_ref().map(|id| format!(" {id}"));
        let what = format!("jwt {:?} {}", jwt.algorithm, jwt.issuer);
        what + &id.unwrap_or_default() + &until(jwt.expires)
    });
    let keys = consumer
        .api_keys
        .iter()
        .map(|key| format!("api-key {}{}", key.id, until(key.expires)));
    tokens.chain(keys).collect()
}

fn until(expires: Option<u64>) -> String {
    let moment = expires.and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
    moment.map_or_else(String::new, |moment| {
        format!(" until {}", humantime::format_rfc3339_seconds(moment))
    })
}
