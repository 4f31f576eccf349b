//! The route of a request, and of a CORS preflight, which belongs to the route of the request that it announces.

use http::{HeaderMap, Method, header};

use crate::router::{Found, Head, Router};

/// The route of a request.
#[must_use]
pub fn find(router: &Router, head: &Head<'_>) -> Found {
    let found = router.find(head);
    if !matches!(found, Found::Route { .. })
        && *head.method == Method::OPTIONS
        && let Some(method) = &announced(head.headers)
    {
        return router.find(&Head { method, ..*head });
    }
    found
}

/// The method that a CORS preflight asks about (Fetch, 4.8).
fn announced(headers: &HeaderMap) -> Option<Method> {
    headers.get(header::ORIGIN)?;
    let method = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    Method::from_bytes(method.as_bytes()).ok()
}
