//! Regular expressions of the configuration: small, and without surprises in time or memory.

use regex::bytes::{Regex, RegexBuilder};

/// Most bytes of one expression, compiled.
pub const MAX_REGEX_SIZE: usize = 256 << 10;
/// Most bytes of its text.
const MAX_REGEX_TEXT: usize = 1_000;

/// Compiles an expression that matches whole values, byte by byte. It takes time that grows with the value only.
///
/// # Errors
/// A sentence, when it is wrong or too large.
pub fn whole_regex(text: &str) -> Result<Regex, String> {
    if text.len() > MAX_REGEX_TEXT {
        return Err(format!(
            "a regular expression has at most {MAX_REGEX_TEXT} characters, found {}",
            text.len()
        ));
    }
    let build = |text: &str| {
        RegexBuilder::new(text)
            .unicode(false)
            .size_limit(MAX_REGEX_SIZE)
            .dfa_size_limit(MAX_REGEX_SIZE)
            .build()
    };
    // Alone first: in `a)(b` the parentheses match those that are added.
    let whole = build(text).and_then(|_| build(&format!("^(?:{text})$")));
    whole.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => format!("the regular expression {text:?} is too large"),
        error => {
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default();
            let reason = reason.strip_prefix("error: ").unwrap_or(reason);
            format!("{text:?} is not a regular expression: {reason}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_matches_the_whole_value() {
        let regex = whole_regex("a|b+").unwrap();
        assert!(regex.is_match(b"a") && regex.is_match(b"bb"));
        assert!(!regex.is_match(b"ab") && !regex.is_match(b"bba") && !regex.is_match(b"a\n"));
    }

    #[test]
    fn what_is_wrong_or_large_is_refused() {
        for (text, reason) in [
            ("a)(b", "not a regular expression: unopened group"),
            ("[", "not a regular expression: unclosed character class"),
            ("(a{500}){500}", "too large"),
            (&"a".repeat(1_001), "at most 1000 characters"),
        ] {
            let error = whole_regex(text).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
