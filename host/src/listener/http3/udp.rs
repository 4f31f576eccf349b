//! The UDP socket of a listener.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use socket2::{Domain, Protocol, Socket, Type};

/// Between two tries to bind an address that whoever we follow still has.
const RETRY: Duration = Duration::from_millis(200);
/// For how long clients may remember that there is HTTP/3 (RFC 7838, 3.1): a day.
const MAX_AGE: u32 = 86_400;

/// A socket from its binding to the drain.
pub(in crate::listener) struct Udp {
    address: SocketAddr,
    /// None until it is bound, and when it was taken by the worker that serves it.
    socket: Mutex<Option<UdpSocket>>,
    /// What clients are told while it is served.
    alternative: ArcSwapOption<HeaderValue>,
}

impl Udp {
    /// Binds an address. Where we `follow` somebody, who has it until he has finished what he does there, that is tried
    /// again later.
    ///
    /// # Errors
    /// When the address is taken, or not ours to take.
    pub(in crate::listener) fn bind(address: SocketAddr, follow: bool) -> std::io::Result<Self> {
        let socket = match bind(address) {
            Err(error) if follow && error.kind() == ErrorKind::AddrInUse => None,
            bound => Some(bound?),
        };
        Ok(Self {
            address,
            socket: Mutex::new(socket),
            alternative: ArcSwapOption::empty(),
        })
    }

    /// What it is bound to.
    pub(in crate::listener) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The value of `Alt-Svc` (RFC 7838) while HTTP/3 is served.
    pub(in crate::listener) fn alternative(&self) -> Option<HeaderValue> {
        self.alternative.load().as_deref().cloned()
    }

    /// The socket, as soon as it is bound. Nothing when it cannot be.
    pub(super) async fn bound(&self, listener: &str) -> Option<UdpSocket> {
        let taken = self
            .socket
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if taken.is_some() {
            return taken;
        }
        let address = self.address;
        tracing::info!(%listener, "HTTP/3 waits for UDP {address}, which is still in use");
        loop {
            tokio::time::sleep(RETRY).await;
            match bind(address) {
                Ok(socket) => {
                    tracing::info!(%listener, "HTTP/3 is served on UDP {address}");
                    return Some(socket);
                }
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                Err(error) => {
                    tracing::error!(%listener, %error, "HTTP/3 is not served: UDP {address} cannot be bound");
                    return None;
                }
            }
        }
    }

    /// From now on clients are told.
    pub(super) fn announce(&self) {
        let text = format!("h3=\":{}\"; ma={MAX_AGE}", self.address.port());
        let value = HeaderValue::try_from(text).expect("a port is visible ASCII");
        self.alternative.store(Some(Arc::new(value)));
    }

    /// From now on clients are not told.
    pub(super) fn withdraw(&self) {
        self.alternative.store(None);
    }
}

fn bind(address: SocketAddr) -> std::io::Result<UdpSocket> {
    // Without reuse of the address: packets of others' connections would reach us, and ours them.
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn whoever_follows_gets_the_address_when_it_is_free() {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let before = UdpSocket::bind(local).unwrap();
        let address = before.local_addr().unwrap();
        assert!(Udp::bind(address, false).is_err());
        let udp = Udp::bind(address, true).unwrap();
        let mut bound = Box::pin(udp.bound("public"));
        assert!(bound.as_mut().now_or_never().is_none());
        drop(before);
        assert_eq!(bound.await.unwrap().local_addr().unwrap(), address);
    }

    #[test]
    fn clients_are_told_while_it_is_served() {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let udp = Udp::bind(address, false).unwrap();
        assert_eq!(udp.alternative(), None);
        udp.announce();
        assert_eq!(udp.alternative().unwrap(), "h3=\":0\"; ma=86400");
        udp.withdraw();
        assert_eq!(udp.alternative(), None);
    }
}
