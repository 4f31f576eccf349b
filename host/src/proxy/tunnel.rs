//! Upgrades: a connection of HTTP/1.1, or one stream of HTTP/2 (RFC 8441), becomes a tunnel of bytes to the upstream.
//!
//! A request that may be upgraded goes through both sides of the chain like any other. The tunnel begins when the answer
//! that comes out of it is still the upstream's 101, and the exchange ends with the tunnel.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use hyper::ext::Protocol;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::error::ProxyError;
use crate::body::Body;
use crate::exchange::Exchange;
use crate::shutdown::Seat;
use crate::upstream::Hold;

const WEBSOCKET: &str = "websocket";
/// What the accepted key is made with (RFC 6455, 1.3).
const WEBSOCKET_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Held for each direction.
const BUFFER: usize = 8 << 10;

/// A client's wish for a WebSocket.
pub(super) struct Wish {
    client: OnUpgrade,
    /// The client speaks HTTP/2: it has sent no key, and is told 200 and not 101.
    is_extended: bool,
    key: HeaderValue,
}

/// A tunnel that may begin.
pub(super) struct Tunnel {
    client: OnUpgrade,
    server: OnUpgrade,
    /// The target has this under way.
    hold: Option<Hold>,
    seat: Option<Seat>,
    idle_timeout: Duration,
}

/// The client's wish, if it has one. What HTTP/2 asks for with `CONNECT` is a `GET` from here on.
///
/// # Errors
/// When it wants something that there is not.
pub(super) fn wish(exchange: &mut Exchange) -> Result<Option<Wish>, ProxyError> {
    let Some(client) = exchange.request.extensions.remove::<OnUpgrade>() else {
        return Ok(None);
    };
    let request = &mut exchange.request;
    if request.version == Version::HTTP_2 {
        let Some(protocol) = request.extensions.remove::<Protocol>() else {
            return Ok(None);
        };
        if protocol.as_str() != WEBSOCKET {
            return Err(ProxyError::UpgradeRefused);
        }
        request.method = Method::GET;
        let key = BASE64.encode(rand::random::<[u8; 16]>());
        let key = HeaderValue::try_from(key).map_err(|_| ProxyError::UpgradeRefused)?;
        return Ok(Some(Wish {
            client,
            is_extended: true,
            key,
        }));
    }
    let asked = request.method == Method::GET
        && !exchange.has_body
        && names(&request.headers, &header::UPGRADE, WEBSOCKET)
        && names(&request.headers, &header::CONNECTION, "upgrade");
    let key = request.headers.get(header::SEC_WEBSOCKET_KEY).cloned();
    Ok(key.filter(|_| asked).map(|key| Wish {
        client,
        is_extended: false,
        key,
    }))
}

/// Whether a field's list has a token.
fn names(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter();
    let mut tokens = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    tokens.any(|found| found.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

impl Wish {
    /// What becomes of the wish where upgrades are not allowed: over HTTP/1.1 it is a request like others (RFC 9110, 7.8).
    ///
    /// # Errors
    /// Over HTTP/2, where it asked for nothing else.
    pub(super) fn deny(&self) -> Result<(), ProxyError> {
        match self.is_extended {
            true => Err(ProxyError::UpgradeRefused),
            false => Ok(()),
        }
    }

    /// Puts it into the request to the upstream.
    pub(super) fn ask(&self, headers: &mut HeaderMap) {
        headers.remove(header::TE);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static(WEBSOCKET));
        headers.insert(header::SEC_WEBSOCKET_KEY, self.key.clone());
    }

    /// Whether the upstream has understood what it was asked for (RFC 6455, 4.1).
    pub(super) fn is_granted(&self, headers: &HeaderMap) -> bool {
        let key = [self.key.as_bytes(), WEBSOCKET_GUID.as_bytes()].concat();
        let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &key);
        let accepted = headers.get(header::SEC_WEBSOCKET_ACCEPT);
        names(headers, &header::UPGRADE, WEBSOCKET)
            && accepted
                .is_some_and(|accepted| accepted.as_bytes() == BASE64.encode(digest).as_bytes())
    }

    /// The tunnel, if the answer is still the upstream's after the chain. Says so to the client.
    pub(super) fn tunnel(
        self,
        exchange: &mut Exchange,
        response: &mut Response<Body>,
        idle_timeout: Duration,
    ) -> Option<Tunnel> {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return None;
        }
        let server = response.extensions_mut().remove::<OnUpgrade>()?;
        let hold = response.extensions_mut().remove::<Hold>();
        let headers = response.headers_mut();
        if self.is_extended {
            headers.remove(header::SEC_WEBSOCKET_ACCEPT);
            *response.status_mut() = StatusCode::OK;
        } else {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static(WEBSOCKET));
        }
        Some(Tunnel {
            client: self.client,
            server,
            hold,
            seat: exchange.request.extensions.remove::<Seat>(),
            idle_timeout,
        })
    }
}

