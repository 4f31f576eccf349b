//! Replacing the running program without losing a connection: a new process gets our sockets, and when it serves, we drain.
//!
//! The new process has a socket as its standard input. Over it comes a packet for each listening socket, with the
//! descriptor, and the packet `end`; back comes `ready`. The kernel's queues belong to the sockets, not to processes: what
//! waits to be accepted is accepted by either.

use std::ffi::OsString;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use socket2::{Domain, Socket, Type};

use crate::listener::Passed;

/// Tells a process that it replaces another one.
pub(super) const VARIABLE: &str = "POSTERN_HANDOVER";
/// What the new process says when it serves.
pub(super) const READY: &[u8] = b"ready";
/// Longest packet: a name and an address.
pub(super) const MAX_ITEM: usize = 1_024;
/// How long the new process may take: it may have to compile every plugin.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// Between two looks at the clock.
const LOOK: Duration = Duration::from_secs(1);

/// How this program was started, and so how the next one is.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

/// Why the new process does not serve. The old one does.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// It is not known where the program is.
    #[error("the program cannot be found: {0}")]
    Program(std::io::Error),
    /// This is process 1: when it ends, its container does.
    #[error("this is process 1, with which its container ends: start a new container instead")]
    FirstProcess,
    /// The sockets cannot be handed over.
    #[error("the sockets cannot be handed over: {0}")]
    Sockets(std::io::Error),
    /// It cannot be started.
    #[error("{path} cannot be started: {source}", path = path.display())]
    Start {
        /// The program.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It ended before it served.
    #[error("the new process ended ({0}) before it served; its own log says why")]
    Ended(ExitStatus),
    /// It took too long.
    #[error("the new process did not serve within {START_TIMEOUT:?}, and was ended")]
    Timeout,
}

impl Program {
    /// To be asked at the start: later, another file may have the program's name, and that is the one that is wanted.
    ///
    /// # Errors
    /// When it cannot be found out.
    pub fn this() -> Result<Self, UpgradeError> {
        Ok(Self {
            path: std::env::current_exe().map_err(UpgradeError::Program)?,
            arguments: std::env::args_os().skip(1).collect(),
        })
    }

    /// Starts it with our sockets and waits until it serves. Returns its process id.
    ///
    /// # Errors
    /// Why it does not serve.
    pub(super) fn replace(&self, sockets: Vec<Parcel>) -> Result<u32, UpgradeError> {
        if std::process::id() == 1 {
            return Err(UpgradeError::FirstProcess);
        }
        let pair = Socket::pair(Domain::UNIX, Type::SEQPACKET, None);
        let (ours, theirs) = pair.map_err(UpgradeError::Sockets)?;
        let mut child = self.start(theirs.into())?;
        let outcome = send_all(&ours, sockets)
            .map_err(UpgradeError::Sockets)
            .and_then(|()| await_ready(&ours, &mut child));
        if outcome.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        outcome.map(|()| child.id())
    }

    fn start(&self, input: OwnedFd) -> Result<Child, UpgradeError> {
        Command::new(&self.path)
            .args(&self.arguments)
            .stdin(Stdio::from(input))
            .env(VARIABLE, "stdin")
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_FDNAMES")
            .spawn()
            .map_err(|source| UpgradeError::Start {
                path: self.path.clone(),
                source,
            })
    }
}

/// A socket to be handed over.
pub(super) struct Parcel {
    /// The listener's name.
    pub(super) name: String,
    /// The address that it was opened for.
    pub(super) asked: String,
    /// The socket.
    pub(super) passed: Passed,
}

/// What a packet says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A descriptor comes with it.
    Socket {
        /// The listener's name.
        name: String,
        /// The address that it was opened for.
        asked: String,
        /// Whether the file of a socket with a path is the process's to remove.
        removes_path: bool,
    },
    /// There are no more.
    End,
}

impl Item {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Socket {
                name,
                asked,
                removes_path,
            } => format!("socket\n{name}\n{removes_path}\n{asked}").into_bytes(),
            Self::End => b"end".to_vec(),
        }
    }

    /// None if it is nothing that we would say.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        if text == "end" {
            return Some(Self::End);
        }
        let mut parts = text.strip_prefix("socket\n")?.splitn(3, '\n');
        let name = parts.next()?.to_owned();
        let removes_path = parts.next()?.parse().ok()?;
        let asked = parts.next()?.to_owned();
        Some(Self::Socket {
            name,
            asked,
            removes_path,
        })
    }
}

fn send_all(to: &Socket, sockets: Vec<Parcel>) -> std::io::Result<()> {
    for Parcel {
        name,
        asked,
        passed,
    } in sockets
    {
        let item = Item::Socket {
            name,
            asked,
            removes_path: passed.removes_path,
        };
        let descriptors = [passed.socket.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        send_one(to, &item, &mut control)?;
    }
    send_one(to, &Item::End, &mut SendAncillaryBuffer::default())
}

fn send_one(
    to: &Socket,
    item: &Item,
    control: &mut SendAncillaryBuffer<'_, '_, '_>,
) -> std::io::Result<()> {
    let bytes = item.encode();
    sendmsg(to, &[IoSlice::new(&bytes)], control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn await_ready(from: &Socket, child: &mut Child) -> Result<(), UpgradeError> {
    let deadline = Instant::now() + START_TIMEOUT;
    from.set_read_timeout(Some(LOOK))
        .map_err(UpgradeError::Sockets)?;
    let mut answer = [0; READY.len()];
    while Instant::now() < deadline {
        match rustix::net::recv(from, &mut answer, RecvFlags::empty()) {
            Ok((_, length)) if length == READY.len() && answer == READY => return Ok(()),
            // Its end is its standard input, which it has until it ends.
            Ok(_) => {
                let status = child.wait().map_err(UpgradeError::Sockets)?;
                return Err(UpgradeError::Ended(status));
            }
            // Nothing came; there is still time.
            Err(_) => {}
        }
    }
    Err(UpgradeError::Timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_say_what_was_said() {
        for item in [
            Item::End,
            Item::Socket {
                name: "public".into(),
                asked: "unix:/run/a\nb".into(),
                removes_path: true,
            },
        ] {
            assert_eq!(Item::decode(&item.encode()), Some(item));
        }
        for wrong in ["", "socket", "socket\na\nb\nc", "ends", "\u{0}"] {
            assert_eq!(Item::decode(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
