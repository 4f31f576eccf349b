//! The plugin `jwt` through the whole gateway, with real keys and signatures.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, KeyPair};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use postern_tests::{Call, Gateway, Upstream, eventually};
use serde_json::{Value, json};

const SECRET: &str = "a secret of more than thirty-two bytes";

/// A key of each kind, made when the tests begin.
struct Keys {
    rsa: (EncodingKey, String),
    other_rsa: EncodingKey,
    p256: (EncodingKey, String),
    ed25519: (EncodingKey, String),
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let rsa = || signature::RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
    let (first, second) = (rsa(), rsa());
    let p256 = signature::EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING)
        .expect("a key");
    let ed25519 = signature::Ed25519KeyPair::generate().expect("a key");
    let private = |pair: &signature::RsaKeyPair| {
        EncodingKey::from_rsa_pem(
            private_pem(pair.as_der().expect("it is exported").as_ref()).as_bytes(),
        )
        .expect("it is RSA")
    };
    let p256_private = p256.to_pkcs8v1().expect("it is exported");
    let ed25519_private = ed25519.to_pkcs8v1().expect("it is exported");
    Keys {
        rsa: (
            private(&first),
            public_pem(
                first
                    .public_key()
                    .as_der()
                    .expect("it is exported")
                    .as_ref(),
            ),
        ),
        other_rsa: private(&second),
        p256: (
            EncodingKey::from_ec_der(p256_private.as_ref()),
            public_pem(p256.public_key().as_der().expect("it is exported").as_ref()),
        ),
        ed25519: (
            EncodingKey::from_ed_der(ed25519_private.as_ref()),
            public_pem(
                ed25519
                    .public_key()
                    .as_der()
                    .expect("it is exported")
                    .as_ref(),
            ),
        ),
    }
});

fn public_pem(der: &[u8]) -> String {
    pem::encode(&pem::Pem::new("PUBLIC KEY", der))
}

fn private_pem(der: &[u8]) -> String {
    pem::encode(&pem::Pem::new("PRIVATE KEY", der))
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is right")
        .as_secs()
}

fn claims(issuer: &str) -> Value {
    json!({ "iss": issuer, "sub": "alice", "exp": now() + 300 })
}

fn token(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, key).expect("it can be signed")
}

fn hs256(claims: &Value) -> String {
    token(
        Algorithm::HS256,
        &EncodingKey::from_secret(SECRET.as_bytes()),
        claims,
    )
}

async fn gateway(upstream: &Upstream, config: &str) -> Gateway {
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/{{*rest}}", plugins = ["jwt"], upstream = "u" }}]
        plugin.jwt = {{ file = "jwt.wasm", grants = ["identity", "keys"], config = {{ {config} }} }}
        tier.premium.limits = ["1000/minute"]
        [consumer.app]
        tier = "premium"
        groups = ["apps"]
        custom-id = "crm-1"
        jwt = [{{ issuer = "hs", algorithm = "HS256", secret = "file:secret" }}]
        [consumer.partner]
        jwt = [
            {{ issuer = "rs", algorithm = "RS256", public-key = "file:rsa.pem" }},
            {{ issuer = "es", algorithm = "ES256", public-key = "file:p256.pem" }},
            {{ issuer = "ed", algorithm = "EdDSA", public-key = "file:ed25519.pem" }},
        ]
        "#
    );
    let keys = &*KEYS;
    let setup = Gateway::with(fragment)
        .file("secret", SECRET)
        .file("rsa.pem", &keys.rsa.1);
    setup
        .file("p256.pem", &keys.p256.1)
        .file("ed25519.pem", &keys.ed25519.1)
        .start()
        .await
}

fn bearer(token: &str) -> Call {
    Call::get("/").header("authorization", &format!("Bearer {token}"))
}

