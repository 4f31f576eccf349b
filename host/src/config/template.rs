//! Texts with places for what a request brings: `/v2/{id}`, `https://{$host}{$path}`.

use std::sync::Arc;

/// A text with places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template(pub Vec<Part>);

/// One part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// This text.
    Text(Arc<str>),
    /// The value of a path parameter, as it is in the path.
    Parameter(Arc<str>),
    /// `{$host}`: the host of the request, without its port.
    Host,
    /// `{$path}`: the path of the request.
    Path,
}

impl Template {
    /// Parses a template; `names` are the path's parameters. A doubled brace is a literal one.
    pub(super) fn parse(text: &str, names: &[String]) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(rest.get(..at).unwrap_or_default());
            let brace = rest.get(at..at + 1).unwrap_or_default();
            rest = rest.get(at + 1..).unwrap_or_default();
            if let Some(after) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after;
                continue;
            }
            let place = rest.split_once('}').filter(|_| brace == "{");
            let Some((name, after)) = place else {
                return Err(format!("the braces do not match in {text:?}"));
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal).into()));
            }
            parts.push(place_of(name, names)?);
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal.into()));
        }
        Ok(Self(parts))
    }

    /// The text that it begins with, up to its first place.
    pub(super) fn beginning(&self) -> &str {
        match self.0.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }
}

fn place_of(name: &str, names: &[String]) -> Result<Part, String> {
    match name {
        "$host" => Ok(Part::Host),
        "$path" => Ok(Part::Path),
        name if names.iter().any(|known| known == name) => Ok(Part::Parameter(name.into())),
        name if names.is_empty() => Err(format!(
            "there is no parameter \"{{{name}}}\": the path has none"
        )),
        name => Err(format!(
            "there is no parameter \"{{{name}}}\": the path has {}",
            names.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Part>, String> {
        Template::parse(text, &["id".into(), "rest".into()]).map(|template| template.0)
    }

    #[test]
    fn places_stand_between_texts() {
        let parts = parse("https://{$host}/{{x}}/{id}{rest}{$path}").unwrap();
        assert_eq!(
            parts,
            [
                Part::Text("https://".into()),
                Part::Host,
                Part::Text("/{x}/".into()),
                Part::Parameter("id".into()),
                Part::Parameter("rest".into()),
                Part::Path,
            ]
        );
        assert_eq!(parse("").unwrap(), []);
    }

    #[test]
    fn what_does_not_exist_or_end_is_refused() {
        for (text, reason) in [
            ("/{no}", "the path has id, rest"),
            ("/{*rest}", "no parameter"),
            ("/{}", "no parameter"),
            ("/{id", "do not match"),
            ("/id}", "do not match"),
            ("/{$port}", "no parameter"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
