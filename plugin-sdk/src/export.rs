//! `export!`, the one macro: it makes a component of a plugin.

use std::cell::OnceCell;
use std::marker::PhantomData;
use std::thread::LocalKey;

use crate::{
    Interest, Plugin, RequestBodyPhase, RequestPhase, RequestStreamPhase, Responder,
    ResponseBodyPhase, ResponsePhase, ResponseStreamPhase, config,
};

/// Makes a component of a plugin: `export!(MyPlugin: request, response);`, once per crate.
///
/// After the type come the phases, at least one: `request`, `request_body`, `response`, `response_body`, `request_stream`,
/// `response_stream`, `responder`. Only they are exported, and only they are called. It is a compile error to name a phase whose trait the plugin does not
/// implement, and to implement one that is not named.
///
/// ```compile_fail
/// # use postern_plugin::*;
/// struct Forgetful;
/// impl Plugin for Forgetful {
///     type Config = NoConfig;
///     fn configure(_: NoConfig) -> Result<Self, String> { Ok(Forgetful) }
/// }
/// impl RequestPhase for Forgetful {
///     fn on_request(&self, _: RequestHead) -> RequestVerdict { RequestVerdict::Next }
/// }
/// impl ResponsePhase for Forgetful {
///     fn on_response(&self, _: ResponseHead) -> ResponseVerdict { ResponseVerdict::Next }
/// }
/// postern_plugin::export!(Forgetful: request); // `response` is missing
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export {
    ($plugin:ty: $($phase:ident),+ $(,)?) => {
        const _: () = {
            #[allow(unused_imports, reason = "used for phases that are not implemented")]
            use $crate::__private::NotImplemented as _;
            const PHASES: &[&str] = &[$(stringify!($phase)),+];
            $crate::export!(@listed $plugin, PHASES, REQUEST, "request");
            $crate::export!(@listed $plugin, PHASES, REQUEST_BODY, "request_body");
            $crate::export!(@listed $plugin, PHASES, RESPONSE, "response");
            $crate::export!(@listed $plugin, PHASES, RESPONSE_BODY, "response_body");
            $crate::export!(@listed $plugin, PHASES, REQUEST_STREAM, "request_stream");
            $crate::export!(@listed $plugin, PHASES, RESPONSE_STREAM, "response_stream");
            $crate::export!(@listed $plugin, PHASES, RESPONDER, "responder");
            $($crate::export!(@implemented $plugin, $phase);)+
        };
        // Natively there is nothing to export: two plugins in one test binary would define the same symbols.
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Component;
            ::std::thread_local! {
                static INSTANCE: $crate::__private::Cell<$plugin> = const { $crate::__private::Cell::new() };
            }
            impl $crate::__private::lifecycle::Guest for Component {
                fn configure(config: String) -> Result<$crate::Interest, String> {
                    $crate::__private::configure(&INSTANCE, &config)
                }
            }
            $crate::__private::lifecycle::export_lifecycle!(Component with_types_in $crate::__private::lifecycle);
            $($crate::export!(@phase $plugin, $phase);)+
        };
    };

    (@listed $plugin:ty, $phases:ident, $implemented:ident, $name:literal) => {
        assert!(
            !<$crate::__private::Probe<$plugin>>::$implemented || $crate::__private::is_listed($phases, $name),
            concat!("the plugin implements the phase `", $name, "`, but `export!` does not name it")
        );
    };

    (@implemented $plugin:ty, request) => { $crate::export!(@implements $plugin, RequestPhase); };
    (@implemented $plugin:ty, request_body) => { $crate::export!(@implements $plugin, RequestBodyPhase); };
    (@implemented $plugin:ty, response) => { $crate::export!(@implements $plugin, ResponsePhase); };
    (@implemented $plugin:ty, response_body) => { $crate::export!(@implements $plugin, ResponseBodyPhase); };
    (@implemented $plugin:ty, request_stream) => { $crate::export!(@implements $plugin, RequestStreamPhase); };
    (@implemented $plugin:ty, response_stream) => { $crate::export!(@implements $plugin, ResponseStreamPhase); };
    (@implemented $plugin:ty, responder) => { $crate::export!(@implements $plugin, Responder); };
    (@implemented $plugin:ty, $other:ident) => {
        compile_error!(concat!(
            "`", stringify!($other), "` is no phase: use request, request_body, response, response_body, request_stream, \
             response_stream, responder"
        ));
    };
    (@implements $plugin:ty, $phase:ident) => {
        const _: fn() = {
            fn implements<P: $crate::$phase>() {}
            implements::<$plugin>
        };
    };

    (@phase $plugin:ty, request) => {
        impl $crate::__private::request::Guest for Component {
            fn on_request(head: $crate::RequestHead) -> $crate::RequestVerdict {
                $crate::__private::with(&INSTANCE, |plugin| $crate::RequestPhase::on_request(plugin, head))
            }
        }
        $crate::__private::request::export_request!(Component with_types_in $crate::__private::request);
    };
    (@phase $plugin:ty, request_body) => {
        impl $crate::__private::request_body::Guest for Component {
            fn on_request_body(body: Vec<u8>) -> $crate::RequestVerdict {
                $crate::__private::with(&INSTANCE, |plugin| $crate::RequestBodyPhase::on_request_body(plugin, body))
            }
        }
        $crate::__private::request_body::export_request_body!(Component with_types_in $crate::__private::request_body);
    };
    (@phase $plugin:ty, response) => {
        impl $crate::__private::response::Guest for Component {
            fn on_response(head: $crate::ResponseHead) -> $crate::ResponseVerdict {
                $crate::__private::with(&INSTANCE, |plugin| $crate::ResponsePhase::on_response(plugin, head))
            }
        }
        $crate::__private::response::export_response!(Component with_types_in $crate::__private::response);
    };
    (@phase $plugin:ty, response_body) => {
        impl $crate::__private::response_body::Guest for Component {
            fn on_response_body(body: Vec<u8>, trailers: Vec<$crate::Header>) -> $crate::ResponseVerdict {
                $crate::__private::with(&INSTANCE, |plugin| {
                    $crate::ResponseBodyPhase::on_response_body(plugin, body, trailers)
                })
            }
        }
        $crate::__private::response_body::export_response_body!(
            Component with_types_in $crate::__private::response_body
        );
    };
    (@phase $plugin:ty, request_stream) => {
        ::std::thread_local! {
            static REQUEST_BODY: $crate::__private::BodyCell<<$plugin as $crate::RequestStreamPhase>::Body> =
                const { $crate::__private::BodyCell::new(None) };
        }
        impl $crate::__private::request_stream::Guest for Component {
            fn on_request_stream(head: $crate::RequestHead) -> $crate::__private::request_stream::RequestStreamVerdict {
                let has_body = head.has_body;
                let verdict = $crate::__private::with(&INSTANCE, |plugin| {
                    $crate::RequestStreamPhase::on_request_stream(plugin, head)
                });
                $crate::__private::open_request(&REQUEST_BODY, has_body, verdict)
            }
            fn on_request_chunk(chunk: Vec<u8>) -> Result<Vec<u8>, String> {
                $crate::__private::chunk(&REQUEST_BODY, chunk)
            }
            fn on_request_end(trailers: Vec<$crate::Header>) -> Result<$crate::StreamEnd, String> {
                $crate::__private::end(&REQUEST_BODY, trailers)
            }
        }
        $crate::__private::request_stream::export_request_stream!(
            Component with_types_in $crate::__private::request_stream
        );
    };
    (@phase $plugin:ty, response_stream) => {
        ::std::thread_local! {
            static RESPONSE_BODY: $crate::__private::BodyCell<<$plugin as $crate::ResponseStreamPhase>::Body> =
                const { $crate::__private::BodyCell::new(None) };
        }
        impl $crate::__private::response_stream::Guest for Component {
            fn on_response_stream(head: $crate::ResponseHead) -> $crate::__private::response_stream::ResponseStreamVerdict {
                let has_body = head.has_body;
                let verdict = $crate::__private::with(&INSTANCE, |plugin| {
                    $crate::ResponseStreamPhase::on_response_stream(plugin, head)
                });
                $crate::__private::open_response(&RESPONSE_BODY, has_body, verdict)
            }
            fn on_response_chunk(chunk: Vec<u8>) -> Result<Vec<u8>, String> {
                $crate::__private::chunk(&RESPONSE_BODY, chunk)
            }
            fn on_response_end(trailers: Vec<$crate::Header>) -> Result<$crate::StreamEnd, String> {
                $crate::__private::end(&RESPONSE_BODY, trailers)
            }
        }
        $crate::__private::response_stream::export_response_stream!(
            Component with_types_in $crate::__private::response_stream
        );
    };
    (@phase $plugin:ty, responder) => {
        impl $crate::__private::responder::Guest for Component {
            fn respond(head: $crate::RequestHead, body: Vec<u8>) -> Result<$crate::Reply, String> {
                $crate::__private::with(&INSTANCE, |plugin| $crate::Responder::respond(plugin, head, body))
            }
        }
        $crate::__private::responder::export_responder!(Component with_types_in $crate::__private::responder);
    };
}

