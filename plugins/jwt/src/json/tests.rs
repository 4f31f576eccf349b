use super::*;

const NAMES: [Cow<'static, str>; 2] = [Cow::Borrowed("a"), Cow::Borrowed("b")];

fn ab(json: &str) -> Option<Vec<Member<'_>>> {
    members(json, &NAMES)
}

#[test]
fn members_come_as_they_are_written() {
    assert_eq!(
        ab(" {\"x\": {\"a\": 0}, \"b\" : [1, \"]\"] ,\"a\": \"\\n\"} "),
        Some(vec![Some("\"\\n\""), Some("[1, \"]\"]")])
    );
    assert_eq!(ab(r#"{"\u0061":1}"#), Some(vec![Some("1"), None]));
    assert_eq!(ab(r#"{"a":null}"#), Some(vec![None, None]));
    assert_eq!(ab("{}"), Some(vec![None, None]));
}

#[test]
fn a_member_that_counts_stands_once() {
    assert_eq!(ab(r#"{"a":1,"a":1}"#), None);
    assert_eq!(ab(r#"{"a":null,"a":1}"#), None);
    assert_eq!(ab(r#"{"a":1,"\u0061":2}"#), None);
    assert_eq!(ab(r#"{"x":1,"x":2,"a":3}"#), Some(vec![Some("3"), None]));
}

#[test]
fn only_one_whole_object_is_read() {
    let bad = [
        "",
        " ",
        "1",
        "[]",
        "null",
        "{",
        "}",
        "{}}",
        "{} {}",
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\" 1}",
        "{a:1}",
        "{'a':1}",
        "\u{feff}{}",
        "{\"x\":1,}",
        "{,\"x\":1}",
        "{\"x\":1 \"y\":2}",
        "{\"x\":[1,]}",
        "{\"x\":[,1]}",
        "{\"x\":[1 2]}",
        "{\"x\":[1}]",
        "{\"x\":01}",
        "{\"x\":-}",
        "{\"x\":1.}",
        "{\"x\":.5}",
        "{\"x\":+1}",
        "{\"x\":1e}",
        "{\"x\":1e+}",
        "{\"x\":0x1}",
        "{\"x\":NaN}",
        "{\"x\":tru}",
        "{\"x\":True}",
        "{\"x\":nulll}",
        "{\"x\":\"\\x\"}",
        "{\"x\":\"\\u12g4\"}",
        "{\"x\":\"\\u123\"}",
        "{\"x\":\"\\\"}",
        "{\"x\":\"\t\"}",
        "{\"x\":\"\n\"}",
        "{\"x\":\"\0\"}",
        "{\"x\":\"a}",
        "{\"\\ud800\":1}",
        "{\"x\":\u{a0}1}",
        "{\"x\":/**/1}",
        "{\"\\u00e\u{e4}\":1}",
    ];
    for json in bad {
        assert_eq!(ab(json), None, "{json:?}");
    }
}

#[test]
fn nesting_is_no_matter() {
    let nested = |depth: usize| format!("{{\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(ab(&nested(4_000)).is_some());
    assert!(ab(&format!("{{\"x\":{}", "[".repeat(4_000))).is_none());
}

#[test]
fn strings_are_unescaped() {
    let cases = [
        (r#""plain""#, "plain"),
        (
            r#""a\/\u00e9\"\\\b\f\n\r\t""#,
            "a/\u{e9}\"\\\u{8}\u{c}\n\r\t",
        ),
        (r#""\ud83d\ude00!""#, "\u{1f600}!"),
        (r#""\u0000\uffff""#, "\0\u{ffff}"),
        ("\"\u{1f600}\\n\u{e9}\"", "\u{1f600}\n\u{e9}"),
        (r#""""#, ""),
    ];
    for (json, expected) in cases {
        assert_eq!(string(json).as_deref(), Some(expected), "{json}");
    }
    assert!(matches!(string("\"plain\""), Some(Cow::Borrowed("plain"))));
    for json in [
        "1",
        "[\"a\"]",
        "{}",
        "true",
        r#""\ud800""#,
        r#""\ud800\u0041""#,
        r#""\ud800x""#,
        r#""\udc00""#,
    ] {
        assert_eq!(string(json), None, "{json}");
    }
}

#[test]
fn elements_are_those_of_an_array() {
    assert_eq!(
        elements(r#"[1, "a" , [2,3],{}]"#),
        Some(vec!["1", "\"a\"", "[2,3]", "{}"])
    );
    assert_eq!(elements("[ ]"), Some(vec![]));
    for json in ["{}", "\"a\"", "1", "true"] {
        assert_eq!(elements(json), None, "{json}");
    }
}

#[test]
fn numbers_are_finite() {
    for (json, expected) in [
        ("-0", 0.0),
        ("1700000000.5", 1_700_000_000.5),
        ("1.7e9", 1_700_000_000.0),
        ("1700000000000e-3", 1_700_000_000.0),
        ("1e300", 1e300),
    ] {
        assert_eq!(number(json), Some(expected), "{json}");
    }
    for json in ["\"1\"", "1e999", "-1e999", "null", "[1]", "true", "1 2", ""] {
        assert_eq!(number(json), None, "{json}");
    }
}
