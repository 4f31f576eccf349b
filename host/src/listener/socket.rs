//! Listening sockets: opening them, taking connections from them, and the files of those that have a path.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::stream;
use crate::config::{ListenAddress, ListenerConfig};

/// Connections that the kernel may hold for us until we accept them.
const BACKLOG: i32 = 4_096;
/// What stands for the address of a peer on a path: it has none, and is on this machine.
const THIS_MACHINE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Opens the socket of a listener.
pub(super) fn open(config: &ListenerConfig) -> Result<Socket> {
    match &config.address {
        ListenAddress::Tcp(address) => {
            let domain = Domain::for_address(*address);
            let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
            // A restart must not wait for connections in TIME_WAIT.
            socket.set_reuse_address(true)?;
            listen(socket, &(*address).into())
        }
        ListenAddress::Unix(path) => {
            let socket = listen_on_path(path)?;
            set_mode(path, config.socket_mode)?;
            Ok(socket)
        }
    }
}

/// Says who may connect to a path.
pub(super) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

fn listen_on_path(path: &Path) -> Result<Socket> {
    let address = SockAddr::unix(path)?;
    let new = || Socket::new(Domain::UNIX, Type::STREAM, None);
    match listen(new()?, &address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_stale(path, &address) => {
            std::fs::remove_file(path)?;
            listen(new()?, &address)
        }
        other => other,
    }
}

fn listen(socket: Socket, address: &SockAddr) -> Result<Socket> {
    socket.set_nonblocking(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Whether a file is a socket on which nobody listens: what a process leaves behind that was killed.
fn is_stale(path: &Path, address: &SockAddr) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let refused = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // A listener whose queue is full is alive, and must not hold us up.
        socket.set_nonblocking(true)?;
        socket.connect(address)
    };
    is_socket && refused().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// Checks a socket that somebody else opened, and makes it as if we had.
pub(super) fn adopt(socket: &Socket) -> Result<()> {
    if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "it is not a stream socket that listens",
        ));
    }
    socket.set_nonblocking(true)
}

/// The address that a socket listens on.
pub(super) fn address(socket: &Socket) -> Result<ListenAddress> {
    let address = socket.local_addr()?;
    match (address.as_socket(), address.as_pathname()) {
        (Some(address), _) => Ok(ListenAddress::Tcp(address)),
        (None, Some(path)) => Ok(ListenAddress::Unix(path.to_owned())),
        (None, None) => Err(Error::new(
            ErrorKind::InvalidInput,
            "it has no address and no path",
        )),
    }
}

/// A connection, and the addresses of its ends.
pub(super) struct Accepted {
    pub(super) stream: stream::Socket,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
}

/// A socket as one worker waits on it.
pub(super) enum Waiting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Waiting {
    /// Must be called on the worker's runtime.
    pub(super) fn new(socket: Socket) -> Result<Self> {
        Ok(match socket.domain()? {
            Domain::UNIX => Self::Unix(UnixListener::from_std(socket.into())?),
            _ => Self::Tcp(TcpListener::from_std(socket.into())?),
        })
    }

    /// Another handle of the same socket.
    pub(super) fn duplicate(&self) -> Result<Socket> {
        let descriptor = match self {
            Self::Tcp(socket) => socket.as_fd().try_clone_to_owned(),
            Self::Unix(socket) => socket.as_fd().try_clone_to_owned(),
        };
        descriptor.map(Socket::from)
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> Result<Accepted> {
        match self {
            Self::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                Ok(Accepted::tcp(stream, peer))
            }
            Self::Unix(socket) => Ok(Accepted::unix(socket.accept().await?.0)),
        }
    }
}

impl Accepted {
    fn tcp(stream: TcpStream, peer: SocketAddr) -> Self {
        // Without this, the last segment of a response waits for a delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        Self {
            local: stream.local_addr().unwrap_or(THIS_MACHINE),
            stream: stream::Socket::Left(stream),
            peer,
        }
    }

    fn unix(stream: UnixStream) -> Self {
        Self {
            stream: stream::Socket::Right(stream),
            peer: THIS_MACHINE,
            local: THIS_MACHINE,
        }
    }
}

/// A connection that waits in the queue, if there is one. Must be called on a runtime.
pub(super) fn accept_queued(socket: &Socket) -> Result<Option<Accepted>> {
    let (accepted, peer) = match socket.accept() {
        Ok(accepted) => accepted,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error),
    };
    accepted.set_nonblocking(true)?;
    Ok(Some(match peer.as_socket() {
        Some(peer) => Accepted::tcp(TcpStream::from_std(accepted.into())?, peer),
        None => Accepted::unix(UnixStream::from_std(accepted.into())?),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_nobody_listens_on_is_stale_and_a_file_is_not() {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("s");
        let stale = |path: &Path| is_stale(path, &SockAddr::unix(path).expect("it is short"));
        assert!(!stale(&path), "there is nothing");
        let socket = listen_on_path(&path).expect("it is free");
        assert!(!stale(&path), "it is listened on");
        assert!(listen_on_path(&path).is_err());
        drop(socket);
        assert!(stale(&path));
        drop(listen_on_path(&path).expect("what was stale is replaced"));
        let file = folder.path().join("f");
        std::fs::write(&file, "precious").expect("there is room");
        assert!(!stale(&file));
        assert!(listen_on_path(&file).is_err());
        assert_eq!(
            std::fs::read(&file).expect("it is still there"),
            b"precious"
        );
    }
}
