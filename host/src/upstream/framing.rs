//! Where a response ends: what hyper settles by itself, and a proxy must not (RFC 9112, 6.1 and 6.3).
//!
//! hyper reads a response that has two lengths by one of them, and one with a coding that it does not know to the end of the
//! connection. Its fields would still say something else to the client: the rest of such a response would be read as the next.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Response, StatusCode};

/// Sees to it that there is one way to read a response.
///
/// # Errors
/// In words, what is wrong with it.
pub(super) fn check<B>(response: &Response<B>, asks_upgrade: bool) -> Result<(), &'static str> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS && !asks_upgrade {
        return Err("it switches protocols, and was not asked to");
    }
    let headers = response.headers();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(());
    };
    if headers.contains_key(CONTENT_LENGTH) {
        return Err("it has both Content-Length and Transfer-Encoding");
    }
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err("its Transfer-Encoding is not chunked alone");
    }
    Ok(())
}
