//! One connection: which version of HTTP it speaks, its requests one after another or at once, and its end.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;

use super::accept::Handler;
use super::activity::{Activity, Order, Tracked, Watched};
use super::stream::Rewound;
use crate::config::ListenerConfig;
use crate::types::Peer;

/// How an HTTP/2 connection begins (RFC 9113, 3.4); no method of HTTP/1.1 begins like this.
const H2_PREFACE: &[u8] = b"PRI";
const H2_PING_INTERVAL: Duration = Duration::from_secs(60);

/// Serves a connection to its end.
pub(super) async fn serve<H: Handler>(
    mut stream: Rewound,
    config: &ListenerConfig,
    handler: H,
    peer: Arc<Peer>,
    activity: Arc<Activity>,
) {
    let address = peer.address;
    let beginning = tokio::time::timeout(config.header_timeout, speaks_http2(&mut stream));
    let http2 = tokio::select! {
        begun = beginning => match begun {
            Ok(Ok(http2)) => http2,
            Ok(Err(_)) | Err(_) => return,
        },
        // Nothing has begun that would have to be finished.
        () = activity.any_order() => return,
    };
    let supervisor = Arc::clone(&activity);
    let io = Watched::new(TokioIo::new(stream), Arc::clone(&activity));
    let service = service_fn(move |request: Request<Incoming>| {
        let (handler, peer, progress) = (handler.clone(), Arc::clone(&peer), activity.begin());
        async move {
            let response: Response<_> = handler.handle(request, peer).await;
            Ok::<_, Infallible>(response.map(|body| Tracked { body, progress }))
        }
    });
    let ended = match http2 {
        true => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(config.max_streams)
                .max_header_list_size(u32::try_from(config.max_header_bytes).unwrap_or(u32::MAX))
                .keep_alive_interval(H2_PING_INTERVAL);
            supervise(builder.serve_connection(io, service), supervisor).await
        }
        false => {
            let mut builder = http1::Builder::new();
            builder
                .max_headers(config.max_headers)
                .max_header_size(config.max_header_bytes)
                .half_close(false)
                .header_read_timeout(None);
            supervise(builder.serve_connection(io, service), supervisor).await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(client = %address, %error, "connection ended");
    }
}

/// Whether the client speaks HTTP/2 with prior knowledge. An error when it says nothing at all.
async fn speaks_http2(stream: &mut Rewound) -> std::io::Result<bool> {
    let mut wanted = 1;
    loop {
        let seen = stream.peek(wanted).await?;
        if seen.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if seen.len() < wanted || !H2_PREFACE.starts_with(seen) {
            return Ok(seen.starts_with(H2_PREFACE));
        }
        if seen.len() == H2_PREFACE.len() {
            return Ok(true);
        }
        wanted = seen.len() + 1;
    }
}

/// A connection that obeys the janitor.
struct Supervised<C> {
    connection: Pin<Box<C>>,
    activity: Arc<Activity>,
    listening: bool,
    finishing: bool,
}

impl<C: GracefulConnection> Future for Supervised<C> {
    type Output = Result<(), C::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.listening {
            // Once is enough: the connection stays in its task.
            self.activity.listen(cx);
            self.listening = true;
        }
        match self.activity.ordered() {
            Order::None => {}
            Order::Finish if self.finishing => {}
            Order::Finish => {
                self.finishing = true;
                self.connection.as_mut().graceful_shutdown();
            }
            Order::Close => return Poll::Ready(Ok(())),
        }
        self.connection.as_mut().poll(cx)
    }
}

fn supervise<C: GracefulConnection>(connection: C, activity: Arc<Activity>) -> Supervised<C> {
    Supervised {
        connection: Box::pin(connection),
        activity,
        listening: false,
        finishing: false,
    }
}
