//! Signatures that others made, and keys that must be refused.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::config::JwtCredentialConfig;

const MESSAGE: &[u8] = b"Postern verifies this message.";
const SIGNATURES: &str = include_str!("../../../tests/fixtures/keys/signatures.txt");

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/keys")
            .join(name),
    )
    .unwrap()
}

fn position(key: &str) -> Position {
    Position {
        file: Arc::new(PathBuf::new()),
        span: 0..0,
        key: key.into(),
    }
}

fn key(name: &str, algorithm: Algorithm, id: Option<&str>, key: &[u8]) -> KeyConfig {
    KeyConfig {
        name: name.into(),
        algorithm,
        id: id.map(Arc::from),
        key: Secret::new(key),
        position: position(name),
    }
}

fn one(algorithm: Algorithm, secret: &[u8]) -> Result<Keys, String> {
    Keys::build(&[key("it", algorithm, None, secret)], &[], &Clock::manual())
        .map_err(|errors| errors[0].message.clone())
}

fn algorithm(name: &str) -> Algorithm {
    Algorithm::named(name).unwrap()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn base64url(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0u32, 0);
    for byte in text.bytes() {
        bits = bits << 6
            | u32::try_from(alphabet.iter().position(|other| *other == byte).unwrap()).unwrap();
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    bytes
}

/// Algorithm, key and signature of each line of the fixture.
fn signatures() -> impl Iterator<Item = (Algorithm, Vec<u8>, Vec<u8>)> {
    SIGNATURES
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let [name, key, signature] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            let key = if key.ends_with(".pem") {
                fixture(key)
            } else {
                key.as_bytes().to_vec()
            };
            (algorithm(name), key, unhex(signature))
        })
}

#[test]
fn signatures_made_by_openssl_verify_for_every_algorithm() {
    let mut count = 0;
    for (algorithm, secret, signature) in signatures() {
        let keys = one(algorithm, &secret).unwrap();
        let verify = |message, signature| {
            keys.verify(KeyRef::Set("it"), None, algorithm, message, signature)
        };
        assert_eq!(
            verify(MESSAGE, &signature),
            Verification::Valid,
            "{algorithm:?}"
        );
        assert_eq!(
            verify(b"Another message.", &signature),
            Verification::BadSignature,
            "{algorithm:?}"
        );
        let mut wrong = signature.clone();
        wrong[7] ^= 1;
        assert_eq!(
            verify(MESSAGE, &wrong),
            Verification::BadSignature,
            "{algorithm:?}"
        );
        for broken in [
            &[][..],
            &signature[1..],
            &[signature.as_slice(), b"x"].concat(),
        ] {
            assert_eq!(
                verify(MESSAGE, broken),
                Verification::BadSignature,
                "{algorithm:?}"
            );
        }
        assert!(keys.warnings().is_empty(), "{algorithm:?}");
        count += 1;
    }
    assert_eq!(count, 13);
}

#[test]
fn the_examples_of_rfc_7515_and_rfc_8037_verify() {
    let joe = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let secret =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let rs256 = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbd\
                 s9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB\
                 _eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt\
                 5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    for (algorithm, key, message, signature) in [
        (
            Algorithm::HS256,
            base64url(secret),
            format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{joe}"),
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        ),
        (
            Algorithm::RS256,
            fixture("rfc7515-a2.public.pem"),
            format!("eyJhbGciOiJSUzI1NiJ9.{joe}"),
            rs256,
        ),
        (
            Algorithm::ES256,
            fixture("rfc7515-a3.public.pem"),
            format!("eyJhbGciOiJFUzI1NiJ9.{joe}"),
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
        (
            Algorithm::EdDSA,
            fixture("rfc8037-a4.public.pem"),
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc".to_owned(),
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        ),
    ] {
        let keys = one(algorithm, &key).unwrap();
        let result = keys.verify(
            KeyRef::Set("it"),
            None,
            algorithm,
            message.as_bytes(),
            &base64url(signature),
        );
        assert_eq!(result, Verification::Valid, "{algorithm:?}");
    }
}

#[test]
fn a_key_is_bound_to_its_algorithm() {
    let (_, public, signature) = signatures()
        .find(|(algorithm, ..)| *algorithm == Algorithm::RS256)
        .unwrap();
    let keys = one(Algorithm::RS256, &public).unwrap();
    for algorithm in [
        Algorithm::HS256,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::ES256,
        Algorithm::EdDSA,
    ] {
        let result = keys.verify(KeyRef::Set("it"), None, algorithm, MESSAGE, &signature);
        assert_eq!(result, Verification::AlgorithmNotAllowed, "{algorithm:?}");
    }
    // The attack that confuses RS256 and HS256: the public key as a shared secret.
    let hmac = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &public);
    let forged = aws_lc_rs::hmac::sign(&hmac, MESSAGE);
    let result = keys.verify(
        KeyRef::Set("it"),
        None,
        Algorithm::HS256,
        MESSAGE,
        forged.as_ref(),
    );
    assert_eq!(result, Verification::AlgorithmNotAllowed);
}

#[test]
fn a_key_with_an_id_refuses_another_id() {
    let secret = [7; 32];
    let with_id = key("with", Algorithm::HS256, Some("k1"), &secret);
    let keys = Keys::build(
        &[with_id, key("without", Algorithm::HS256, None, &secret)],
        &[],
        &Clock::manual(),
    )
    .unwrap();
    let signature = aws_lc_rs::hmac::sign(
        &aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret),
        MESSAGE,
    );
    let verify = |name, id| {
        keys.verify(
            KeyRef::Set(name),
            id,
            Algorithm::HS256,
            MESSAGE,
            signature.as_ref(),
        )
    };
    assert_eq!(verify("with", Some("k1")), Verification::Valid);
    assert_eq!(verify("with", Some("k2")), Verification::UnknownKey);
    assert_eq!(verify("with", None), Verification::Valid);
    assert_eq!(verify("without", Some("k2")), Verification::Valid);
    assert_eq!(verify("absent", None), Verification::UnknownKey);
}

