//! One request of an HTTP/3 connection, and its response.

use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use h3::error::{Code, StreamError};
use h3::server::{RequestResolver, RequestStream};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::body::RequestBody;
use super::transport::{Sending, Stopped, Transport};
use crate::body::{Arriving, BodyError};
use crate::config::ListenerConfig;
use crate::listener::accept::Handler;
use crate::listener::activity::{Activity, InProgress};
use crate::listener::connection::{head_limits, too_large};
use crate::proxy::{ExchangeBody, Interim, Refusal};
use crate::types::Peer;

/// What the requests of a connection share.
pub(super) struct Shared<H> {
    pub(super) config: ListenerConfig,
    pub(super) handler: H,
    pub(super) peer: Arc<Peer>,
    pub(super) activity: Arc<Activity>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Served,
    /// The client no longer wanted an answer, before it had all of it.
    TakenBack,
}

/// Most interim responses that wait for a client; what comes on top is dropped.
const MOST_INTERIM: usize = 8;

/// Interim responses to a request, where its client wants them.
type Interims = Option<mpsc::Receiver<Response<()>>>;

/// What belongs to a connection of HTTP/1, and has no place here (RFC 9114, 4.2).
const CONNECTION_FIELDS: [HeaderName; 5] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Serves one request. Whatever fails here ends its stream, and nothing else.
pub(super) async fn run<H: Handler>(
    resolver: RequestResolver<Transport, Bytes>,
    stopped: Stopped,
    shared: Arc<Shared<H>>,
) -> End {
    let config = &shared.config;
    let head = tokio::time::timeout(config.header_timeout, resolver.resolve_request());
    let Ok(Ok((mut request, stream))) = head.await else {
        return End::TakenBack;
    };
    let mut progress = shared.activity.begin();
    let (sending, receiving) = stream.split();
    let mut answer = Answer::new(sending);
    let length = declared_length(request.headers());
    let mut body = RequestBody::new(receiving, length);
    // Whether a request without a length has a body is known when its stream goes on or ends. Methods that usually have
    // none wait for that; others begin at once, as both sides may want to talk at the same time.
    if length.is_none() && request.method().is_safe() {
        let first = tokio::time::timeout(config.header_timeout, body.look());
        if !matches!(first.await, Ok(Ok(()))) {
            answer.failure = Code::H3_REQUEST_INCOMPLETE;
            return End::TakenBack;
        }
    }
    if let Some(refusal) = refusal(&request, config) {
        request.extensions_mut().insert(refusal);
    }
    let is_head = request.method() == Method::HEAD;
    let interims = config
        .interim_responses
        .then(|| take_interims(&mut request));
    let request = request.map(|()| Arriving::Other(Box::new(body)));
    let handled = shared.handler.handle(request, Arc::clone(&shared.peer));
    let handled = std::pin::pin!(handled);
    let response = tokio::select! {
        response = answer.after_interims(interims, handled, &mut progress) => response,
        _ = stopped => {
            answer.failure = Code::H3_REQUEST_CANCELLED;
            return End::TakenBack;
        }
    };
    let sent = match response {
        Ok(response) => answer.send(response, is_head, &mut progress).await,
        Err(error) => Err(error),
    };
    match sent {
        Ok(()) => End::Served,
        Err(Failure::Stream(StreamError::RemoteTerminate { .. })) => End::TakenBack,
        Err(error) => {
            tracing::debug!(client = %shared.peer.address, %error, "response not sent");
            End::Served
        }
    }
}

/// Has the interim responses to a request heard.
fn take_interims(request: &mut Request<()>) -> mpsc::Receiver<Response<()>> {
    let (sender, interims) = mpsc::channel(MOST_INTERIM);
    let interim = Interim::new(move |status, headers| {
        let mut head = Response::new(());
        *head.status_mut() = status;
        *head.headers_mut() = headers;
        // Full, or nobody wants it any more.
        let _ = sender.try_send(head);
    });
    request.extensions_mut().insert(interim);
    interims
}

/// Why a request is not served, as far as it is not the pipeline that finds out.
fn refusal(request: &Request<()>, config: &ListenerConfig) -> Option<Refusal> {
    let headers = request.headers();
    let te = headers.get_all(header::TE).iter();
    let malformed = CONNECTION_FIELDS
        .iter()
        .any(|name| headers.contains_key(name))
        || te.into_iter().any(|value| value != "trailers");
    match malformed {
        true => Some(Refusal::Malformed("The request has fields of a connection")),
        false => too_large(request, head_limits(config)),
    }
}

