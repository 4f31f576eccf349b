//! The head of a request, line by line: what hyper lets through and must not be, and how long the body is.

use super::field;
use super::guard::Limits;
use crate::proxy::Refusal;

/// About twice as long as the longest that is registered (RFC 9110, 16.1).
const LONGEST_METHOD: usize = 32;

/// What is known of a head so far.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Bytes of its lines.
    pub(super) size: usize,
    /// Whether its request line has come.
    pub(super) begun: bool,
    empty_lines: u8,
    fields: usize,
    old: bool,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

/// How a request goes on after its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Framing {
    pub(super) body: Body,
    /// Whether it asks for an upgrade.
    pub(super) upgrade: bool,
}

/// How long a body is (RFC 9112, 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    Length(u64),
    Chunked,
}

impl Head {
    /// Takes the next line, without its LF. The last one tells what follows the head.
    pub(super) fn line(
        &mut self,
        line: &[u8],
        limits: &Limits,
    ) -> Result<Option<Framing>, Refusal> {
        self.size += line.len() + 1;
        if self.size > limits.head {
            return Err(self.too_large(line));
        }
        let line = field::ended(line).map_err(Refusal::Malformed)?;
        match (self.begun, line) {
            // One is ignored: old clients send it after a body (RFC 9112, 2.2).
            (false, b"") if self.empty_lines == 0 => {
                self.empty_lines = 1;
                Ok(None)
            }
            (false, _) => self.request_line(line, limits).map(|()| None),
            (true, b"") => Ok(Some(self.framing())),
            (true, _) => self.field(line, limits).map(|()| None),
        }
    }

    /// Why a head that is too large is refused, by the line that it grew too large in.
    pub(super) fn too_large(&self, line: &[u8]) -> Refusal {
        match self.begun {
            // However much of the line has come: a method that ends.
            false
                if line
                    .iter()
                    .take(LONGEST_METHOD + 1)
                    .any(|byte| *byte == b' ') =>
            {
                Refusal::TargetTooLong
            }
            _ => Refusal::HeadTooLarge,
        }
    }

    /// `method SP request-target SP HTTP-version` (RFC 9112, 3)
    fn request_line(&mut self, line: &[u8], limits: &Limits) -> Result<(), Refusal> {
        let malformed = Refusal::Malformed("The request line is not valid");
        let mut words = line.split(|byte| *byte == b' ');
        let (method, target) = (words.next(), words.next());
        let (Some(method), Some(target)) = (method, target) else {
            return Err(malformed);
        };
        if !field::is_token(method) {
            return Err(Refusal::Malformed("The method is not valid"));
        }
        if method.len() > LONGEST_METHOD {
            return Err(Refusal::NotImplemented("The method is not known"));
        }
        if target.len() > limits.target {
            return Err(Refusal::TargetTooLong);
        }
        if !field::is_target(target) {
            return Err(Refusal::Malformed("The request target is not valid"));
        }
        let (Some(version), None) = (words.next(), words.next()) else {
            return Err(malformed);
        };
        match version {
            b"HTTP/1.1" => {}
            b"HTTP/1.0" => self.old = true,
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                return Err(Refusal::Version);
            }
            _ => return Err(malformed),
        }
        if method == b"CONNECT" {
            return Err(Refusal::NotImplemented("CONNECT is not supported"));
        }
        self.begun = true;
        Ok(())
    }

    fn field(&mut self, line: &[u8], limits: &Limits) -> Result<(), Refusal> {
        self.fields += 1;
        if self.fields > limits.fields {
            return Err(Refusal::HeadTooLarge);
        }
        let (name, value) = field::split(line).map_err(Refusal::Malformed)?;
        // By length first: most names are none of these.
        match name.len() {
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(value)?,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.transfer_encoding(value)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Digits, once (RFC 9110, 8.6). A list of equal numbers is allowed to be refused, and nobody sends it.
    fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(Refusal::Malformed("Content-Length stands there twice"));
        }
        if self.chunked {
            return Err(Refusal::Malformed(BOTH));
        }
        let invalid = Refusal::Malformed("The Content-Length is not valid");
        // All of 19 digits fit.
        if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
            return Err(invalid);
        }
        let number = |sum: u64, digit: &u8| sum * 10 + u64::from(digit - b'0');
        self.length = Some(value.iter().fold(0, number));
        Ok(())
    }

    /// `chunked`, once (RFC 9112, 6.1). No other coding is understood, and none is passed on.
    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(Refusal::Malformed(BOTH));
        }
        if self.old || self.chunked {
            return Err(Refusal::Malformed("Transfer-Encoding must not be here"));
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(other_coding(value));
        }
        self.chunked = true;
        Ok(())
    }

    fn framing(&self) -> Framing {
        Framing {
            body: match self.length {
                _ if self.chunked => Body::Chunked,
                length => Body::Length(length.unwrap_or(0)),
            },
            upgrade: self.upgrade,
        }
    }
}

const BOTH: &str = "Content-Length and Transfer-Encoding exclude each other";

/// Codings that end with one `chunked` are well-formed, but not understood; others leave the length of the body open.
fn other_coding(value: &[u8]) -> Refusal {
    let is_chunked = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let codings = || value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let tokens = codings().all(field::is_token);
    match codings().next_back() {
        Some(last) if tokens && is_chunked(&last) && codings().filter(is_chunked).count() == 1 => {
            Refusal::NotImplemented("The transfer coding is not supported")
        }
        _ => Refusal::Malformed("The Transfer-Encoding is not valid"),
    }
}
