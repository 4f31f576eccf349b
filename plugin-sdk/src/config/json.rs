//! Reads a config from JSON and keeps the path of what is wrong.
//!
//! In the place of `serde_json` with `serde_path_to_error`: in a component these two, with the float formatting of their
//! messages, weigh 80 KB, a third of `header-transform` as it was with them (244 KB, now 163 KB). This reader accepts what
//! the host writes, and says what is wrong in the words of TOML, which is what the operator wrote.

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::error::{Error, Kind};

/// Deeper nesting than any config has; keeps recursion off the end of the guest's small stack.
const MAX_DEPTH: usize = 64;

/// Reads one value, which must be all there is.
pub(super) fn from_str<'de, T: Deserialize<'de>>(json: &'de str) -> Result<T, Error> {
    let mut reader = Reader {
        json,
        at: 0,
        depth: 0,
    };
    let value = T::deserialize(&mut reader)?;
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.malformed()),
    }
}

struct Reader<'de> {
    json: &'de str,
    at: usize,
    depth: usize,
}

impl<'de> Reader<'de> {
    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.json.as_bytes().get(self.at..)?;
        let space = rest
            .iter()
            .take_while(|byte| b" \t\r\n".contains(byte))
            .count();
        self.at += space;
        rest.get(space).copied()
    }

    fn skip(&mut self, expected: u8) -> Result<(), Error> {
        if self.peek() != Some(expected) {
            return Err(self.malformed());
        }
        self.at += 1;
        Ok(())
    }

    fn malformed(&self) -> Error {
        Error::new(format!("the configuration is not JSON at byte {}", self.at))
    }

    fn kind(&mut self) -> Result<Kind, Error> {
        match self.peek() {
            Some(b'{') => Ok(Kind::Table),
            Some(b'[') => Ok(Kind::List),
            Some(b'"') => Ok(Kind::String),
            Some(b't' | b'f') => Ok(Kind::Boolean),
            Some(b'n') => Ok(Kind::Nothing),
            Some(b'-' | b'0'..=b'9') => Ok(if self.number().contains(['.', 'e', 'E']) {
                Kind::Float
            } else {
                Kind::Integer
            }),
            _ => Err(self.malformed()),
        }
    }

    fn number(&self) -> &'de str {
        let rest = self.json.get(self.at..).unwrap_or_default();
        let end = rest
            .find(|c: char| !(c.is_ascii_digit() || "+-.eE".contains(c)))
            .unwrap_or(rest.len());
        &rest[..end]
    }

    fn word(&mut self, word: &str) -> Result<(), Error> {
        if !self
            .json
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(word))
        {
            return Err(self.malformed());
        }
        self.at += word.len();
        Ok(())
    }

    fn integer<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        let text = self.number();
        self.at += text.len();
        if let Ok(number) = text.parse::<u64>() {
            return visitor.visit_u64(number);
        }
        match text.parse::<i64>() {
            Ok(number) => visitor.visit_i64(number),
            Err(_) => Err(Error::new(format!("{text} is no number, or too large"))),
        }
    }

    fn float<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        let text = self.number();
        self.at += text.len();
        match text.parse::<f64>() {
            Ok(number) => visitor.visit_f64(number),
            Err(_) => Err(self.malformed()),
        }
    }

    fn string(&mut self) -> Result<String, Error> {
        self.skip(b'"')?;
        let mut text = String::new();
        loop {
            let rest = self.json.get(self.at..).unwrap_or_default();
            let end = rest.find(['"', '\\']).ok_or_else(|| self.malformed())?;
            text.push_str(&rest[..end]);
            self.at += end + 1;
            if rest.as_bytes()[end] == b'"' {
                return Ok(text);
            }
            text.push(self.escaped()?);
        }
    }

    /// What follows a backslash.
    fn escaped(&mut self) -> Result<char, Error> {
        let escape = self.json.as_bytes().get(self.at).copied();
        self.at += 1;
        match escape {
            Some(plain @ (b'"' | b'\\' | b'/')) => Ok(char::from(plain)),
            Some(b'b') => Ok('\u{8}'),
            Some(b'f') => Ok('\u{c}'),
            Some(b'n') => Ok('\n'),
            Some(b'r') => Ok('\r'),
            Some(b't') => Ok('\t'),
            Some(b'u') => self.unicode(),
            _ => Err(self.malformed()),
        }
    }

    /// A `\u` escape, or two that are a surrogate pair.
    fn unicode(&mut self) -> Result<char, Error> {
        let first = self.hex()?;
        let code = if (0xd800..0xdc00).contains(&first) {
            self.word("\\u")?;
            let second = self.hex()?;
            0x1_0000 + ((first - 0xd800) << 10) + (second.wrapping_sub(0xdc00) & 0x3ff)
        } else {
            first
        };
        char::from_u32(code).ok_or_else(|| self.malformed())
    }

    fn hex(&mut self) -> Result<u32, Error> {
        let digits = self
            .json
            .get(self.at..self.at + 4)
            .and_then(|digits| u32::from_str_radix(digits, 16).ok());
        self.at += 4;
        digits.ok_or_else(|| self.malformed())
    }

    fn table<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        self.nested(b'{', b'}', |items| visitor.visit_map(items))
    }

    fn list<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        self.nested(b'[', b']', |items| visitor.visit_seq(items))
    }

    fn nested<R>(
        &mut self,
        open: u8,
        close: u8,
        read: impl FnOnce(Items<'_, 'de>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        if self.depth == MAX_DEPTH {
            return Err(Error::new(String::from("nested too deeply")));
        }
        self.skip(open)?;
        self.depth += 1;
        let value = read(Items {
            reader: self,
            close,
            count: 0,
            key: String::new(),
        })?;
        self.depth -= 1;
        self.skip(close)?;
        Ok(value)
    }
}

