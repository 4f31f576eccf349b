//! The access log: one line for each exchange, when it has ended.

mod line;

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use super::line_writer::LineWriter;
use super::metrics::Metrics;
use crate::config::{AccessLogConfig, AccessLogFormat};
use crate::exchange::Exchange;
use line::Line;

/// Long enough that a busy gateway writes many lines at once, short enough for somebody who watches.
const LINGER: Duration = Duration::from_millis(50);
/// What the buffer of a thread keeps: more than any usual line.
const KEPT_BYTES: usize = 4 * 1024;

/// Writes a line for each exchange that has ended, or nothing when it is off.
#[derive(Debug)]
pub struct AccessLog(Option<Open>);

#[derive(Debug)]
struct Open {
    json: bool,
    file: Option<PathBuf>,
    writer: LineWriter,
}

impl AccessLog {
    /// An access log that writes nothing.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// Opens the file, if there is one, and starts the thread that writes.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub fn open(config: &AccessLogConfig, metrics: &Metrics) -> io::Result<Self> {
        let json = match config.format {
            AccessLogFormat::Off => return Ok(Self::off()),
            AccessLogFormat::Text => false,
            AccessLogFormat::Json => true,
        };
        let output = match &config.file {
            Some(file) => append(file)?,
            None => Box::new(io::stdout()),
        };
        Self::with_output(json, config.file.clone(), output, metrics)
    }

    pub(super) fn with_output(
        json: bool,
        file: Option<PathBuf>,
        output: Box<dyn Write + Send>,
        metrics: &Metrics,
    ) -> io::Result<Self> {
        let writer = LineWriter::start(output, LINGER, metrics.access_log_dropped())?;
        Ok(Self(Some(Open { json, file, writer })))
    }

    /// Opens the file again, after it was renamed by whoever rotates logs.
    ///
    /// # Errors
    /// When it cannot be opened; the old file is written to further.
    pub fn reopen(&self) -> io::Result<()> {
        if let Self(Some(Open {
            file: Some(file),
            writer,
            ..
        })) = self
        {
            writer.replace(append(file)?);
        }
        Ok(())
    }

    /// Waits until all lines are written, at most a second. Dropping the log does that too.
    pub fn flush(&self) {
        if let Self(Some(open)) = self {
            open.writer.flush();
        }
    }

    /// Writes the line of an exchange that took `duration`.
    pub(super) fn write(&self, exchange: &Exchange, duration: Duration) {
        thread_local! {
            static BUFFER: RefCell<String> = const { RefCell::new(String::new()) };
        }
        let Self(Some(open)) = self else { return };
        // The error is that the thread is ending; then there is nothing to save on.
        let written = BUFFER.try_with(|buffer| {
            if let Ok(mut buffer) = buffer.try_borrow_mut() {
                open.write(exchange, duration, &mut buffer);
            }
        });
        if written.is_err() {
            open.write(exchange, duration, &mut String::new());
        }
    }
}

impl Open {
    fn write(&self, exchange: &Exchange, duration: Duration, buffer: &mut String) {
        buffer.clear();
        let line = Line::new(exchange, duration);
        // Writing to a string does not fail.
        let _ = if self.json {
            line.json(buffer)
        } else {
            line.text(buffer)
        };
        buffer.push('\n');
        self.writer.write_line(buffer.as_bytes());
        buffer.shrink_to(KEPT_BYTES);
    }
}

fn append(file: &PathBuf) -> io::Result<Box<dyn Write + Send>> {
    Ok(Box::new(
        File::options().append(true).create(true).open(file)?,
    ))
}

#[cfg(test)]
mod tests;
