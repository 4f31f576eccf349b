//! The admin listener: health, metrics, and what is loaded. For operators: keep it on a private address.

mod drill;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::TcpListener;

pub use drill::Order;

use crate::proxy::Drills;
use crate::upstream::UpstreamReport;
use crate::upstream::discovery::DiscoveryReport;

/// Nobody who means well takes longer to ask.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// An order is a few words.
const MAX_ORDER: usize = 64 << 10;
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// What the process is doing.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether new requests are welcome.
    pub ready: bool,
    /// Of the snapshot that serves.
    pub generation: u64,
    /// Names and addresses of the listeners.
    pub listeners: BTreeMap<String, String>,
    /// Names and digests of the plugins that serve.
    pub plugins: BTreeMap<String, String>,
    /// Why the last change of the configuration was refused, if it was.
    pub config_problem: Option<String>,
    /// Why changed plugins were refused.
    pub plugin_problems: BTreeMap<String, String>,
    /// Where the targets of upstreams come from that list none.
    pub discovery: BTreeMap<String, DiscoveryReport>,
}

/// Where the answers come from.
pub trait Source: Send + Sync + 'static {
    /// What the process is doing.
    fn report(&self) -> Report;
    /// How each upstream is.
    fn upstreams(&self) -> BTreeMap<String, UpstreamReport>;
    /// The metrics page, in the Prometheus text format.
    fn metrics(&self) -> String;
    /// Drills, where they are allowed.
    fn drills(&self) -> Option<&Drills>;
}

/// Serves the admin listener for as long as the process lives.
pub async fn serve(socket: TcpListener, source: Arc<dyn Source>) {
    loop {
        let (stream, _) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "admin connections cannot be accepted");
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                continue;
            }
        };
        let source = Arc::clone(&source);
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let source = Arc::clone(&source);
                async move {
                    Ok::<_, Infallible>(match request.uri().path() {
                        "/api/drills" => drills(request, &*source).await,
                        _ => answer(&request, &*source),
                    })
                }
            });
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT);
            let _ = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Opens the socket.
///
/// # Errors
/// When the address is taken, or not ours to take.
pub fn open(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = std::net::TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn answer(request: &Request<Incoming>, source: &dyn Source) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is allowed here\n");
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" if source.report().ready => text(StatusCode::OK, "ready\n"),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        "/metrics" => typed(
            StatusCode::OK,
            source.metrics(),
            "text/plain; version=0.0.4; charset=utf-8",
        ),
        "/api/status" => {
            let json = serde_json::to_string_pretty(&source.report()).unwrap_or_default();
            typed(StatusCode::OK, json + "\n", "application/json")
        }
        "/api/upstreams" => {
            let json = serde_json::to_string_pretty(&source.upstreams()).unwrap_or_default();
            typed(StatusCode::OK, json + "\n", "application/json")
        }
        "/" => text(
            StatusCode::OK,
            "/healthz\n/readyz\n/metrics\n/api/status\n/api/upstreams\n/api/drills\n",
        ),
        _ => text(StatusCode::NOT_FOUND, "not here; / lists what is\n"),
    }
}

/// `/api/drills`. Only what says that it is JSON may change anything: a page that an operator's browser has open cannot say
/// that of what it sends elsewhere.
async fn drills(request: Request<Incoming>, source: &dyn Source) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let is_json = head
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/json");
    let changes = head.method != Method::GET && head.method != Method::HEAD;
    if changes && !is_json {
        return text(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "expected application/json\n",
        );
    }
    let collected = tokio::time::timeout(HEADER_TIMEOUT, Limited::new(body, MAX_ORDER).collect());
    let Ok(Ok(body)) = collected.await else {
        return text(
            StatusCode::BAD_REQUEST,
            "the request's body is too large, or did not come\n",
        );
    };
    let (status, answer) = drill::answer(
        source.drills(),
        &head.method,
        head.uri.query(),
        &body.to_bytes(),
    );
    typed(status, answer, "text/plain; charset=utf-8")
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    typed(status, body, "text/plain; charset=utf-8")
}

fn typed(
    status: StatusCode,
    body: impl Into<Bytes>,
    content_type: &'static str,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
