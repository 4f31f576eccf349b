use std::rc::Rc;

use super::JsonMask;
use crate::Rules;
use crate::config::Config;

fn rules(config: &str) -> Rc<Rules> {
    let config: Config = postern_plugin::config::parse(config).expect("it is read");
    Rc::new(config.compile().expect("it is right"))
}

fn masked(rules: &Rc<Rules>, text: &[u8], size: usize) -> Result<String, String> {
    let (mut mask, mut out) = (JsonMask::new(Rc::clone(rules)), Vec::new());
    for piece in text.chunks(size) {
        mask.push(piece, &mut out)?;
    }
    mask.end()?;
    Ok(String::from_utf8(out).expect("it is text"))
}

/// Masks, cut in every way, and compares.
#[track_caller]
fn assert_masked(config: &str, text: &str, expected: &str) {
    let rules = rules(config);
    for size in [1, 2, 3, 5, 8, 64, 1 << 20] {
        let masked = masked(&rules, text.as_bytes(), size);
        assert_eq!(masked.as_deref(), Ok(expected), "pieces of {size}");
    }
}

#[test]
fn values_of_every_kind_are_masked_and_all_else_stays() {
    assert_masked(
        r#"{"fields": ["p"]}"#,
        r#" { "p" : "a\"b\\" , "q":"p", "l":[{"p":1.5e-3},{"p":null},{"p" :true}, "p"], "o":{"p":{"p":["]}",{}]},"r":[]},"p":[[],"\\"]}
"#,
        r#" { "p" : "***" , "q":"p", "l":[{"p":"***"},{"p":"***"},{"p" :"***"}, "p"], "o":{"p":"***","r":[]},"p":"***"}
"#,
    );
}

#[test]
fn keys_with_escapes_are_the_keys_that_they_mean() {
    assert_masked(
        r#"{"fields": ["pass/word", "ü😀", "a\"b"], "replacement": "\"x\n\""}"#,
        r#"{"p\u0061ss\/word":1,"\u00fc\ud83d\ude00":2,"ü😀":3,"a\"b":4,"pass\\/word":5}"#,
        r#"{"p\u0061ss\/word":"\"x\n\"","\u00fc\ud83d\ude00":"\"x\n\"","ü😀":"\"x\n\"","a\"b":"\"x\n\"","pass\\/word":5}"#,
    );
}

#[test]
fn paths_begin_at_the_root() {
    assert_masked(
        r#"{"fields": ["$.card.number", "$.items.*.ssn"]}"#,
        r#"{"card":{"number":1,"x":{"card":{"number":2}}},"items":[{"ssn":3},{"a":{"ssn":4}}],"ssn":5,"number":6}"#,
        r#"{"card":{"number":"***","x":{"card":{"number":2}}},"items":[{"ssn":"***"},{"a":{"ssn":4}}],"ssn":5,"number":6}"#,
    );
}

#[test]
fn lines_of_json_are_documents_of_their_own() {
    assert_masked(
        r#"{"fields": ["$.a"]}"#,
        "{\"a\":1}\n{\"b\":{\"a\":2}}\n3\n\"a\"\n",
        "{\"a\":\"***\"}\n{\"b\":{\"a\":2}}\n3\n\"a\"\n",
    );
}

#[test]
fn patterns_are_found_in_strings_and_the_rest_stays_json() {
    let config = r#"{"patterns": [{"pattern": "\\d{4}-\\d{4}", "replacement": "\"-\""}, {"pattern": "a@b"}]}"#;
    assert_masked(
        config,
        r#"{"1234-5678":"no: 1234\u002d5678.","n":[1234, "\ta\u0040b\n\\ 9999-0000"],"e":"\"\u0001ü\ud83d\ude00\ud83d"}"#,
        "{\"1234-5678\":\"no: \\\"-\\\".\",\"n\":[1234, \"\\t***\\n\\\\ \\\"-\\\"\"],\"e\":\"\\\"\\u0001ü😀\u{fffd}\"}",
    );
}

#[test]
fn what_is_not_json_is_an_error() {
    let rules = rules(r#"{"fields": ["a"]}"#);
    let deep = "[".repeat(513);
    for text in [
        "{",
        "}",
        "[1",
        "[1}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\" 1}",
        "{1:2}",
        "[1 2]",
        "\"",
        "\"\\x\"",
        "\"\n\"",
        "<html>",
        "{\"a\":1,}",
        "[,]",
        "[1,]",
        "tru\u{e9}",
        "{\"a\":\"",
        "{\"a\":[",
        "\"\\u00g0\"",
        "\u{feff}{}",
        &deep,
    ] {
        for size in [1, 1_000] {
            assert!(masked(&rules, text.as_bytes(), size).is_err(), "{text:?}");
        }
    }
    assert_eq!(masked(&rules, b"", 1).as_deref(), Ok(""));
}
