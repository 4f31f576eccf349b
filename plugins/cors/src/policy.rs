//! What is answered to whom (Fetch standard, 3.2, HTTP extensions for CORS). Pure: no host calls.

use postern_plugin::{Reply, RequestHead, ResponseEdits};

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
    /// The answer to a preflight; none for any other request. The headers that every answer needs are added by
    /// [`Policy::edits`], because the gateway shows this answer to the response phase too.
    pub(crate) fn preflight(&self, head: &RequestHead) -> Option<Reply> {
        let origin = head.header("origin")?;
        head.header("access-control-request-method")?;
        let reply = Reply::new(204);
        if !self.origins.allow(origin) {
            return Some(reply);
        }
        let mut reply = reply.header("access-control-allow-methods", self.methods.as_str());
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
    pub(crate) fn depends_on_origin(&self) -> bool {
        !matches!(self.origins, Origins::Any)
    }

    /// What every answer needs. Headers that an upstream set are replaced: here only this policy speaks about CORS.
    /// `vary`: the values of that header by now.
    pub(crate) fn edits<'a>(
        &self,
        origin: Option<&str>,
        vary: impl Iterator<Item = &'a [u8]>,
    ) -> ResponseEdits {
        let mut edits = ResponseEdits::new();
        if self.depends_on_origin() && !names_origin(vary) {
            // Also on answers to requests without an origin: a cache must not hand them to a page.
            edits = edits.append("vary", "Origin");
        }
        let allowed = if self.depends_on_origin() {
            origin.filter(|origin| self.origins.allow(origin))
        } else {
            Some("*")
        };
        let Some(allowed) = allowed else {
            return edits
                .remove("access-control-allow-origin")
                .remove("access-control-allow-credentials");
        };
        edits = edits.set("access-control-allow-origin", allowed);
        edits = match self.credentials {
            true => edits.set("access-control-allow-credentials", "true"),
            false => edits.remove("access-control-allow-credentials"),
        };
        if !self.expose_headers.is_empty() {
            edits = edits.set(
                "access-control-expose-headers",
                self.expose_headers.as_str(),
            );
        }
        edits
    }
}

/// Whether `Vary` says already that the answer depends on the origin.
fn names_origin<'a>(mut vary: impl Iterator<Item = &'a [u8]>) -> bool {
    vary.any(|value| {
        let mut names = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        names.any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin"))
    })
}

#[cfg(test)]
mod tests;
