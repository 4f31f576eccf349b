//! The path on its way to an upstream, and addresses that clients are sent to.

use std::borrow::Cow;

use http::uri::PathAndQuery;
use http::{HeaderValue, Response, StatusCode, Uri, header};

use super::error::ProxyError;
use crate::body::Body;
use crate::config::{Part, PathChangeConfig, Template};
use crate::exchange::Exchange;
use crate::router;
use crate::types::{EncodedInPath, Source};

/// What becomes of a path on its way to an upstream.
pub enum PathChange {
    /// So many bytes are cut off.
    Strip(usize),
    /// It is replaced.
    Rewrite(Template),
}

impl PathChange {
    /// Makes it of its configuration.
    #[must_use]
    pub fn new(config: &PathChangeConfig) -> Self {
        match config {
            // The route's path begins with it, and has the normal form, too.
            PathChangeConfig::StripPrefix(prefix) => {
                let normal = router::normalise(prefix, EncodedInPath::default());
                Self::Strip(normal.map_or(prefix.len(), |normal| normal.len()))
            }
            PathChangeConfig::Rewrite(template) => Self::Rewrite(template.clone()),
        }
    }

    /// The path and query to be sent. A plugin that has changed the path has the last word.
    pub(super) fn apply(&self, exchange: &Exchange) -> Result<Uri, ProxyError> {
        let (uri, matched) = (&exchange.request.uri, exchange.matched_uri.path());
        if uri.path() != matched {
            return Ok(uri.clone());
        }
        let path = match self {
            Self::Strip(length) => match matched.get(*length..) {
                Some("") | None => Cow::Borrowed("/"),
                Some(rest) => Cow::Borrowed(rest),
            },
            Self::Rewrite(template) => {
                // Put together, parts of segments may be more than they were: `.` and `.` are `..`.
                let path = render(template, exchange);
                let normal = router::normalise(&path, exchange.peer.encoded_in_path);
                let normal = normal.map_err(|error| ProxyError::BadRequest(error.as_str()))?;
                Cow::Owned(normal.into_owned())
            }
        };
        let target = match uri.query() {
            Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
            None => PathAndQuery::try_from(path.into_owned()),
        };
        target
            .map(Uri::from)
            .map_err(|_| ProxyError::BadRequest("The request target is too long"))
    }
}

/// Sends clients elsewhere.
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// Where.
    pub to: Template,
}

impl Redirect {
    /// The answer. The query goes along, unless the address has one of its own.
    pub(super) fn answer(&self, exchange: &mut Exchange) -> Result<Response<Body>, ProxyError> {
        let mut to = render(&self.to, exchange);
        if to.starts_with('/') {
            // Two slashes would be the beginning of somebody's host.
            let path = to.trim_start_matches('/').len() + 1;
            to = to.split_off(to.len() - path);
        }
        if let Some(query) = exchange.request.uri.query()
            && !to.contains('?')
        {
            to.push('?');
            to.push_str(query);
        }
        let location = HeaderValue::try_from(to);
        let location = location
            .map_err(|_| ProxyError::BadRequest("The request target cannot be redirected"))?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.headers_mut().insert(header::LOCATION, location);
        exchange.source = Some(Source::Gateway);
        Ok(response)
    }
}

/// The text of a template for a request.
fn render(template: &Template, exchange: &Exchange) -> String {
    let path = exchange.matched_uri.path();
    let mut text = String::with_capacity(path.len() + 32);
    for part in &template.0 {
        text.push_str(match part {
            Part::Text(text) => text,
            Part::Parameter(name) => exchange.parameters.get(name, path).unwrap_or_default(),
            Part::Host => router::without_port(&exchange.authority),
            Part::Path => path,
        });
    }
    text
}
