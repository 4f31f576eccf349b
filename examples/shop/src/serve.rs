//! Serving one service on one listener, HTTP/1.1 and HTTP/2, until told to stop.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::reply::{self, Reply};

/// Nothing that the shop sells needs more.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// For answers under way when the shop stops; idle connections end at once.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// One of the shop's services.
pub(crate) trait Service: Send + Sync + 'static {
    /// The service's name, as in its paths.
    const NAME: &'static str;

    /// Answers a request. `path` is what follows `/api/`, in segments; `body` is `Null` unless the request has JSON.
    fn answer(&self, method: &Method, path: &[&str], body: &Value) -> Reply;
}

/// Serves until the sender of `stop` is dropped.
pub(crate) async fn serve<S: Service>(
    listener: TcpListener,
    service: Arc<S>,
    mut stop: watch::Receiver<()>,
) {
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                eprintln!("{}: cannot accept a connection: {error}", S::NAME);
                continue;
            }
        };
        // Small answers must not wait for the client's delayed acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            eprintln!("{}: cannot set TCP_NODELAY: {error}", S::NAME);
        }
        let service = Arc::clone(&service);
        let handler = service_fn(move |request| {
            let service = Arc::clone(&service);
            async move { Ok::<_, Infallible>(handle(&*service, request).await) }
        });
        let builder = auto::Builder::new(TokioExecutor::new());
        let connection = builder
            .serve_connection(TokioIo::new(stream), handler)
            .into_owned();
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            // A client that goes away is its own business.
            let _ = connection.await;
        });
    }
    let _ = tokio::time::timeout(STOP_PATIENCE, connections.shutdown()).await;
}

async fn handle<S: Service>(service: &S, request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY_BYTES).collect().await else {
        return reply::problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is too large or broke off",
        );
    };
    let body = serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null);
    let Some(path) = head.uri.path().strip_prefix("/api/") else {
        return reply::not_found();
    };
    let path: Vec<_> = path.split('/').collect();
    match path[..] {
        [_, "echo"] if head.method == Method::GET => reply::echo(S::NAME, &head),
        _ => service.answer(&head.method, &path, &body),
    }
}