#[tokio::test]
async fn a_good_token_of_each_algorithm_names_its_consumer() {
    let upstream = Upstream::says("served");
    let gateway = gateway(&upstream, "").await;
    let keys = &*KEYS;
    for (token, consumer) in [
        (hs256(&claims("hs")), "app"),
        (
            token(Algorithm::RS256, &keys.rsa.0, &claims("rs")),
            "partner",
        ),
        (
            token(Algorithm::ES256, &keys.p256.0, &claims("es")),
            "partner",
        ),
        (
            token(Algorithm::EdDSA, &keys.ed25519.0, &claims("ed")),
            "partner",
        ),
    ] {
        let answer = gateway
            .call(&bearer(&token).header("x-consumer-name", "admin"))
            .await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "served"),
            "{token}"
        );
        assert_eq!(
            upstream.last().header("x-consumer-name").as_deref(),
            Some(consumer)
        );
    }
    let log = eventually!(gateway.access_log(), |lines| lines.len() == 4);
    let consumers: Vec<_> = log.iter().map(|line| line["consumer"].as_str()).collect();
    assert_eq!(
        consumers,
        [
            Some("app"),
            Some("partner"),
            Some("partner"),
            Some("partner")
        ]
    );
}

#[tokio::test]
async fn the_upstream_learns_who_calls_from_the_gateway_alone() {
    let upstream = Upstream::says("served");
    let gateway = gateway(
        &upstream,
        r#"forward-claims = { sub = "X-Subject", scope = "X-Scope" }"#,
    )
    .await;
    let spoofed = [
        "x-consumer-name",
        "x-consumer-tier",
        "x-consumer-groups",
        "x-consumer-custom-id",
        "x-consumer-else",
    ]
    .iter()
    .chain(&[
        "x-credential-identifier",
        "x-anonymous-consumer",
        "x-subject",
        "x-scope",
    ])
    .fold(bearer(&hs256(&claims("hs"))), |call, name| {
        call.header(name, "admin")
    });
    assert_eq!(gateway.call(&spoofed).await.status, 200);
    let request = upstream.last();
    for (name, value) in [
        ("x-consumer-name", Some("app")),
        ("x-consumer-tier", Some("premium")),
        ("x-consumer-groups", Some("apps")),
        ("x-consumer-custom-id", Some("crm-1")),
        ("x-consumer-else", None),
        ("x-anonymous-consumer", None),
        ("x-subject", Some("alice")),
        ("x-scope", None),
    ] {
        assert_eq!(request.header(name).as_deref(), value, "{name}");
    }
    assert!(!request.head.contains("admin"), "{}", request.head);
}

/// A token with a header of one's own making.
fn crafted(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| BASE64.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}