/// Holds the plugin from `configure` on. An instance is called from one thread only.
pub type Cell<P> = OnceCell<P>;

/// `configure` of the component: reads the config, makes the plugin, asks it for its interest.
pub fn configure<P: Plugin>(
    cell: &'static LocalKey<Cell<P>>,
    config: &str,
) -> Result<Interest, String> {
    let plugin = P::configure(config::parse(config)?)?;
    let interest = plugin.interest();
    cell.with(|cell| cell.set(plugin))
        .map_err(|_| String::from("configure was called twice"))?;
    Ok(interest)
}

/// Runs a phase on the plugin.
#[inline]
pub fn with<P, R>(cell: &'static LocalKey<Cell<P>>, run: impl FnOnce(&P) -> R) -> R {
    cell.with(|cell| {
        run(cell
            .get()
            .expect("the host calls configure before any phase"))
    })
}

/// Tells which phases `P` implements: the constants below hide those of [`NotImplemented`] where the bound holds.
pub struct Probe<P>(PhantomData<P>);

/// The answer for every phase that is not implemented.
pub trait NotImplemented {
    const REQUEST: bool = false;
    const REQUEST_BODY: bool = false;
    const RESPONSE: bool = false;
    const RESPONSE_BODY: bool = false;
    const REQUEST_STREAM: bool = false;
    const RESPONSE_STREAM: bool = false;
    const RESPONDER: bool = false;
}

impl<P> NotImplemented for Probe<P> {}

impl<P: RequestPhase> Probe<P> {
    pub const REQUEST: bool = true;
}

impl<P: RequestBodyPhase> Probe<P> {
    pub const REQUEST_BODY: bool = true;
}

impl<P: ResponsePhase> Probe<P> {
    pub const RESPONSE: bool = true;
}

impl<P: ResponseBodyPhase> Probe<P> {
    pub const RESPONSE_BODY: bool = true;
}

impl<P: RequestStreamPhase> Probe<P> {
    pub const REQUEST_STREAM: bool = true;
}

impl<P: ResponseStreamPhase> Probe<P> {
    pub const RESPONSE_STREAM: bool = true;
}

impl<P: Responder> Probe<P> {
    pub const RESPONDER: bool = true;
}

/// Whether `phases` holds `name`; by hand, because comparing strings is not const.
pub const fn is_listed(phases: &[&str], name: &str) -> bool {
    let mut index = 0;
    while index < phases.len() {
        if same(phases[index].as_bytes(), name.as_bytes()) {
            return true;
        }
        index += 1;
    }
    false
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut index = 0;
    while index < a.len() {
        if a[index] != b[index] {
            return false;
        }
        index += 1;
    }
    true
}