/// Why a response did not come to its end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Body(#[from] BodyError),
}

/// Our side of a request's stream. Unless the answer was sent whole, the client is told that it was not.
struct Answer {
    stream: RequestStream<Sending, Bytes>,
    failure: Code,
    whole: bool,
}

impl Answer {
    fn new(stream: RequestStream<Sending, Bytes>) -> Self {
        Self {
            stream,
            failure: Code::H3_INTERNAL_ERROR,
            whole: false,
        }
    }

    /// Waits for the response, and sends the interim ones that come before it.
    async fn after_interims(
        &mut self,
        interims: Interims,
        mut handled: Pin<&mut impl Future<Output = Response<ExchangeBody>>>,
        progress: &mut InProgress,
    ) -> Result<Response<ExchangeBody>, Failure> {
        let Some(mut interims) = interims else {
            return Ok(handled.await);
        };
        let response = loop {
            tokio::select! {
                Some(head) = interims.recv() => self.send_interim(head, progress).await?,
                response = &mut handled => break response,
            }
        };
        // What came together with the response goes before it.
        while let Ok(head) = interims.try_recv() {
            self.send_interim(head, progress).await?;
        }
        Ok(response)
    }

    async fn send_interim(
        &mut self,
        head: Response<()>,
        progress: &mut InProgress,
    ) -> Result<(), StreamError> {
        progress.part(true);
        self.stream.send_response(head).await?;
        progress.part(false);
        Ok(())
    }

    async fn send(
        &mut self,
        response: Response<ExchangeBody>,
        is_head: bool,
        progress: &mut InProgress,
    ) -> Result<(), Failure> {
        let (mut head, mut body) = response.into_parts();
        let bodiless = is_head
            || matches!(
                head.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        let length = body.size_hint().exact().filter(|_| !bodiless);
        complete(&mut head.headers, length);
        progress.part(true);
        self.stream
            .send_response(Response::from_parts(head, ()))
            .await?;
        if !bodiless {
            self.send_body(&mut body, progress).await?;
        }
        // The exchange ends here; its bytes may be on their way for longer.
        drop(body);
        progress.part(true);
        self.stream.finish().await?;
        self.whole = true;
        Ok(())
    }

    async fn send_body(
        &mut self,
        body: &mut ExchangeBody,
        progress: &mut InProgress,
    ) -> Result<(), Failure> {
        loop {
            progress.part(false);
            let Some(frame) = body.frame().await else {
                return Ok(());
            };
            progress.part(true);
            match frame?.into_data() {
                Ok(data) => self.stream.send_data(data).await?,
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        self.stream.send_trailers(trailers).await?;
                    }
                }
            }
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.whole {
            self.stream.stop_stream(self.failure);
        }
    }
}

/// What a head of HTTP/3 has and has not.
fn complete(headers: &mut HeaderMap, length: Option<u64>) {
    for name in CONNECTION_FIELDS {
        headers.remove(name);
    }
    if let Some(length) = length {
        headers
            .entry(header::CONTENT_LENGTH)
            .or_insert_with(|| length.into());
    }
    headers.entry(header::DATE).or_insert_with(|| {
        let now = httpdate::fmt_http_date(SystemTime::now());
        HeaderValue::try_from(now).expect("a date is visible ASCII")
    });
}

/// The declared length of a body. One that is not valid is refused by the pipeline (RFC 9110, 8.6).
fn declared_length(headers: &HeaderMap) -> Option<u64> {
    let length = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?;
    length.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_made_fit_for_http3() {
        let mut headers = HeaderMap::new();
        for name in CONNECTION_FIELDS {
            headers.insert(name, HeaderValue::from_static("x"));
        }
        headers.insert("x-a", HeaderValue::from_static("1"));
        complete(&mut headers, Some(5));
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "date", "x-a"]);
        // What is said already stays.
        headers.insert(header::DATE, HeaderValue::from_static("then"));
        complete(&mut headers, Some(6));
        assert_eq!(headers[header::DATE], "then");
        assert_eq!(headers[header::CONTENT_LENGTH], "5");
    }
}