/// A key of the issuer `app`.
fn credential(id: Option<&str>, secret: &[u8], expires: Option<u64>) -> JwtCredentialConfig {
    JwtCredentialConfig {
        issuer: "app".into(),
        algorithm: Algorithm::HS256,
        id: id.map(Arc::from),
        key: Secret::new(secret),
        expires,
        position: position("consumer.app.jwt"),
    }
}

fn consumer(jwt: Vec<JwtCredentialConfig>) -> ConsumerConfig {
    ConsumerConfig {
        name: "app".into(),
        tier: None,
        groups: Vec::new(),
        custom_id: None,
        metadata: BTreeMap::new(),
        jwt,
        api_keys: Vec::new(),
    }
}

#[test]
fn one_key_follows_the_other() {
    let (old, new, other) = ([1; 32], [2; 32], [3; 32]);
    let clock = Clock::manual();
    let jwt = vec![
        credential(Some("2026"), &old, Some(60_000)),
        credential(Some("2027"), &new, None),
    ];
    let keys = Keys::build(&[], &[consumer(jwt)], &clock).unwrap();
    let verify = |id, secret: &[u8]| {
        let hmac = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
        let signature = aws_lc_rs::hmac::sign(&hmac, MESSAGE);
        let (key, signature) = (KeyRef::Issuer("app"), signature.as_ref());
        keys.verify(key, id, Algorithm::HS256, MESSAGE, signature)
    };
    assert_eq!(verify(None, &old), Verification::Valid);
    assert_eq!(verify(None, &new), Verification::Valid);
    assert_eq!(verify(None, &other), Verification::BadSignature);
    assert_eq!(verify(Some("2026"), &old), Verification::Valid);
    assert_eq!(verify(Some("2026"), &new), Verification::BadSignature);
    assert_eq!(verify(Some("2028"), &new), Verification::UnknownKey);
    clock.advance(Duration::from_secs(60));
    assert_eq!(verify(None, &old), Verification::BadSignature);
    assert_eq!(verify(Some("2026"), &old), Verification::UnknownKey);
    assert_eq!(verify(None, &new), Verification::Valid);
}

#[test]
fn issuers_and_key_sets_do_not_mix() {
    let consumer = consumer(vec![credential(None, b"short", None)]);
    let keys = Keys::build(&[], &[consumer], &Clock::manual()).unwrap();
    let verify = |key| keys.verify(key, None, Algorithm::HS256, MESSAGE, b"");
    assert_eq!(verify(KeyRef::Issuer("app")), Verification::BadSignature);
    assert_eq!(verify(KeyRef::Set("app")), Verification::UnknownKey);
    let warning = "the secret has 5 bytes, HS256 asks for 32 (RFC 7518, 3.2)".to_owned();
    assert_eq!(
        keys.warnings(),
        [KeyError {
            position: position("consumer.app.jwt"),
            message: warning
        }]
    );
}

#[test]
fn unusable_keys_are_refused_with_the_reason() {
    let private =
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n";
    let certificate = "-----BEGIN CERTIFICATE-----\nMC4CAQAwBQYDK2Vw\n-----END CERTIFICATE-----\n";
    let damaged = String::from_utf8(fixture("rsa.public.pem"))
        .unwrap()
        .replace("AQAB", "AAAA");
    for (algorithm, key, reason) in [
        (
            Algorithm::RS256,
            fixture("rsa-1024.public.pem"),
            "has 1024 bits, at least 2048",
        ),
        (
            Algorithm::RS256,
            fixture("p256.public.pem"),
            "needs a key of kind RSA, this is EC P-256",
        ),
        (
            Algorithm::ES256,
            fixture("p384.public.pem"),
            "needs a key of kind EC P-256, this is EC P-384",
        ),
        (
            Algorithm::ES384,
            fixture("ed25519.public.pem"),
            "this is Ed25519",
        ),
        (Algorithm::EdDSA, fixture("rsa.public.pem"), "this is RSA"),
        (
            Algorithm::EdDSA,
            fixture("rsa.public.pkcs1.pem"),
            "this is RSA",
        ),
        (
            Algorithm::HS256,
            fixture("rsa.public.pem"),
            "needs a shared secret, this is a PEM key",
        ),
        (Algorithm::HS256, Vec::new(), "empty"),
        (
            Algorithm::RS256,
            b"not pem".to_vec(),
            "needs a PEM public key of kind RSA",
        ),
        (Algorithm::EdDSA, private.into(), "private key"),
        (Algorithm::EdDSA, certificate.into(), "certificate"),
        (Algorithm::RS256, damaged.into_bytes(), "damaged"),
    ] {
        let message = one(algorithm, &key).unwrap_err();
        assert!(message.contains(reason), "{algorithm:?}: {message}");
    }
}

#[test]
fn all_bad_keys_are_reported_at_their_positions() {
    let bad = [
        key("first", Algorithm::RS256, None, b"x"),
        key("second", Algorithm::HS256, None, b""),
    ];
    let errors = Keys::build(&bad, &[], &Clock::manual()).unwrap_err();
    assert_eq!(
        errors
            .iter()
            .map(|error| &*error.position.key)
            .collect::<Vec<_>>(),
        ["first", "second"]
    );
}

#[test]
fn an_rsa_key_may_come_in_its_older_form() {
    assert!(one(Algorithm::PS256, &fixture("rsa.public.pkcs1.pem")).is_ok());
}

#[test]
fn keys_can_be_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Keys>();
}
