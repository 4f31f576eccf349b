//! A fake host, for plain native tests of a plugin's logic. Feature `testing`.
//!
//! Every thread has its own. [`Host::new`] makes a fresh one for the current thread; what the plugin's code then asks or
//! tells "the host", this one answers and records. Time stands still until it is moved.
//!
//! ```
//! use postern_plugin::testing::Host;
//! use postern_plugin::{exchange, log};
//!
//! let host = Host::new();
//! host.request("GET", "/orders?page=2").request_header("x-a", "1");
//! assert_eq!(exchange::query("page").as_deref(), Some("2"));
//! log::info("seen");
//! assert_eq!(host.log_lines(), ["info: seen"]);
//! ```

mod answers;
pub(crate) mod calls;
mod state;

use std::time::Duration;

use crate::identity::{Consumer, Credential, Found};
use crate::keys::{Algorithm, Key};
use crate::limits::Limit;
use crate::log::Level;
use crate::outbound::{OutboundError, OutboundRequest, OutboundResponse};
use crate::{
    BodyStream, Header, Interest, Method, Phases, Plugin, RequestHead, RequestPhase,
    RequestStreamPhase, RequestStreamVerdict, RequestVerdict, ResponseHead, ResponsePhase,
    ResponseStreamPhase, ResponseStreamVerdict, ResponseVerdict, Source, StreamVerdict,
};
use state::{FakeKey, with};

/// Makes a plugin as the gateway would, from the JSON of its `config` table. The error is what the operator would read.
pub fn configure<P: Plugin>(config: &str) -> Result<P, String> {
    P::configure(crate::config::parse(config)?)
}

/// Hands a body over in these pieces, and returns all that comes out. The error is the one that breaks the body off.
///
/// A plugin must not depend on where a body is cut: compare `pieces` of one byte with the whole.
///
/// ```
/// # use postern_plugin::{BodyStream, testing::stream};
/// struct Loud;
/// impl BodyStream for Loud {
///     fn on_chunk(&mut self, chunk: Vec<u8>) -> Result<Vec<u8>, String> {
///         Ok(chunk.to_ascii_uppercase())
///     }
/// }
/// assert_eq!(stream(Loud, b"a body".chunks(1)).as_deref(), Ok(&b"A BODY"[..]));
/// ```
pub fn stream<'a>(
    mut body: impl BodyStream,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    for piece in pieces {
        all.extend(body.on_chunk(piece.to_vec())?);
    }
    all.extend(body.on_end(Vec::new())?.chunk);
    Ok(all)
}

/// The fake host of the current thread. All setters return it, so that they chain.
#[derive(Debug)]
pub struct Host(());

