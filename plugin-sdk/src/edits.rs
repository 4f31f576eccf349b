//! Building edits, and turning what a phase decided into its verdict.

use crate::{
    Header, HeaderEdit, Method, Reply, RequestEdits, RequestVerdict, ResponseEdits, ResponseVerdict,
};

impl HeaderEdit {
    /// Replaces all values of the name by this one.
    pub fn set(name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        HeaderEdit::Set(Header::new(name, value))
    }

    /// Adds a value and keeps those that are there.
    pub fn append(name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        HeaderEdit::Append(Header::new(name, value))
    }

    /// Sets the value only where the name is absent.
    pub fn add(name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        HeaderEdit::Add(Header::new(name, value))
    }

    /// Replaces all values by this one, only where the name is present.
    pub fn replace(name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        HeaderEdit::Replace(Header::new(name, value))
    }

    /// Adds a member to a comma-separated list such as `Vary`, unless the list holds it already or holds `*`.
    pub fn include(name: impl Into<String>, member: impl Into<Vec<u8>>) -> Self {
        HeaderEdit::Include(Header::new(name, member))
    }

    /// Removes all values of the name.
    pub fn remove(name: impl Into<String>) -> Self {
        HeaderEdit::Remove(name.into())
    }
}

macro_rules! header_builder {
    ($edits:ty) => {
        /// Replaces all values of the name by this one.
        pub fn set(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
            self.headers.push(HeaderEdit::set(name, value));
            self
        }

        /// Adds a value and keeps those that are there.
        pub fn append(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
            self.headers.push(HeaderEdit::append(name, value));
            self
        }

        /// Sets the value only where the name is absent.
        pub fn add(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
            self.headers.push(HeaderEdit::add(name, value));
            self
        }

        /// Replaces all values by this one, only where the name is present.
        pub fn replace(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
            self.headers.push(HeaderEdit::replace(name, value));
            self
        }

        /// Adds a member to a comma-separated list such as `Vary`, unless the list holds it already or holds `*`.
        pub fn include(mut self, name: impl Into<String>, member: impl Into<Vec<u8>>) -> Self {
            self.headers.push(HeaderEdit::include(name, member));
            self
        }

        /// Removes all values of the name.
        pub fn remove(mut self, name: impl Into<String>) -> Self {
            self.headers.push(HeaderEdit::remove(name));
            self
        }
    };
}

/// Edits apply in the order of the calls. Framing and connection headers are the gateway's: naming one is an error.
impl RequestEdits {
    /// No edits.
    pub fn new() -> Self {
        RequestEdits {
            headers: Vec::new(),
            method: None,
            authority: None,
            path_and_query: None,
            upstream: None,
            body: None,
            response_headers: Vec::new(),
        }
    }

    header_builder!(RequestEdits);

    /// Changes the method.
    pub fn method(mut self, method: Method) -> Self {
        self.method = Some(method);
        self
    }

    /// Changes host and port.
    pub fn authority(mut self, authority: impl Into<String>) -> Self {
        self.authority = Some(authority.into());
        self
    }

    /// Changes path and query; must begin with `/` and be percent-encoded.
    pub fn path_and_query(mut self, path_and_query: impl Into<String>) -> Self {
        self.path_and_query = Some(path_and_query.into());
        self
    }

    /// Sends the request to this upstream; it must be granted.
    pub fn upstream(mut self, name: impl Into<String>) -> Self {
        self.upstream = Some(name.into());
        self
    }

    /// Replaces the whole body; only from the body phase.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Changes the headers of the response, when there is one. What is known in the request phase can be said there, and
    /// needs no response phase.
    pub fn response(mut self, edits: impl IntoIterator<Item = HeaderEdit>) -> Self {
        self.response_headers.extend(edits);
        self
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty()
            && self.response_headers.is_empty()
            && self.method.is_none()
            && self.authority.is_none()
            && self.path_and_query.is_none()
            && self.upstream.is_none()
            && self.body.is_none()
    }
}

