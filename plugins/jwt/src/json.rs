//! Reads single members of a JSON object (RFC 8259), and checks the rest without keeping it.
//!
//! In the place of `serde_json`, which the tests hold this reader against: it is as fast, and in a component it weighs 73 KiB
//! more, most of them for the numbers in its messages.

use std::borrow::Cow;

/// Deeper than claims ever are; keeps recursion off the end of the guest's small stack.
const MAX_DEPTH: u8 = 64;

/// A member that was asked for: its JSON as it is written.
pub(crate) type Member<'j> = Option<&'j str>;

/// The members of these names, in their order. `null` counts as absent. None if the text is not one JSON object.
///
/// None too if one of the members is there twice: readers differ in which of two counts (RFC 8725, 2.4), and what the
/// gateway decides by must be what the issuer meant.
pub(crate) fn members<'j>(json: &'j str, names: &[Cow<'_, str>]) -> Option<Vec<Member<'j>>> {
    let mut found = vec![None; names.len()];
    let mut reader = Reader::new(json);
    reader.object(|key, value| {
        let key = unescape(key)?;
        let index = names.iter().position(|name| *name == key);
        let Some(place) = index.and_then(|index| found.get_mut(index)) else {
            return Some(());
        };
        place.replace(value).is_none().then_some(())
    })?;
    reader.end()?;
    for value in &mut found {
        value.take_if(|value| *value == "null");
    }
    Some(found)
}

/// A string, unescaped; none if the value is something else.
pub(crate) fn string(value: &str) -> Option<Cow<'_, str>> {
    unescape(value.strip_prefix('"')?.strip_suffix('"')?)
}

/// The elements of an array; none if the value is something else.
pub(crate) fn elements(value: &str) -> Option<Vec<&str>> {
    let mut elements = Vec::new();
    let mut reader = Reader::new(value);
    reader.array(|element| elements.push(element))?;
    reader.end()?;
    Some(elements)
}

