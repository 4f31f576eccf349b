//! The part of WASI 0.2 that plugins get: what the standard library of a guest imports whether it is used or not.
//!
//! No files, no sockets, no environment. Everything here is synchronous, so that importing it does not put a plugin on
//! a fiber (wasmtime-wasi's own implementation would). Standard output and error go to the log.

use wasmtime::Result;
use wasmtime::bail;
use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi::p2::bindings::sync::io::{error, poll, streams};
use wasmtime_wasi::p2::bindings::{cli, clocks, random};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, StreamError, StreamResult};

use super::state::State;
use crate::exchange::Exchange;

/// The interfaces that are linked, as they begin in import names.
const OFFERED: [&str; 16] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/",
];

/// Streams are not kept in a table: their number says what they are.
const STDOUT: u32 = 1;
const STDERR: u32 = 2;
const MAX_LINE_BYTES: usize = 4 << 10;
const MAX_RANDOM_BYTES: u64 = 64 << 10;

/// Whether an import is among those that are linked.
pub(super) fn offers(import: &str) -> bool {
    let interface = import.split('@').next().unwrap_or(import);
    OFFERED.iter().any(|offered| {
        interface == *offered || (offered.ends_with('/') && interface.starts_with(offered))
    })
}

/// Links the subset.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> Result<()> {
    type Own = HasSelf<State>;
    cli::environment::add_to_linker::<_, Own>(linker, |state| state)?;
    cli::exit::add_to_linker::<_, Own>(linker, |state| state)?;
    cli::stdin::add_to_linker::<_, Own>(linker, |state| state)?;
    cli::stdout::add_to_linker::<_, Own>(linker, |state| state)?;
    cli::stderr::add_to_linker::<_, Own>(linker, |state| state)?;
    cli::terminal_input::add_to_linker::<_, Own>(linker, |state| state)?;
    cli::terminal_output::add_to_linker::<_, Own>(linker, |state| state)?;
    cli::terminal_stdin::add_to_linker::<_, Own>(linker, |state| state)?;
    cli::terminal_stdout::add_to_linker::<_, Own>(linker, |state| state)?;
    cli::terminal_stderr::add_to_linker::<_, Own>(linker, |state| state)?;
    clocks::monotonic_clock::add_to_linker::<_, Own>(linker, |state| state)?;
    clocks::wall_clock::add_to_linker::<_, Own>(linker, |state| state)?;
    random::random::add_to_linker::<_, Own>(linker, |state| state)?;
    random::insecure::add_to_linker::<_, Own>(linker, |state| state)?;
    random::insecure_seed::add_to_linker::<_, Own>(linker, |state| state)?;
    error::add_to_linker::<_, Own>(linker, |state| state)?;
    poll::add_to_linker::<_, Own>(linker, |state| state)?;
    streams::add_to_linker::<_, Own>(linker, |state| state)?;
    Ok(())
}

/// What the guest prints, cut into lines for the log.
#[derive(Default)]
pub(super) struct Output {
    pending: Vec<u8>,
}

impl Output {
    fn write(&mut self, bytes: &[u8], plugin: &str, exchange: Option<&Exchange>) {
        for byte in bytes {
            if *byte == b'\n' || self.pending.len() >= MAX_LINE_BYTES {
                self.flush(plugin, exchange);
            }
            if *byte != b'\n' {
                self.pending.push(*byte);
            }
        }
    }

    /// Logs what is pending.
    pub(super) fn flush(&mut self, plugin: &str, exchange: Option<&Exchange>) {
        if self.pending.is_empty() {
            return;
        }
        let line = String::from_utf8_lossy(&self.pending)
            .escape_debug()
            .to_string();
        self.pending.clear();
        super::host::log::line(tracing::Level::WARN, plugin, exchange, &line);
    }
}

impl State {
    fn print(&mut self, stream: &Resource<DynOutputStream>, bytes: &[u8]) -> StreamResult<()> {
        match stream.rep() {
            STDOUT | STDERR => {
                self.output
                    .write(bytes, &self.shared.name, self.exchange.as_deref());
                Ok(())
            }
            _ => Err(StreamError::Closed),
        }
    }
}

