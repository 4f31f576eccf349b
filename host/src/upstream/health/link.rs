//! The connection that health checks of one target are made on, one after the other.
//!
//! Between two checks it is a socket and nothing else: no task waits on it, and no buffers are kept. Whether the target has
//! closed it shows when it is used.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::upstream::tls::Stream;

/// What is read of a body.
pub(super) const MAX_BODY: usize = 64 << 10;
/// Checks on one connection. A target that takes no new ones, while it serves those that it has, is to be noticed, too.
const CHECKS: u32 = 10;

/// A connection of HTTP/1 on which nothing is under way.
pub(in crate::upstream) struct Link {
    stream: Stream,
    checks: u32,
}

impl Link {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, checks: 0 }
    }

    /// Sends a request. Its answer, with the first bytes of the body, and the connection, if more may be sent on it.
    pub(super) async fn ask(
        self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<Bytes>, Option<Self>), String> {
        let shaken = http1::handshake(TokioIo::new(self.stream)).await;
        let (mut sender, mut connection) = shaken.map_err(|error| error.to_string())?;
        let exchange = async {
            let response = sender.send_request(request).await;
            let response = response.map_err(|error| error.to_string())?;
            let stays = stays(&response);
            let (response, ended) = whole(response).await;
            Ok((response, stays && ended))
        };
        let (response, stays) = drive(&mut connection, exchange).await?;
        let parts = connection.into_parts();
        let checks = self.checks + 1;
        let stays = stays && parts.read_buf.is_empty() && checks < CHECKS;
        let stream = parts.io.into_inner();
        Ok((response, stays.then_some(Self { stream, checks })))
    }
}

/// Whether the connection is open after this response (RFC 9112, 9.3).
fn stays<B>(response: &Response<B>) -> bool {
    let headers = response.headers();
    let closes = |value: &http::HeaderValue| {
        let mut tokens = value.as_bytes().split(|byte| *byte == b',');
        tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"))
    };
    let has_length =
        headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
    response.version() == Version::HTTP_11
        && has_length
        && !headers.get_all(CONNECTION).iter().any(closes)
}

/// Drives a connection for as long as `exchange` takes.
pub(super) async fn drive<T>(
    connection: impl Future<Output = hyper::Result<()>>,
    exchange: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let (mut connection, mut exchange) = (std::pin::pin!(connection), std::pin::pin!(exchange));
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        // What was sent before the end may still be on its way to the exchange.
        _ = &mut connection => exchange.await,
    }
}

/// A response with the first bytes of its body, and with its trailers among its headers; and whether that is all of it.
pub(super) async fn whole(response: Response<Incoming>) -> (Response<Bytes>, bool) {
    let (mut head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    let mut ended = true;
    let mut limited = Limited::new(&mut body, MAX_BODY);
    while let Some(frame) = limited.frame().await {
        let Ok(frame) = frame else {
            ended = false;
            break;
        };
        match frame.into_data() {
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => head
                .headers
                .extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    (Response::from_parts(head, bytes.into()), ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_stays_where_the_end_of_the_body_is_known_and_nobody_closes_it() {
        let response = |version, headers: &[(&str, &str)]| {
            let mut response = Response::builder().version(version);
            for (name, value) in headers {
                response = response.header(*name, *value);
            }
            stays(&response.body(()).unwrap_or_default())
        };
        let length = ("content-length", "2");
        assert!(response(Version::HTTP_11, &[length]));
        assert!(response(
            Version::HTTP_11,
            &[("transfer-encoding", "chunked"), ("connection", "x")]
        ));
        assert!(!response(Version::HTTP_10, &[length]));
        assert!(
            !response(Version::HTTP_11, &[]),
            "it ends with the connection"
        );
        assert!(!response(
            Version::HTTP_11,
            &[length, ("connection", "x, Close")]
        ));
    }
}
