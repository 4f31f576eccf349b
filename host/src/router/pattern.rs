//! A path pattern, taken apart into segments.
//!
//! The syntax is that of the `matchit` crate: `/static`, `/{parameter}`, `/prefix-{parameter}.suffix`, `/{*tail}`, with
//! `{{` and `}}` for literal braces. The crate itself is not used, because it refuses a parameter and a tail in one
//! place (`/{tenant}/users` beside `/{*rest}`), which operators write for their fallback.

use std::sync::Arc;

use super::normalise::normal_text;

/// Most parameters of one pattern: matching notes them on the stack.
pub(super) const MAX_PARAMETERS: usize = 16;

/// One part of a pattern between slashes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Segment {
    /// This text.
    Static(Box<str>),
    /// At least one character between a prefix and a suffix, either of which may be empty.
    Parameter {
        /// Before the parameter.
        prefix: Box<str>,
        /// After it.
        suffix: Box<str>,
    },
    /// At least one character up to the end of the path. Only as the last segment.
    Tail,
}

/// A parsed pattern. Two patterns match the same paths exactly when their segments are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// What follows each slash.
    pub(super) segments: Vec<Segment>,
    /// The names of parameters and tail, in their order in the path.
    pub(super) names: Arc<[Arc<str>]>,
}

impl Pattern {
    /// Parses a pattern; the error is a sentence.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let rest = text
            .strip_prefix('/')
            .ok_or_else(|| format!("path \"{text}\" does not begin with \"/\""))?;
        let mut segments = Vec::new();
        let mut names: Vec<Arc<str>> = Vec::new();
        for part in rest.split('/') {
            if segments.last() == Some(&Segment::Tail) {
                return Err(format!("path \"{text}\": a tail must be the last segment"));
            }
            let (segment, name) =
                segment(part).map_err(|reason| format!("path \"{text}\": {reason}"))?;
            segments.push(segment);
            if let Some(name) = name {
                if names.iter().any(|other| **other == *name) {
                    return Err(format!("path \"{text}\" names two parameters \"{name}\""));
                }
                names.push(name.into());
            }
        }
        if names.len() > MAX_PARAMETERS {
            return Err(format!(
                "path \"{text}\" has more than {MAX_PARAMETERS} parameters"
            ));
        }
        Ok(Self {
            segments,
            names: names.into(),
        })
    }

    /// What a pattern with a tail matches besides: the path up to the tail, with and without the slash before it.
    pub(super) fn shortened(&self) -> Vec<Vec<Segment>> {
        let Some((Segment::Tail, before)) = self.segments.split_last() else {
            return Vec::new();
        };
        let mut with_slash = before.to_vec();
        with_slash.push(Segment::Static("".into()));
        // The tail of `/{*rest}` has nothing before it but the slash.
        if before.is_empty() {
            vec![with_slash]
        } else {
            vec![with_slash, before.to_vec()]
        }
    }
}

/// Parses what stands between two slashes, and the name of its parameter. Text becomes what it is in normal paths.
fn segment(part: &str) -> Result<(Segment, Option<String>), String> {
    let mut prefix = String::new();
    let mut suffix = String::new();
    let mut name: Option<String> = None;
    let mut chars = part.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '{' | '}' if chars.peek() == Some(&c) => {
                chars.next();
                if name.is_none() {
                    prefix.push(c)
                } else {
                    suffix.push(c)
                }
            }
            '{' if name.is_some() => return Err("a segment has at most one parameter".into()),
            '{' => name = Some(parameter(&mut chars)?),
            '}' => return Err("\"}\" without \"{\"; write \"}}\" for a literal brace".into()),
            c if name.is_none() => prefix.push(c),
            c => suffix.push(c),
        }
    }
    let normal = |text: &str| normal_text(text).map_err(|error| error.to_string());
    let (prefix, suffix) = (normal(&prefix)?, normal(&suffix)?);
    let Some(name) = name else {
        return Ok((Segment::Static(prefix.into()), None));
    };
    let Some(tail) = name.strip_prefix('*') else {
        return Ok((
            Segment::Parameter {
                prefix: prefix.into(),
                suffix: suffix.into(),
            },
            Some(name),
        ));
    };
    if !(prefix.is_empty() && suffix.is_empty()) {
        return Err(format!("the tail \"{{{name}}}\" must be a whole segment"));
    }
    Ok((Segment::Tail, Some(tail.into())))
}

