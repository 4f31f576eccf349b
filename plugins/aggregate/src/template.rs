//! Paths with placeholders, filled with values of the request. A value can never leave its place: it is percent-encoded,
//! and one that would climb to another path is refused.

use std::fmt;

/// A path and query, in pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Value { source: Source, in_query: bool },
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A parameter of the route's path pattern.
    Path(String),
    /// A query parameter.
    Query(String),
    /// A request header, in lower case.
    Header(String),
    /// The name of the consumer.
    Consumer,
}

/// Why a template could not be filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unfilled {
    /// The request has no such value.
    Absent(String),
    /// The value would lead to another path.
    Refused(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Path(name) => write!(f, "{{path.{name}}}"),
            Source::Query(name) => write!(f, "{{query.{name}}}"),
            Source::Header(name) => write!(f, "{{header.{name}}}"),
            Source::Consumer => write!(f, "{{consumer}}"),
        }
    }
}

impl Template {
    /// Reads a template, or says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err(format!(
                "expected a path that begins with /, found {text:?}"
            ));
        }
        let mut pieces = Vec::new();
        let mut in_query = false;
        let mut rest = text;
        while let Some((literal, tail)) = rest.split_once('{') {
            push_literal(&mut pieces, literal)?;
            in_query |= literal.contains('?');
            let (inner, tail) = tail
                .split_once('}')
                .ok_or_else(|| format!("{text:?} has a {{ without a }}"))?;
            let source = Source::parse(inner)?;
            pieces.push(Piece::Value { source, in_query });
            rest = tail;
        }
        push_literal(&mut pieces, rest)?;
        let template = Template(pieces);
        if climbs(path_of(text)) {
            return Err(format!("{text:?} holds a . or .. segment"));
        }
        Ok(template)
    }

    /// The headers whose values it takes.
    pub(crate) fn headers(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Value {
                source: Source::Header(name),
                ..
            } => Some(name.as_str()),
            Piece::Value { .. } | Piece::Literal(_) => None,
        })
    }

    /// Fills the places. An absent value is empty in the query, and an error in the path, as an empty one is: the path
    /// would mean something else.
    pub(crate) fn fill(
        &self,
        value_of: impl Fn(&Source) -> Option<Vec<u8>>,
    ) -> Result<String, Unfilled> {
        let mut filled = String::with_capacity(128);
        let mut has_path_values = false;
        for piece in &self.0 {
            match piece {
                Piece::Literal(literal) => filled.push_str(literal),
                Piece::Value {
                    source,
                    in_query: true,
                } => encode(&mut filled, &value_of(source).unwrap_or_default()),
                Piece::Value {
                    source,
                    in_query: false,
                } => {
                    let value = value_of(source).filter(|value| !value.is_empty());
                    let value = value.ok_or_else(|| Unfilled::Absent(source.to_string()))?;
                    if climbs(&String::from_utf8_lossy(&value)) {
                        return Err(Unfilled::Refused(source.to_string()));
                    }
                    has_path_values = true;
                    encode(&mut filled, &value);
                }
            }
        }
        // A value may be harmless and climb together with its neighbours: `.{path.x}` with a dot.
        if has_path_values && climbs(path_of(&filled)) {
            return Err(Unfilled::Refused(filled));
        }
        Ok(filled)
    }
}

impl Source {
    fn parse(text: &str) -> Result<Self, String> {
        let known = || {
            format!(
                "{{{text}}} is unknown: expected {{path.NAME}}, {{query.NAME}}, {{header.NAME}} or {{consumer}}"
            )
        };
        if text == "consumer" {
            return Ok(Source::Consumer);
        }
        let (kind, name) = text
            .split_once('.')
            .filter(|(_, name)| !name.is_empty())
            .ok_or_else(known)?;
        match kind {
            "path" => Ok(Source::Path(name.to_owned())),
            "query" => Ok(Source::Query(name.to_owned())),
            "header" if postern_plugin::header::is_token(name) => {
                Ok(Source::Header(name.to_ascii_lowercase()))
            }
            _ => Err(known()),
        }
    }
}

