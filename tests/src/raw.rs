//! A client that sends bytes as they are, for what no HTTP library would send, and an upstream that a test plays by hand.

use std::fmt;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::eventually::within;
use crate::wire::{self, BodyReader};

/// A connection.
pub struct Raw {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer as it came.
#[derive(Debug, Clone)]
pub struct RawAnswer {
    /// Its status.
    pub status: u16,
    /// Status line and headers, as they came.
    pub head: String,
    /// Its body, without chunk framing.
    pub body: Vec<u8>,
    /// Whether the body came to its end.
    pub complete: bool,
}

impl RawAnswer {
    /// A header's value, looked up without case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let headers = wire::headers(&self.head);
        headers
            .into_iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Raw {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("somebody listens");
        let _ = stream.set_nodelay(true);
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Connects, and lets the system take little of what is not read.
    pub async fn connect_narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(64 << 10).expect("it is new");
        let stream = socket.connect(address).await.expect("somebody listens");
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Sends bytes. A peer that has closed the connection already is no error: it may have answered.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = within("sending", self.stream.write_all(bytes.as_ref())).await;
    }

    /// The next answer of a `GET` or the like; `None` when the connection ends first.
    pub async fn answer(&mut self) -> Option<RawAnswer> {
        self.answer_to("GET").await
    }

    /// The next answer to a request with this method.
    pub async fn answer_to(&mut self, method: &str) -> Option<RawAnswer> {
        within("an answer", self.read_answer(method)).await
    }

    async fn read_answer(&mut self, method: &str) -> Option<RawAnswer> {
        let head = wire::read_head(&mut self.stream, &mut self.buffer).await?;
        let head = String::from_utf8_lossy(&head).into_owned();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let mut body = Vec::new();
        let mut reader = BodyReader::of_response(&head, method, status);
        while let Some(part) = reader.next(&mut self.stream, &mut self.buffer).await {
            body.extend_from_slice(&part);
        }
        Some(RawAnswer {
            status,
            head,
            body,
            complete: reader.is_complete(),
        })
    }

    /// The head of the next answer, as soon as it is there; the body stays to be read with `rest`.
    pub async fn head(&mut self) -> Option<String> {
        let head = within(
            "a head",
            wire::read_head(&mut self.stream, &mut self.buffer),
        )
        .await?;
        Some(String::from_utf8_lossy(&head).into_owned())
    }

    /// At least this many bytes.
    pub async fn bytes(&mut self, count: usize) -> Vec<u8> {
        within("bytes", async {
            while self.buffer.len() < count {
                if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                    break;
                }
            }
        })
        .await;
        std::mem::take(&mut self.buffer)
    }

    /// Everything up to and including these bytes, or all there was when the connection ends before them.
    pub async fn until(&mut self, end: &str) -> String {
        let taken = within(end, async {
            loop {
                let found = self
                    .buffer
                    .windows(end.len())
                    .position(|window| window == end.as_bytes());
                if let Some(start) = found {
                    return start + end.len();
                }
                if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                    return self.buffer.len();
                }
            }
        })
        .await;
        let bytes: Vec<u8> = self.buffer.drain(..taken).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Everything until the peer closes the connection.
    pub async fn rest(&mut self) -> Vec<u8> {
        within("the end of the connection", async {
            while self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) > 0 {}
        })
        .await;
        std::mem::take(&mut self.buffer)
    }

    /// Says that nothing more will be sent.
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }
}

/// An upstream of which a test plays each connection by hand.
pub struct ByHand {
    listener: TcpListener,
    address: SocketAddr,
}

impl ByHand {
    /// Listens.
    pub async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        Self { listener, address }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection.
    pub async fn accept(&self) -> Raw {
        let (stream, _) = within("a connection", self.listener.accept())
            .await
            .expect("it is accepted");
        let _ = stream.set_nodelay(true);
        Raw {
            stream,
            buffer: Vec::new(),
        }
    }
}

/// `http://host:port`, as in the configuration.
impl fmt::Display for ByHand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.address)
    }
}
