use super::*;

const NOW: f64 = 1_700_000_000.5;

fn rules() -> Rules {
    Rules {
        requires_exp: true,
        leeway: 30.0,
        ..Rules::default()
    }
}

fn check(rules: &Rules, payload: &str) -> Result<(), Refusal> {
    let claims = Names::new().read(payload)?;
    rules.check(&claims, NOW)
}

/// The code of the refusal: its sentences are no matter here.
fn code(result: Result<(), Refusal>) -> String {
    result.map_or_else(|refusal| refusal.reply(None).code, |()| "ok".into())
}

#[test]
fn tokens_expire() {
    let cases = [
        ("1700000001", "ok"),
        ("1700000000", "ok"),
        ("1699999970.6", "ok"),
        ("1699999970.5", "token-expired"),
        ("1699999970", "token-expired"),
        ("1.7e9", "ok"),
        ("253402300799", "ok"),
        ("0", "token-expired"),
        ("-1", "token-expired"),
        ("-1700000100", "token-expired"),
        // Milliseconds.
        ("1700000100000", "token-claims"),
        ("9223372036854775807", "token-claims"),
        ("1e300", "token-claims"),
        ("1e999", "token-claims"),
        ("\"1700000100\"", "token-claims"),
        ("true", "token-claims"),
        ("[1700000100]", "token-claims"),
        ("{}", "token-claims"),
        ("null", "token-claims"),
    ];
    for (exp, expected) in cases {
        assert_eq!(
            code(check(&rules(), &format!(r#"{{"exp":{exp}}}"#))),
            expected,
            "{exp}"
        );
    }
    for exp in ["01", "+1", "1.", ".5", "NaN", "Infinity", "0x10", "1_000"] {
        assert_eq!(
            code(check(&rules(), &format!(r#"{{"exp":{exp}}}"#))),
            "token-malformed",
            "{exp}"
        );
    }
}

#[test]
fn tokens_without_expiry_pass_only_where_that_is_allowed() {
    assert_eq!(code(check(&rules(), "{}")), "token-claims");
    let forever = Rules {
        requires_exp: false,
        ..rules()
    };
    assert_eq!(code(check(&forever, "{}")), "ok");
    assert_eq!(code(check(&forever, r#"{"exp":1}"#)), "token-expired");
    assert_eq!(code(check(&forever, r#"{"exp":"1"}"#)), "token-claims");
}

#[test]
fn tokens_have_a_beginning() {
    let cases = [
        ("1700000000", "ok"),
        ("1700000030.5", "ok"),
        ("1700000030.6", "token-not-yet-valid"),
        ("1800000000", "token-not-yet-valid"),
        ("1800000000000", "token-claims"),
        ("\"1\"", "token-claims"),
        ("-5", "ok"),
        ("null", "ok"),
    ];
    for (nbf, expected) in cases {
        let payload = format!(r#"{{"exp":1900000000,"nbf":{nbf}}}"#);
        assert_eq!(code(check(&rules(), &payload)), expected, "{nbf}");
    }
}

#[test]
fn a_lifetime_counts_from_issue_and_from_now() {
    let hour = Rules {
        maximum_lifetime: Some(3_600.0),
        ..rules()
    };
    let cases = [
        (r#"{"exp":1700003600}"#, "ok"),
        (r#"{"exp":1700003631}"#, "token-claims"),
        (r#"{"exp":1700003600,"iat":1700000000}"#, "ok"),
        (r#"{"exp":1700003600,"iat":1699999999}"#, "token-claims"),
        // Issued in the future: no way to live longer.
        (r#"{"exp":1700103600,"iat":1700100000}"#, "token-claims"),
        (r#"{"exp":1700003600,"iat":"1700000000"}"#, "token-claims"),
    ];
    for (payload, expected) in cases {
        assert_eq!(code(check(&hour, payload)), expected, "{payload}");
    }
}

#[test]
fn one_audience_must_be_ours() {
    let ours = Rules {
        audience: vec!["shop".into(), "caf\u{e9}".into()],
        ..rules()
    };
    let cases = [
        (r#""shop""#, "ok"),
        (r#""sh\u006fp""#, "ok"),
        (r#""caf\u00e9""#, "ok"),
        (r#"["other","shop"]"#, "ok"),
        (r#"[1,{"a":["shop"]},"shop"]"#, "ok"),
        (r#""other""#, "token-audience"),
        (r#""Shop""#, "token-audience"),
        (r#""shop ""#, "token-audience"),
        (r#""shop,other""#, "token-audience"),
        (r#"[]"#, "token-audience"),
        (r#"[["shop"]]"#, "token-audience"),
        (r#"{"shop":true}"#, "token-audience"),
        (r#"null"#, "token-audience"),
        (r#"1"#, "token-audience"),
    ];
    for (aud, expected) in cases {
        let payload = format!(r#"{{"exp":1900000000,"aud":{aud}}}"#);
        assert_eq!(code(check(&ours, &payload)), expected, "{aud}");
    }
    assert_eq!(
        code(check(&ours, r#"{"exp":1900000000}"#)),
        "token-audience"
    );
    assert_eq!(
        code(check(&rules(), r#"{"exp":1900000000,"aud":"other"}"#)),
        "ok"
    );
}

#[test]
fn one_issuer_must_match_and_is_not_told_from_a_bad_signature() {
    let ours = Rules {
        issuers: vec!["https://a".into(), "https://b".into()],
        ..rules()
    };
    let issuer = |iss: &str| check(&ours, &format!(r#"{{"exp":1900000000,"iss":{iss}}}"#));
    assert_eq!(issuer(r#""https://b""#), Ok(()));
    assert_eq!(issuer(r#""https:\/\/b""#), Ok(()));
    for iss in [
        r#""https://c""#,
        r#""https://a/""#,
        r#"["https://a"]"#,
        "null",
        "\"\"",
    ] {
        assert_eq!(issuer(iss), Err(Refusal::Invalid), "{iss}");
    }
}

#[test]
fn required_claims_are_there_and_not_null() {
    let mut names = Names::new();
    let rules = Rules {
        required: vec![names.claim("sub"), names.claim("iss")],
        ..rules()
    };
    let check = |payload: &str| {
        let claims = names.read(payload).expect("is read");
        code(rules.check(&claims, NOW))
    };
    assert_eq!(check(r#"{"exp":1900000000,"sub":"","iss":false}"#), "ok");
    assert_eq!(
        check(r#"{"exp":1900000000,"sub":"a","iss":null}"#),
        "token-claims"
    );
    assert_eq!(check(r#"{"exp":1900000000,"iss":"a"}"#), "token-claims");
}

#[test]
fn payloads_that_are_not_understood_are_malformed() {
    let bad = [
        "",
        "[]",
        "\"\"",
        "{",
        r#"{"exp":1900000000}{"exp":1}"#,
        r#"{"exp":1900000000,}"#,
        r#"{"exp":1,"exp":1900000000}"#,
        r#"{"exp":1900000000,"\u0065xp":1900000000}"#,
        r#"{"exp":1900000000,"aud":"a","aud":"b"}"#,
        r#"{"iss":"a","iss":"a","exp":1900000000}"#,
        "{\"exp\":1900000000,\"x\":\"\n\"}",
        r#"{"exp":1900000000,"x":[}"#,
    ];
    for payload in bad {
        assert_eq!(
            code(check(&rules(), payload)),
            "token-malformed",
            "{payload}"
        );
    }
}
