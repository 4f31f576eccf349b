//! What is answered to whom (Fetch standard, 3.2, HTTP extensions for CORS). Pure: no host calls.

use postern_plugin::{HeaderEdit, Method, Reply, RequestHead};

use crate::origin::Origins;

/// The configuration, compiled to header values.
#[derive(Debug)]
pub(crate) struct Policy {
    /// Who may read answers.
    pub(crate) origins: Origins,
    /// `Access-Control-Allow-Methods`
    pub(crate) methods: String,
    /// `Access-Control-Allow-Headers`
    pub(crate) allow_headers: AllowHeaders,
    /// `Access-Control-Expose-Headers`, empty for none.
    pub(crate) expose_headers: String,
    /// `Access-Control-Allow-Credentials`
    pub(crate) credentials: bool,
    /// `Access-Control-Max-Age`, in seconds.
    pub(crate) max_age: Option<String>,
    /// `Access-Control-Allow-Private-Network`
    pub(crate) private_network: bool,
}

/// Request headers that scripts may set.
#[derive(Debug)]
pub(crate) enum AllowHeaders {
    /// Whatever the preflight asks for.
    Asked,
    /// These.
    These(String),
}

impl Policy {
    /// The answer to a preflight; none for any other request.
    pub(crate) fn preflight(&self, head: &RequestHead) -> Option<Reply> {
        if head.method != Method::Options {
            return None;
        }
        let origin = head.header("origin")?;
        head.header("access-control-request-method")?;
        let mut reply =
            self.edits(Some(origin))
                .into_iter()
                .fold(Reply::new(204), |reply, edit| match edit {
                    HeaderEdit::Set(header) | HeaderEdit::Include(header) => {
                        reply.header(header.name, header.value)
                    }
                    _ => reply,
                });
        if !self.origins.allow(origin) {
            return Some(reply);
        }
        reply = reply.header("access-control-allow-methods", self.methods.as_str());
        match (
            &self.allow_headers,
            head.header("access-control-request-headers"),
        ) {
            (AllowHeaders::Asked, Some(asked)) => {
                reply = reply.header("access-control-allow-headers", asked);
                reply = reply.header("vary", "access-control-request-headers");
            }
            (AllowHeaders::These(names), _) if !names.is_empty() => {
                reply = reply.header("access-control-allow-headers", names.as_str());
            }
            (AllowHeaders::Asked | AllowHeaders::These(_), _) => {}
        }
        if let Some(seconds) = &self.max_age {
            reply = reply.header("access-control-max-age", seconds.as_str());
        }
        let asks_for_private =
            head.header("access-control-request-private-network") == Some("true");
        if self.private_network && asks_for_private {
            reply = reply.header("access-control-allow-private-network", "true");
        }
        Some(reply)
    }

    /// Whether the answer is another one for another origin.
    fn depends_on_origin(&self) -> bool {
        !matches!(self.origins, Origins::Any)
    }

    /// What every answer needs. Headers that an upstream set are replaced: here only this policy speaks about CORS.
    pub(crate) fn edits(&self, origin: Option<&str>) -> Vec<HeaderEdit> {
        let mut edits = Vec::with_capacity(4);
        if self.depends_on_origin() {
            // Also on answers to requests without an origin: a cache must not hand them to a page.
            edits.push(HeaderEdit::include("vary", "Origin"));
        }
        let allowed = if self.depends_on_origin() {
            origin.filter(|origin| self.origins.allow(origin))
        } else {
            Some("*")
        };
        let Some(allowed) = allowed else {
            edits.push(HeaderEdit::remove("access-control-allow-origin"));
            edits.push(HeaderEdit::remove("access-control-allow-credentials"));
            return edits;
        };
        edits.push(HeaderEdit::set("access-control-allow-origin", allowed));
        edits.push(match self.credentials {
            true => HeaderEdit::set("access-control-allow-credentials", "true"),
            false => HeaderEdit::remove("access-control-allow-credentials"),
        });
        if !self.expose_headers.is_empty() {
            edits.push(HeaderEdit::set(
                "access-control-expose-headers",
                self.expose_headers.as_str(),
            ));
        }
        edits
    }
}

#[cfg(test)]
mod tests;