#[tokio::test]
async fn bad_tokens_are_refused() {
    let upstream = Upstream::says("served");
    let gateway = gateway(
        &upstream,
        r#"realm = "shop", audience = "shop", required-claims = ["sub"]"#,
    )
    .await;
    let keys = &*KEYS;
    let with = |issuer: &str, changes: Value| {
        let mut claims = claims(issuer);
        claims["aud"] = "shop".into();
        for (name, value) in changes.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        claims
    };
    let good = with("hs", json!({}));
    assert_eq!(gateway.call(&bearer(&hs256(&good))).await.status, 200);
    let whole = hs256(&good);
    let (signed, signature) = whole.rsplit_once('.').expect("three parts");
    let other_claims = BASE64.encode(with("hs", json!({ "sub": "mallory" })).to_string());
    let swapped = format!(
        "{}.{other_claims}.{signature}",
        signed.split('.').next().unwrap_or_default()
    );
    // The public key, which everybody has, as the secret of an HMAC.
    let confused = token(
        Algorithm::HS256,
        &EncodingKey::from_secret(keys.rsa.1.as_bytes()),
        &with("rs", json!({})),
    );
    let mut unsigned = good.clone();
    unsigned.as_object_mut().expect("an object").remove("exp");
    for (what, token, code) in [
        (
            "alg none",
            crafted(&json!({ "alg": "none" }), &good, ""),
            "token-",
        ),
        (
            "alg NoNe",
            crafted(&json!({ "alg": "NoNe" }), &good, ""),
            "token-",
        ),
        (
            "no alg",
            crafted(&json!({ "typ": "JWT" }), &good, signature),
            "token-",
        ),
        ("claims of another token", swapped, "token-invalid"),
        ("no signature", format!("{signed}."), "token-invalid"),
        (
            "a cut signature",
            whole[..whole.len() - 3].to_owned(),
            "token-invalid",
        ),
        (
            "another secret",
            token(Algorithm::HS256, &EncodingKey::from_secret(b"no"), &good),
            "token-invalid",
        ),
        (
            "another algorithm",
            token(
                Algorithm::HS512,
                &EncodingKey::from_secret(SECRET.as_bytes()),
                &good,
            ),
            "token-invalid",
        ),
        (
            "another RSA key",
            token(Algorithm::RS256, &keys.other_rsa, &with("rs", json!({}))),
            "token-invalid",
        ),
        (
            "RS256 for an ES256 issuer",
            token(Algorithm::RS256, &keys.rsa.0, &with("es", json!({}))),
            "token-invalid",
        ),
        ("the public key as a secret", confused, "token-invalid"),
        (
            "an unknown issuer",
            hs256(&with("nobody", json!({}))),
            "token-invalid",
        ),
        (
            "the issuer of another key",
            hs256(&with("rs", json!({}))),
            "token-invalid",
        ),
        (
            "expired",
            hs256(&with("hs", json!({ "exp": now() - 60 }))),
            "token-expired",
        ),
        (
            "not yet valid",
            hs256(&with("hs", json!({ "nbf": now() + 60 }))),
            "token-not-yet-valid",
        ),
        ("without exp", hs256(&unsigned), "token-claims"),
        (
            "exp is no number",
            hs256(&with("hs", json!({ "exp": "soon" }))),
            "token-",
        ),
        (
            "another audience",
            hs256(&with("hs", json!({ "aud": ["else"] }))),
            "token-audience",
        ),
        (
            "a required claim is null",
            hs256(&with("hs", json!({ "sub": null }))),
            "token-claims",
        ),
        ("not a token", "x".into(), "token-malformed"),
        ("two dots only", "..".into(), "token-malformed"),
    ] {
        let answer = gateway.call(&bearer(&token)).await;
        assert_eq!(answer.status, 401, "{what}: {}", answer.text());
        assert!(
            answer.code().starts_with(code),
            "{what}: {code} is expected: {}",
            answer.text()
        );
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        assert!(
            challenge.starts_with("Bearer realm=\"shop\""),
            "{what}: {challenge}"
        );
        assert!(
            challenge.contains("error=\"invalid_token\""),
            "{what}: {challenge}"
        );
        assert!(
            !answer.text().contains("secret"),
            "{what}: {}",
            answer.text()
        );
    }
    assert_eq!(upstream.count(), 1, "none of them reached the upstream");
}

#[tokio::test]
async fn without_a_token_the_challenge_names_no_error() {
    let upstream = Upstream::says("served");
    let gateway = gateway(&upstream, r#"realm = "shop""#).await;
    for call in [
        Call::get("/"),
        Call::get("/").header("authorization", "Basic YTpi"),
        Call::get("/").header("x-consumer-name", "app"),
    ] {
        let answer = gateway.call(&call).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (401, "token-missing"),
            "{call:?}"
        );
        // RFC 6750, 3.1: a client that sent nothing is told nothing more than that it must.
        assert_eq!(
            answer.header("www-authenticate").as_deref(),
            Some("Bearer realm=\"shop\"")
        );
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn tokens_come_in_query_and_cookie_where_that_is_configured() {
    let upstream = Upstream::says("served");
    let token = hs256(&claims("hs"));
    let plain = gateway(&upstream, "").await;
    let query = Call::get(&format!("/a?x=1&token={token}"));
    let cookie = Call::get("/a").header("cookie", &format!("a=b; session={token}"));
    assert_eq!(plain.call(&query).await.status, 401);
    let configured = gateway(
        &upstream,
        r#"query = ["token"], cookie = ["session"], hide-credentials = true"#,
    )
    .await;
    assert_eq!(configured.call(&query).await.status, 200);
    assert_eq!(upstream.last().target, "/a?x=1", "the token does not go on");
    assert_eq!(configured.call(&cookie).await.status, 200);
    assert_eq!(upstream.last().header("cookie").as_deref(), Some("a=b"));
    let both = bearer(&hs256(&json!({ "iss": "hs", "exp": now() + 100 })))
        .header("cookie", &format!("session={token}"));
    let answer = configured.call(&both).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "token-ambiguous")
    );
}
