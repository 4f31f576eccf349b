//! What is read from what the host writes, and what is said about what operators get wrong.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::parse;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Everything {
    text: String,
    #[serde(default)]
    flag: bool,
    #[serde(default)]
    signed: i64,
    #[serde(default)]
    small: u8,
    #[serde(default)]
    ratio: f64,
    #[serde(default)]
    maybe: Option<u64>,
    #[serde(default)]
    pair: Option<(u8, String)>,
    #[serde(default)]
    map: BTreeMap<String, Vec<u32>>,
    #[serde(default)]
    choice: Vec<Choice>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Choice {
    Nothing,
    Header(String),
    Both { left: u8, right: u8 },
}

#[track_caller]
fn read(json: &str) -> Everything {
    parse(json).expect("is right")
}

#[track_caller]
fn error(json: &str) -> String {
    parse::<Everything>(json).expect_err("is wrong").to_string()
}

#[test]
fn every_kind_of_value_is_read() {
    let json = r#" {"text":"a","flag":true,"signed":-3,"small":255,"ratio":1.5e1,"maybe":7,"pair":[1,"b"],
        "map":{"x":[1,2],"y":[]},"choice":["nothing",{"header":"h"},{"both":{"left":1,"right":2}}]} "#;
    let expected = Everything {
        text: "a".into(),
        flag: true,
        signed: -3,
        small: 255,
        ratio: 15.0,
        maybe: Some(7),
        pair: Some((1, "b".into())),
        map: BTreeMap::from([("x".into(), vec![1, 2]), ("y".into(), vec![])]),
        choice: vec![
            Choice::Nothing,
            Choice::Header("h".into()),
            Choice::Both { left: 1, right: 2 },
        ],
    };
    assert_eq!(read(json), expected);
    assert_eq!(read(r#"{"text":"","ratio":2,"maybe":null}"#).ratio, 2.0);
}

#[test]
fn strings_are_what_the_host_wrote() {
    for text in [
        "",
        "a\"b\\c/d",
        "line\nbreak\ttab\u{8}\u{c}\r\u{1}",
        "ä€😀",
        "{}[],:",
    ] {
        let json = serde_json::to_string(&BTreeMap::from([("text", text)])).expect("is text");
        assert_eq!(read(&json).text, text);
    }
    assert_eq!(read(r#"{"text":"\u00e4\ud83d\ude00\/"}"#).text, "ä😀/");
}

#[test]
fn errors_say_where_and_what() {
    assert_eq!(
        error(r#"{"text": 3}"#),
        "text: expected a string, found a whole number"
    );
    assert_eq!(
        error(r#"{"text": 3.5}"#),
        "text: expected a string, found a number with a fraction"
    );
    assert_eq!(
        error(r#"{"text": "", "map": {"x": [1, "2"]}}"#),
        "map.x[1]: expected a whole number from 0 (u32), found a string"
    );
    assert_eq!(
        error(r#"{"text": "", "small": 256}"#),
        "small: expected a whole number from 0 (u8), found 256"
    );
    assert_eq!(
        error(r#"{"text": "", "map": 1}"#),
        "map: expected a table, found a whole number"
    );
    assert_eq!(
        error(r#"{"text": "", "choice": [{"both": 1}]}"#),
        "choice[0].both: expected a table, found a whole number"
    );
    assert_eq!(
        error(r#"{"text": "", "choice": ["none"]}"#),
        "choice[0]: unknown variant `none`, expected one of `nothing`, `header`, `both`"
    );
    assert_eq!(error("{}"), "missing field `text`");
    assert_eq!(error("[]"), "expected a table, found a list");
}

#[test]
fn what_is_not_json_is_an_error_and_no_panic() {
    let good = r#"{"text":"a\u00e4\n","map":{"x":[1,2]},"pair":[1,"b"],"choice":[{"header":"h"}]}"#;
    for end in 0..good.len() {
        assert!(
            parse::<Everything>(&good[..end]).is_err(),
            "{}",
            &good[..end]
        );
    }
    for bad in [
        "{\"text\":\"\"} x",
        "{\"text\" \"\"}",
        "{\"text\":tru}",
        "{\"text\":\"\\ud800x\"}",
        "{\"text\":\"\\u00",
        "{,}",
        "-",
    ] {
        assert!(parse::<Everything>(bad).is_err(), "{bad}");
    }
    assert!(parse::<Nested>(&"[".repeat(100_000)).is_err());
}

#[derive(Debug, Deserialize)]
struct Nested(#[expect(dead_code, reason = "only its depth matters")] Vec<Nested>);
