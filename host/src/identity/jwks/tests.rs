//! Sets that hold keys of every kind, and what is left out of them.

use super::*;
use crate::clock::Clock;
use crate::config::{KeySetConfig, KeySetSource, Position, Secret};
use crate::identity::{FetchedKeys, KeyRef, Keys, Verification};

const SET: &str = include_str!("../../../tests/fixtures/keys/jwks.json");
const SIGNATURES: &str = include_str!("../../../tests/fixtures/keys/signatures.txt");
const RFC_7520: &str = include_str!("../../../tests/fixtures/keys/rfc7520.txt");
const MESSAGE: &[u8] = b"Postern verifies this message.";
const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

fn keys(document: &str, algorithm: Option<Algorithm>) -> Result<Keys, String> {
    let config = KeySetConfig {
        name: "idp".into(),
        source: KeySetSource::Document(Secret::new(document.as_bytes())),
        algorithm,
        position: Position {
            file: Arc::default(),
            span: 0..0,
            key: "keys.idp".into(),
        },
    };
    Keys::build(&[], &[], &Clock::manual())
        .and_then(|keys| keys.with_sets(&[config], []))
        .map_err(|errors| errors[0].message.clone())
}

fn unhex(text: &str) -> Vec<u8> {
    let pair = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(pair).collect()
}

/// The signature of an algorithm over the message.
fn signature(algorithm: &str) -> Vec<u8> {
    let line = SIGNATURES.lines().find(|line| line.starts_with(algorithm));
    unhex(line.unwrap().rsplit(' ').next().unwrap())
}

#[test]
fn keys_of_every_kind_verify_with_the_algorithm_of_their_kind() {
    let keys = keys(SET, None).unwrap();
    for (id, algorithm) in [
        ("rsa", Algorithm::RS256),
        ("p256", Algorithm::ES256),
        ("p384", Algorithm::ES384),
        ("p521", Algorithm::ES512),
        ("ed25519", Algorithm::EdDSA),
    ] {
        let signature = signature(&format!("{algorithm:?}"));
        let verify = |id: Option<&str>, algorithm| {
            keys.verify(KeyRef::Set("idp"), id, algorithm, MESSAGE, &signature)
        };
        assert_eq!(verify(Some(id), algorithm), Verification::Valid, "{id}");
        assert_eq!(verify(None, algorithm), Verification::Valid, "{id}");
        for other in [Algorithm::HS256, Algorithm::RS512] {
            let refused = verify(Some(id), other);
            assert_eq!(refused, Verification::AlgorithmNotAllowed, "{id} {other:?}");
        }
        assert_eq!(verify(Some("gone"), algorithm), Verification::UnknownKey);
    }
}

#[test]
fn the_examples_of_rfc_7520_verify() {
    let keys = keys(SET, None).unwrap();
    let examples = RFC_7520.lines().filter(|line| !line.starts_with('#'));
    let mut count = 0;
    for line in examples {
        let (algorithm, token) = line.split_once(' ').unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let verification = keys.verify(
            KeyRef::Set("idp"),
            Some("bilbo.baggins@hobbiton.example"),
            Algorithm::named(algorithm).unwrap(),
            message.as_bytes(),
            &URL_SAFE_NO_PAD.decode(signature).unwrap(),
        );
        assert_eq!(verification, Verification::Valid, "{algorithm}");
        count += 1;
    }
    assert_eq!(count, 3);
}

#[test]
fn the_table_can_say_the_algorithm() {
    let keys = keys(SET, Some(Algorithm::RS512)).unwrap();
    let verify = |id, algorithm: Algorithm| {
        let signature = signature(&format!("{algorithm:?}"));
        keys.verify(KeyRef::Set("idp"), Some(id), algorithm, MESSAGE, &signature)
    };
    assert_eq!(verify("rsa", Algorithm::RS512), Verification::Valid);
    assert_eq!(
        verify("rsa", Algorithm::RS256),
        Verification::AlgorithmNotAllowed
    );
    assert_eq!(verify("p256", Algorithm::ES256), Verification::UnknownKey);
}

