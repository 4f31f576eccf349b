//! JSON that comes in pieces (RFC 8259): a machine that knows, byte by byte, where in the document it is.
//!
//! What is not JSON is an error: it cannot be said what in it would have to be masked.

mod string;

use std::rc::Rc;

use crate::Rules;
use crate::fields::{Alive, MAX_NAME_BYTES};
use crate::scrub::Scrub;
pub(crate) use string::quoted;
use string::{Decoder, encode};

/// Deeper documents are refused: each level costs memory.
const MAX_DEPTH: usize = 512;

/// A document on its way.
pub(crate) struct JsonMask {
    rules: Rc<Rules>,
    open: Vec<Level>,
    expect: Expect,
    token: Token,
    key: Vec<u8>,
    decoder: Decoder,
    /// What has been read of a string, and not yet been looked at.
    text: Vec<u8>,
    scrub: Scrub,
}

/// An object or array that has begun.
struct Level {
    is_object: bool,
    /// Paths that lead through it.
    alive: Alive,
}

/// What may come next between tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
}

/// The token that has begun.
enum Token {
    None,
    Key,
    String,
    /// A number, `true`, `false` or `null`.
    Bare,
    /// A string, number or word that is masked; in a string, whether the next byte is escaped.
    MaskedString {
        escaped: bool,
    },
    MaskedBare,
    /// An object or array that is masked: how deep in it, and where in a string.
    MaskedTree {
        depth: usize,
        string: Option<bool>,
    },
}

impl JsonMask {
    pub(crate) fn new(rules: Rc<Rules>) -> Self {
        JsonMask {
            rules,
            open: Vec::new(),
            expect: Expect::Value,
            token: Token::None,
            key: Vec::new(),
            decoder: Decoder::default(),
            text: Vec::new(),
            scrub: Scrub::default(),
        }
    }

