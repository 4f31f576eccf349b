//! One HTTP call, which can be printed as a curl line or made.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use http::{HeaderMap, Method, Request, StatusCode};

/// A call that takes longer has failed.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A request, independent of how it is made.
#[derive(Clone)]
pub(crate) struct Call {
    method: Method,
    address: SocketAddr,
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Option<Cow<'static, str>>,
}

impl Call {
    /// A `GET` request.
    pub(crate) fn get(address: SocketAddr, path: &'static str) -> Self {
        Self {
            method: Method::GET,
            address,
            path,
            headers: Vec::new(),
            body: None,
        }
    }

    /// A `POST` request with a JSON body.
    pub(crate) fn post(
        address: SocketAddr,
        path: &'static str,
        json: impl Into<Cow<'static, str>>,
    ) -> Self {
        let call = Self {
            method: Method::POST,
            body: Some(json.into()),
            ..Self::get(address, path)
        };
        call.header("Content-Type", "application/json")
    }

    /// An `OPTIONS` request.
    pub(crate) fn options(address: SocketAddr, path: &'static str) -> Self {
        Self {
            method: Method::OPTIONS,
            ..Self::get(address, path)
        }
    }

    /// The same with a header more.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same with a bearer token.
    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("Authorization", format!("Bearer {token}"))
    }

    /// The call as a line for a shell, after `curl ` and the given options.
    pub(crate) fn curl(&self, options: &str) -> String {
        let mut line = format!("curl {options}");
        if self.method != Method::GET && self.body.is_none() {
            line.push_str(&format!(" -X {}", self.method));
        }
        for (name, value) in &self.headers {
            line.push_str(&format!(" -H {}", quoted(&format!("{name}: {value}"))));
        }
        if let Some(body) = &self.body {
            line.push_str(&format!(" -d {}", quoted(body)));
        }
        line + &format!(" http://{}{}", self.address, self.path)
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// Makes calls and keeps connections.
pub(crate) struct Client {
    agent: ureq::Agent,
}

impl Client {
    /// A client that takes every status as an answer and follows nothing.
    pub(crate) fn new() -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(CALL_TIMEOUT))
            .build();
        Self {
            agent: config.new_agent(),
        }
    }

    /// Makes the call.
    pub(crate) fn send(&self, call: &Call) -> Result<Answer> {
        let mut request = Request::builder()
            .method(&call.method)
            .uri(format!("http://{}{}", call.address, call.path));
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        let context = || format!("{} {}", call.method, call.path);
        let response = match call.body.as_deref() {
            Some(body) => self.agent.run(request.body(body)?),
            None => self.agent.run(request.body(())?),
        };
        let (head, mut body) = response.with_context(context)?.into_parts();
        let body = body.read_to_string().with_context(context)?;
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curl_line_survives_the_shell() {
        let address = SocketAddr::from(([127, 0, 0, 1], 8080));
        let get = Call::get(address, "/a").header("X-Name", "it's");
        assert_eq!(
            get.curl("-i"),
            r"curl -i -H 'X-Name: it'\''s' http://127.0.0.1:8080/a"
        );
        let post = Call::post(address, "/a", r#"{"b":1}"#);
        let expected =
            r#"curl -i -H 'Content-Type: application/json' -d '{"b":1}' http://127.0.0.1:8080/a"#;
        assert_eq!(post.curl("-i"), expected);
        assert_eq!(
            Call::options(address, "/a").curl("-i"),
            "curl -i -X OPTIONS http://127.0.0.1:8080/a"
        );
    }
}
