//! Values with placeholders: parsed once, filled for every message.

use postern_plugin::header::{is_token, is_value_byte};

/// What placeholders stand for; the host in production.
pub(crate) trait Facts {
    /// The name of the consumer.
    fn consumer(&self) -> Option<String>;
    /// The tier of the consumer.
    fn tier(&self) -> Option<String>;
    /// What TLS told about the client: `tls.NAME`.
    fn tls(&self, name: &str) -> Option<String>;
    /// The first value of a request header.
    fn header(&self, name: &str) -> Option<Vec<u8>>;
    /// A parameter of the route's path pattern.
    fn path_parameter(&self, name: &str) -> Option<String>;
    /// A query parameter.
    fn query(&self, name: &str) -> Option<String>;
}

/// For templates that ask for nothing.
pub(crate) struct NoFacts;

impl Facts for NoFacts {
    fn consumer(&self) -> Option<String> {
        None
    }
    fn tier(&self) -> Option<String> {
        None
    }
    fn tls(&self, _: &str) -> Option<String> {
        None
    }
    fn header(&self, _: &str) -> Option<Vec<u8>> {
        None
    }
    fn path_parameter(&self, _: &str) -> Option<String> {
        None
    }
    fn query(&self, _: &str) -> Option<String> {
        None
    }
}

/// A value of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Template {
    /// No placeholders: no question to the host.
    Constant(Vec<u8>),
    /// Text and placeholders in turn.
    Parts(Vec<Part>),
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// As it stands.
    Text(String),
    /// `{consumer}`
    Consumer,
    /// `{consumer.tier}`
    Tier,
    /// `{tls.version}`, `{tls.sni}`, `{tls.client.subject}`
    Tls(&'static str),
    /// `{header.NAME}`, in lower case
    Header(String),
    /// `{path.NAME}`
    Path(String),
    /// `{query.NAME}`
    Query(String),
}

impl Template {
    /// Reads a template. `{{` and `}}` are literal braces. The error says what is wrong.
    pub(crate) fn parse(source: &str) -> Result<Self, String> {
        if !source.bytes().all(is_value_byte) {
            return Err(String::from("control characters cannot stand in a header"));
        }
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            text.push_str(before);
            if let Some(after) = brace
                .strip_prefix("{{")
                .or_else(|| brace.strip_prefix("}}"))
            {
                text.push_str(&brace[..1]);
                rest = after;
            } else if let Some(placeholder) = brace.strip_prefix('{') {
                let (name, after) = placeholder
                    .split_once('}')
                    .ok_or("a { without its }; a literal brace is {{")?;
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                parts.push(Part::parse(name)?);
                rest = after;
            } else {
                return Err(String::from("a } without its {; a literal brace is }}"));
            }
        }
        text.push_str(rest);
        if parts.is_empty() {
            return Ok(Template::Constant(text.into_bytes()));
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Template::Parts(parts))
    }

    /// Fills the placeholders. What is absent is empty, and so is what would not be a header value: the client chooses
    /// much of it, and a line break must never begin a header of the client's own.
    pub(crate) fn fill(&self, facts: &impl Facts) -> Vec<u8> {
        match self {
            Template::Constant(value) => value.clone(),
            Template::Parts(parts) => {
                let mut value = Vec::new();
                for part in parts {
                    part.push(&mut value, facts);
                }
                value
            }
        }
    }

    /// The request headers that it reads.
    pub(crate) fn headers(&self) -> impl Iterator<Item = &str> {
        let parts = match self {
            Template::Constant(_) => &[][..],
            Template::Parts(parts) => parts,
        };
        parts.iter().filter_map(|part| {
            if let Part::Header(name) = part {
                Some(name.as_str())
            } else {
                None
            }
        })
    }
}

impl Part {
    fn parse(name: &str) -> Result<Self, String> {
        let part = match name.split_once('.') {
            None if name == "consumer" => Part::Consumer,
            Some(("consumer", "tier")) => Part::Tier,
            Some(("tls", "version")) => Part::Tls("tls.version"),
            Some(("tls", "sni")) => Part::Tls("tls.sni"),
            Some(("tls", "client.subject")) => Part::Tls("tls.client.subject"),
            Some(("header", header)) if is_token(header) => {
                Part::Header(header.to_ascii_lowercase())
            }
            Some(("path", parameter)) if !parameter.is_empty() => Part::Path(parameter.to_owned()),
            Some(("query", parameter)) if !parameter.is_empty() => {
                Part::Query(parameter.to_owned())
            }
            _ => {
                return Err(format!(
                    "unknown placeholder {{{name}}}: expected consumer, consumer.tier, header.NAME, path.NAME, \
                     query.NAME, tls.version, tls.sni or tls.client.subject; a literal brace is {{{{"
                ));
            }
        };
        Ok(part)
    }

    fn push(&self, value: &mut Vec<u8>, facts: &impl Facts) {
        let filled = match self {
            Part::Text(text) => return value.extend_from_slice(text.as_bytes()),
            Part::Consumer => facts.consumer().map(String::into_bytes),
            Part::Tier => facts.tier().map(String::into_bytes),
            Part::Tls(name) => facts.tls(name).map(String::into_bytes),
            Part::Header(name) => facts.header(name),
            Part::Path(name) => facts.path_parameter(name).map(String::into_bytes),
            Part::Query(name) => facts.query(name).map(String::into_bytes),
        };
        let safe = filled.filter(|filled| filled.iter().copied().all(is_value_byte));
        value.extend_from_slice(&safe.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sample;

    impl Facts for Sample {
        fn consumer(&self) -> Option<String> {
            Some("app".into())
        }
        fn tier(&self) -> Option<String> {
            None
        }
        fn tls(&self, name: &str) -> Option<String> {
            (name == "tls.client.subject").then(|| "CN=app".into())
        }
        fn header(&self, name: &str) -> Option<Vec<u8>> {
            (name == "x-a").then(|| vec![b'1', 0xff])
        }
        fn path_parameter(&self, name: &str) -> Option<String> {
            Some(format!("<{name}>"))
        }
        fn query(&self, _: &str) -> Option<String> {
            Some("a\r\nx-admin: 1".into())
        }
    }

    #[track_caller]
    fn filled(source: &str) -> Vec<u8> {
        Template::parse(source).expect("is right").fill(&Sample)
    }

    #[test]
    fn placeholders_are_filled_and_absent_ones_empty() {
        assert_eq!(filled("{consumer}/{consumer.tier}/{path.id}"), b"app//<id>");
        assert_eq!(filled("{tls.client.subject}{tls.sni}"), b"CN=app");
        assert_eq!(filled("a {header.X-A} b{header.x-b}"), b"a 1\xff b");
    }

    #[test]
    fn doubled_braces_are_braces() {
        assert_eq!(
            Template::parse("{{\"a\": 1}}"),
            Ok(Template::Constant(b"{\"a\": 1}".to_vec()))
        );
        assert_eq!(filled("{{{consumer}}}"), b"{app}");
    }

    #[test]
    fn a_line_break_does_not_get_out_of_a_value() {
        assert_eq!(filled("q={query.q};"), b"q=;");
        assert!(Template::parse("a\r\nb").is_err());
    }

    #[test]
    fn wrong_templates_are_refused() {
        for bad in [
            "{",
            "}",
            "{consumer",
            "{}",
            "{consumer.name}",
            "{header.}",
            "{header.a b}",
            "{path.}",
            "{Consumer}",
        ] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }
}
