//! The stream of a connection to a target: TCP, or TLS over it.

use std::io::Error;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::dial::{Peer, Socket};
use crate::config::TargetTls;

/// A connection to a target: without TLS, or with it.
pub(super) type Stream = Either<Socket, Box<TlsStream<TcpStream>>>;

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// The target cannot be reached.
    Tcp(Error),
    /// It was reached, and TLS failed.
    Tls(Error),
}

/// Connects to a target, and offers it `protocols` in ALPN (RFC 7301) if it speaks TLS.
///
/// # Errors
/// When there is no connection, the target's certificate is not good, or it wants one of ours.
pub(super) async fn connect(
    peer: &Peer,
    tls: Option<&TargetTls>,
    protocols: &[&[u8]],
) -> Result<Stream, ConnectError> {
    let (stream, tls) = match (peer.connect().await.map_err(ConnectError::Tcp)?, tls) {
        (Socket::Left(stream), Some(tls)) => (stream, tls),
        (socket, _) => return Ok(Stream::Left(socket)),
    };
    let connector = TlsConnector::from(Arc::clone(&tls.client));
    let protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = connector
        .with_alpn(protocols)
        .connect(tls.server_name.clone(), stream)
        .await
        .map_err(ConnectError::Tls)?;
    Ok(Stream::Right(Box::new(stream)))
}

/// The protocol that the target chose in ALPN.
pub(super) fn protocol(stream: &Stream) -> Option<&[u8]> {
    match stream {
        Stream::Left(_) => None,
        Stream::Right(stream) => stream.get_ref().1.alpn_protocol(),
    }
}