/// `deserialize_any` but for floats: where a config asks for no float, the code that reads one is left out.
macro_rules! without_floats {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.kind()? {
                Kind::Float => Err(Error::unexpected(Kind::Float, &visitor)),
                Kind::Integer => self.integer(visitor),
                Kind::String => visitor.visit_string(self.string()?),
                Kind::Table => self.table(visitor),
                Kind::List => self.list(visitor),
                Kind::Boolean if self.peek() == Some(b't') => self.word("true").and_then(|()| visitor.visit_bool(true)),
                Kind::Boolean => self.word("false").and_then(|()| visitor.visit_bool(false)),
                Kind::Nothing => self.word("null").and_then(|()| visitor.visit_unit()),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Error;

    without_floats! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16
        deserialize_u32 deserialize_u64 deserialize_char deserialize_str deserialize_string deserialize_bytes
        deserialize_byte_buf deserialize_unit deserialize_seq deserialize_map deserialize_identifier
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.kind()? {
            Kind::Float => self.float(visitor),
            _ => self.deserialize_str(visitor),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.kind()? {
            Kind::Nothing => self.word("null").and_then(|()| visitor.visit_none()),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        // A derived struct would also read a list, in the order of its fields; nobody means that in a config.
        match self.kind()? {
            Kind::Table => self.table(visitor),
            other => Err(Error::unexpected(other, &visitor)),
        }
    }

    /// A variant without fields is its name, any other a table of one key.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.kind()? {
            Kind::String => {
                visitor.visit_enum(IntoDeserializer::<Error>::into_deserializer(self.string()?))
            }
            Kind::Table => self.nested(b'{', b'}', |items| visitor.visit_enum(items)),
            other => Err(Error::unexpected(other, &visitor)),
        }
    }
}

/// What stands between brackets or braces.
struct Items<'a, 'de> {
    reader: &'a mut Reader<'de>,
    close: u8,
    count: usize,
    /// The key of the value that is read, for the path of an error.
    key: String,
}

impl Items<'_, '_> {
    /// Steps to the next item, if there is one.
    fn step(&mut self) -> Result<bool, Error> {
        if self.reader.peek() == Some(self.close) {
            return Ok(false);
        }
        if self.count > 0 {
            self.reader.skip(b',')?;
            self.reader.peek();
        }
        self.count += 1;
        Ok(true)
    }

    fn read_key(&mut self) -> Result<(), Error> {
        self.key = self.reader.string()?;
        self.reader.skip(b':')
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        if !self.step()? {
            return Ok(None);
        }
        let index = self.count - 1;
        seed.deserialize(&mut *self.reader)
            .map(Some)
            .map_err(|error| error.at(index))
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        if !self.step()? {
            return Ok(None);
        }
        self.read_key()?;
        seed.deserialize(self.key.as_str().into_deserializer())
            .map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(&mut *self.reader)
            .map_err(|error| error.within(&self.key))
    }
}

impl<'de> EnumAccess<'de> for Items<'_, 'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(mut self, seed: V) -> Result<(V::Value, Self), Error> {
        self.read_key()?;
        Ok((
            seed.deserialize(self.key.as_str().into_deserializer())?,
            self,
        ))
    }
}

impl<'de> VariantAccess<'de> for Items<'_, 'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        self.newtype_variant_seed(std::marker::PhantomData::<()>)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(&mut *self.reader)
            .map_err(|error| error.within(&self.key))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.reader
            .deserialize_seq(visitor)
            .map_err(|error| error.within(&self.key))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.reader
            .deserialize_struct("", &[], visitor)
            .map_err(|error| error.within(&self.key))
    }
}

#[cfg(test)]
mod tests;
