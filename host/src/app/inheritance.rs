//! Sockets that somebody else opened for this process: the service manager, or the gateway that it replaces.

use std::io::{Error, ErrorKind, IoSliceMut, Result};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};
use socket2::Socket;

use super::handover::{Item, MAX_ITEM, READY, VARIABLE};
use crate::config::ListenAddress;
use crate::listener::Passed;

/// Sockets that listen already.
#[derive(Default)]
pub struct Inheritance {
    sockets: Vec<Inherited>,
    /// Who waits to hear that we serve.
    predecessor: Option<OwnedFd>,
}

struct Inherited {
    name: String,
    /// The address that it was opened for, as a configuration said it. None from a service manager.
    asked: Option<String>,
    passed: Passed,
}

impl Inheritance {
    /// Everything that this process was given. To be called once, before anything else opens files.
    ///
    /// # Errors
    /// When it was given something that it cannot understand.
    pub fn receive() -> Result<Self> {
        let mut inheritance = Self::default();
        if std::env::var_os(VARIABLE).is_some() {
            inheritance.receive_from_predecessor()?;
        }
        for (fd, name) in sd_notify::listen_fds_with_names()? {
            #[expect(
                unsafe_code,
                reason = "the service manager says by number which descriptors are ours"
            )]
            // SAFETY: `LISTEN_PID` names this process, so the descriptor was opened for it, and nobody else takes it.
            let socket = Socket::from(unsafe { OwnedFd::from_raw_fd(fd) });
            inheritance.sockets.push(Inherited {
                name,
                asked: None,
                passed: Passed {
                    socket,
                    removes_path: false,
                },
            });
        }
        Ok(inheritance)
    }

    /// The gateway that we replace sends its sockets over the socket that is our standard input.
    fn receive_from_predecessor(&mut self) -> Result<()> {
        let predecessor = std::io::stdin().as_fd().try_clone_to_owned()?;
        loop {
            let (item, socket) = receive_item(&predecessor)?;
            match (item, socket) {
                (Item::End, _) => break,
                (
                    Item::Socket {
                        name,
                        asked,
                        removes_path,
                    },
                    Some(socket),
                ) => self.sockets.push(Inherited {
                    name,
                    asked: Some(asked),
                    passed: Passed {
                        socket,
                        removes_path,
                    },
                }),
                (Item::Socket { name, .. }, None) => {
                    return Err(malformed(&format!("no socket came for {name:?}")));
                }
            }
        }
        self.predecessor = Some(predecessor);
        Ok(())
    }

    /// The socket for a listener: by its name, or else by its address. One of a gateway that we replace must have been
    /// opened for the same address.
    pub(super) fn take(&mut self, name: &str, address: &ListenAddress) -> Option<Passed> {
        let text = address.to_string();
        let named = |it: &Inherited| {
            it.name == name && it.asked.as_ref().is_none_or(|asked| *asked == text)
        };
        let placed = |it: &Inherited| match &it.asked {
            Some(asked) => address.is_fixed() && *asked == text,
            None => is_at(&it.passed.socket, address),
        };
        let sockets = &mut self.sockets;
        let index = sockets.iter().position(named);
        let index = index.or_else(|| sockets.iter().position(placed))?;
        Some(sockets.swap_remove(index).passed)
    }

    /// Closes what no listener wanted, and says so.
    pub(super) fn close_rest(&mut self) {
        for unused in self.sockets.drain(..) {
            let name = unused.name;
            tracing::warn!(
                "the inherited socket {name:?} is closed: no listener has its name or address"
            );
        }
    }

    /// Tells the gateway that we replace that we serve.
    ///
    /// # Errors
    /// When it is gone: whoever ended it meant both of us.
    pub fn ready(&mut self) -> Result<()> {
        match self.predecessor.take() {
            Some(predecessor) => Ok(send(predecessor, READY, SendFlags::NOSIGNAL).map(drop)?),
            None => Ok(()),
        }
    }
}

fn is_at(socket: &Socket, address: &ListenAddress) -> bool {
    let Ok(local) = socket.local_addr() else {
        return false;
    };
    match address {
        ListenAddress::Tcp(address) => local.as_socket() == Some(*address),
        ListenAddress::Unix(path) => local.as_pathname() == Some(path),
    }
}

/// One packet, and the descriptor that came with it.
fn receive_item(from: &OwnedFd) -> Result<(Item, Option<Socket>)> {
    let mut bytes = [0; MAX_ITEM];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        from,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut socket = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            socket = descriptors.last().map(Socket::from);
        }
    }
    let item = bytes.get(..received.bytes).and_then(Item::decode);
    Ok((item.ok_or_else(|| malformed("a packet"))?, socket))
}

fn malformed(what: &str) -> Error {
    let message = format!("the gateway that is replaced sent something unexpected: {what}");
    Error::new(ErrorKind::InvalidData, message)
}