/// Reads a parameter's name up to its closing brace.
fn parameter(chars: &mut impl Iterator<Item = char>) -> Result<String, String> {
    let mut name = String::new();
    for c in chars.by_ref() {
        match c {
            '}' if name.trim_start_matches('*').is_empty() => {
                return Err("a parameter needs a name".into());
            }
            '}' => return Ok(name),
            '*' if name.is_empty() => name.push(c),
            '{' | '*' => return Err(format!("a parameter's name cannot hold \"{c}\"")),
            c => name.push(c),
        }
    }
    Err("\"{\" without \"}\"; write \"{{\" for a literal brace".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(prefix: &str, suffix: &str) -> Segment {
        Segment::Parameter {
            prefix: prefix.into(),
            suffix: suffix.into(),
        }
    }

    #[test]
    fn segments_are_static_parameters_and_a_tail() {
        let pattern = Pattern::parse("/a/{b}/img-{c}.png/{*d}").unwrap();
        assert_eq!(
            pattern.segments,
            [
                Segment::Static("a".into()),
                parameter("", ""),
                parameter("img-", ".png"),
                Segment::Tail
            ]
        );
        assert_eq!(
            pattern.names.iter().map(|name| &**name).collect::<Vec<_>>(),
            ["b", "c", "d"]
        );
    }

    #[test]
    fn doubled_braces_are_literal() {
        let pattern = Pattern::parse("/{{a}}/{{{b}}}").unwrap();
        assert_eq!(
            pattern.segments,
            [Segment::Static("%7Ba%7D".into()), parameter("%7B", "%7D")]
        );
    }

    #[test]
    fn text_is_what_it_is_in_normal_paths() {
        let pattern = Pattern::parse("/%7eb%2d%3a%2f/{{").unwrap();
        let expected = ["~b-%3A%2F", "%7B"].map(|text| Segment::Static(text.into()));
        assert_eq!(pattern.segments, expected);
        assert!(Pattern::parse("/%4").is_err());
    }

    #[test]
    fn malformed_patterns_are_refused_with_a_reason() {
        for (text, reason) in [
            ("a", "begin with"),
            ("", "begin with"),
            ("/{", "without \"}\""),
            ("/}", "without \"{\""),
            ("/{}", "needs a name"),
            ("/{*}", "needs a name"),
            ("/{a}{b}", "at most one"),
            ("/{*a}/b", "last segment"),
            ("/x{*a}", "whole segment"),
            ("/{a}/{a}", "two parameters"),
            ("/{a*b}", "cannot hold"),
        ] {
            let error = Pattern::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        let many: String = (0..=MAX_PARAMETERS)
            .map(|number| format!("/{{p{number}}}"))
            .collect();
        assert!(Pattern::parse(&many).unwrap_err().contains("more than 16"));
    }

    #[test]
    fn a_tail_has_two_shorter_forms() {
        let static_segment = |text: &str| Segment::Static(text.into());
        assert_eq!(
            Pattern::parse("/a/{*b}").unwrap().shortened(),
            [
                vec![static_segment("a"), static_segment("")],
                vec![static_segment("a")]
            ]
        );
        assert_eq!(
            Pattern::parse("/{*b}").unwrap().shortened(),
            [vec![static_segment("")]]
        );
        assert!(Pattern::parse("/a/{b}").unwrap().shortened().is_empty());
    }
}