fn push_literal(pieces: &mut Vec<Piece>, literal: &str) -> Result<(), String> {
    let stray = |c: char| !c.is_ascii_graphic() || "\"#<>\\^`|{}".contains(c);
    if let Some(character) = literal.chars().find(|c| stray(*c)) {
        return Err(format!(
            "{character:?} cannot stand in a path: percent-encode it"
        ));
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal.to_owned()));
    }
    Ok(())
}

fn path_of(path_and_query: &str) -> &str {
    path_and_query
        .split_once('?')
        .map_or(path_and_query, |(path, _)| path)
}

/// Whether a segment is `.` or `..`. Encoding is no protection: servers decode before they resolve.
fn climbs(path: &str) -> bool {
    path.split(['/', '\\'])
        .any(|segment| segment == "." || segment == "..")
}

/// Everything but unreserved characters (RFC 3986, 2.3) is encoded, in path and query alike.
fn encode(out: &mut String, value: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in value {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 0xf)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fill(template: &str, value: &str) -> Result<String, Unfilled> {
        Template::parse(template)
            .expect("is a template")
            .fill(|_| Some(value.into()))
    }

    #[test]
    fn values_come_from_the_request() {
        let template = Template::parse("/c/{path.id}/o?p={query.page}&h={header.X-A}&c={consumer}")
            .expect("is right");
        let filled = template.fill(|source| Some(source.to_string().into_bytes()));
        let expected = "/c/%7Bpath.id%7D/o?p=%7Bquery.page%7D&h=%7Bheader.x-a%7D&c=%7Bconsumer%7D";
        assert_eq!(filled.as_deref(), Ok(expected));
        assert_eq!(template.headers().collect::<Vec<_>>(), ["x-a"]);
    }

    #[test]
    fn an_absent_value_is_an_error_in_the_path_and_empty_in_the_query() {
        let template = Template::parse("/a/{path.x}").expect("is right");
        assert_eq!(
            template.fill(|_| None),
            Err(Unfilled::Absent("{path.x}".into()))
        );
        assert_eq!(
            fill("/a/{path.x}", ""),
            Err(Unfilled::Absent("{path.x}".into()))
        );
        let template = Template::parse("/a?x={query.x}&y=1").expect("is right");
        assert_eq!(template.fill(|_| None).as_deref(), Ok("/a?x=&y=1"));
    }

    #[test]
    fn a_value_cannot_leave_its_place() {
        assert_eq!(
            fill("/a/{path.x}", "b/c?d#e&f=g h\r\n").as_deref(),
            Ok("/a/b%2Fc%3Fd%23e%26f%3Dg%20h%0D%0A")
        );
        assert_eq!(
            fill("/a?x={query.x}", "1&y=2#z").as_deref(),
            Ok("/a?x=1%26y%3D2%23z")
        );
        for climbing in [".", "..", "../admin", "x/../../admin", "..\\admin"] {
            assert_eq!(
                fill("/a/{path.x}", climbing),
                Err(Unfilled::Refused("{path.x}".into())),
                "{climbing:?}"
            );
        }
        assert_eq!(fill("/a?x={query.x}", "..").as_deref(), Ok("/a?x=.."));
        let halves = Template::parse("/a/{path.x}{path.y}").expect("is right");
        assert!(halves.fill(|_| Some(b".".to_vec())).is_err());
    }

    #[test]
    fn a_wrong_template_is_explained() {
        for bad in [
            "",
            "a",
            "{path.x}",
            "/{x}",
            "/{path.}",
            "/{header.a b}",
            "/{path.x",
            "/a b",
            "/a#b",
            "/ä",
            "/}",
            "/a/../b",
        ] {
            assert!(Template::parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_value_stays_one_segment(value: Vec<u8>) {
            let template = Template::parse("/a/{path.x}/b").expect("is right");
            if let Ok(path) = template.fill(|_| Some(value.clone())) {
                prop_assert_eq!(path.split('/').count(), 4);
                prop_assert!(path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'?' && byte != b'#'));
            }
        }
    }
}
