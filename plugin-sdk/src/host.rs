//! Where calls of host functions go: to the gateway on Wasm, to the fake host natively, and to a panic without one.

#[cfg(target_arch = "wasm32")]
pub(crate) use crate::bindings::imports::postern::plugin::{
    clock, exchange, identity, keys, limits, log, metrics, outbound, store,
};

#[cfg(all(feature = "testing", not(target_arch = "wasm32")))]
pub(crate) use crate::testing::calls::{
    clock, exchange, identity, keys, limits, log, metrics, outbound, store,
};

/// Calls one host function, by interface and name.
#[cfg(any(feature = "testing", target_arch = "wasm32"))]
macro_rules! call {
    ($interface:ident :: $function:ident ( $($argument:expr),* $(,)? )) => {
        crate::host::$interface::$function($($argument),*)
    };
}

#[cfg(not(any(feature = "testing", target_arch = "wasm32")))]
macro_rules! call {
    ($interface:ident :: $function:ident ( $($argument:expr),* $(,)? )) => {{
        $(let _ = $argument;)*
        panic!(concat!(
            "`", stringify!($interface), "::", stringify!($function), "` is a function of the gateway: ",
            "turn the feature `testing` of postern-plugin on to call it natively"
        ))
    }};
}

pub(crate) use call;
