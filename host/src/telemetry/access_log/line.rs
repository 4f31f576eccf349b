//! How a line looks. Whatever a client or a plugin sends, it stays one line, and no value can pass for another.

use std::fmt::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use crate::exchange::{Attempt, Exchange};
use crate::types::{RequestId, Source};

/// The status of an exchange whose client went away before there was an answer: the word of nginx, known to tools.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// An exchange that has ended.
pub(super) struct Line<'a> {
    exchange: &'a Exchange,
    duration: Duration,
    begun_unix: Duration,
}

impl<'a> Line<'a> {
    pub(super) fn new(exchange: &'a Exchange, duration: Duration) -> Self {
        // Whole milliseconds from whole milliseconds: the clock shows no more.
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let begun_unix = Duration::from_millis(exchange.clock.unix_ms().saturating_sub(millis));
        Self {
            exchange,
            duration,
            begun_unix,
        }
    }

    /// One JSON object. What there is nothing to say about is left out.
    pub(super) fn json(&self, out: &mut String) -> fmt::Result {
        let exchange = self.exchange;
        write!(out, "{{\"time\":\"{}\",\"id\":", self.time())?;
        match &exchange.id {
            RequestId::Generated(_) => write!(out, "\"{}\"", exchange.id)?,
            RequestId::Adopted(id) => quoted(out, id)?,
        }
        write!(out, ",\"client\":\"{}\",\"method\":", exchange.client)?;
        quoted(out, exchange.request.method.as_str())?;
        out.push_str(",\"authority\":");
        quoted(out, &exchange.authority)?;
        out.push_str(",\"path\":");
        quoted(out, exchange.matched_uri.path())?;
        write!(
            out,
            ",\"version\":\"{:?}\",\"status\":{}",
            exchange.request.version,
            self.status()
        )?;
        write!(
            out,
            ",\"bytes_in\":{},\"bytes_out\":{}",
            exchange.received(),
            exchange.response_bytes
        )?;
        write!(out, ",\"duration_ms\":{}", Millis(self.duration))?;
        self.each_optional(|name, value| {
            write!(out, ",\"{name}\":")?;
            quoted(out, value)
        })?;
        if let Some(time) = exchange.upstream_time {
            write!(out, ",\"upstream_ms\":{}", Millis(time))?;
        }
        if let Some(status) = exchange.grpc_status {
            write!(out, ",\"grpc_status\":{status}")?;
        }
        for (index, attempt) in exchange.attempts.iter().enumerate() {
            out.push_str(if index == 0 { ",\"attempts\":[" } else { "," });
            out.push_str("{\"target\":");
            quoted(out, &attempt.target)?;
            out.push_str(",\"outcome\":");
            quoted(out, &attempt.outcome)?;
            write!(out, ",\"ms\":{}}}", Millis(attempt.took))?;
        }
        if !exchange.attempts.is_empty() {
            out.push(']');
        }
        out.push_str(if exchange.complete {
            "}"
        } else {
            ",\"aborted\":true}"
        });
        Ok(())
    }

    /// One line for people: what everybody looks for first, then `name=value`.
    pub(super) fn text(&self, out: &mut String) -> fmt::Result {
        let exchange = self.exchange;
        write!(out, "{} {} \"", self.time(), exchange.client)?;
        escaped(out, exchange.request.method.as_str())?;
        out.push(' ');
        escaped(out, &exchange.authority)?;
        escaped(out, exchange.matched_uri.path())?;
        write!(out, " {:?}\" {}", exchange.request.version, self.status())?;
        write!(
            out,
            " in={} out={}",
            exchange.received(),
            exchange.response_bytes
        )?;
        write!(out, " duration={}ms id=", Millis(self.duration))?;
        match &exchange.id {
            RequestId::Generated(_) => write!(out, "{}", exchange.id)?,
            RequestId::Adopted(id) => word(out, id)?,
        }
        self.each_optional(|name, value| {
            write!(out, " {name}=")?;
            word(out, value)
        })?;
        if let Some(time) = exchange.upstream_time {
            write!(out, " upstream_time={}ms", Millis(time))?;
        }
        if let Some(status) = exchange.grpc_status {
            write!(out, " grpc_status={status}")?;
        }
        for attempt in &exchange.attempts {
            let Attempt {
                target,
                outcome,
                took,
            } = attempt;
            out.push_str(" attempt=");
            word(out, &format!("{target}:{outcome}:{}ms", Millis(*took)))?;
        }
        if !exchange.complete {
            out.push_str(" aborted");
        }
        Ok(())
    }

    fn each_optional(&self, mut write: impl FnMut(&str, &str) -> fmt::Result) -> fmt::Result {
        let exchange = self.exchange;
        let consumer = exchange
            .identity
            .as_ref()
            .map(|identity| &*identity.consumer.name);
        for (name, value) in [
            ("route", exchange.route.as_deref()),
            ("consumer", consumer),
            ("source", exchange.source.map(Source::as_str)),
            ("code", exchange.code.as_deref()),
            ("detail", exchange.detail.as_deref()),
            ("upstream", exchange.upstream.as_deref()),
            ("target", exchange.target.as_deref()),
            ("fallback", exchange.fallback),
        ] {
            if let Some(value) = value {
                write(name, value)?;
            }
        }
        Ok(())
    }

    fn status(&self) -> u16 {
        self.exchange.status.unwrap_or(CLIENT_CLOSED_REQUEST)
    }

    /// When the head of the request had been read.
    fn time(&self) -> impl fmt::Display {
        humantime::format_rfc3339_millis(UNIX_EPOCH + self.begun_unix)
    }
}

/// Milliseconds with three decimals.
struct Millis(Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        write!(f, "{}.{:03}", micros / 1_000, micros % 1_000)
    }
}

/// A value in a text line, in quotes where it could be taken for something else.
fn word(out: &mut String, value: &str) -> fmt::Result {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
    if !value.is_empty() && value.bytes().all(is_plain) {
        out.write_str(value)
    } else {
        quoted(out, value)
    }
}

fn quoted(out: &mut String, value: &str) -> fmt::Result {
    out.push('"');
    escaped(out, value)?;
    out.push('"');
    Ok(())
}

/// A string as in JSON. Besides what JSON asks for, everything is escaped that could end a line or move a cursor.
fn escaped(out: &mut String, value: &str) -> fmt::Result {
    if value
        .bytes()
        .all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'))
    {
        out.push_str(value);
        return Ok(());
    }
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            // Line and paragraph separators end a line for some readers; the others change the direction of text.
            '\u{2028}'
            | '\u{2029}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => {
                write!(out, "\\u{:04x}", u32::from(c))?;
            }
            c if c.is_control() => write!(out, "\\u{:04x}", u32::from(c))?,
            c => out.push(c),
        }
    }
    Ok(())
}
