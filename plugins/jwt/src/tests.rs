//! The whole plugin against a fake host, in which a signature is right if it says so.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern_plugin::identity::{Consumer, Credential, Found};
use postern_plugin::keys::{Algorithm, Key};
use postern_plugin::testing::{Host, configure};
use postern_plugin::{HeaderEdit, Reply};

const NOW: u64 = 1_700_000_000_000;
const GOOD: &str = r#"{"iss":"app","sub":"u1","exp":1700000100}"#;

/// A token with these parts.
fn token(header: &str, claims: &str, signature: &str) -> String {
    let parts = [header, claims, signature].map(|part| URL_SAFE_NO_PAD.encode(part));
    parts.join(".")
}

fn hs256(claims: &str) -> String {
    token(r#"{"alg":"HS256","typ":"JWT"}"#, claims, "right")
}

fn consumer(name: &str) -> Consumer {
    Consumer {
        name: name.to_owned(),
        tier: None,
        groups: vec!["staff".to_owned()],
        custom_id: None,
    }
}

/// A host that knows an issuer with a shared secret, one with a public key, and a key set.
fn host() -> Host {
    let host = Host::new();
    let right = |_: &[u8], signature: &[u8]| signature == b"right";
    host.now(NOW)
        .consumer(
            consumer("mobile"),
            Credential::JwtIssuer("app".into()),
            "app",
        )
        .consumer(consumer("web"), Credential::JwtIssuer("web".into()), "web")
        .key(Key::Issuer("app".into()), None, Algorithm::Hs256, right)
        .key(Key::Issuer("web".into()), None, Algorithm::Rs256, right)
        .key(
            Key::KeySet("idp".into()),
            Some("k1"),
            Algorithm::Es256,
            right,
        );
    host
}

fn run(config: &str, host: &Host, token: &str) -> RequestVerdict {
    host.request_header("Authorization", &format!("Bearer {token}"));
    let plugin: Jwt = configure(config).expect("config is right");
    host.on_request(&plugin)
}

#[track_caller]
fn reply(verdict: &RequestVerdict) -> &Reply {
    verdict.reply().expect("is refused")
}

#[test]
fn a_good_token_names_its_consumer() {
    let host = host();
    let verdict = run("{}", &host, &hs256(GOOD));
    assert!(verdict.reply().is_none(), "goes on");
    let found = host.authenticated().expect("is known");
    assert_eq!(found.consumer.name, "mobile");
    assert_eq!(found.credential_id, "app");
}

#[test]
fn the_signature_is_over_what_was_sent() {
    let host = Host::new();
    let token = hs256(GOOD);
    let signed = token.rsplit_once('.').expect("has parts").0.to_owned();
    host.now(NOW)
        .consumer(
            consumer("mobile"),
            Credential::JwtIssuer("app".into()),
            "app",
        )
        .key(
            Key::Issuer("app".into()),
            None,
            Algorithm::Hs256,
            move |message, _| message == signed.as_bytes(),
        );
    assert!(run("{}", &host, &token).reply().is_none());
}

#[test]
fn nobody_learns_why_a_token_is_not_valid() {
    let rs256 = r#"{"alg":"RS256"}"#;
    let own_key = r#"{"alg":"HS256","jwk":{"kty":"oct","k":"cmlnaHQ"}}"#;
    let tokens = [
        // A wrong signature, and none.
        token(r#"{"alg":"HS256"}"#, GOOD, "wrong"),
        token(r#"{"alg":"HS256"}"#, GOOD, ""),
        token(own_key, GOOD, "wrong"),
        // No algorithm.
        token(r#"{"alg":"none"}"#, GOOD, ""),
        token(r#"{"alg":"nOnE"}"#, GOOD, "right"),
        // The algorithm of another kind of key, both ways.
        token(rs256, GOOD, "right"),
        hs256(r#"{"iss":"web","exp":1700000100}"#),
        // An unknown issuer.
        hs256(r#"{"iss":"nobody","exp":1700000100}"#),
        hs256(r#"{"iss":"mobile","exp":1700000100}"#),
        // Expired, but not to be believed.
        token(r#"{"alg":"HS256"}"#, r#"{"iss":"app","exp":1}"#, "wrong"),
    ];
    let refuse = |token: &str| {
        let host = host();
        let verdict = run("{}", &host, token);
        assert_eq!(host.authenticated(), None);
        reply(&verdict).clone()
    };
    let first = refuse(&tokens[0]);
    assert_eq!((first.status, first.code.as_str()), (401, "token-invalid"));
    for token in &tokens {
        assert_eq!(refuse(token), first, "{token}");
    }
}

#[test]
fn what_else_is_refused() {
    let cases = [
        (
            "{}",
            hs256(r#"{"iss":"app","exp":1699999000}"#),
            "token-expired",
        ),
        (
            "{}",
            hs256(r#"{"iss":"app","exp":1700000100,"nbf":1700000099}"#),
            "token-not-yet-valid",
        ),
        ("{}", hs256(r#"{"iss":"app"}"#), "token-claims"),
        (
            "{}",
            hs256(r#"{"iss":"app","exp":"1700000100"}"#),
            "token-claims",
        ),
        (
            "{}",
            hs256(r#"{"iss":"app","exp":1700000100000}"#),
            "token-claims",
        ),
        ("{}", hs256(r#"{"exp":1700000100}"#), "token-claims"),
        (
            "{}",
            hs256(r#"{"iss":["app"],"exp":1700000100}"#),
            "token-claims",
        ),
        (
            "{}",
            hs256(r#"{"iss":"","exp":1700000100}"#),
            "token-claims",
        ),
        (
            "{}",
            hs256(r#"{"iss":"nobody","iss":"app","exp":1700000100}"#),
            "token-malformed",
        ),
        (
            "{}",
            token(r#"{"alg":"HS256","crit":["exp"]}"#, GOOD, "right"),
            "token-malformed",
        ),
        ("{}", String::from("abc"), "token-malformed"),
        ("{}", String::new(), "token-missing"),
        (r#"{"audience": "shop"}"#, hs256(GOOD), "token-audience"),
        (
            r#"{"required-claims": ["scope"]}"#,
            hs256(GOOD),
            "token-claims",
        ),
        (
            r#"{"maximum-lifetime": "10s"}"#,
            hs256(GOOD),
            "token-claims",
        ),
        (r#"{"issuer": "web"}"#, hs256(GOOD), "token-invalid"),
        (
            r#"{"forward-claims": {"sub": "x-a"}}"#,
            hs256(r#"{"iss":"app","exp":1700000100,"sub":"a\nb"}"#),
            "token-claims",
        ),
    ];
    for (config, token, code) in cases {
        let host = host();
        let verdict = run(config, &host, &token);
        assert_eq!(
            (reply(&verdict).status, reply(&verdict).code.as_str()),
            (401, code),
            "{config} {token}"
        );
        let challenge = reply(&verdict)
            .header_text("www-authenticate")
            .expect("is challenged");
        assert_eq!(
            challenge.contains("error=\"invalid_token\""),
            code != "token-missing"
        );
        assert_eq!(host.authenticated(), None);
    }
}

#[test]
fn two_tokens_are_a_bad_request() {
    let host = host();
    host.request_header("authorization", &format!("Bearer {}", hs256("{}")));
    let verdict = run(r#"{"realm": "shop"}"#, &host, &hs256(GOOD));
    assert_eq!(
        (reply(&verdict).status, reply(&verdict).code.as_str()),
        (400, "token-ambiguous")
    );
    let challenge = reply(&verdict)
        .header_text("www-authenticate")
        .expect("is challenged");
    assert!(
        challenge.starts_with("Bearer realm=\"shop\",error=\"invalid_request\","),
        "{challenge}"
    );
}

#[test]
fn another_claim_can_name_the_issuer() {
    let host = host();
    let claims = r#"{"iss":"x","client":"app","exp":1700000100}"#;
    assert!(
        run(r#"{"consumer-claim": "client"}"#, &host, &hs256(claims))
            .reply()
            .is_none()
    );
    assert_eq!(
        host.authenticated().expect("is known").consumer.name,
        "mobile"
    );
}

#[test]
fn a_key_set_verifies_the_tokens_of_its_issuers() {
    let es256 = |kid: &str, claims: &str| {
        token(
            &format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#),
            claims,
            "right",
        )
    };
    let by_issuer = r#"{"key-set": "idp", "issuer": ["app", "other"]}"#;
    let fixed = r#"{"key-set": "idp", "issuer": "https://idp", "consumer": "web"}"#;
    let idp = r#"{"iss":"https://idp","exp":1700000100}"#;
    let cases = [
        (by_issuer, es256("k1", GOOD), Ok("mobile")),
        (by_issuer, es256("k2", GOOD), Err("token-invalid")),
        (by_issuer, hs256(GOOD), Err("token-invalid")),
        // Right, but nobody's.
        (
            by_issuer,
            es256("k1", r#"{"iss":"other","exp":1700000100}"#),
            Err("token-invalid"),
        ),
        // A consumer, but of another issuer.
        (
            by_issuer,
            es256("k1", r#"{"iss":"web","exp":1700000100}"#),
            Err("token-invalid"),
        ),
        (fixed, es256("k1", idp), Ok("web")),
        (fixed, es256("k1", GOOD), Err("token-invalid")),
    ];
    for (config, token, expected) in cases {
        let host = host();
        let verdict = run(config, &host, &token);
        let name = host.authenticated().map(|found| found.consumer.name);
        let outcome = name.as_deref().ok_or_else(|| reply(&verdict).code.as_str());
        assert_eq!(outcome, expected, "{config} {token}");
    }
    let host = host();
    run(fixed, &host, &es256("k1", idp));
    let found = host.authenticated().expect("is known");
    assert_eq!(found.credential_id, "https://idp");
}

#[test]
fn a_consumer_that_does_not_exist_is_the_operators_mistake() {
    let host = host();
    let config = r#"{"key-set": "idp", "issuer": "app", "consumer": "nobody"}"#;
    let verdict = run(config, &host, &token(r#"{"alg":"ES256"}"#, GOOD, "right"));
    assert_eq!(
        (reply(&verdict).status, reply(&verdict).code.as_str()),
        (500, "consumer-unknown")
    );
    assert!(
        host.log_lines()
            .contains(&"error: config: there is no consumer \"nobody\"".into())
    );
}

#[test]
fn a_token_of_somebody_else_than_an_earlier_plugin_found_is_refused() {
    for config in [
        "{}",
        r#"{"key-set": "idp", "issuer": "app", "consumer": "mobile"}"#,
    ] {
        let host = host();
        host.authenticate(Found {
            consumer: consumer("web"),
            credential_id: "key".into(),
        });
        let algorithm = if config == "{}" { "HS256" } else { "ES256" };
        let token = token(&format!(r#"{{"alg":"{algorithm}"}}"#), GOOD, "right");
        let verdict = run(config, &host, &token);
        assert_eq!(reply(&verdict).code, "credentials-conflict");
    }
}

#[test]
fn claims_are_told_to_the_upstream_and_cannot_be_claimed_by_clients() {
    let host = host();
    host.request_header("x-roles", "admin")
        .request_header("x-consumer", "root");
    let config = r#"{"forward-claims": {"sub": "X-Consumer", "roles": "X-Roles", "iss": "X-Issuer"}, "hide-credentials": true}"#;
    let verdict = run(config, &host, &hs256(GOOD));
    let headers = &verdict.edits().expect("goes on").headers;
    for edit in [
        HeaderEdit::set("x-consumer", "u1"),
        HeaderEdit::set("x-issuer", "app"),
        HeaderEdit::remove("x-roles"),
        HeaderEdit::remove("authorization"),
    ] {
        assert!(headers.contains(&edit), "{edit:?}");
    }
}
