//! Texts, to JSON and from it. By hand, because `serde_json` would make the component twice as large for these two.

/// A text as JSON.
pub(crate) fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\0'..='\x1f' => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// What stands between the quotes of a checked string, as it is meant; none if it holds half a surrogate pair.
pub(crate) fn unescape(inner: &str) -> Option<String> {
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((literal, escaped)) = rest.split_once('\\') {
        out.push_str(literal);
        let (character, tail) = escape(escaped)?;
        out.push(character);
        rest = tail;
    }
    out.push_str(rest);
    Some(out)
}

/// The character that an escape stands for, and what follows it. `text` begins after the backslash.
fn escape(text: &str) -> Option<(char, &str)> {
    let (kind, tail) = text.split_at_checked(1)?;
    let plain = match kind {
        "b" => '\u{8}',
        "f" => '\u{c}',
        "n" => '\n',
        "r" => '\r',
        "t" => '\t',
        "u" => return unicode(tail),
        other => other.chars().next()?,
    };
    Some((plain, tail))
}

/// One character of `XXXX`, or of a surrogate pair `XXXX\uXXXX`.
fn unicode(text: &str) -> Option<(char, &str)> {
    let (first, tail) = unit(text)?;
    if let Some(character) = char::from_u32(u32::from(first)) {
        return Some((character, tail));
    }
    let (second, tail) = unit(tail.strip_prefix("\\u")?)?;
    let character = char::decode_utf16([first, second]).next()?.ok()?;
    Some((character, tail))
}

fn unit(text: &str) -> Option<(u16, &str)> {
    let (digits, tail) = text.split_at_checked(4)?;
    Some((u16::from_str_radix(digits, 16).ok()?, tail))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_survives_the_way_to_json(text: String) {
            prop_assert_eq!(serde_json::from_str::<String>(&string(&text)).expect("is JSON"), text);
        }

        #[test]
        fn escapes_mean_what_serde_json_says(inner in r#"([a\u{e4}]|\\["\\/bfnrt]|\\u(00e[0-9A-F]|d83d|de0[0-9]))*"#) {
            let expected = serde_json::from_str::<String>(&format!("\"{inner}\"")).ok();
            prop_assert_eq!(unescape(&inner), expected);
        }
    }
}
