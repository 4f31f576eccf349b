//! From where a target is to a socket.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpStream, UnixStream};
use tokio_util::either::Either;

use super::dns::{Dns, Name};
use crate::config::Endpoint;

/// Before the next address is tried while one has not answered yet (RFC 8305, 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Where to connect to.
pub(super) enum Peer {
    /// An address.
    Address(SocketAddr),
    /// A path of this machine.
    Path(PathBuf),
    /// A host, at the addresses that it has when somebody connects.
    Name(Arc<Name>, u16),
}

impl Peer {
    pub(super) fn new(endpoint: &Endpoint, dns: &Arc<Dns>) -> Self {
        if let Some(path) = endpoint.path() {
            return Self::Path(path.into());
        }
        match endpoint.host.parse::<IpAddr>() {
            Ok(address) => Self::Address(SocketAddr::new(address, endpoint.port)),
            Err(_) => Self::Name(dns.name(&endpoint.host), endpoint.port),
        }
    }

    /// Connects. Whoever waits sees to it that the wait ends.
    pub(super) async fn connect(&self) -> io::Result<Socket> {
        let stream = match self {
            Self::Path(path) => return UnixStream::connect(path).await.map(Socket::Right),
            Self::Address(address) => TcpStream::connect(address).await?,
            Self::Name(name, port) => race(&name.addresses().await?, *port).await?,
        };
        // Without this, the last segment of a body waits for a delayed acknowledgement.
        stream.set_nodelay(true)?;
        Ok(Socket::Left(stream))
    }
}

/// A connection, over which nothing was said yet: over the network, or on this machine.
pub(super) type Socket = Either<TcpStream, UnixStream>;

/// Connects to the first of these addresses that answers (RFC 8305, 5): the next is tried when one has failed, or has
/// not answered for a while.
async fn race(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let mut waiting = alternate(addresses).into_iter();
    let mut attempts = FuturesUnordered::new();
    loop {
        if let Some(address) = waiting.next() {
            attempts.push(TcpStream::connect(SocketAddr::new(address, port)));
        }
        let more = waiting.len() > 0;
        tokio::select! {
            ended = attempts.next() => match ended {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) if attempts.is_empty() && !more => return Err(error),
                Some(Err(_)) => {}
                None => return Err(io::Error::other("the host has no address")),
            },
            () = tokio::time::sleep(ATTEMPT_DELAY), if more => {}
        }
    }
}

/// The order in which addresses are tried (RFC 8305, 4): IPv6 first, then by turns.
fn alternate(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let (ipv6, ipv4): (Vec<IpAddr>, Vec<IpAddr>) =
        addresses.iter().partition(|address| address.is_ipv6());
    let longest = ipv6.len().max(ipv4.len());
    let turn = |index: usize| [ipv6.get(index).copied(), ipv4.get(index).copied()];
    (0..longest).flat_map(turn).flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn families_take_turns() {
        let addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "::1", "::2"];
        let addresses: Vec<IpAddr> = addresses.iter().map(|it| it.parse().unwrap()).collect();
        let order: Vec<String> = alternate(&addresses)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(order, ["::1", "10.0.0.1", "::2", "10.0.0.2", "10.0.0.3"]);
    }

    #[tokio::test]
    async fn an_address_that_refuses_gives_way_to_the_next() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let addresses = ["127.0.0.9", "127.0.0.1"].map(|it| it.parse::<IpAddr>().unwrap());
        let begun = tokio::time::Instant::now();
        let stream = race(&addresses, port).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap().ip(), Ipv4Addr::LOCALHOST);
        assert!(begun.elapsed() < ATTEMPT_DELAY, "it was not waited for");
    }

    #[tokio::test]
    async fn when_all_refuse_the_last_refusal_is_told() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let addresses = ["127.0.0.9", "127.0.0.8"].map(|it| it.parse::<IpAddr>().unwrap());
        let error = race(&addresses, port).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(race(&[], port).await.is_err());
    }
}
