//! The exchange that the current call serves: one request and its response. Within `configure` there is none, and every
//! function returns nothing.

use crate::Header;
use crate::host::call;

/// The request id: unique, stable for the exchange, in every log line about it.
pub fn id() -> String {
    call!(exchange::id())
}

/// Adopts an id: 1 to 128 visible ASCII characters. The error says what is wrong with it.
pub fn set_id(id: &str) -> Result<(), String> {
    call!(exchange::set_id(id))
}

/// The name of the route.
pub fn route() -> String {
    call!(exchange::route())
}

/// The first value of a request header as it stands now, also in the response phases; none if it is absent or not UTF-8.
pub fn header(name: &str) -> Option<String> {
    header_values(name)
        .into_iter()
        .next()
        .and_then(|value| String::from_utf8(value).ok())
}

/// All values of a request header as it stands now, also in the response phases. Names are matched without case.
pub fn header_values(name: &str) -> Vec<Vec<u8>> {
    call!(exchange::header_values(name))
}

/// All request headers as they stand now. Costs about 0.1 µs a header: prefer [`header`].
pub fn headers() -> Vec<Header> {
    call!(exchange::headers())
}

/// The first value of a query parameter, percent-decoded, `+` read as a space.
pub fn query(name: &str) -> Option<String> {
    call!(exchange::query(name))
}

/// A parameter of the route's path pattern, percent-decoded.
pub fn path_parameter(name: &str) -> Option<String> {
    call!(exchange::path_parameter(name))
}

/// A fact by name: `client.address`, `listener`, `consumer` and `consumer.tier` (once an earlier plugin has authenticated the
/// exchange), `upstream`, `upstream.target` (in response phases). None if it is unknown, or not known yet.
pub fn attribute(name: &str) -> Option<String> {
    call!(exchange::attribute(name))
}

/// A note of this exchange, left by this plugin or another.
pub fn note(key: &str) -> Option<Vec<u8>> {
    call!(exchange::note(key))
}

/// Leaves a note for later phases and plugins of this exchange: at most 16 notes of 8 KiB together, what does not fit is
/// dropped.
pub fn set_note(key: &str, value: &[u8]) {
    call!(exchange::set_note(key, value));
}
