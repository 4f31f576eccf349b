//! The chunked coding (RFC 9112, 7.1): followed so that its end is known, and held to the letter.

use super::field;
use super::guard::Limits;

/// Most bytes of extensions in one body. Nobody uses them, and each chunk could carry some.
const MOST_EXTENSIONS: usize = 4 << 10;
/// A size of 63 bits, in hexadecimal digits.
const MOST_DIGITS: u8 = 16;

/// Where a chunked body is.
#[derive(Debug)]
pub(super) struct Chunks {
    at: At,
    size: u64,
    digits: u8,
    extensions: usize,
    trailers: usize,
    trailer_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// Fields after the last chunk, and the empty line.
    Trailers,
}

/// What came of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// All belong to the body.
    More,
    /// The body ends after so many.
    Ended(usize),
    /// The one after so many is wrong.
    Broken(usize),
}

impl Chunks {
    pub(super) fn new() -> Self {
        Self {
            at: At::Size,
            size: 0,
            digits: 0,
            extensions: 0,
            trailers: 0,
            trailer_bytes: 0,
        }
    }

    /// Goes on with these bytes. `line` keeps the beginning of an unfinished trailer.
    pub(super) fn advance(
        &mut self,
        bytes: &[u8],
        line: &mut Vec<u8>,
        limits: &Limits,
    ) -> Progress {
        let mut used = 0;
        while let Some((byte, rest)) = bytes.get(used..).and_then(<[u8]>::split_first) {
            match self.at {
                At::Data => {
                    let here = (rest.len() as u64 + 1).min(self.size);
                    self.size -= here;
                    used += usize::try_from(here).unwrap_or(usize::MAX);
                    if self.size == 0 {
                        self.at = At::DataCr;
                    }
                }
                At::Trailers => {
                    let rest = bytes.get(used..).unwrap_or_default();
                    return self.trailers(used, rest, line, limits);
                }
                _ => match self.step(*byte) {
                    Some(next) => {
                        self.at = next;
                        used += 1;
                    }
                    None => return Progress::Broken(used),
                },
            }
        }
        Progress::More
    }

    /// One byte of the framing.
    fn step(&mut self, byte: u8) -> Option<At> {
        match (self.at, byte) {
            (At::Size, _) if byte.is_ascii_hexdigit() && self.digits < MOST_DIGITS => {
                let digit = char::from(byte).to_digit(16)?;
                self.digits += 1;
                self.size = self.size.checked_mul(16)? | u64::from(digit);
                // What is longer than this never ends, and others count with signs.
                (self.size <= i64::MAX as u64).then_some(At::Size)
            }
            (At::Size, b'\r') if self.digits > 0 => Some(At::SizeLf),
            (At::Size, b';') if self.digits > 0 => Some(At::Extension),
            (At::Extension, b'\r') => Some(At::SizeLf),
            (At::Extension, _) => {
                self.extensions += 1;
                let fine = field::is_text(&[byte]) && self.extensions <= MOST_EXTENSIONS;
                fine.then_some(At::Extension)
            }
            (At::SizeLf, b'\n') => {
                self.digits = 0;
                Some(if self.size == 0 {
                    At::Trailers
                } else {
                    At::Data
                })
            }
            (At::DataCr, b'\r') => Some(At::DataLf),
            (At::DataLf, b'\n') => Some(At::Size),
            _ => None,
        }
    }

    fn trailers(
        &mut self,
        mut used: usize,
        mut rest: &[u8],
        line: &mut Vec<u8>,
        limits: &Limits,
    ) -> Progress {
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (here, after) = rest.split_at(end + 1);
            line.extend_from_slice(here);
            self.trailer_bytes += here.len();
            self.trailers += 1;
            // The empty line counts as well.
            if self.trailer_bytes > limits.head || self.trailers > limits.fields + 1 {
                return Progress::Broken(used);
            }
            let whole = line.strip_suffix(b"\n").unwrap_or_default();
            match field::ended(whole) {
                Ok(b"") => {
                    *line = Vec::new();
                    return Progress::Ended(used + here.len());
                }
                Ok(trailer) if is_allowed(trailer) => {}
                Ok(_) | Err(_) => return Progress::Broken(used),
            }
            line.clear();
            used += here.len();
            rest = after;
        }
        self.trailer_bytes += rest.len();
        if self.trailer_bytes > limits.head {
            return Progress::Broken(used);
        }
        line.extend_from_slice(rest);
        Progress::More
    }
}

/// What frames or routes a message comes before its body or not at all (RFC 9110, 6.5.1).
fn is_allowed(trailer: &[u8]) -> bool {
    const FORBIDDEN: [&[u8]; 12] = [
        b"authorization",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"cookie",
        b"expect",
        b"host",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ];
    field::split(trailer).is_ok_and(|(name, _)| {
        !FORBIDDEN
            .iter()
            .any(|forbidden| name.eq_ignore_ascii_case(forbidden))
    })
}
