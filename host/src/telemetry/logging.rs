//! The log of the gateway itself, and of what plugins write.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use super::line_writer::LineWriter;
use super::metrics::Metrics;
use crate::config::LogConfig;

/// The target of lines that plugins write.
const PLUGIN_TARGET: &str = "plugin";

/// The log that was set up. Dropping it writes what is left.
#[derive(Debug)]
pub struct Logging {
    writer: LineWriter,
    filter: reload::Handle<Targets, Registry>,
    current: Mutex<Targets>,
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter cannot be read.
    #[error("the log filter \"{filter}\" is not like \"info\" or \"postern=debug,warn\"")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The thread that writes cannot be started.
    #[error("cannot start writing the log")]
    Start(#[source] io::Error),
    /// Something else in this process has set up a log.
    #[error("a log is set up already")]
    Twice,
}

impl Logging {
    /// Sets up the log of this process, on standard error.
    ///
    /// # Errors
    /// When the filter cannot be read, or a log is set up already.
    pub fn start(config: &LogConfig, metrics: &Metrics) -> Result<Self, LoggingError> {
        let stderr = io::stderr();
        let is_colored = stderr.is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let (logging, subscriber) = Self::build(config, is_colored, Box::new(stderr), metrics)?;
        tracing::subscriber::set_global_default(subscriber).map_err(|_| LoggingError::Twice)?;
        Ok(logging)
    }

    fn build(
        config: &LogConfig,
        is_colored: bool,
        output: Box<dyn Write + Send>,
        metrics: &Metrics,
    ) -> Result<(Self, impl Subscriber + Send + Sync + use<>), LoggingError> {
        let targets = parse(&config.filter)?;
        // No linger: a line should be seen at once, and there are few.
        let writer = LineWriter::start(output, Duration::ZERO, metrics.log_dropped())
            .map_err(LoggingError::Start)?;
        let (filter, handle) = reload::Layer::new(targets.clone());
        let lines = if config.json {
            fmt::layer()
                .json()
                .flatten_event(true)
                .with_writer(writer.clone())
                .boxed()
        } else {
            fmt::layer()
                .with_ansi(is_colored)
                .with_writer(writer.clone())
                .boxed()
        };
        let subscriber = Registry::default().with(filter).with(lines);
        Ok((
            Self {
                writer,
                filter: handle,
                current: Mutex::new(targets),
            },
            subscriber,
        ))
    }

    /// Follows a changed filter. The format stays as it is until a restart.
    ///
    /// # Errors
    /// When the filter cannot be read; the old one stays.
    pub fn set_filter(&self, filter: &str) -> Result<(), LoggingError> {
        let targets = parse(filter)?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = targets.clone();
        // The error would be that the subscriber is gone; then nobody reads the log.
        let _ = self.filter.reload(targets);
        Ok(())
    }

    /// The lowest level at which lines of plugins are written.
    #[must_use]
    pub fn plugin_level(&self) -> LevelFilter {
        let targets = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let levels = [
            Level::TRACE,
            Level::DEBUG,
            Level::INFO,
            Level::WARN,
            Level::ERROR,
        ];
        let lowest = levels
            .into_iter()
            .find(|level| targets.would_enable(PLUGIN_TARGET, level));
        lowest.map_or(LevelFilter::OFF, LevelFilter::from_level)
    }

    /// Waits until all lines are written, at most a second. To be called before the process exits in another way than
    /// by returning from `main`.
    pub fn flush(&self) {
        self.writer.flush();
    }
}

fn parse(filter: &str) -> Result<Targets, LoggingError> {
    filter.parse().map_err(|source| LoggingError::Filter {
        filter: filter.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
