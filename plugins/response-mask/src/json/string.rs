//! The inside of strings: escapes to text and back (RFC 8259, 7).

use super::broken;

/// Decodes a string byte by byte.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    escape: Escape,
    /// The first half of a surrogate pair.
    high: Option<u16>,
}

#[derive(Debug, Default)]
enum Escape {
    #[default]
    None,
    Begun,
    /// So many digits of `\uXXXX` have come.
    Unicode(u8, u16),
}

impl Decoder {
    /// Takes a byte after the opening quote, and adds what it means to `text`. True at the closing quote.
    pub(crate) fn take(&mut self, byte: u8, text: &mut Vec<u8>) -> Result<bool, String> {
        match self.escape {
            Escape::None if byte == b'\\' => self.escape = Escape::Begun,
            Escape::None => {
                self.settle(text);
                if byte == b'"' {
                    return Ok(true);
                }
                if byte < b' ' {
                    return Err(broken());
                }
                text.push(byte);
            }
            Escape::Begun if byte == b'u' => self.escape = Escape::Unicode(0, 0),
            Escape::Begun => {
                self.settle(text);
                text.push(match byte {
                    b'"' | b'\\' | b'/' => byte,
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    _ => return Err(broken()),
                });
                self.escape = Escape::None;
            }
            Escape::Unicode(digits, unit) => {
                let digit = char::from(byte).to_digit(16).ok_or_else(broken)?;
                let unit = unit << 4 | u16::try_from(digit).unwrap_or_default();
                self.escape = Escape::Unicode(digits + 1, unit);
                if digits == 3 {
                    self.escape = Escape::None;
                    self.unit(unit, text);
                }
            }
        }
        Ok(false)
    }

    /// A unit of UTF-16.
    fn unit(&mut self, unit: u16, text: &mut Vec<u8>) {
        if let (Some(high), 0xdc00..=0xdfff) = (self.high, unit) {
            self.high = None;
            let code = 0x10000 + ((u32::from(high) - 0xd800) << 10) + (u32::from(unit) - 0xdc00);
            push(char::from_u32(code), text);
            return;
        }
        self.settle(text);
        match unit {
            0xd800..=0xdbff => self.high = Some(unit),
            _ => push(char::from_u32(unit.into()), text),
        }
    }

    /// Half a pair means nothing.
    fn settle(&mut self, text: &mut Vec<u8>) {
        if self.high.take().is_some() {
            push(None, text);
        }
    }
}

fn push(character: Option<char>, text: &mut Vec<u8>) {
    let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
    text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Writes text as the inside of a string. Bytes that are not UTF-8 stay as they are.
pub(crate) fn encode(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for byte in text {
        match *byte {
            byte @ (b'"' | b'\\') => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            byte @ ..b' ' => {
                out.extend(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
            byte => out.push(byte),
        }
    }
}

/// A text as a string of JSON.
pub(crate) fn quoted(text: &str) -> Vec<u8> {
    let mut out = vec![b'"'];
    encode(text.as_bytes(), &mut out);
    out.push(b'"');
    out
}
