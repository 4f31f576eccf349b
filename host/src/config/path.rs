//! The path pattern of a route: `/exact`, `/with/{parameter}`, `/with/{*tail}`.
//!
//! The router's own parser would refuse most mistakes too, but late, in its own words, and some it does not see: a name used
//! twice, a dot segment that no normalised request path can match. A test holds the two together.

use std::sync::Arc;

use serde::{Deserialize, Deserializer};

use super::regex::whole_regex;
use super::values::{Refusal, from_text, text_value};

/// The router gives each parameter a letter and gives up at the 26th; nobody reads a path with more than this.
const MAX_PARAMETERS: usize = 16;

/// A path pattern that the router will accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathPattern(pub(super) Arc<str>);

impl<'de> Deserialize<'de> for PathPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a path like \"/orders/{id}\"", |text| {
            check(text).map(|_| Self(text.into()))
        })
    }
}

text_value!(
    /// A regular expression that whole paths match.
    PathRegex(Arc<str>), "a regular expression like \"/v[0-9]+/orders\"", regex
);

/// The names of a pattern's parameters.
pub(super) fn parameters(path: &str) -> Vec<String> {
    let names = check(path).unwrap_or_default();
    names.into_iter().map(str::to_owned).collect()
}

/// The names of an expression's groups; one without a name is called by its number.
pub(super) fn regex_groups(text: &str) -> Vec<String> {
    let Ok(regex) = whole_regex(text) else {
        return Vec::new();
    };
    let groups = regex.capture_names().enumerate().skip(1);
    groups
        .map(|(number, name)| name.map_or_else(|| number.to_string(), str::to_owned))
        .collect()
}

fn regex(text: &str) -> Result<Arc<str>, Refusal> {
    if !text.trim_start_matches(['^', '(']).starts_with('/') {
        return Err(Refusal::new(format!(
            "an expression for paths begins with \"/\", found {text:?}"
        ))
        .help("it must match the whole path, such as \"/.*[.]png\""));
    }
    let regex = whole_regex(text).map_err(Refusal::new)?;
    let groups = regex.captures_len() - 1;
    if groups > MAX_PARAMETERS {
        return Err(Refusal::new(format!(
            "an expression has at most {MAX_PARAMETERS} groups, found {groups}"
        ))
        .help("write \"(?:...)\" for a group whose text is not needed"));
    }
    Ok(text.into())
}

/// Checks a pattern. Returns the names of its parameters.
fn check(path: &str) -> Result<Vec<&str>, Refusal> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err(Refusal::new(format!(
            "a path begins with \"/\", found {path:?}"
        )));
    };
    if let Some(wrong) = path.chars().find(|character| !character.is_ascii_graphic()) {
        return Err(Refusal::new(format!(
            "a path has only visible ASCII characters, found {wrong:?}"
        ))
        .help("percent-encode it as UTF-8"));
    }
    if path.contains(['?', '#']) {
        return Err(Refusal::new("a path has no query and no fragment").help(
            "conditions on the query are in `query`; remove the part from the `?` or `#` on",
        ));
    }
    if let Some(at) = path.match_indices('%').map(|(at, _)| at).find(|at| {
        let digits = path.get(at + 1..at + 3).unwrap_or_default();
        digits.len() < 2 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    }) {
        let wrong = path.get(at..).unwrap_or_default();
        return Err(Refusal::new(format!(
            "expected two hexadecimal digits after \"%\", found {wrong:?}"
        ))
        .help("a literal \"%\" is \"%25\""));
    }
    let mut names = Vec::new();
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        if segment.is_empty() && !is_last {
            return Err(
                Refusal::new("a path has no empty segments").help("write one \"/\" instead of two")
            );
        }
        if segment == "." || segment == ".." {
            return Err(
                Refusal::new(format!("a path has no \"{segment}\" segments"))
                    .help("request paths are normalised before they are matched"),
            );
        }
        if let Some(name) = parameter(segment, is_last)? {
            if names.contains(&name) {
                return Err(Refusal::new(format!(
                    "the parameter \"{name}\" is in the path twice"
                )));
            }
            names.push(name);
        }
    }
    if names.len() > MAX_PARAMETERS {
        return Err(Refusal::new(format!(
            "a path has at most {MAX_PARAMETERS} parameters, found {}",
            names.len()
        )));
    }
    Ok(names)
}