impl cli::environment::Host for State {
    fn get_environment(&mut self) -> Result<Vec<(String, String)>> {
        Ok(Vec::new())
    }
    fn get_arguments(&mut self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
    fn initial_cwd(&mut self) -> Result<Option<String>> {
        Ok(None)
    }
}

impl cli::exit::Host for State {
    fn exit(&mut self, _: std::result::Result<(), ()>) -> Result<()> {
        bail!("the guest called exit")
    }
    fn exit_with_code(&mut self, _: u8) -> Result<()> {
        bail!("the guest called exit")
    }
}

impl cli::stdin::Host for State {
    fn get_stdin(&mut self) -> Result<Resource<DynInputStream>> {
        Ok(Resource::new_own(0))
    }
}

impl cli::stdout::Host for State {
    fn get_stdout(&mut self) -> Result<Resource<DynOutputStream>> {
        Ok(Resource::new_own(STDOUT))
    }
}

impl cli::stderr::Host for State {
    fn get_stderr(&mut self) -> Result<Resource<DynOutputStream>> {
        Ok(Resource::new_own(STDERR))
    }
}

impl cli::terminal_input::Host for State {}
impl cli::terminal_input::HostTerminalInput for State {
    fn drop(&mut self, _: Resource<cli::terminal_input::TerminalInput>) -> Result<()> {
        Ok(())
    }
}

impl cli::terminal_output::Host for State {}
impl cli::terminal_output::HostTerminalOutput for State {
    fn drop(&mut self, _: Resource<cli::terminal_output::TerminalOutput>) -> Result<()> {
        Ok(())
    }
}

impl cli::terminal_stdin::Host for State {
    fn get_terminal_stdin(
        &mut self,
    ) -> Result<Option<Resource<cli::terminal_input::TerminalInput>>> {
        Ok(None)
    }
}

impl cli::terminal_stdout::Host for State {
    fn get_terminal_stdout(
        &mut self,
    ) -> Result<Option<Resource<cli::terminal_output::TerminalOutput>>> {
        Ok(None)
    }
}

impl cli::terminal_stderr::Host for State {
    fn get_terminal_stderr(
        &mut self,
    ) -> Result<Option<Resource<cli::terminal_output::TerminalOutput>>> {
        Ok(None)
    }
}

impl clocks::monotonic_clock::Host for State {
    fn now(&mut self) -> Result<u64> {
        Ok(u64::try_from(self.shared.services.clock.now().as_nanos()).unwrap_or(u64::MAX))
    }
    fn resolution(&mut self) -> Result<u64> {
        Ok(1)
    }
    fn subscribe_instant(&mut self, _: u64) -> Result<Resource<DynPollable>> {
        bail!("plugins cannot wait on timers")
    }
    fn subscribe_duration(&mut self, _: u64) -> Result<Resource<DynPollable>> {
        bail!("plugins cannot wait on timers")
    }
}

impl clocks::wall_clock::Host for State {
    fn now(&mut self) -> Result<clocks::wall_clock::Datetime> {
        let millis = self.shared.services.clock.unix_ms();
        Ok(clocks::wall_clock::Datetime {
            seconds: millis / 1_000,
            nanoseconds: u32::try_from(millis % 1_000).unwrap_or(0) * 1_000_000,
        })
    }
    fn resolution(&mut self) -> Result<clocks::wall_clock::Datetime> {
        Ok(clocks::wall_clock::Datetime {
            seconds: 0,
            nanoseconds: 1_000_000,
        })
    }
}

fn random_bytes(length: u64) -> Result<Vec<u8>> {
    if length > MAX_RANDOM_BYTES {
        bail!("{length} random bytes wanted, at most {MAX_RANDOM_BYTES} are given at once");
    }
    let mut bytes = vec![0; usize::try_from(length)?];
    rand::fill(&mut bytes[..]);
    Ok(bytes)
}

impl random::random::Host for State {
    fn get_random_bytes(&mut self, length: u64) -> Result<Vec<u8>> {
        random_bytes(length)
    }
    fn get_random_u64(&mut self) -> Result<u64> {
        Ok(rand::random())
    }
}

impl random::insecure::Host for State {
    fn get_insecure_random_bytes(&mut self, length: u64) -> Result<Vec<u8>> {
        random_bytes(length)
    }
    fn get_insecure_random_u64(&mut self) -> Result<u64> {
        Ok(rand::random())
    }
}

impl random::insecure_seed::Host for State {
    fn insecure_seed(&mut self) -> Result<(u64, u64)> {
        Ok(rand::random())
    }
}

impl error::Host for State {}
impl error::HostError for State {
    fn to_debug_string(&mut self, _: Resource<error::Error>) -> Result<String> {
        Ok("error".into())
    }
    fn drop(&mut self, _: Resource<error::Error>) -> Result<()> {
        Ok(())
    }
}

impl poll::Host for State {
    fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> Result<Vec<u32>> {
        // Only streams hand out pollables, and they are always ready.
        Ok((0..u32::try_from(pollables.len())?).collect())
    }
}

impl poll::HostPollable for State {
    fn ready(&mut self, _: Resource<DynPollable>) -> Result<bool> {
        Ok(true)
    }
    fn block(&mut self, _: Resource<DynPollable>) -> Result<()> {
        Ok(())
    }
    fn drop(&mut self, _: Resource<DynPollable>) -> Result<()> {
        Ok(())
    }
}

impl streams::Host for State {
    fn convert_stream_error(&mut self, error: StreamError) -> Result<streams::StreamError> {
        match error {
            StreamError::Closed => Ok(streams::StreamError::Closed),
            StreamError::LastOperationFailed(error) | StreamError::Trap(error) => Err(error),
        }
    }
}

/// Standard input is closed.
impl streams::HostInputStream for State {
    fn read(&mut self, _: Resource<DynInputStream>, _: u64) -> StreamResult<Vec<u8>> {
        Err(StreamError::Closed)
    }
    fn blocking_read(&mut self, _: Resource<DynInputStream>, _: u64) -> StreamResult<Vec<u8>> {
        Err(StreamError::Closed)
    }
    fn skip(&mut self, _: Resource<DynInputStream>, _: u64) -> StreamResult<u64> {
        Err(StreamError::Closed)
    }
    fn blocking_skip(&mut self, _: Resource<DynInputStream>, _: u64) -> StreamResult<u64> {
        Err(StreamError::Closed)
    }
    fn subscribe(&mut self, _: Resource<DynInputStream>) -> Result<Resource<DynPollable>> {
        Ok(Resource::new_own(0))
    }
    fn drop(&mut self, _: Resource<DynInputStream>) -> Result<()> {
        Ok(())
    }
}

impl streams::HostOutputStream for State {
    fn check_write(&mut self, _: Resource<DynOutputStream>) -> StreamResult<u64> {
        Ok(MAX_LINE_BYTES as u64)
    }
    fn write(&mut self, stream: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        self.print(&stream, &bytes)
    }
    fn blocking_write_and_flush(
        &mut self,
        stream: Resource<DynOutputStream>,
        bytes: Vec<u8>,
    ) -> StreamResult<()> {
        self.print(&stream, &bytes)
    }
    fn flush(&mut self, _: Resource<DynOutputStream>) -> StreamResult<()> {
        Ok(())
    }
    fn blocking_flush(&mut self, _: Resource<DynOutputStream>) -> StreamResult<()> {
        Ok(())
    }
    fn subscribe(&mut self, _: Resource<DynOutputStream>) -> Result<Resource<DynPollable>> {
        Ok(Resource::new_own(0))
    }
    fn write_zeroes(&mut self, _: Resource<DynOutputStream>, _: u64) -> StreamResult<()> {
        Err(StreamError::Closed)
    }
    fn blocking_write_zeroes_and_flush(
        &mut self,
        _: Resource<DynOutputStream>,
        _: u64,
    ) -> StreamResult<()> {
        Err(StreamError::Closed)
    }
    fn splice(
        &mut self,
        _: Resource<DynOutputStream>,
        _: Resource<DynInputStream>,
        _: u64,
    ) -> StreamResult<u64> {
        Err(StreamError::Closed)
    }
    fn blocking_splice(
        &mut self,
        _: Resource<DynOutputStream>,
        _: Resource<DynInputStream>,
        _: u64,
    ) -> StreamResult<u64> {
        Err(StreamError::Closed)
    }
    fn drop(&mut self, _: Resource<DynOutputStream>) -> Result<()> {
        Ok(())
    }
}
