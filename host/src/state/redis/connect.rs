//! From an address to a connection that knows who we are and has our scripts.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError, cmd};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;

use super::script::{Names, Script};
use crate::config::RedisConfig;

/// A connection over which any number of requests go at once. Clones are the same connection.
#[derive(Clone)]
pub(super) struct Connection {
    /// Tells it from those before it.
    pub(super) number: u64,
    /// Told when it is of no more use.
    pub(super) lost: Arc<Notify>,
    pub(super) requests: MultiplexedConnection,
    pub(super) names: Arc<Names>,
}

/// What reads and writes for a connection.
pub(super) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Connects. What comes with the connection must run for it to get anywhere, and ends with it.
pub(super) async fn connect(
    config: &RedisConfig,
    number: u64,
) -> Result<(Connection, Driver), RedisError> {
    let stream = open(config).await?;
    let mut who = RedisConnectionInfo::default()
        .set_db(config.database.into())
        .set_skip_set_lib_name();
    if let Some(name) = &config.username {
        who = who.set_username(name);
    }
    if let Some(password) = &config.password {
        who = who.set_password(String::from_utf8_lossy(password.reveal()));
    }
    // Whoever asks says how long: see `link`.
    let settings = AsyncConnectionConfig::new().set_response_timeout(None);
    let made = MultiplexedConnection::new_with_config(&who, stream, settings).await?;
    let (mut requests, mut driver): (_, Driver) = (made.0, Box::pin(made.1));
    let names = tokio::select! {
        names = load(&mut requests) => names?,
        () = &mut driver => return Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
    };
    let connection = Connection {
        number,
        lost: Arc::new(Notify::new()),
        requests,
        names: Arc::new(names),
    };
    Ok((connection, driver))
}

type Stream = Either<TcpStream, Box<tokio_rustls::client::TlsStream<TcpStream>>>;

async fn open(config: &RedisConfig) -> io::Result<Stream> {
    let stream = TcpStream::connect((&*config.host, config.port)).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = &config.tls else {
        return Ok(Stream::Left(stream));
    };
    let connector = TlsConnector::from(Arc::clone(&tls.client));
    let stream = connector.connect(tls.server_name.clone(), stream).await?;
    Ok(Stream::Right(Box::new(stream)))
}

/// Gives the server our scripts.
async fn load(requests: &mut MultiplexedConnection) -> Result<Names, RedisError> {
    let mut names = Script::ALL.map(|_| String::new());
    for (script, name) in Script::ALL.iter().zip(&mut names) {
        let mut command = cmd("SCRIPT");
        command.arg("LOAD").arg(script.text());
        *name = command.query_async(requests).await?;
    }
    Ok(Names::new(names))
}
