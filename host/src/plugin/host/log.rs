//! `log`: lines of a plugin in the gateway's log.

use tracing::Level as Severity;
use wasmtime::Result;

use crate::exchange::Exchange;
use crate::plugin::bindings::postern::plugin::log::{Host, Level};
use crate::plugin::state::State;

const MAX_MESSAGE_BYTES: usize = 4 << 10;

impl Host for State {
    fn enabled(&mut self) -> Result<Level> {
        Ok(lowest_level())
    }

    fn write(&mut self, level: Level, message: String) -> Result<()> {
        let severity = match level {
            Level::Trace => Severity::TRACE,
            Level::Debug => Severity::DEBUG,
            Level::Info => Severity::INFO,
            Level::Warn => Severity::WARN,
            Level::Error => Severity::ERROR,
        };
        let end = message.floor_char_boundary(MAX_MESSAGE_BYTES);
        let message = message.get(..end).unwrap_or_default();
        if message.chars().any(char::is_control) {
            let escaped: String = message.chars().flat_map(escape_control).collect();
            line(
                severity,
                &self.shared.name,
                self.exchange.as_deref(),
                &escaped,
            );
        } else {
            line(
                severity,
                &self.shared.name,
                self.exchange.as_deref(),
                message,
            );
        }
        Ok(())
    }
}

/// Keeps a guest from forging lines or driving a terminal.
fn escape_control(character: char) -> impl Iterator<Item = char> {
    let escaped = character.is_control().then(|| character.escape_default());
    let plain = (!character.is_control()).then_some(character);
    escaped.into_iter().flatten().chain(plain)
}

fn lowest_level() -> Level {
    let target_enabled = [
        (
            tracing::enabled!(target: "postern::plugin", Severity::TRACE),
            Level::Trace,
        ),
        (
            tracing::enabled!(target: "postern::plugin", Severity::DEBUG),
            Level::Debug,
        ),
        (
            tracing::enabled!(target: "postern::plugin", Severity::INFO),
            Level::Info,
        ),
        (
            tracing::enabled!(target: "postern::plugin", Severity::WARN),
            Level::Warn,
        ),
    ];
    target_enabled
        .into_iter()
        .find_map(|(enabled, level)| enabled.then_some(level))
        .unwrap_or(Level::Error)
}

/// Writes one line about a plugin, with the exchange that it served.
pub(in crate::plugin) fn line(
    level: Severity,
    plugin: &str,
    exchange: Option<&Exchange>,
    message: &str,
) {
    let id = exchange.map(|exchange| tracing::field::display(&exchange.id));
    let route = exchange.map(Exchange::route_name);
    macro_rules! write {
        ($level:expr) => {
            tracing::event!(target: "postern::plugin", $level, plugin, route, request = id, "{message}")
        };
    }
    match level {
        Severity::TRACE => write!(Severity::TRACE),
        Severity::DEBUG => write!(Severity::DEBUG),
        Severity::INFO => write!(Severity::INFO),
        Severity::WARN => write!(Severity::WARN),
        Severity::ERROR => write!(Severity::ERROR),
    }
}
