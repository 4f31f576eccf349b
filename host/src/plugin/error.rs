//! What can go wrong with plugins: the engine at start-up, a component at load, a call while serving.

use std::path::PathBuf;
use std::sync::Arc;

use crate::types::RequestId;

/// The engine cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// wasmtime refuses the settings.
    #[error("the WebAssembly engine cannot be set up: {0:#}")]
    Settings(wasmtime::Error),
    /// The ticker cannot be started.
    #[error("the ticker thread cannot be started")]
    Thread(#[source] std::io::Error),
    /// The cache directory is unusable.
    #[error("compiled plugins cannot be kept in {directory}: {source}; name another directory with `[plugins] cache`",
        directory = directory.display())]
    Cache {
        /// Which one.
        directory: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A plugin cannot be loaded. The message is for the operator: it says what is there, what was expected, what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{file} cannot be read: {reason}", file = file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file is not a component that this gateway can run.
    #[error("{0}")]
    Refused(String),
    /// It imports what it was not granted.
    #[error("it imports {import}, which is not granted; {remedy}")]
    NotGranted {
        /// The interface.
        import: String,
        /// What to write into the plugin's table, if it may have it.
        remedy: String,
    },
    /// Its `configure` refused the configuration.
    #[error("it refuses its configuration: {0}")]
    Configuration(String),
    /// Its `configure` failed.
    #[error("its `configure` failed: {0}")]
    Start(String),
}

/// Why a call of a plugin failed. Nothing of this is shown to clients.
#[derive(Debug, Clone)]
pub struct CallError {
    /// What kind of failure.
    pub reason: FailureReason,
    /// What exactly, for the log.
    pub detail: String,
    /// The guest's stack, innermost first.
    pub backtrace: Vec<String>,
}

/// The kinds of failures; the words are metric labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureReason {
    /// The guest trapped: a panic, an out-of-bounds access, a call of `exit`.
    Trap,
    /// It used up its CPU time.
    Cpu,
    /// It used up its wall time.
    Wall,
    /// It wanted more memory than it may have, and then trapped.
    Memory,
    /// It wanted to move more bytes to the host than it may.
    HostCallBytes,
    /// It answered with something that the host must not do.
    BadVerdict,
    /// A responder returned an error.
    Error,
    /// No instance could be made.
    Start,
}

impl FailureReason {
    /// The word for logs and metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Cpu => "cpu",
            Self::Wall => "wall",
            Self::Memory => "memory",
            Self::HostCallBytes => "host-call-bytes",
            Self::BadVerdict => "bad-verdict",
            Self::Error => "error",
            Self::Start => "start",
        }
    }
}

impl CallError {
    /// A failure without a stack.
    #[must_use]
    pub fn new(reason: FailureReason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            backtrace: Vec::new(),
        }
    }

    /// Writes the failure to the log: the one line that says which plugin failed whom, and where in its code.
    pub fn log(&self, plugin: &str, phase: &str, route: Option<&Arc<str>>, id: &RequestId) {
        tracing::error!(
            target: "postern::plugin",
            plugin,
            phase,
            route = route.map(|route| &**route),
            request = %id,
            reason = self.reason.as_str(),
            backtrace = (!self.backtrace.is_empty()).then(|| self.backtrace.join(" < ")),
            "{}",
            self.detail
        );
    }
}
