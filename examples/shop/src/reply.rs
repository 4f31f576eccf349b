//! The answers of all services: JSON, and the header by which the quick start shows what a gateway hides.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Map, Value, json};

/// A whole answer.
pub(crate) type Reply = Response<Full<Bytes>>;

/// Request headers that `echo` keeps to itself: connection matters, and the credentials of people who try things out.
const NOT_ECHOED: [HeaderName; 3] = [header::HOST, header::CONNECTION, header::AUTHORIZATION];

/// 200 with a document.
pub(crate) fn ok(document: &Value) -> Reply {
    with_status(StatusCode::OK, document)
}

/// 200 with a document, or 404.
pub(crate) fn ok_or_not_found(document: Option<&Value>) -> Reply {
    document.map_or_else(not_found, ok)
}

/// 404
pub(crate) fn not_found() -> Reply {
    problem(StatusCode::NOT_FOUND, "there is no such thing")
}

/// 405
pub(crate) fn method_not_allowed() -> Reply {
    problem(StatusCode::METHOD_NOT_ALLOWED, "this cannot be done here")
}

/// An error with a sentence.
pub(crate) fn problem(status: StatusCode, detail: &str) -> Reply {
    with_status(
        status,
        &json!({ "status": status.as_u16(), "detail": detail }),
    )
}

/// What reached the service: method, path and headers.
pub(crate) fn echo(service: &str, head: &Parts) -> Reply {
    let mut received = Map::new();
    for name in head
        .headers
        .keys()
        .filter(|name| !NOT_ECHOED.contains(name))
    {
        let values: Vec<_> = head
            .headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        received.insert(name.to_string(), values.join(", ").into());
    }
    ok(&json!({
        "service": service,
        "method": head.method.as_str(),
        "path": head.uri.path_and_query().map(ToString::to_string),
        "received": received,
    }))
}

/// An answer with a document.
pub(crate) fn with_status(status: StatusCode, document: &Value) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(format!("{document:#}\n"))));
    *reply.status_mut() = status;
    reply.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    // Nobody outside needs to know; the gateway of the quick start removes it.
    reply
        .headers_mut()
        .insert("x-powered-by", header::HeaderValue::from_static("shop"));
    reply
}
