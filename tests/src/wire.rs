//! HTTP/1 as bytes, as far as the scripted upstream and the raw client need it.

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Reads a head: all up to and including the empty line. `None` when the connection ends before it.
pub(crate) async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            return Some(buffer.drain(..end + 4).collect());
        }
        more(stream, buffer).await?;
    }
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    (stream.read_buf(buffer).await.ok()? > 0).then_some(())
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Names and values of a head, in the order and case in which they came.
pub(crate) fn headers(head: &str) -> Vec<(String, String)> {
    let lines = head
        .split("\r\n")
        .skip(1)
        .filter_map(|line| line.split_once(':'));
    lines
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

fn header(head: &str, name: &str) -> Option<String> {
    headers(head)
        .into_iter()
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

/// Reads a body part by part.
#[derive(Debug)]
pub(crate) enum BodyReader {
    Length(usize),
    Chunked,
    UntilClosed,
    Ended,
    BrokenOff,
}

impl BodyReader {
    pub(crate) fn of_request(head: &str) -> Self {
        Self::framed(head).unwrap_or(Self::Ended)
    }

    pub(crate) fn of_response(head: &str, method: &str, status: u16) -> Self {
        if method == "HEAD" || matches!(status, 100..=199 | 204 | 304) {
            return Self::Ended;
        }
        Self::framed(head).unwrap_or(Self::UntilClosed)
    }

    fn framed(head: &str) -> Option<Self> {
        if header(head, "transfer-encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
        {
            return Some(Self::Chunked);
        }
        let length = header(head, "content-length")?
            .parse()
            .expect("a length is a number");
        Some(if length == 0 {
            Self::Ended
        } else {
            Self::Length(length)
        })
    }

    pub(crate) fn is_complete(&self) -> bool {
        matches!(self, Self::Ended)
    }

    /// The next part of the body, `None` at its end or when the connection ends.
    pub(crate) async fn next(
        &mut self,
        stream: &mut TcpStream,
        buffer: &mut Vec<u8>,
    ) -> Option<Vec<u8>> {
        let part = match self {
            Self::Ended | Self::BrokenOff => return None,
            Self::Length(left) => Self::some(*left, stream, buffer).await,
            Self::Chunked => Self::chunk(stream, buffer).await,
            Self::UntilClosed => match Self::some(usize::MAX, stream, buffer).await {
                Some(part) => Some(part),
                None => Some(Vec::new()),
            },
        };
        let Some(part) = part else {
            *self = Self::BrokenOff;
            return None;
        };
        match self {
            Self::Length(left) => {
                *left -= part.len();
                if *left == 0 {
                    *self = Self::Ended;
                }
            }
            _ if part.is_empty() => {
                *self = Self::Ended;
                return None;
            }
            _ => {}
        }
        Some(part)
    }

    async fn some(most: usize, stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
        if buffer.is_empty() {
            more(stream, buffer).await?;
        }
        Some(buffer.drain(..buffer.len().min(most)).collect())
    }

    /// The content of one chunk, empty for the last one.
    async fn chunk(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
        let end = loop {
            match find(buffer, b"\r\n") {
                Some(end) => break end,
                None => more(stream, buffer).await?,
            }
        };
        let line: Vec<u8> = buffer.drain(..end + 2).collect();
        let size = String::from_utf8_lossy(&line);
        let size =
            usize::from_str_radix(size.trim().split(';').next()?, 16).expect("a chunk has a size");
        if size == 0 {
            // Trailers, to the empty line.
            loop {
                let end = loop {
                    match find(buffer, b"\r\n") {
                        Some(end) => break end,
                        None => more(stream, buffer).await?,
                    }
                };
                let line: Vec<u8> = buffer.drain(..end + 2).collect();
                if line == b"\r\n" {
                    return Some(Vec::new());
                }
            }
        }
        while buffer.len() < size + 2 {
            more(stream, buffer).await?;
        }
        let chunk = buffer.drain(..size).collect();
        buffer.drain(..2);
        Some(chunk)
    }
}