    /// Takes a piece, and says what is sent in its place.
    pub(crate) fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        for byte in piece {
            self.byte(*byte, out)?;
        }
        if !self.text.is_empty() {
            self.scrub_text(false, out);
        }
        Ok(())
    }

    /// The document must be whole.
    pub(crate) fn end(&mut self) -> Result<(), String> {
        let whole = self.open.is_empty()
            && matches!(self.token, Token::None | Token::Bare | Token::MaskedBare);
        if whole { Ok(()) } else { Err(broken()) }
    }

    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<(), String> {
        match &mut self.token {
            Token::None => return self.begin(byte, out),
            Token::Key => {
                out.push(byte);
                if self.decoder.take(byte, &mut self.key)? {
                    self.token = Token::None;
                    self.expect = Expect::Colon;
                }
                // A key that is too long is no name: enough is kept to see that it is.
                self.key.truncate(MAX_NAME_BYTES + 1);
            }
            Token::String => return self.string_byte(byte, out),
            Token::Bare | Token::MaskedBare if is_delimiter(byte) => {
                self.token = Token::None;
                return self.begin(byte, out);
            }
            Token::Bare if is_bare(byte) => out.push(byte),
            Token::MaskedBare if is_bare(byte) => {}
            Token::Bare | Token::MaskedBare => return Err(broken()),
            Token::MaskedString { escaped } => {
                if is_end_of_string(escaped, byte) {
                    self.token = Token::None;
                }
            }
            Token::MaskedTree { depth, string } => {
                match string {
                    Some(escaped) => {
                        if is_end_of_string(escaped, byte) {
                            *string = None;
                        }
                    }
                    None => match byte {
                        b'"' => *string = Some(false),
                        b'{' | b'[' => *depth += 1,
                        b'}' | b']' => *depth -= 1,
                        _ => {}
                    },
                }
                if *depth == 0 {
                    self.token = Token::None;
                }
            }
        }
        Ok(())
    }

    /// A byte between tokens.
    fn begin(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<(), String> {
        if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            out.push(byte);
            return Ok(());
        }
        match (self.expect, byte) {
            (
                Expect::Value | Expect::ValueOrEnd,
                b'"' | b'{' | b'[' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n',
            ) => {
                return self.begin_value(byte, out);
            }
            (Expect::Key | Expect::KeyOrEnd, b'"') => {
                self.key.clear();
                self.decoder = Decoder::default();
                self.token = Token::Key;
            }
            (Expect::Colon, b':') => self.expect = Expect::Value,
            (Expect::CommaOrEnd, b',') => {
                let in_object = self.open.last().is_some_and(|level| level.is_object);
                self.expect = if in_object {
                    Expect::Key
                } else {
                    Expect::Value
                };
            }
            (Expect::CommaOrEnd | Expect::KeyOrEnd, b'}') => self.close(true)?,
            (Expect::CommaOrEnd | Expect::ValueOrEnd, b']') => self.close(false)?,
            _ => return Err(broken()),
        }
        out.push(byte);
        Ok(())
    }

    fn begin_value(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<(), String> {
        let (alive, meant) = match self.open.last() {
            None => (Alive::ROOT, false),
            Some(level) => {
                let key = level.is_object.then_some(&self.key[..]);
                let depth = self.open.len() - 1;
                self.rules.fields.step(level.alive, depth, key)
            }
        };
        self.after_value();
        if meant {
            out.extend_from_slice(&self.rules.replacement);
            self.token = match byte {
                b'"' => Token::MaskedString { escaped: false },
                b'{' | b'[' => Token::MaskedTree {
                    depth: 1,
                    string: None,
                },
                _ => Token::MaskedBare,
            };
            return Ok(());
        }
        out.push(byte);
        match byte {
            b'"' => {
                self.decoder = Decoder::default();
                self.token = Token::String;
            }
            b'{' | b'[' => {
                if self.open.len() == MAX_DEPTH {
                    return Err(format!("the body is JSON of more than {MAX_DEPTH} levels"));
                }
                let is_object = byte == b'{';
                self.open.push(Level { is_object, alive });
                self.expect = if is_object {
                    Expect::KeyOrEnd
                } else {
                    Expect::ValueOrEnd
                };
            }
            _ => self.token = Token::Bare,
        }
        Ok(())
    }

    /// Several documents may follow each other, as in JSON lines.
    fn after_value(&mut self) {
        self.expect = match self.open.is_empty() {
            true => Expect::Value,
            false => Expect::CommaOrEnd,
        };
    }

    fn close(&mut self, is_object: bool) -> Result<(), String> {
        match self.open.pop() {
            Some(level) if level.is_object == is_object => {
                self.after_value();
                Ok(())
            }
            _ => Err(broken()),
        }
    }

    /// A byte of a string that stays, but for what patterns match in it.
    fn string_byte(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<(), String> {
        let ended = self.decoder.take(byte, &mut self.text)?;
        if self.rules.patterns.is_empty() {
            self.text.clear();
        } else if ended {
            self.scrub_text(true, out);
        } else {
            return Ok(());
        }
        out.push(byte);
        if ended {
            self.token = Token::None;
        }
        Ok(())
    }

    /// Masks what has been read of a string, and writes it anew.
    fn scrub_text(&mut self, ended: bool, out: &mut Vec<u8>) {
        let mut scrubbed = Vec::with_capacity(self.text.len());
        let patterns = &self.rules.patterns;
        self.scrub.push(patterns, &self.text, &mut scrubbed);
        self.text.clear();
        if ended {
            self.scrub.end(patterns, &mut scrubbed);
        }
        encode(&scrubbed, out);
    }
}

/// Whether a byte ends a string that is skipped.
fn is_end_of_string(escaped: &mut bool, byte: u8) -> bool {
    let was_escaped = std::mem::replace(escaped, !*escaped && byte == b'\\');
    !was_escaped && byte == b'"'
}

fn is_delimiter(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b']' | b'}')
}

fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

fn broken() -> String {
    String::from("the body is said to be JSON, and is not: what is in it cannot be masked")
}

#[cfg(test)]
mod tests;
