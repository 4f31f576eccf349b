//! One health check of one target, from the connection to the verdict.

use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::{CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, Version};
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::link::{Link, drive, whole};
use crate::config::{HealthConfig, ProbeConfig, UpstreamProtocol};
use crate::upstream::target::Target;
use crate::upstream::tls::{self, Stream};

const AGENT: HeaderValue = HeaderValue::from_static(concat!("postern/", env!("CARGO_PKG_VERSION")));

/// Checks a target.
///
/// # Errors
/// Why it fails, for the log.
pub(in crate::upstream) async fn probe(
    target: &Target,
    config: &HealthConfig,
    protocol: UpstreamProtocol,
) -> Result<(), String> {
    let timeout = config.timeout;
    let probing = async {
        match &config.probe {
            ProbeConfig::Tcp | ProbeConfig::Tls => connect(target, timeout, &[]).await.map(drop),
            ProbeConfig::Http {
                path,
                host,
                status,
                body,
                reuse,
            } => {
                let host = host.as_ref().unwrap_or(target.address());
                let kept = target.care().link().take().filter(|_| *reuse);
                let get = Get { path, host, kept };
                let (response, link) = get.send(target, timeout, protocol).await?;
                *target.care().link() = link.filter(|_| *reuse);
                judge(&response, status, body.as_deref())
            }
            ProbeConfig::Grpc { service } => serving(target, timeout, service).await,
        }
    };
    let probed = tokio::time::timeout(timeout, probing).await;
    probed.unwrap_or_else(|_| Err(format!("no verdict within {timeout:?}")))
}

async fn connect(target: &Target, limit: Duration, offered: &[&[u8]]) -> Result<Stream, String> {
    let dialling = target.dial(limit, offered);
    dialling.await.map_err(|error| error.to_string())
}

/// A GET, and the connection that the last one was sent on.
struct Get<'a> {
    path: &'a str,
    host: &'a str,
    kept: Option<Link>,
}

impl Get<'_> {
    async fn send(
        self,
        target: &Target,
        limit: Duration,
        protocol: UpstreamProtocol,
    ) -> Result<(Response<Bytes>, Option<Link>), String> {
        if let Some(link) = self.kept {
            // The target may close it at any time: that says nothing about it, and a new one decides.
            if let Ok(answered) = link.ask(relative(self.host, self.path)?).await {
                return Ok(answered);
            }
        }
        let offered: &[&[u8]] = match protocol {
            UpstreamProtocol::H2 => &[b"h2"],
            UpstreamProtocol::Auto => &[b"h2", b"http/1.1"],
            UpstreamProtocol::Http1 => &[b"http/1.1"],
        };
        let stream = connect(target, limit, offered).await?;
        let is_http2 = match protocol {
            UpstreamProtocol::H2 => true,
            UpstreamProtocol::Auto => tls::protocol(&stream) == Some(b"h2"),
            UpstreamProtocol::Http1 => false,
        };
        if is_http2 {
            let mut request = plain();
            *request.uri_mut() = absolute(target, self.host, self.path)?;
            return Ok((over_http2(stream, request).await?, None));
        }
        Link::new(stream).ask(relative(self.host, self.path)?).await
    }
}

fn plain() -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::default());
    request.headers_mut().insert(USER_AGENT, AGENT);
    request
}

/// A request of HTTP/1.
fn relative(host: &str, path: &str) -> Result<Request<Full<Bytes>>, String> {
    let mut request = plain();
    *request.uri_mut() = path
        .parse()
        .map_err(|_| "the path is not valid".to_owned())?;
    let host = HeaderValue::try_from(host).map_err(|_| "the host is not valid".to_owned())?;
    request.headers_mut().insert(HOST, host);
    Ok(request)
}

fn absolute(target: &Target, host: &str, path: &str) -> Result<http::Uri, String> {
    let scheme = if target.is_secure() { "https" } else { "http" };
    let uri = http::Uri::builder()
        .scheme(scheme)
        .authority(host)
        .path_and_query(path);
    uri.build().map_err(|error| error.to_string())
}

async fn over_http2(
    stream: Stream,
    mut request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, String> {
    *request.version_mut() = Version::HTTP_2;
    let shaken = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|error| error.to_string())?;
    drive(connection, async move {
        let response = sender.send_request(request).await;
        let response = response.map_err(|error| error.to_string())?;
        Ok(whole(response).await.0)
    })
    .await
}

fn judge(
    response: &Response<Bytes>,
    expected: &[(u16, u16)],
    text: Option<&str>,
) -> Result<(), String> {
    let status = response.status().as_u16();
    if !expected
        .iter()
        .any(|(first, last)| (*first..=*last).contains(&status))
    {
        return Err(format!("status {status} is not expected"));
    }
    let Some(text) = text else { return Ok(()) };
    let body = response.body();
    match body
        .windows(text.len().max(1))
        .any(|part| part == text.as_bytes())
    {
        true => Ok(()),
        false => Err("the body does not contain what is expected".into()),
    }
}

/// Asks the health service of gRPC (grpc.health.v1.Health, as published with gRPC).
async fn serving(target: &Target, limit: Duration, service: &str) -> Result<(), String> {
    let uri = absolute(target, target.address(), "/grpc.health.v1.Health/Check")?;
    let mut request = Request::new(Full::new(question(service)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(USER_AGENT, AGENT);
    let stream = connect(target, limit, &[b"h2"]).await?;
    let response = over_http2(stream, request).await?;
    let status = response.headers().get("grpc-status");
    let status = status.and_then(|status| status.to_str().ok());
    match (response.status().as_u16(), status) {
        (200, Some("0")) => {}
        (200, Some(other)) => return Err(format!("gRPC status {other}")),
        (200, None) => return Err("no gRPC status".into()),
        (other, _) => return Err(format!("status {other}")),
    }
    match answer(response.body().clone()) {
        Some(1) => Ok(()),
        Some(other) => Err(format!("serving status {other}, not 1 (SERVING)")),
        None => Err("the answer cannot be read".into()),
    }
}

/// `HealthCheckRequest { service }` in a message of gRPC. Two fields do not need a library for Protocol Buffers.
fn question(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        // Field 1, of bytes.
        message.push(1 << 3 | 2);
        varint(&mut message, service.len());
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(
        &u32::try_from(message.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes(),
    );
    framed.extend(message);
    framed.into()
}

fn varint(bytes: &mut Vec<u8>, mut number: usize) {
    while number > 0x7f {
        bytes.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap_or_default());
}

/// The status of a `HealthCheckResponse`: field 1, a varint; none is 0, UNKNOWN.
fn answer(mut framed: Bytes) -> Option<u8> {
    if framed.try_get_u8().ok()? != 0 {
        return None; // Compressed, which nobody was asked for.
    }
    let length = framed.try_get_u32().ok()?;
    match (length, framed.as_ref()) {
        (0, _) => Some(0),
        (2.., [0x08, status, ..]) => Some(*status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_health_service_is_asked_in_its_own_words() {
        assert_eq!(question("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(
            question("a.B").as_ref(),
            [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']
        );
        let long = question(&"x".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
        assert_eq!(answer(Bytes::from_static(&[0, 0, 0, 0, 2, 8, 1])), Some(1));
        assert_eq!(answer(Bytes::from_static(&[0, 0, 0, 0, 0])), Some(0));
        for wrong in [
            &[][..],
            &[1, 0, 0, 0, 0],
            &[0, 0, 0],
            &[0, 0, 0, 0, 2, 9, 1],
        ] {
            assert_eq!(answer(Bytes::copy_from_slice(wrong)), None, "{wrong:?}");
        }
    }
}
