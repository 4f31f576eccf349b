//! Clients: HTTP/1.1 and HTTP/2 with prior knowledge, over hyper.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;

use crate::eventually::within;

/// The host that calls ask for when they do not say.
pub const HOST: &str = "gateway.test";

/// A request to be made.
#[derive(Debug, Clone)]
pub struct Call {
    method: String,
    path: String,
    host: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Call {
    /// A call with this method.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.into(),
            path: path.into(),
            host: HOST.into(),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// `GET`
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// `POST` with a body.
    #[must_use]
    pub fn post(path: &str, body: impl Into<Bytes>) -> Self {
        Self::new("POST", path).body(body)
    }

    /// With another host.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = host.into();
        self
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With a body of known length.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    fn request(&self, version: Version, body: RequestBody) -> Request<RequestBody> {
        let mut request = Request::builder().method(self.method.as_str());
        request = match version {
            Version::HTTP_2 => request
                .uri(format!("http://{}{}", self.host, self.path))
                .version(version),
            _ => request.uri(&self.path).header("host", &self.host),
        };
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(body).expect("a test's request is a request")
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// The version of HTTP that it came in.
    pub version: Version,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Its trailers.
    pub trailers: HeaderMap,
}

impl Answer {
    /// A header's value; several are joined as a list.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<_> = self
            .headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The `code` of a problem document, empty if it is none.
    #[must_use]
    pub fn code(&self) -> String {
        let document: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        document["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A connection to a gateway.
pub struct Connection(Sender);

enum Sender {
    H1(http1::SendRequest<RequestBody>),
    H2(http2::SendRequest<RequestBody>),
}

impl Connection {
    /// An HTTP/1.1 connection.
    pub async fn h1(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("somebody listens");
        let _ = stream.set_nodelay(true);
        Self::over(stream).await
    }

    /// An HTTP/1.1 connection from an address of this machine.
    pub async fn h1_from(client: &str, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("there are sockets");
        let client = format!("{client}:0").parse().expect("it is an address");
        socket.bind(client).expect("it is ours");
        let stream = socket.connect(address).await.expect("somebody listens");
        Self::over(stream).await
    }

    /// An HTTP/1.1 connection over a stream that the test made.
    pub async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .expect("a handshake sends nothing");
        tokio::spawn(connection);
        Self(Sender::H1(sender))
    }

    /// An HTTP/2 connection, with prior knowledge.
    pub async fn h2(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("somebody listens");
        let _ = stream.set_nodelay(true);
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = handshake.expect("the peer speaks HTTP/2");
        tokio::spawn(connection);
        Self(Sender::H2(sender))
    }

    /// Makes a call and reads the whole answer.
    pub async fn call(&mut self, call: &Call) -> Answer {
        self.try_call(call)
            .await
            .unwrap_or_else(|error| panic!("{call:?}: {error}"))
    }

    /// The same, where it may fail.
    ///
    /// # Errors
    /// When the connection ends before the answer does.
    pub async fn try_call(&mut self, call: &Call) -> Result<Answer, hyper::Error> {
        let response = self
            .begin(call, RequestBody::whole(call.body.clone()))
            .await?;
        within("the rest of an answer", whole(response)).await
    }

    /// Makes a call and returns when the answer's head is there.
    ///
    /// # Errors
    /// When the connection ends before that.
    pub async fn begin(
        &mut self,
        call: &Call,
        body: RequestBody,
    ) -> Result<Response<Incoming>, hyper::Error> {
        within("the head of an answer", async {
            match &mut self.0 {
                Sender::H1(sender) => {
                    sender.ready().await?;
                    sender
                        .send_request(call.request(Version::HTTP_11, body))
                        .await
                }
                Sender::H2(sender) => {
                    sender.ready().await?;
                    sender
                        .send_request(call.request(Version::HTTP_2, body))
                        .await
                }
            }
        })
        .await
    }

    /// Whether the peer has closed it.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match &self.0 {
            Sender::H1(sender) => sender.is_closed(),
            Sender::H2(sender) => sender.is_closed(),
        }
    }

    /// One more handle of an HTTP/2 connection, for calls at the same time.
    #[must_use]
    pub fn share(&self) -> Option<Self> {
        match &self.0 {
            Sender::H1(_) => None,
            Sender::H2(sender) => Some(Self(Sender::H2(sender.clone()))),
        }
    }
}

/// Makes one call on a connection of its own.
pub async fn call(address: SocketAddr, call: &Call) -> Answer {
    Connection::h1(address).await.call(call).await
}

/// Reads the rest of an answer.
///
/// # Errors
/// When the body breaks off.
pub async fn whole(response: Response<Incoming>) -> Result<Answer, hyper::Error> {
    let (head, body) = response.into_parts();
    let collected = body.collect().await?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let body = collected.to_bytes();
    Ok(Answer {
        status: head.status.as_u16(),
        version: head.version,
        headers: head.headers,
        body,
        trailers,
    })
}

/// The body of a request: whole, or in parts when the test sends them.
pub struct RequestBody {
    whole: Option<Bytes>,
    parts: Option<mpsc::Receiver<Bytes>>,
}

impl RequestBody {
    /// A body of known length.
    #[must_use]
    pub fn whole(bytes: Bytes) -> Self {
        Self {
            whole: (!bytes.is_empty()).then_some(bytes),
            parts: None,
        }
    }

    /// A body of unknown length. It ends when the sender is dropped. Only one part waits to be sent at a time, so the
    /// sender feels back-pressure.
    #[must_use]
    pub fn parts() -> (mpsc::Sender<Bytes>, Self) {
        let (sender, parts) = mpsc::channel(1);
        (
            sender,
            Self {
                whole: None,
                parts: Some(parts),
            },
        )
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(whole) = self.whole.take() {
            return Poll::Ready(Some(Ok(Frame::data(whole))));
        }
        match &mut self.parts {
            Some(parts) => parts
                .poll_recv(cx)
                .map(|part| part.map(|part| Ok(Frame::data(part)))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.whole.is_none() && self.parts.is_none()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match (&self.whole, &self.parts) {
            (Some(whole), _) => http_body::SizeHint::with_exact(whole.len() as u64),
            (None, None) => http_body::SizeHint::with_exact(0),
            (None, Some(_)) => http_body::SizeHint::default(),
        }
    }
}
