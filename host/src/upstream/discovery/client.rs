//! Requests to the servers that sources ask.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::config::Endpoint;
use crate::upstream::dial::Peer;
use crate::upstream::dns::Dns;
use crate::upstream::tls::{self, ConnectError};

/// For a connection, and for what comes without having to be waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longer answers are none that we asked for.
const MAX_ANSWER: usize = 64 << 20;
/// What is shown of the body of a refusal.
const MAX_EXCUSE: usize = 200;

/// A server that is asked over HTTP/1.1, each time on a connection of its own: questions are few, and answers may be held
/// back for minutes.
pub(super) struct Client {
    endpoint: Endpoint,
    peer: Peer,
    host: HeaderValue,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// There is no connection.
    #[error("{host} cannot be reached: {reason}")]
    Unreachable {
        /// Which server.
        host: String,
        /// In words.
        reason: String,
    },
    /// It took too long.
    #[error("{0} says nothing")]
    Silent(String),
    /// The answer broke off, or is not HTTP.
    #[error("the answer of {host} broke off: {reason}")]
    Broken {
        /// Which server.
        host: String,
        /// In words.
        reason: String,
    },
    /// The server does not want to answer.
    #[error("{host} answers {status}: {excuse}")]
    Refused {
        /// Which server.
        host: String,
        /// Its status.
        status: StatusCode,
        /// The beginning of its body.
        excuse: String,
    },
}

/// An answer whose body is yet to be read.
pub(super) struct Answer {
    host: String,
    response: Response<Incoming>,
}

/// The lines of an answer, as they come.
pub(super) struct Lines {
    host: String,
    body: Incoming,
    buffer: BytesMut,
}

impl Client {
    pub(super) fn new(endpoint: &Endpoint, dns: &Arc<Dns>) -> Self {
        Self {
            peer: Peer::new(endpoint, dns),
            endpoint: endpoint.clone(),
            host: match endpoint.path() {
                Some(_) => HeaderValue::from_static("localhost"),
                None => HeaderValue::try_from(endpoint.authority())
                    .expect("hosts are names or addresses"),
            },
        }
    }

    /// Asks, and waits this long for the head of the answer, which must be one of success.
    pub(super) async fn get(
        &self,
        path: &str,
        secret: Option<(http::HeaderName, HeaderValue)>,
        wait: Duration,
    ) -> Result<Answer, ClientError> {
        let mut request = Request::get(path).header(HOST, &self.host);
        request = request
            .header(USER_AGENT, concat!("postern/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "application/json");
        if let Some((name, mut value)) = secret {
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        let request = request
            .body(Empty::<Bytes>::new())
            .map_err(|error| self.unreachable(error))?;
        let asking = async {
            let stream = tokio::time::timeout(PATIENCE, self.connect())
                .await
                .map_err(|_| self.silent())??;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
                .await
                .map_err(|error| self.broken(error))?;
            // Ends with the answer's body.
            tokio::spawn(connection);
            let answer = sender.send_request(request).await;
            answer.map_err(|error| self.broken(error))
        };
        let response = tokio::time::timeout(PATIENCE + wait, asking).await;
        let response = response.map_err(|_| self.silent())??;
        let host = self.name();
        let answer = Answer { host, response };
        match answer.response.status() {
            status if status.is_success() => Ok(answer),
            status => Err(answer.refused(status).await),
        }
    }

    async fn connect(&self) -> Result<tls::Stream, ClientError> {
        let stream = tls::connect(&self.peer, self.endpoint.tls.as_ref(), &[b"http/1.1"]).await;
        stream.map_err(|error| match error {
            ConnectError::Tcp(error) => self.unreachable(error),
            ConnectError::Tls(error) => self.unreachable(format_args!("no TLS: {error}")),
        })
    }

    fn name(&self) -> String {
        String::from_utf8_lossy(self.host.as_bytes()).into_owned()
    }

    fn silent(&self) -> ClientError {
        ClientError::Silent(self.name())
    }

    fn unreachable(&self, reason: impl fmt::Display) -> ClientError {
        let (host, reason) = (self.name(), reason.to_string());
        ClientError::Unreachable { host, reason }
    }

    fn broken(&self, reason: impl fmt::Display) -> ClientError {
        let (host, reason) = (self.name(), reason.to_string());
        ClientError::Broken { host, reason }
    }
}

impl ClientError {
    /// The status of a server that does not want to answer.
    pub(super) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Unreachable { .. } | Self::Silent(_) | Self::Broken { .. } => None,
        }
    }
}

impl Answer {
    /// A number in a header field.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        let value = self.response.headers().get(name)?;
        value.to_str().ok()?.trim().parse().ok()
    }

    /// The whole body.
    pub(super) async fn body(self) -> Result<Bytes, ClientError> {
        let Self { host, response } = self;
        let body = http_body_util::Limited::new(response.into_body(), MAX_ANSWER);
        match tokio::time::timeout(PATIENCE, body.collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) => Err(broken(host, error)),
            Err(_) => Err(ClientError::Silent(host)),
        }
    }

    /// The body, line by line.
    pub(super) fn lines(self) -> Lines {
        Lines {
            host: self.host,
            body: self.response.into_body(),
            buffer: BytesMut::new(),
        }
    }

    async fn refused(self, status: StatusCode) -> ClientError {
        let host = self.host.clone();
        let body = self.body().await.unwrap_or_default();
        let excuse = String::from_utf8_lossy(&body);
        let shown = |character: &char| !character.is_control();
        ClientError::Refused {
            host,
            status,
            excuse: excuse
                .trim()
                .chars()
                .filter(shown)
                .take(MAX_EXCUSE)
                .collect(),
        }
    }
}

impl Lines {
    /// The next line, without its end; `None` when the server has ended its answer.
    pub(super) async fn next(&mut self, wait: Duration) -> Result<Option<Bytes>, ClientError> {
        tokio::time::timeout(wait, self.read())
            .await
            .map_err(|_| ClientError::Silent(self.host.clone()))?
    }

    async fn read(&mut self) -> Result<Option<Bytes>, ClientError> {
        let mut looked_at = 0;
        loop {
            let rest = self.buffer.get(looked_at..).unwrap_or_default();
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let mut line = self.buffer.split_to(looked_at + end + 1);
                line.truncate(looked_at + end);
                return Ok(Some(line.freeze()));
            }
            looked_at = self.buffer.len();
            if looked_at > MAX_ANSWER {
                return Err(broken(self.host.clone(), "a line is too long"));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(broken(self.host.clone(), error)),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(broken(self.host.clone(), "in the middle of a line")),
            }
        }
    }
}

fn broken(host: String, reason: impl fmt::Display) -> ClientError {
    let reason = reason.to_string();
    ClientError::Broken { host, reason }
}
