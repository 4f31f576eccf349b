//! How long a request may take: what the route allows, or less where its client wants the answer sooner.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use super::grpc;
use super::snapshot::Route;
use crate::exchange::Exchange;

/// The time of a request, from its head on.
pub(super) struct Time {
    /// Until the response's head.
    pub(super) limit: Duration,
    /// Until the end of a call of gRPC, where its caller says so.
    pub(super) grpc: Option<Duration>,
}

/// The time that a request has.
pub(super) fn of(route: &Route, exchange: &Exchange) -> Time {
    let headers = &exchange.request.headers;
    let grpc = match exchange.grpc {
        true => grpc::timeout(headers),
        false => None,
    };
    let named = route.deadline_header.as_ref();
    let wish = named.and_then(|name| milliseconds(headers, name));
    let limit = grpc
        .into_iter()
        .chain(wish)
        .fold(route.timeout, Duration::min);
    Time { limit, grpc }
}

/// A header that holds whole milliseconds.
fn milliseconds(headers: &HeaderMap, name: &HeaderName) -> Option<Duration> {
    let text = headers.get(name)?.to_str().ok()?;
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    Some(Duration::from_millis(
        is_number.then(|| text.parse().ok())??,
    ))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn deadlines_are_whole_milliseconds() {
        let name = HeaderName::from_static("x-timeout-ms");
        let parsed = |text| {
            let headers = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static(text))]);
            milliseconds(&headers, &name)
        };
        assert_eq!(parsed("250"), Some(Duration::from_millis(250)));
        for wrong in ["", "-1", "+1", "1.5", "1s", "99999999999999999999999"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
        assert_eq!(milliseconds(&HeaderMap::new(), &name), None);
    }
}
