//! The log of gateways that run in the test's process. All of them write to the same one: look for a request id, or for
//! names that no other test uses.

use std::io::Write;
use std::sync::{Mutex, Once, PoisonError};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
static START: Once = Once::new();

/// Begins to keep what is logged, as JSON.
pub fn capture() {
    START.call_once(|| {
        tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_max_level(LevelFilter::INFO)
            .with_writer(Lines)
            .init();
    });
}

/// All lines that contain a text.
#[must_use]
pub fn lines_with(text: &str) -> Vec<String> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    lines
        .iter()
        .filter(|line| line.contains(text))
        .cloned()
        .collect()
}

struct Lines;

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // The subscriber writes whole lines.
        let line = String::from_utf8_lossy(bytes).trim_end().to_owned();
        LINES
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
