//! One form for all spellings of a path (RFC 3986, 6.2.2), so that the router, the plugins and the upstream cannot
//! disagree about what was asked for.
//!
//! * What need not be encoded is decoded (`%7Euser`, `%2e%2e`), all else that is encoded has upper-case digits.
//!   It is done once: `%252e` is the text `%2e`.
//! * What may not stand in a path, such as `{` or a byte beyond ASCII, is encoded.
//! * Dot segments are resolved as in RFC 3986, 5.2.4, and slashes in a row are one.
//! * What services are known to read differently is refused: encoded slashes, backslashes, NUL and control characters,
//!   unless the listener allows them, and dot segments in disguise, always: `..;x`, and `..` next to an encoded slash.

use std::borrow::Cow;

use crate::types::EncodedInPath;

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with a slash.
    #[error("The request target is not a path")]
    NotAbsolute,
    /// A `%` without two hexadecimal digits.
    #[error("The path has a \"%\" without two hexadecimal digits")]
    Percent,
    /// `%2F`
    #[error("The path has an encoded slash")]
    Slash,
    /// `%5C` or `\`
    #[error("The path has a backslash")]
    Backslash,
    /// `%00`
    #[error("The path has a NUL character")]
    Nul,
    /// `%01` to `%1F`, `%7F`
    #[error("The path has a control character")]
    Control,
    /// A segment that some services take for a dot segment.
    #[error("The path has a disguised dot segment")]
    Dots,
}

impl PathError {
    /// The same sentence, for the client.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAbsolute => "The request target is not a path",
            Self::Percent => "The path has a \"%\" without two hexadecimal digits",
            Self::Slash => "The path has an encoded slash",
            Self::Backslash => "The path has a backslash",
            Self::Nul => "The path has a NUL character",
            Self::Control => "The path has a control character",
            Self::Dots => "The path has a disguised dot segment",
        }
    }
}

/// The normal form of a path without its query. A path that is normal already, as nearly all are, is only looked at.
///
/// # Errors
/// When the path means different things to different readers.
pub fn normalise(path: &str, allowed: EncodedInPath) -> Result<Cow<'_, str>, PathError> {
    if !path.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if is_plain(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let mut normal = Normal::new(path.len());
    let mut bytes = path.bytes().skip(1);
    while let Some(byte) = bytes.next() {
        match byte {
            b'/' => normal.end_segment(false)?,
            byte => normal.add(byte, &mut bytes, allowed)?,
        }
    }
    normal.end_segment(true)?;
    Ok(match normal.text == path {
        true => Cow::Borrowed(path),
        false => Cow::Owned(normal.text),
    })
}

/// A part of a segment as it is in a normal path: the text of a route's pattern, which is compared with such paths.
pub(super) fn normal_text(text: &str) -> Result<String, PathError> {
    const ANYTHING: EncodedInPath = EncodedInPath {
        slash: true,
        backslash: true,
        nul: true,
        control: true,
    };
    let mut normal = Normal::new(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        normal.add(byte, &mut bytes, ANYTHING)?;
    }
    Ok(normal.text.split_off(normal.start))
}

/// Whether a path has nothing that may have to change: no encoding, no empty segment, none that begins with a dot.
fn is_plain(path: &[u8]) -> bool {
    let mut before = 0;
    path.iter().all(|&byte| {
        let plain = match byte {
            b'/' | b'.' => before != b'/',
            _ => is_pchar(byte),
        };
        before = byte;
        plain
    })
}

/// RFC 3986, 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What stands in a segment as it is (RFC 3986, 3.3).
fn is_pchar(byte: u8) -> bool {
    const PCHAR: [bool; 256] = {
        let mut table = [false; 256];
        let all =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@";
        let mut index = 0;
        while index < all.len() {
            table[all[index] as usize] = true;
            index += 1;
        }
        table
    };
    PCHAR[usize::from(byte)]
}

fn decoded(digits: (Option<u8>, Option<u8>)) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(digits.0?)? * 16 + digit(digits.1?)?).ok()
}

fn check(byte: u8, allowed: EncodedInPath) -> Result<(), PathError> {
    match byte {
        b'/' if !allowed.slash => Err(PathError::Slash),
        b'\\' if !allowed.backslash => Err(PathError::Backslash),
        0 if !allowed.nul => Err(PathError::Nul),
        1..=0x1f | 0x7f if !allowed.control => Err(PathError::Control),
        _ => Ok(()),
    }
}

/// The normal form while it is written. It always begins with a slash.
struct Normal {
    text: String,
    /// Where the current segment begins, just after a slash.
    start: usize,
}

impl Normal {
    fn new(length: usize) -> Self {
        // Room for a few characters that must be encoded.
        let mut text = String::with_capacity(length + 8);
        text.push('/');
        Self { text, start: 1 }
    }

    /// Adds a character of a segment; `rest` is what follows it.
    fn add(
        &mut self,
        byte: u8,
        rest: &mut impl Iterator<Item = u8>,
        allowed: EncodedInPath,
    ) -> Result<(), PathError> {
        let (byte, is_literal) = match byte {
            b'%' => {
                let byte = decoded((rest.next(), rest.next())).ok_or(PathError::Percent)?;
                (byte, is_unreserved(byte))
            }
            byte => (byte, is_pchar(byte)),
        };
        if is_literal {
            self.push(byte);
        } else {
            check(byte, allowed)?;
            self.push_encoded(byte);
        }
        Ok(())
    }

    /// Adds an ASCII character.
    fn push(&mut self, byte: u8) {
        self.text.push(char::from(byte));
    }

    fn push_encoded(&mut self, byte: u8) {
        const DIGITS: [char; 16] = [
            '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
        ];
        self.text.push('%');
        self.text.push(DIGITS[usize::from(byte >> 4)]);
        self.text.push(DIGITS[usize::from(byte & 15)]);
    }

    /// Ends a segment, the last one without a slash behind it.
    fn end_segment(&mut self, is_last: bool) -> Result<(), PathError> {
        match self.text.get(self.start..).unwrap_or_default() {
            "" => {}
            "." => self.text.truncate(self.start),
            ".." => {
                let parent = self.text.get(..self.start - 1).unwrap_or_default();
                self.start = parent.rfind('/').map_or(1, |slash| slash + 1);
                self.text.truncate(self.start);
            }
            segment if hides_dots(segment) => return Err(PathError::Dots),
            _ if is_last => {}
            _ => {
                self.text.push('/');
                self.start = self.text.len();
            }
        }
        Ok(())
    }
}

/// Whether a service could find a dot segment in this one: by cutting off parameters (`..;x`), or by decoding a slash.
fn hides_dots(segment: &str) -> bool {
    let pieces = segment.split("%2F").flat_map(|piece| piece.split("%5C"));
    pieces
        .map(|piece| piece.split(';').next().unwrap_or_default())
        .any(|piece| piece == "." || piece == "..")
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
