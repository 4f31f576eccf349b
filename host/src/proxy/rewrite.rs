//! The path on its way to an upstream, and addresses that clients are sent to.

use std::borrow::Cow;

use http::uri::PathAndQuery;
use http::{HeaderValue, Response, StatusCode, Uri, header};

use super::error::ProxyError;
use crate::body::Body;
use crate::config::{Part, PathChangeConfig, Template};
use crate::exchange::Exchange;
use crate::router::{self, PathError};
use crate::types::{EncodedInPath, PathParameters, Source};

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

    /// What is sent instead of `path`, which gave its `parameters`.
    ///
    /// # Errors
    /// When put together it is no path that the listener would let through.
    pub fn change<'p>(
        &self,
        path: &'p str,
        parameters: &PathParameters,
        allowed: EncodedInPath,
    ) -> Result<Cow<'p, str>, PathError> {
        match self {
            Self::Strip(length) => match path.get(*length..) {
                Some("") | None => Ok(Cow::Borrowed("/")),
                Some(rest) => Ok(Cow::Borrowed(rest)),
            },
            Self::Rewrite(template) => {
                // Put together, parts of segments may be more than they were: `.` and `.` are `..`.
                let text = render(template, path, parameters, "");
                Ok(Cow::Owned(router::normalise(&text, allowed)?.into_owned()))
            }
        }
    }

    /// The path and query to be sent. A plugin that has changed the path has the last word.
    pub(super) fn apply(&self, exchange: &Exchange) -> Result<Uri, ProxyError> {
        let (uri, matched) = (&exchange.request.uri, exchange.matched_uri.path());
        if uri.path() != matched {
            return Ok(uri.clone());
        }
        let path = self.change(matched, &exchange.parameters, exchange.peer.encoded_in_path);
        let path = path.map_err(|error| ProxyError::BadRequest(error.as_str()))?;
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
        let path = exchange.matched_uri.path();
        let mut to = render(&self.to, path, &exchange.parameters, &exchange.authority);
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

/// The text of a template, for a path that gave its `parameters`.
fn render(template: &Template, path: &str, parameters: &PathParameters, authority: &str) -> String {
    let mut text = String::with_capacity(path.len() + 32);
    for part in &template.0 {
        text.push_str(match part {
            Part::Text(text) => text,
            Part::Parameter(name) => parameters.get(name, path).unwrap_or_default(),
            Part::Host => router::without_port(authority),
            Part::Path => path,
        });
    }
    text
}
