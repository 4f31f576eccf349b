use super::*;

fn read(json: &str) -> Result<Config, String> {
    postern_plugin::config::parse::<Config>(json)?.validate()
}

#[test]
fn an_empty_table_checks_dates_and_reads_one_header() {
    let config = read("{}").expect("is right");
    assert!(config.require_exp && !config.hide_credentials);
    assert_eq!(config.leeway, Duration::from_secs(30));
    assert!(config.query.is_empty() && config.cookie.is_empty());
    assert_eq!(config.consumer_claim(), "iss");
}

#[test]
fn errors_name_the_field() {
    let cases = [
        (r#"{"query": [""]}"#, "query: "),
        (r#"{"query": "jwt"}"#, "query: "),
        (r#"{"cookie": ["a b"]}"#, "cookie: "),
        (r#"{"realm": "a\\b"}"#, "realm: "),
        (r#"{"realm": "caf\u00e9"}"#, "realm: "),
        (r#"{"consumer-claim": ""}"#, "consumer-claim: "),
        (r#"{"key-set": "", "issuer": "a"}"#, "key-set: "),
        (r#"{"key-set": "idp"}"#, "issuer: key-set needs it"),
        (
            r#"{"key-set": "idp", "issuer": []}"#,
            "issuer: key-set needs it",
        ),
        (r#"{"issuer": ["a", ""]}"#, "issuer: "),
        (r#"{"issuer": 1}"#, "issuer: "),
        (r#"{"consumer": "app"}"#, "consumer: needs key-set"),
        (
            r#"{"key-set": "idp", "issuer": "a", "consumer": "app", "consumer-claim": "azp"}"#,
            "consumer-claim: means nothing",
        ),
        (r#"{"audience": ""}"#, "audience: "),
        (r#"{"audience": [1]}"#, "audience[0]: "),
        (r#"{"required-claims": [""]}"#, "required-claims: "),
        (r#"{"leeway": 30}"#, "leeway: "),
        (r#"{"leeway": "11m"}"#, "leeway: expected at most 10m"),
        (r#"{"maximum-lifetime": "0s"}"#, "maximum-lifetime: "),
        (
            r#"{"maximum-lifetime": "1h", "require-exp": false}"#,
            "maximum-lifetime: needs require-exp",
        ),
        (
            r#"{"forward-claims": {"sub": "a b"}}"#,
            "forward-claims.sub: ",
        ),
        (
            r#"{"forward-claims": {"sub": "Host"}}"#,
            "forward-claims.sub: ",
        ),
        (
            r#"{"forward-claims": {"sub": "X-Consumer-Name"}}"#,
            "forward-claims.sub: ",
        ),
        (
            r#"{"forward-claims": {"a": "x-a", "b": "X-A"}}"#,
            "forward-claims.b: ",
        ),
        (r#"{"forward-claims": {"": "x-a"}}"#, "forward-claims: "),
        (r#"{"algorithms": ["none"]}"#, "unknown field `algorithms`"),
    ];
    for (json, expected) in cases {
        let error = read(json).expect_err(json);
        assert!(error.starts_with(expected), "{json}: {error}");
    }
}

#[test]
fn what_is_right_is_read() {
    let json = r#"{"key-set": "idp", "issuer": "https://idp", "audience": ["a", "b"], "consumer": "partner",
        "maximum-lifetime": "1h", "leeway": "0s", "forward-claims": {"sub": "X-Consumer"}, "realm": "the shop"}"#;
    let config = read(json).expect("is right");
    assert_eq!(config.issuer, ["https://idp"]);
    assert_eq!(config.audience, ["a", "b"]);
    assert_eq!(config.forward_claims["sub"], "x-consumer");
}
