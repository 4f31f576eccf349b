//! Running other programs: to their end, or as services that are stopped with us.

use std::ffi::OsStr;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// How long a service may take to stop: more than the gateway's drain needs when nobody is connected.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// Short against a human's patience, long against the cost of a look.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Shows a command, runs it to its end, and makes a failure an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let words: Vec<_> = std::iter::once(program_name(command))
        .chain(command.get_args().map(OsStr::to_string_lossy))
        .collect();
    let line = words.join(" ");
    println!("$ {line}");
    let status = command
        .status()
        .with_context(|| format!("cannot start \"{line}\""))?;
    ensure!(status.success(), "\"{line}\" failed: {status}");
    Ok(())
}

/// Whether a cargo subcommand is installed.
pub(crate) fn has_cargo_command(mut cargo: Command, name: &str) -> bool {
    cargo
        .args([name, "--version"])
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Asks until there is an answer; `None` when the patience is over.
///
/// For effects outside this process, of which nothing else brings word.
pub(crate) fn poll<T>(patience: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = probe() {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        pause();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that polls; its callers have deadlines"
)]
fn pause() {
    std::thread::sleep(POLL_INTERVAL);
}

/// A program that runs until it is stopped or dropped.
pub(crate) struct Service {
    name: &'static str,
    child: Child,
}

impl Service {
    /// Starts a program in a process group of its own: a Ctrl-C in the terminal then reaches only us, and we stop our
    /// services in the right order.
    pub(crate) fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        use std::os::unix::process::CommandExt;
        let child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child })
    }

    /// The program's process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How the program ended, once it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("cannot look after {}", self.name))
    }

    /// An error when the program has ended by itself.
    pub(crate) fn expect_running(&mut self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => Err(anyhow!("{} ended by itself: {status}", self.name)),
        }
    }

    /// The program's standard output, when it was started with a pipe.
    pub(crate) fn take_stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Asks the program to end, and waits for it.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.terminate()
    }

    fn terminate(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        if let Some(status) = poll(STOP_PATIENCE, || self.child.try_wait().transpose()) {
            let status = status?;
            ensure!(
                status.success(),
                "{} did not stop cleanly: {status}",
                self.name
            );
            return Ok(());
        }
        self.child.kill()?;
        self.child.wait()?;
        Err(anyhow!(
            "{} did not stop within {STOP_PATIENCE:?} and was killed",
            self.name
        ))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Err(error) = self.terminate() {
            eprintln!("xtask: {error:#}");
        }
    }
}

fn program_name(command: &Command) -> std::borrow::Cow<'_, str> {
    std::path::Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program())
        .to_string_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_stopped_by_a_signal_and_its_end_is_noticed() {
        let service = Service::start(
            "cat",
            Command::new("cat").stdin(std::process::Stdio::piped()),
        );
        let mut service = service.expect("cat is installed");
        service.expect_running().expect("cat waits for its input");
        let error = service
            .stop()
            .expect_err("cat dies of the signal instead of exiting");
        assert!(
            error.to_string().contains("did not stop cleanly"),
            "{error}"
        );
    }

    #[test]
    fn poll_gives_up_after_its_patience() {
        assert_eq!(poll(Duration::ZERO, || None::<u8>), None);
        let mut left = 3;
        let counted = poll(Duration::from_secs(5), || {
            left -= 1;
            (left == 0).then_some("done")
        });
        assert_eq!(counted, Some("done"));
    }
}
