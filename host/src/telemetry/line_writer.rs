//! Lines that are written by a thread of their own.
//!
//! A line is copied to a buffer under a short lock; the thread writes the whole buffer, then lingers, so that under load
//! one wake-up and one system call serve many lines. The buffer is bounded: when the output cannot keep up, lines are
//! dropped and counted, and requests are not held up. The `tracing-appender` crate was not taken for it, because it
//! allocates for each line and wakes its thread for each line.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use prometheus::IntCounter;
use tracing_subscriber::fmt::MakeWriter;

/// Bytes that wait to be written: some ten thousand lines.
const MAX_PENDING_BYTES: usize = 4 * 1024 * 1024;
/// What the two buffers keep between bursts.
const KEPT_BYTES: usize = 64 * 1024;
/// How long the end waits for an output that does not take its lines.
const MAX_FLUSH: Duration = Duration::from_secs(1);

type Output = Box<dyn Write + Send>;

/// Takes lines. Cheap to clone; when the last one is dropped, the thread writes what is left and ends.
#[derive(Debug, Clone)]
pub(super) struct LineWriter(Arc<Owner>);

#[derive(Debug)]
struct Owner(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Tells the thread that there is something to do.
    work: Condvar,
    /// Tells those who flush that everything is written.
    done: Condvar,
    dropped: IntCounter,
    max_pending: usize,
    linger: Duration,
}

#[derive(Default)]
struct State {
    pending: Vec<u8>,
    /// Put in the place of the present output, before more is written.
    replacement: Option<Output>,
    /// The thread waits for work.
    idle: bool,
    /// How many have asked for a flush, and how many of them have been served.
    wanted: u64,
    served: u64,
    closed: bool,
}

impl State {
    fn has_work(&self, shared: &Shared) -> bool {
        !self.pending.is_empty() || self.replacement.is_some() || self.is_hurried(shared)
    }

    /// Whether lingering must end.
    fn is_hurried(&self, shared: &Shared) -> bool {
        self.closed || self.served < self.wanted || self.pending.len() > shared.max_pending / 4
    }
}

impl LineWriter {
    /// Starts the thread. After each write it lets `linger` pass to gather lines.
    pub(super) fn start(output: Output, linger: Duration, dropped: IntCounter) -> io::Result<Self> {
        Self::with_capacity(output, linger, dropped, MAX_PENDING_BYTES)
    }

    fn with_capacity(
        output: Output,
        linger: Duration,
        dropped: IntCounter,
        max_pending: usize,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            done: Condvar::new(),
            dropped,
            max_pending,
            linger,
        });
        let owner = Owner(shared.clone());
        thread::Builder::new()
            .name("postern-lines".into())
            .spawn(move || shared.run(output))?;
        Ok(Self(Arc::new(owner)))
    }

    /// Takes a line, its end included, or drops it.
    pub(super) fn write_line(&self, line: &[u8]) {
        let shared = &*self.0.0;
        let mut state = shared.lock();
        if state.pending.len() + line.len() > shared.max_pending {
            shared.dropped.inc();
            return;
        }
        let was_hurried = state.is_hurried(shared);
        state.pending.extend_from_slice(line);
        let wake = state.idle || (!was_hurried && state.is_hurried(shared));
        state.idle = false;
        drop(state);
        if wake {
            shared.work.notify_one();
        }
    }

    /// Writes to another output from now on.
    pub(super) fn replace(&self, output: Output) {
        let shared = &*self.0.0;
        shared.lock().replacement = Some(output);
        shared.work.notify_one();
    }

    /// Waits until what was taken is written, at most a second.
    pub(super) fn flush(&self) {
        self.0.0.flush();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush(&self) {
        let mut state = self.lock();
        state.wanted += 1;
        let mine = state.wanted;
        self.work.notify_one();
        drop(
            self.done
                .wait_timeout_while(state, MAX_FLUSH, |state| state.served < mine),
        );
    }

    fn run(&self, mut output: Output) {
        let mut lines = Vec::new();
        loop {
            let mut state = self.lock();
            while !state.has_work(self) {
                state.idle = true;
                state = self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            state.idle = false;
            let replacement = state.replacement.take();
            std::mem::swap(&mut state.pending, &mut lines);
            // All that was there when these began to wait is in `lines` now.
            let wanted = state.wanted;
            let closed = state.closed;
            drop(state);
            if let Some(replacement) = replacement {
                output = replacement;
            }
            self.write(&mut output, &mut lines);
            let mut state = self.lock();
            state.served = wanted;
            self.done.notify_all();
            if closed {
                return;
            }
            drop(
                self.work
                    .wait_timeout_while(state, self.linger, |state| !state.is_hurried(self)),
            );
        }
    }

    fn write(&self, output: &mut Output, lines: &mut Vec<u8>) {
        if output
            .write_all(lines)
            .and_then(|()| output.flush())
            .is_err()
        {
            // How many of them were written is not known; those that were are counted too.
            self.dropped
                .inc_by(lines.iter().filter(|byte| **byte == b'\n').count() as u64);
        }
        lines.clear();
        lines.shrink_to(KEPT_BYTES);
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.flush();
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// For `tracing`, which writes each event in one piece.
impl Write for &LineWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_line(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = &'a LineWriter;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

#[cfg(test)]
mod tests;