impl Host {
    /// A fresh host in the place of the thread's former one.
    #[expect(
        clippy::new_without_default,
        reason = "it has an effect that a default value must not have"
    )]
    pub fn new() -> Self {
        with(|state| *state = state::State::default());
        Host(())
    }

    /// The request of the exchange: method, path and query. The default is `GET /`.
    pub fn request(&self, method: &str, path_and_query: &str) -> &Self {
        with(|state| {
            state.method = Method::from(method);
            state.path_and_query = path_and_query.to_owned();
        });
        self
    }

    /// Adds a request header.
    pub fn request_header(&self, name: &str, value: &str) -> &Self {
        with(|state| state.request_headers.push(Header::new(name, value)));
        self
    }

    /// The request as a plugin with this interest gets it.
    pub fn request_head(&self, interest: &Interest) -> RequestHead {
        with(|state| state.request_head(interest))
    }

    /// A response of an upstream as a plugin with this interest gets it.
    pub fn response_head(
        &self,
        interest: &Interest,
        status: u16,
        headers: &[(&str, &str)],
    ) -> ResponseHead {
        let headers = headers
            .iter()
            .map(|&(name, value)| Header::new(name, value))
            .collect::<Vec<_>>();
        ResponseHead {
            status,
            headers: state::select(&headers, &interest.response_headers),
            has_body: true,
            source: Source::Upstream,
        }
    }

    /// Calls the request phase as the gateway would: with the headers that the plugin asked for, and not at all if it
    /// says that the phase is unused.
    pub fn on_request<P: RequestPhase>(&self, plugin: &P) -> RequestVerdict {
        let interest = plugin.interest();
        if interest.unused & Phases::REQUEST == Phases::REQUEST {
            return RequestVerdict::Next;
        }
        plugin.on_request(self.request_head(&interest))
    }

    /// The same for the response phase, with a response of an upstream.
    pub fn on_response<P: ResponsePhase>(
        &self,
        plugin: &P,
        status: u16,
        headers: &[(&str, &str)],
    ) -> ResponseVerdict {
        let interest = plugin.interest();
        if interest.unused & Phases::RESPONSE == Phases::RESPONSE {
            return ResponseVerdict::Next;
        }
        plugin.on_response(self.response_head(&interest, status, headers))
    }

    /// Asks the request stream phase as the gateway would, for a request with a body.
    pub fn on_request_stream<P: RequestStreamPhase>(
        &self,
        plugin: &P,
    ) -> RequestStreamVerdict<P::Body> {
        let interest = plugin.interest();
        if interest.unused & Phases::REQUEST_STREAM == Phases::REQUEST_STREAM {
            return StreamVerdict::Next;
        }
        plugin.on_request_stream(RequestHead {
            has_body: true,
            ..self.request_head(&interest)
        })
    }

    /// The same for the response stream phase, with a response of an upstream. Answers to HEAD, and 204 and 304, have no
    /// body.
    pub fn on_response_stream<P: ResponseStreamPhase>(
        &self,
        plugin: &P,
        status: u16,
        headers: &[(&str, &str)],
    ) -> ResponseStreamVerdict<P::Body> {
        let interest = plugin.interest();
        if interest.unused & Phases::RESPONSE_STREAM == Phases::RESPONSE_STREAM {
            return StreamVerdict::Next;
        }
        let bodiless = matches!(status, 204 | 304) || with(|state| state.method == Method::Head);
        plugin.on_response_stream(ResponseHead {
            has_body: !bodiless,
            ..self.response_head(&interest, status, headers)
        })
    }

    /// Sets a parameter of the route's path pattern.
    pub fn path_parameter(&self, name: &str, value: &str) -> &Self {
        with(|state| {
            state
                .path_parameters
                .insert(name.to_owned(), value.to_owned())
        });
        self
    }

    /// Sets a fact of the exchange, for example `upstream`. `consumer` and `consumer.tier` follow from [`Host::authenticate`].
    pub fn attribute(&self, name: &str, value: &str) -> &Self {
        with(|state| state.attributes.insert(name.to_owned(), value.to_owned()));
        self
    }

    /// The exchange's id, which the plugin may have set. The default is `test-id`.
    pub fn id(&self) -> String {
        with(|state| state.id.clone())
    }

    /// Ends the exchange, as far as others notice: its places are free again.
    pub fn leave(&self) -> &Self {
        with(|state| state.places.clear());
        self
    }

    /// A note, if one was left under the key.
    pub fn note(&self, key: &str) -> Option<Vec<u8>> {
        with(|state| state.notes.get(key).cloned())
    }

    /// Sets the wall clock, in milliseconds since 1970.
    pub fn now(&self, unix_ms: u64) -> &Self {
        with(|state| state.unix_ms = unix_ms);
        self
    }

    /// Moves both clocks.
    pub fn advance(&self, time: Duration) -> &Self {
        with(|state| {
            state.unix_ms += u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            state.monotonic += time;
        });
        self
    }

    /// Adds a consumer, and one credential that belongs to it.
    pub fn consumer(
        &self,
        consumer: Consumer,
        credential: Credential,
        credential_id: &str,
    ) -> &Self {
        let found = Found {
            consumer,
            credential_id: credential_id.to_owned(),
        };
        with(|state| state.consumers.push((credential, found)));
        self
    }

    /// The consumer that the exchange belongs to by now.
    pub fn authenticated(&self) -> Option<Found> {
        with(|state| state.current.clone())
    }

    /// Makes the exchange belong to a consumer, as if an earlier plugin had authenticated it.
    pub fn authenticate(&self, found: Found) -> &Self {
        with(|state| state.current = Some(found));
        self
    }

    /// Whether the exchange belongs to a consumer that stands for strangers.
    pub fn is_anonymous(&self) -> bool {
        with(|state| state.anonymous)
    }

    /// Sets a value of the metadata of whatever consumer the exchange belongs to.
    pub fn metadata(&self, key: &str, value: &str) -> &Self {
        with(|state| state.metadata.insert(key.to_owned(), value.to_owned()));
        self
    }

    /// Adds a key, bound to one algorithm; `accepts` says whether a signature over a message is right.
    pub fn key(
        &self,
        key: Key,
        key_id: Option<&str>,
        algorithm: Algorithm,
        accepts: impl Fn(&[u8], &[u8]) -> bool + 'static,
    ) -> &Self {
        let key_id = key_id.map(str::to_owned);
        with(|state| {
            state.keys.push(FakeKey {
                key,
                key_id,
                algorithm,
                accepts: Box::new(accepts),
            })
        });
        self
    }

    /// Sets the limits of a tier.
    pub fn tier(&self, name: &str, limits: &[Limit]) -> &Self {
        with(|state| state.tiers.insert(name.to_owned(), limits.to_vec()));
        self
    }

    /// From now on limits and store do not answer, for this reason.
    pub fn state_unavailable(&self, reason: &str) -> &Self {
        with(|state| state.unavailable = Some(reason.to_owned()));
        self
    }

    /// Says what upstreams answer. Without it every outbound request is denied.
    pub fn outbound(
        &self,
        answer: impl Fn(&OutboundRequest) -> Result<OutboundResponse, OutboundError> + 'static,
    ) -> &Self {
        with(|state| state.outbound = Some(std::rc::Rc::new(answer)));
        self
    }

    /// The outbound requests that were sent.
    pub fn outbound_requests(&self) -> Vec<OutboundRequest> {
        with(|state| state.outbound_requests.clone())
    }

    /// Sets the lowest level that is recorded. The default is trace.
    pub fn log_level(&self, level: Level) -> &Self {
        with(|state| state.log_level = level);
        self
    }

    /// The lines that were logged, for example `warn: falling back`.
    pub fn log_lines(&self) -> Vec<String> {
        with(|state| state.log_lines.clone())
    }

    /// What was observed of a metric: value and label values.
    pub fn metric(&self, name: &str) -> Vec<(f64, Vec<String>)> {
        with(|state| state.observations(name))
    }
}