/// The name of the parameter in `segment`, if there is one. Doubled braces stand for themselves.
fn parameter(segment: &str, is_last: bool) -> Result<Option<&str>, Refusal> {
    let Some((open, close)) = braces(segment)? else {
        return Ok(None);
    };
    let inner = segment.get(open + 1..close).unwrap_or_default();
    let name = inner.strip_prefix('*').unwrap_or(inner);
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.is_empty() || !name.bytes().all(legal) {
        return Err(Refusal::new(format!(
            "a parameter's name consists of letters, digits, \"-\" and \"_\", found {inner:?}"
        ))
        .help("write `{name}` for one segment, `{*name}` for the rest of the path"));
    }
    let alone = open == 0 && close + 1 == segment.len();
    if inner.starts_with('*') && !(is_last && alone) {
        return Err(Refusal::new(format!(
            "`{{*{name}}}` stands for the rest of the path and is its last segment"
        )));
    }
    Ok(Some(name))
}

/// Where the one parameter of a segment opens and closes.
fn braces(segment: &str) -> Result<Option<(usize, usize)>, Refusal> {
    let mut found: Option<(usize, Option<usize>)> = None;
    let mut has_literal = false;
    let mut bytes = segment.bytes().enumerate().peekable();
    while let Some((index, byte)) = bytes.next() {
        let open = matches!(found, Some((_, None)));
        match byte {
            b'{' | b'}' if !open && bytes.next_if(|&(_, next)| next == byte).is_some() => {
                has_literal = true;
            }
            b'{' if open => return Err(unbalanced(segment)),
            b'{' if found.is_some() => {
                return Err(Refusal::new(format!(
                    "a segment has at most one parameter, found {segment:?}"
                )));
            }
            b'{' => found = Some((index, None)),
            b'}' => match found {
                Some((start, None)) => found = Some((start, Some(index))),
                _ => return Err(unbalanced(segment)),
            },
            _ => {}
        }
    }
    match found {
        None => Ok(None),
        // The router loses count of a literal brace right behind a parameter.
        Some(_) if has_literal => Err(Refusal::new(format!(
            "a segment has a parameter or literal braces, not both, found {segment:?}"
        ))),
        Some((open, Some(close))) => Ok(Some((open, close))),
        Some((_, None)) => Err(unbalanced(segment)),
    }
}

fn unbalanced(segment: &str) -> Refusal {
    Refusal::new(format!("the braces do not match in {segment:?}"))
        .help("write `{name}`; a literal brace is doubled")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_of_the_router_are_accepted() {
        for good in [
            "/",
            "/orders",
            "/orders/",
            "/orders/{id}",
            "/o/{id}/lines/{line}",
            "/{*rest}",
            "/api/{*rest}",
            "/img-{id}.png",
            "/{{literal}}",
            "/a%20b",
            "/v1/...",
            "/{a-b_c}",
        ] {
            assert!(check(good).is_ok(), "{good}: {:?}", check(good));
        }
    }

    #[test]
    fn mistakes_are_refused() {
        for wrong in [
            "", "orders", "*", "/a?b", "/a#b", "/a b", "/ä", "//", "/a//b", "/./a", "/a/..", "/{}",
            "/{*}", "/{id", "/id}", "/{a}{b}", "/{a/b}", "/{a}/{a}", "/{*a}/b", "/x{*a}", "/{a.b}",
            "/{a{b}}", "/{a}{{", "/{{{a}}}", "/a%", "/%4", "/%zz",
        ] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
        assert!(check(&(0..17).map(|n| format!("/{{p{n}}}")).collect::<String>()).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4096) })]

        #[test]
        fn what_is_accepted_is_accepted_by_the_router(path in "/([a/.*-]|\\{a\\}|\\{b\\}|\\{\\*c\\}|\\{|\\}|\\{\\{|\\}\\}){0,8}") {
            if check(&path).is_ok() {
                prop_assert!(matchit::Router::new().insert(path.as_str(), ()).is_ok());
            }
        }

        #[test]
        fn nothing_panics(path in any::<String>()) {
            let _ = check(&path);
        }
    }
}
