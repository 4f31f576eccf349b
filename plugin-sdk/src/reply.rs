//! Making whole answers.

use serde::Serialize;

use crate::{Header, Reply, header};

impl Reply {
    /// An empty answer. `status`: 200 to 599.
    pub fn new(status: u16) -> Self {
        Reply {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            code: String::new(),
        }
    }

    /// An answer in plain text.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Reply::new(status)
            .header("content-type", "text/plain; charset=utf-8")
            .body(text.into())
    }

    /// An answer in JSON. The error says what cannot be written as JSON, for example a map whose keys are not strings.
    pub fn json(status: u16, value: &impl Serialize) -> Result<Self, String> {
        let body = serde_json::to_vec(value).map_err(|error| error.to_string())?;
        Ok(Reply::new(status)
            .header("content-type", "application/json")
            .body(body))
    }

    /// Problem details (RFC 9457). `code` is a stable kebab-case word for machines, at most 64 characters: it stands in the
    /// body, in the log and in metrics. `detail` is a sentence for people; put nothing in it that the client may not know.
    pub fn problem(status: u16, code: &str, detail: &str) -> Self {
        let mut reply = Reply::new(status).header("content-type", "application/problem+json");
        reply.body = problem_body(status, code, detail).into_bytes();
        reply.code = code.to_owned();
        reply
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push(Header::new(name, value));
        self
    }

    /// Replaces the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Names the reason, for logs and metrics: a stable kebab-case word, at most 64 characters.
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = code.into();
        self
    }

    /// The first value of a header, if it is text.
    pub fn header_text<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        header::first(&self.headers, name)
    }
}

/// Written by hand: serializing would make every plugin that refuses something 20 KiB larger.
fn problem_body(status: u16, code: &str, detail: &str) -> String {
    let mut body = String::with_capacity(112 + code.len() + detail.len());
    body.push_str("{\"type\":\"about:blank\",\"title\":");
    push_json(&mut body, title(status));
    body.push_str(",\"status\":");
    body.push_str(&status.to_string());
    body.push_str(",\"code\":");
    push_json(&mut body, code);
    body.push_str(",\"detail\":");
    push_json(&mut body, detail);
    body.push('}');
    body
}

fn push_json(body: &mut String, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    body.push('"');
    for character in text.chars() {
        match character {
            '"' => body.push_str("\\\""),
            '\\' => body.push_str("\\\\"),
            '\0'..='\x1f' => {
                let byte = character as usize;
                body.push_str("\\u00");
                body.push(char::from(HEX[byte >> 4]));
                body.push(char::from(HEX[byte & 0xf]));
            }
            other => body.push(other),
        }
    }
    body.push('"');
}

/// The reason phrases of the answers that plugins give.
fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_json_whatever_the_detail_holds() {
        let reply = Reply::problem(403, "not-yours", "a \"quoted\" \\ line\nand \u{1} é");
        let body: serde_json::Value = serde_json::from_slice(&reply.body).expect("is JSON");
        assert_eq!(body["title"], "Forbidden");
        assert_eq!(body["status"], 403);
        assert_eq!(body["code"], "not-yours");
        assert_eq!(body["detail"], "a \"quoted\" \\ line\nand \u{1} é");
        assert_eq!(reply.code, "not-yours");
        assert_eq!(
            reply.header_text("Content-Type"),
            Some("application/problem+json")
        );
    }
}
