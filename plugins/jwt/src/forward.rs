//! Claims as header values, for the upstream.
//!
//! What a header cannot carry without a second meaning is refused: a control character, space at an end (which the next
//! reader would trim), a comma within an element of a list.

use crate::json;

/// A claim, given as its JSON. Strings, numbers and booleans as they are, arrays of them with commas in between, all else
/// as JSON. None if it cannot be told without ambiguity.
pub(crate) fn header_value(json: &str) -> Option<String> {
    let value = match json.as_bytes().first()? {
        b'[' => list(json)?,
        b'{' => compact(json),
        _ => scalar(json)?,
    };
    is_plain(&value).then_some(value)
}

/// The values of a claim for a note, one a line: strings, numbers and booleans, alone or in an array. What cannot stand on
/// a line is left out.
pub(crate) fn lines(json: &str) -> String {
    let elements = json::elements(json).unwrap_or_else(|| vec![json]);
    let values = elements
        .into_iter()
        .filter(|element| !element.starts_with(['[', '{']) && *element != "null")
        .filter_map(scalar)
        .filter(|value| !value.chars().any(char::is_control));
    values.collect::<Vec<_>>().join("\n")
}

fn list(json: &str) -> Option<String> {
    let elements = json::elements(json)?;
    if elements
        .iter()
        .any(|element| element.starts_with(['[', '{']))
    {
        return Some(compact(json));
    }
    let mut list = String::with_capacity(json.len());
    for (index, element) in elements.into_iter().enumerate() {
        if index > 0 {
            list.push(',');
        }
        let element = scalar(element)?;
        if element.contains(',') || !is_plain(&element) {
            return None;
        }
        list.push_str(&element);
    }
    Some(list)
}

fn scalar(json: &str) -> Option<String> {
    if json.starts_with('"') {
        json::string(json).map(Into::into)
    } else {
        Some(json.to_owned())
    }
}

/// JSON without the white space between its signs.
fn compact(json: &str) -> String {
    let mut is_string = false;
    let mut is_escaped = false;
    let keep = |character: &char| {
        let ends_or_begins = *character == '"' && !is_escaped;
        is_escaped = *character == '\\' && !is_escaped;
        is_string ^= ends_or_begins;
        is_string || !matches!(character, ' ' | '\t' | '\r' | '\n')
    };
    json.chars().filter(keep).collect()
}

fn is_plain(value: &str) -> bool {
    !value.chars().any(char::is_control) && value.trim_matches(' ').len() == value.len()
}

#[cfg(test)]
mod tests {
    use super::{header_value, lines};

    #[test]
    fn claims_become_values() {
        let cases = [
            (r#""mobile-app""#, "mobile-app"),
            (r#""a \"b\" \u00e9, c""#, "a \"b\" \u{e9}, c"),
            (r#""""#, ""),
            ("42", "42"),
            ("-1.50", "-1.50"),
            ("12345678901234567890", "12345678901234567890"),
            ("true", "true"),
            (r#"["read", "write",1,false ]"#, "read,write,1,false"),
            ("[]", ""),
            ("[null]", "null"),
            (
                "{ \"a b\" :\t[1,\n\"x \\\" y\\\\\" , {} ]\r}",
                r#"{"a b":[1,"x \" y\\",{}]}"#,
            ),
            (r#"[ "a,b" , ["c"] ]"#, r#"["a,b",["c"]]"#),
        ];
        for (json, expected) in cases {
            assert_eq!(header_value(json).as_deref(), Some(expected), "{json}");
        }
    }

    #[test]
    fn claims_become_lines() {
        let cases = [
            (r#""read write""#, "read write"),
            (r#"["read", "write",1,false ]"#, "read\nwrite\n1\nfalse"),
            ("42", "42"),
            ("[]", ""),
            // No claim becomes two, or another one than it is.
            (r#"["a\nadmin","b"]"#, "b"),
            (r#""a\nadmin""#, ""),
            (r#"["a",["admin"],{"admin":1},null]"#, "a"),
            (r#"{"admin":true}"#, ""),
        ];
        for (json, expected) in cases {
            assert_eq!(lines(json), expected, "{json}");
        }
    }

    #[test]
    fn what_would_have_a_second_meaning_is_refused() {
        let bad = [
            r#""a\r\nx-admin: 1""#,
            r#""a\nb""#,
            r#""a\u0000b""#,
            r#""a\tb""#,
            r#""a\u007fb""#,
            "\"a\u{7f}b\"",
            r#""a\u0085b""#,
            r#"" admin""#,
            r#""admin ""#,
            r#"["user,admin"]"#,
            r#"["user", " admin"]"#,
            r#"["a\nb"]"#,
            "{\"a\": \"\u{7f}\"}",
            r#""\ud800""#,
        ];
        for json in bad {
            assert_eq!(header_value(json), None, "{json}");
        }
    }
}