/// Edits apply in the order of the calls. Framing and connection headers are the gateway's: naming one is an error.
impl ResponseEdits {
    /// No edits.
    pub fn new() -> Self {
        ResponseEdits {
            status: None,
            headers: Vec::new(),
            body: None,
        }
    }

    header_builder!(ResponseEdits);

    /// Changes the status, 200 to 599.
    pub fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Replaces the whole body; only from the body phase.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.status.is_none() && self.body.is_none()
    }
}

impl Default for RequestEdits {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for ResponseEdits {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Vec<HeaderEdit>> for RequestEdits {
    fn from(headers: Vec<HeaderEdit>) -> Self {
        RequestEdits {
            headers,
            ..RequestEdits::new()
        }
    }
}

impl From<Vec<HeaderEdit>> for ResponseEdits {
    fn from(headers: Vec<HeaderEdit>) -> Self {
        ResponseEdits {
            headers,
            ..ResponseEdits::new()
        }
    }
}

impl From<RequestEdits> for RequestVerdict {
    fn from(edits: RequestEdits) -> Self {
        if edits.is_empty() {
            RequestVerdict::Next
        } else {
            RequestVerdict::Edit(edits)
        }
    }
}

impl From<Reply> for RequestVerdict {
    fn from(reply: Reply) -> Self {
        RequestVerdict::Reply(reply)
    }
}

/// Goes on with the edits, or is answered: so that a check can use `?`.
impl From<Result<RequestEdits, Reply>> for RequestVerdict {
    fn from(result: Result<RequestEdits, Reply>) -> Self {
        result.map_or_else(Into::into, Into::into)
    }
}

impl RequestVerdict {
    /// The edits, if the request goes on changed.
    pub fn edits(&self) -> Option<&RequestEdits> {
        if let RequestVerdict::Edit(edits) = self {
            Some(edits)
        } else {
            None
        }
    }

    /// The answer, if there is one.
    pub fn reply(&self) -> Option<&Reply> {
        if let RequestVerdict::Reply(reply) = self {
            Some(reply)
        } else {
            None
        }
    }
}

impl From<ResponseEdits> for ResponseVerdict {
    fn from(edits: ResponseEdits) -> Self {
        if edits.is_empty() {
            ResponseVerdict::Next
        } else {
            ResponseVerdict::Edit(edits)
        }
    }
}

impl From<Reply> for ResponseVerdict {
    fn from(reply: Reply) -> Self {
        ResponseVerdict::Replace(reply)
    }
}

/// Goes on with the edits, or is replaced: so that a check can use `?`.
impl From<Result<ResponseEdits, Reply>> for ResponseVerdict {
    fn from(result: Result<ResponseEdits, Reply>) -> Self {
        result.map_or_else(Into::into, Into::into)
    }
}

impl ResponseVerdict {
    /// The edits, if the response goes on changed.
    pub fn edits(&self) -> Option<&ResponseEdits> {
        if let ResponseVerdict::Edit(edits) = self {
            Some(edits)
        } else {
            None
        }
    }

    /// The replacement, if there is one.
    pub fn reply(&self) -> Option<&Reply> {
        if let ResponseVerdict::Replace(reply) = self {
            Some(reply)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_edits_are_no_edit_verdict() {
        assert_eq!(
            RequestVerdict::from(RequestEdits::new()),
            RequestVerdict::Next
        );
        assert_eq!(
            ResponseVerdict::from(ResponseEdits::new()),
            ResponseVerdict::Next
        );
    }

    #[test]
    fn edits_keep_the_order_of_the_calls() {
        let edits = RequestEdits::new()
            .set("a", "1")
            .append("b", vec![0xff])
            .add("d", "2")
            .replace("e", "3")
            .include("f", "4")
            .remove("c")
            .response([HeaderEdit::remove("g")]);
        let expected = [
            HeaderEdit::set("a", "1"),
            HeaderEdit::append("b", [0xff]),
            HeaderEdit::add("d", "2"),
            HeaderEdit::replace("e", "3"),
            HeaderEdit::include("f", "4"),
            HeaderEdit::remove("c"),
        ];
        assert_eq!(edits.headers, expected);
        assert_eq!(edits.response_headers, [HeaderEdit::remove("g")]);
    }
}