/// A number, as exact as dates need; none if the value is something else, or too large for the type.
pub(crate) fn number(value: &str) -> Option<f64> {
    let mut reader = Reader::new(value);
    reader.number()?;
    reader.end()?;
    let (mantissa, exponent) = value.split_once(['e', 'E']).unwrap_or((value, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let (sign, whole) = whole
        .strip_prefix('-')
        .map_or((1.0, whole), |whole| (-1.0, whole));
    let digits = |text: &str| {
        text.bytes()
            .fold(0.0, |sum, digit| sum * 10.0 + f64::from(digit - b'0'))
    };
    let power = |exponent: usize| 10_f64.powi(i32::try_from(exponent).unwrap_or(i32::MAX));
    let mantissa = digits(whole) + digits(fraction) / power(fraction.len());
    let number = sign * mantissa * 10_f64.powi(exponent.parse().ok()?);
    number.is_finite().then_some(number)
}

struct Reader<'j> {
    json: &'j str,
    at: usize,
    depth: u8,
}

impl<'j> Reader<'j> {
    fn new(json: &'j str) -> Self {
        Reader {
            json,
            at: 0,
            depth: 0,
        }
    }

    fn byte(&self) -> Option<u8> {
        self.json.as_bytes().get(self.at).copied()
    }

    fn is_next(&mut self, byte: u8) -> bool {
        let is_next = self.byte() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.is_next(byte).then_some(())
    }

    fn skip(&mut self, is_skipped: impl Fn(u8) -> bool) {
        while self.byte().is_some_and(&is_skipped) {
            self.at += 1;
        }
    }

    fn space(&mut self) {
        self.skip(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    }

    /// Nothing but space follows.
    fn end(&mut self) -> Option<()> {
        self.space();
        self.byte().is_none().then_some(())
    }

    /// One value with the space around it; returns the value.
    fn value(&mut self) -> Option<&'j str> {
        self.space();
        let start = self.at;
        match self.byte()? {
            b'"' => self.string().map(|_| ()),
            b'{' => self.object(|_, _| Some(())),
            b'[' => self.array(|_| ()),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => self.number(),
        }?;
        let value = self.json.get(start..self.at)?;
        self.space();
        Some(value)
    }

    /// Hands over keys, still escaped, and values.
    fn object(&mut self, mut member: impl FnMut(&'j str, &'j str) -> Option<()>) -> Option<()> {
        self.list(b'{', b'}', |reader| {
            reader.space();
            let key = reader.string()?;
            reader.space();
            reader.expect(b':')?;
            member(key, reader.value()?)
        })
    }

    fn array(&mut self, mut element: impl FnMut(&'j str)) -> Option<()> {
        self.list(b'[', b']', |reader| reader.value().map(&mut element))
    }

    fn list(
        &mut self,
        open: u8,
        close: u8,
        mut item: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.space();
        self.expect(open)?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        self.space();
        if !self.is_next(close) {
            loop {
                item(self)?;
                if self.is_next(close) {
                    break;
                }
                self.expect(b',')?;
            }
        }
        self.depth -= 1;
        Some(())
    }

    /// What stands between the quotes.
    fn string(&mut self) -> Option<&'j str> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            self.skip(|byte| byte >= b' ' && byte != b'"' && byte != b'\\');
            match self.byte()? {
                b'"' => break,
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
        let text = self.json.get(start..self.at)?;
        self.at += 1;
        Some(text)
    }

    fn escape(&mut self) -> Option<()> {
        self.at += 1;
        let letter = self.byte()?;
        self.at += 1;
        match letter {
            b'u' => {
                let digits = self.json.as_bytes().get(self.at..self.at + 4)?;
                self.at += 4;
                digits.iter().all(u8::is_ascii_hexdigit).then_some(())
            }
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            _ => None,
        }
    }

    fn number(&mut self) -> Option<()> {
        self.is_next(b'-');
        if !self.is_next(b'0') {
            self.digits()?;
        }
        if self.is_next(b'.') {
            self.digits()?;
        }
        if self.is_next(b'e') || self.is_next(b'E') {
            let _signed = self.is_next(b'+') || self.is_next(b'-');
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        self.skip(|byte| byte.is_ascii_digit());
        (self.at > start).then_some(())
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let is_word = self.json.get(self.at..)?.starts_with(word);
        self.at += word.len();
        is_word.then_some(())
    }
}

/// What stood between quotes; its escapes are known to be well-formed. None if it holds half of a surrogate pair.
fn unescape(text: &str) -> Option<Cow<'_, str>> {
    let Some((plain, mut rest)) = text.split_once('\\') else {
        return Some(Cow::Borrowed(text));
    };
    let mut unescaped = String::with_capacity(text.len());
    unescaped.push_str(plain);
    loop {
        let letter = *rest.as_bytes().first()?;
        rest = rest.get(1..)?;
        unescaped.push(match letter {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => code_point(&mut rest)?,
            itself => char::from(itself),
        });
        let Some((plain, after)) = rest.split_once('\\') else {
            unescaped.push_str(rest);
            return Some(Cow::Owned(unescaped));
        };
        unescaped.push_str(plain);
        rest = after;
    }
}

/// The character of one escape, or of two that are a surrogate pair (RFC 8259, 7).
fn code_point(rest: &mut &str) -> Option<char> {
    let high = code_unit(rest)?;
    if !(0xd800..0xdc00).contains(&high) {
        return char::from_u32(high);
    }
    *rest = rest.strip_prefix("\\u")?;
    let low = code_unit(rest)?.checked_sub(0xdc00)?;
    (low < 0x400)
        .then(|| char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + low))
        .flatten()
}

fn code_unit(rest: &mut &str) -> Option<u32> {
    let (digits, after) = rest.split_at_checked(4)?;
    *rest = after;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests;
