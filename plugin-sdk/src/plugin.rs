//! The traits that a plugin implements: one for its life, one for each phase. A trait per phase, not one with empty
//! defaults, so that `export!` can tell at compile time when a phase is named and not implemented, or the reverse.

use serde::de::DeserializeOwned;

use crate::{
    Header, HeaderSelection, Interest, Phases, Reply, RequestHead, RequestVerdict, ResponseHead,
    ResponseVerdict,
};

/// A plugin. The gateway makes many instances, at any time, and calls each from one thread only.
///
/// An instance is interchangeable: what must outlive a call belongs into [`crate::store`], [`crate::limits`] or a note of
/// the [`crate::exchange`], not into the value.
pub trait Plugin: Sized + 'static {
    /// The plugin's `config` table. Derive `Deserialize` with `deny_unknown_fields`, so that a misspelt key is an error;
    /// [`crate::NoConfig`] for a plugin without settings.
    type Config: DeserializeOwned;

    /// Makes an instance, before any phase. The error is shown to the operator at the position of the `config` table:
    /// name the field and say what is expected. There is no exchange yet, so of the host's functions only those of
    /// [`crate::log`] and [`crate::clock`], [`crate::keys::random`], [`crate::limits::of_tier`] and the definitions of
    /// [`crate::metrics`] make sense here.
    fn configure(config: Self::Config) -> Result<Self, String>;

    /// What the gateway hands over by value, asked once after `configure`. The default is no headers, and bodies (of
    /// plugins with a body phase) as large as the operator allows. May depend on the configuration only.
    fn interest(&self) -> Interest {
        Interest::new()
    }
}

/// Takes part before a request is forwarded; `request` in [`crate::export!`].
pub trait RequestPhase: Plugin {
    /// Called once per exchange, before the body is read.
    fn on_request(&self, head: RequestHead) -> RequestVerdict;
}

/// Sees the whole body of a request; `request_body` in [`crate::export!`].
pub trait RequestBodyPhase: Plugin {
    /// Called once per exchange that has a request body, after this plugin's `on_request` let it pass, and before the head
    /// is forwarded. A body above [`Interest`]'s `max_request_body` is answered with 413 and never comes here.
    fn on_request_body(&self, body: Vec<u8>) -> RequestVerdict;
}

/// Takes part before a response is sent to the client, wherever it was made; `response` in [`crate::export!`].
pub trait ResponsePhase: Plugin {
    /// Called once per exchange, before the response's body is read. Not called for 1xx responses.
    fn on_response(&self, head: ResponseHead) -> ResponseVerdict;
}

/// Sees the whole body of a response; `response_body` in [`crate::export!`].
pub trait ResponseBodyPhase: Plugin {
    /// Called once per exchange whose response has a body, after this plugin's `on_response` let it pass. `trailers` is
    /// empty when the response has none.
    fn on_response_body(&self, body: Vec<u8>, trailers: Vec<Header>) -> ResponseVerdict;
}

/// Answers in the place of an upstream, on routes that name the plugin as their `responder`; `responder` in
/// [`crate::export!`].
pub trait Responder: Plugin {
    /// Called once per exchange, after all request phases. `body` is the whole request body, empty without one. An error
    /// is a failure of the plugin: it is logged, and answered as the operator set in `on-failure`.
    fn respond(&self, head: RequestHead, body: Vec<u8>) -> Result<Reply, String>;
}

impl Interest {
    /// No headers, bodies up to what the operator allows.
    pub fn new() -> Self {
        Interest {
            request_headers: HeaderSelection::None,
            response_headers: HeaderSelection::None,
            max_request_body: u64::MAX,
            max_response_body: u64::MAX,
            unused: Phases::empty(),
        }
    }

    /// These request headers come with every [`RequestHead`].
    pub fn request_headers<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.request_headers = HeaderSelection::of(names);
        self
    }

    /// These response headers come with every [`ResponseHead`].
    pub fn response_headers<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.response_headers = HeaderSelection::of(names);
        self
    }

    /// All request headers come with every [`RequestHead`]; costs about 0.1 µs a header on every call.
    pub fn all_request_headers(mut self) -> Self {
        self.request_headers = HeaderSelection::All;
        self
    }

    /// All response headers come with every [`ResponseHead`]; costs about 0.1 µs a header on every call.
    pub fn all_response_headers(mut self) -> Self {
        self.response_headers = HeaderSelection::All;
        self
    }

    /// Most bytes of a request body for a body phase or a responder; a larger one is answered with 413.
    pub fn max_request_body(mut self, bytes: u64) -> Self {
        self.max_request_body = bytes;
        self
    }

    /// Most bytes of a response body for a body phase; a larger one is answered with 502.
    pub fn max_response_body(mut self, bytes: u64) -> Self {
        self.max_response_body = bytes;
        self
    }

    /// These phases are in `export!`, but this configuration leaves them nothing to do: they are not called, and cost
    /// nothing.
    ///
    /// ```
    /// # use postern_plugin::{Interest, Phases};
    /// # let echo = false;
    /// Interest::new().unused((!echo).then_some(Phases::RESPONSE));
    /// Interest::new().unused([Phases::REQUEST, Phases::RESPONSE]);
    /// ```
    pub fn unused(mut self, phases: impl IntoIterator<Item = Phases>) -> Self {
        self.unused = phases
            .into_iter()
            .fold(self.unused, |all, phase| all | phase);
        self
    }
}

impl Default for Interest {
    fn default() -> Self {
        Self::new()
    }
}

impl HeaderSelection {
    fn of<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        let mut names: Vec<String> = names.into_iter().map(Into::into).collect();
        drop_repeated(&mut names);
        if names.is_empty() {
            HeaderSelection::None
        } else {
            HeaderSelection::Only(names)
        }
    }
}

/// By hand, because sorting weighs 4 KiB, and these lists are short.
fn drop_repeated(names: &mut Vec<String>) {
    let mut index = 0;
    while index < names.len() {
        if names[..index].contains(&names[index]) {
            names.swap_remove(index);
        } else {
            index += 1;
        }
    }
}
