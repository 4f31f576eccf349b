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
fn nesting_has_an_end() {
    let nested = |depth: usize| format!("{{\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(ab(&nested(63)).is_some());
    assert!(ab(&nested(64)).is_none());
    assert!(ab(&nested(4_000)).is_none());
    let beside = format!("{{\"x\":[{}0]}}", "[[]],".repeat(1_000));
    assert!(ab(&beside).is_some());
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
fn numbers_are_as_the_standard_library_reads_them() {
    let same = [
        "0",
        "-0",
        "7",
        "1700000000",
        "-1700000000",
        "1700000000.5",
        "1699999970.6",
        "0.25",
        "1.7e9",
        "17E8",
        "1700000000000e-3",
        "1e+2",
        "9007199254740993",
        "253402300799",
        "1e300",
        "123456789.123456789",
    ];
    for json in same {
        let expected: f64 = json.parse().expect("is a number");
        let found = number(json).expect(json);
        assert!(
            (found - expected).abs() <= expected.abs() * 1e-15,
            "{json}: {found}"
        );
    }
    for json in [
        "\"1\"",
        "1e999",
        "-1e999",
        "0e999999999999",
        "null",
        "[1]",
        "true",
        "1 2",
        "",
    ] {
        assert_eq!(number(json), None, "{json}");
    }
}

/// What `serde_json` makes of the same text, duplicates refused.
#[derive(serde::Deserialize)]
struct Oracle<'j> {
    #[serde(borrow)]
    a: Option<&'j serde_json::value::RawValue>,
    #[serde(borrow)]
    b: Option<&'j serde_json::value::RawValue>,
}

/// Texts that are nearly JSON, the same in every run.
fn mutations(seed: &str, count: usize) -> impl Iterator<Item = String> {
    const PIECES: [&str; 34] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\"a\"",
        "\"b\":",
        "\\u0061",
        "\\ud83d\\ude00",
        "\\ud800",
        "\\u00zz",
        "null",
        "true",
        "false",
        "0",
        "1",
        "-",
        ".",
        "e",
        "E+",
        "01",
        "12.5e-3",
        " ",
        "\n",
        "\t",
        "\u{1}",
        "\u{e9}",
        "\u{1f600}",
        "\\n",
        "{}",
        "[]",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as usize % below
    };
    let seed: Vec<char> = seed.chars().collect();
    (0..count).map(move |_| {
        let mut text = seed.clone();
        for _ in 0..=random(3) {
            let at = random(text.len() + 1);
            let removed = random(3).min(text.len() - at);
            let piece = PIECES[random(PIECES.len())];
            let piece = if random(4) == 0 { "" } else { piece };
            text.splice(at..at + removed, piece.chars());
        }
        text.into_iter().collect()
    })
}

#[test]
fn it_reads_what_serde_json_reads() {
    let seeds = [
        r#"{"a":1,"b":[true,null,"x\n"],"c":{"d":-1.5e+10,"a":{}}}"#,
        r#" { "b" : "\u00e9\ud83d\ude00\\" , "iss":"app" , "a" : "" } "#,
        r#"{"exp":1700000000.5,"a":[[],[[{"x":[]}]]],"b":false}"#,
    ];
    let mut accepted = 0;
    for json in seeds.into_iter().flat_map(|seed| mutations(seed, 30_000)) {
        let expected = serde_json::from_str::<Oracle<'_>>(&json).ok();
        let expected =
            expected.map(|found| [found.a, found.b].map(|value| value.map(|value| value.get())));
        let found = ab(&json);
        assert_eq!(
            found.as_deref(),
            expected.as_ref().map(|members| &members[..]),
            "{json:?}"
        );
        let values = found.into_iter().flatten().flatten();
        for value in values {
            assert_eq!(string(value), serde_json::from_str(value).ok(), "{value:?}");
            assert_eq!(
                number(value).is_some(),
                serde_json::from_str::<f64>(value).is_ok(),
                "{value:?}"
            );
            accepted += 1;
        }
    }
    assert!(
        accepted > 10_000,
        "{accepted} values: the texts are too wrong to test much"
    );
}