impl Tunnel {
    /// Carries bytes both ways until both sides have ended, one of them fails, or nothing is said for too long. The
    /// exchange ends with it.
    pub(super) async fn run(self, mut exchange: Box<Exchange>) {
        let received: Arc<AtomicU64> = Arc::default();
        exchange.request_bytes = Some(Arc::clone(&received));
        let mut record = Record {
            exchange,
            sent: AtomicU64::new(0),
        };
        let ended = match tokio::try_join!(self.client, self.server) {
            Ok((client, server)) => {
                splice(client, server, (&received, &record.sent), self.idle_timeout).await
            }
            Err(error) => Err(error.to_string()),
        };
        record.exchange.complete = ended.is_ok();
        record.exchange.detail = ended.err();
        drop((record, self.hold, self.seat));
    }
}

/// The exchange of a tunnel, recorded with what was sent, also when the tunnel is cut off by the end of a drain.
struct Record {
    exchange: Box<Exchange>,
    sent: AtomicU64,
}

impl Drop for Record {
    fn drop(&mut self) {
        self.exchange.response_bytes = self.sent.load(Ordering::Relaxed);
    }
}

async fn splice(
    client: Upgraded,
    server: Upgraded,
    (received, sent): (&AtomicU64, &AtomicU64),
    idle_timeout: Duration,
) -> Result<(), String> {
    let (mut from_client, mut to_client) = tokio::io::split(TokioIo::new(client));
    let (mut from_server, mut to_server) = tokio::io::split(TokioIo::new(server));
    let pulse = Pulse::new();
    let both = async {
        tokio::try_join!(
            pump(&mut from_client, &mut to_server, received, &pulse),
            pump(&mut from_server, &mut to_client, sent, &pulse),
        )
    };
    tokio::select! {
        ended = both => ended.map(drop).map_err(|error| format!("the tunnel broke: {error}")),
        () = pulse.stopped(idle_timeout) => Err(format!("nothing was said for {idle_timeout:?}")),
    }
}

async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    count: &AtomicU64,
    pulse: &Pulse,
) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        pulse.beat();
        to.write_all(buffer.get(..length).unwrap_or_default())
            .await?;
        to.flush().await?;
        count.fetch_add(length as u64, Ordering::Relaxed);
        pulse.beat();
    }
}

/// When something was last said.
struct Pulse {
    start: Instant,
    /// Milliseconds since the start.
    last: AtomicU64,
}

impl Pulse {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    fn beat(&self) {
        let since = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(since, Ordering::Relaxed);
    }

    /// Waits until nothing was said for so long.
    async fn stopped(&self, limit: Duration) {
        loop {
            let last = self.start + Duration::from_millis(self.last.load(Ordering::Relaxed));
            let end = last + limit;
            if Instant::now() >= end {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accepted_key_is_that_of_the_rfc() {
        let wish = Wish {
            client: hyper::upgrade::on(http::Request::new(())),
            is_extended: false,
            key: HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="),
        };
        let mut headers = HeaderMap::new();
        headers.insert("upgrade", HeaderValue::from_static("WebSocket"));
        assert!(!wish.is_granted(&headers));
        headers.insert(
            "sec-websocket-accept",
            HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        );
        assert!(wish.is_granted(&headers));
        headers.remove("upgrade");
        assert!(!wish.is_granted(&headers));
    }

    #[tokio::test]
    async fn the_pulse_stops_after_the_last_beat_and_not_after_the_first() {
        let pulse = Pulse::new();
        let limit = Duration::from_millis(150);
        let begun = Instant::now();
        let talk = async {
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                pulse.beat();
            }
        };
        tokio::join!(talk, pulse.stopped(limit));
        // A beat is told to the millisecond.
        assert!(begun.elapsed() >= Duration::from_millis(4 * 50 + 150 - 2));
    }
}