#[test]
fn what_cannot_be_used_is_left_out_with_the_reason() {
    let good = format!(r#"{{"kty":"EC","crv":"P-256","x":"{X}","y":"{Y}"}}"#);
    let short = "A".repeat(171);
    for (key, reason) in [
        (r#"{"kty":"oct","k":"AAAA"}"#.to_owned(), "keys of kind oct"),
        (
            r#"{"kty":"OKP","crv":"Ed448","x":"AA"}"#.into(),
            "keys of kind OKP Ed448",
        ),
        (
            r#"{"kty":"EC","crv":"secp256k1"}"#.into(),
            "keys of kind EC secp256k1",
        ),
        (good.replace("}", r#","use":"enc"}"#), "not for signatures"),
        (
            good.replace("}", r#","key_ops":["sign"]}"#),
            "not for signatures",
        ),
        (
            good.replace("}", r#","alg":"none"}"#),
            "algorithm \"none\" is unknown",
        ),
        (
            good.replace("}", r#","alg":"HS256"}"#),
            "HS256 does not go with a key of kind EC",
        ),
        (
            good.replace("}", r#","alg":"ES384"}"#),
            "ES384 does not go with a key of kind EC",
        ),
        (good.replace(X, &X[1..]), "is not base64url"),
        (good.replace(X, "AAAA"), "has not 32 bytes"),
        (good.replace(Y, X), "damaged"),
        (
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{X}"}}"#),
            "has no \"y\"",
        ),
        (
            format!(r#"{{"kty":"RSA","n":"{short}","e":"AQAB"}}"#),
            "at least 2048",
        ),
        (r#"{"kty":"RSA","e":"AQAB"}"#.into(), "has no \"n\""),
        (r#"{"kty":7}"#.into(), "invalid type"),
        (format!(r#"{{"kty":"EC",{}"#, &good[1..]), "duplicate field"),
        ("[]".into(), "invalid length"),
    ] {
        let published = parse(format!(r#"{{"keys":[{key},{good}]}}"#).as_bytes(), None);
        let published = published.unwrap_or_else(|error| panic!("{key}: {error}"));
        assert_eq!(published.keys.len(), 1, "{key}");
        assert!(
            published.left_out[0].contains(reason),
            "{key}: {:?}",
            published.left_out
        );
        let alone = parse(format!(r#"{{"keys":[{key}]}}"#).as_bytes(), None);
        let error = alone.err().unwrap_or_else(|| panic!("{key} is used"));
        assert!(
            error.contains("no key of the set can be used") && error.contains(reason),
            "{error}"
        );
    }
}

#[test]
fn what_is_no_set_is_refused() {
    for document in ["", "{}", "[]", "{\"keys\":{}}", "<html>", "{\"keys\":[]}"] {
        assert!(keys(document, None).is_err(), "{document}");
    }
    let long = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(MAX_BYTES));
    assert!(keys(&long, None).unwrap_err().contains("at most"));
    let key = format!(r#"{{"kty":"EC","crv":"P-256","x":"{X}","y":"{Y}"}},"#).repeat(65);
    let many = format!("{{\"keys\":[{}]}}", key.trim_end_matches(','));
    let published = parse(many.as_bytes(), None).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((published.keys.len(), published.left_out.len()), (64, 1));
}

#[test]
fn a_set_that_is_fetched_is_replaced_as_a_whole_or_stays() {
    let fetched = Arc::new(FetchedKeys::new(None));
    let keys = Keys::build(&[], &[], &Clock::manual())
        .and_then(|keys| keys.with_sets(&[], [("idp".into(), Arc::clone(&fetched))]))
        .unwrap();
    let verify = |id| {
        let signature = signature("ES256");
        keys.verify(
            KeyRef::Set("idp"),
            Some(id),
            Algorithm::ES256,
            MESSAGE,
            &signature,
        )
    };
    assert_eq!(verify("p256"), Verification::UnknownKey);
    assert_eq!(fetched.renew(SET.as_bytes()).unwrap().0, 8);
    assert_eq!(verify("p256"), Verification::Valid);
    assert!(fetched.renew(b"<html>").is_err());
    assert_eq!(verify("p256"), Verification::Valid);
    let other = SET.replace("\"p256\"", "\"p256-2027\"");
    fetched.renew(other.as_bytes()).unwrap();
    assert_eq!(verify("p256"), Verification::UnknownKey);
    assert_eq!(verify("p256-2027"), Verification::Valid);
}

#[tokio::test]
async fn an_unknown_key_is_asked_for() {
    let fetched = Arc::new(FetchedKeys::new(None));
    fetched.renew(SET.as_bytes()).unwrap();
    let keys = Keys::build(&[], &[], &Clock::manual())
        .and_then(|keys| keys.with_sets(&[], [("idp".into(), Arc::clone(&fetched))]))
        .unwrap();
    let asked = || futures_util::FutureExt::now_or_never(fetched.asked_for());
    let verify = |id| keys.verify(KeyRef::Set("idp"), id, Algorithm::ES256, MESSAGE, b"");
    for known in [Some("p256"), Some("rsa"), None] {
        verify(known);
        assert_eq!(asked(), None, "{known:?}");
    }
    verify(Some("p999"));
    assert_eq!(asked(), Some(()));
    assert_eq!(asked(), None, "once");
}
