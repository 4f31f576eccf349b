//! Interim responses (RFC 9110, 15.2): what an upstream says before it answers, such as 103 with hints (RFC 8297).

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, VIA};
use http::{HeaderMap, Request, StatusCode};

use super::headers;

/// Takes the interim responses to one request to its client. A listener whose clients want them puts it into the request's
/// extensions.
#[derive(Clone)]
pub struct Interim(Arc<dyn Fn(StatusCode, HeaderMap) + Send + Sync>);

impl Interim {
    /// What hears them. Called while bytes of the upstream are read: it must not wait.
    pub fn new(hear: impl Fn(StatusCode, HeaderMap) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hear))
    }

    /// Has those heard that come for a request. Over HTTP/2, the library drops them.
    pub(super) fn attend<B>(&self, request: &mut Request<B>) {
        let hear = Arc::clone(&self.0);
        hyper::ext::on_informational(request, move |head| {
            // Whether to go on is between the client and us (RFC 9110, 10.1.1): upstreams are not asked.
            if head.status() == StatusCode::CONTINUE {
                return;
            }
            let mut fields = head.headers().clone();
            headers::strip_hop_by_hop(&mut fields);
            // RFC 9110, 8.6
            fields.remove(CONTENT_LENGTH);
            fields.append(VIA, headers::via(head.version()));
            hear(head.status(), fields);
        });
    }
}
