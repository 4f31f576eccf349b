use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::super::sha256;
use super::*;
use crate::config::{Algorithm, ApiKeyConfig, JwtCredentialConfig, KeyDigest, Position, Secret};

/// Identifier, key or issuer, and expiry in milliseconds.
type Written<'a> = (&'a str, &'a str, Option<u64>);

fn consumer(name: &str, keys: &[Written<'_>], issuers: &[Written<'_>]) -> ConsumerConfig {
    let position = Position {
        file: Arc::new(PathBuf::new()),
        span: 0..0,
        key: "key".into(),
    };
    ConsumerConfig {
        name: name.into(),
        tier: Some("free".into()),
        groups: vec!["staff".into()],
        custom_id: Some("42".into()),
        metadata: BTreeMap::from([(Arc::from("plan"), Arc::from("gold"))]),
        jwt: issuers
            .iter()
            .map(|(id, issuer, expires)| JwtCredentialConfig {
                issuer: Arc::from(*issuer),
                algorithm: Algorithm::HS256,
                id: Some(Arc::from(*id)),
                key: Secret::new(&b"secret"[..]),
                expires: *expires,
                position: position.clone(),
            })
            .collect(),
        api_keys: keys
            .iter()
            .map(|(id, key, expires)| ApiKeyConfig {
                id: Arc::from(*id),
                digest: KeyDigest::new(sha256(key.as_bytes())),
                expires: *expires,
            })
            .collect(),
    }
}

fn consumers(clock: &Clock) -> Consumers {
    let app = consumer(
        "app",
        &[
            ("app-1", "k-first", Some(60_000)),
            ("app-2", "k-second", None),
        ],
        &[
            ("1", "https://app", Some(60_000)),
            ("2", "https://app", Some(90_000)),
        ],
    );
    let shop = consumer(
        "shop",
        &[("shop-1", "k-third", None)],
        &[
            ("1", "https://shop", Some(60_000)),
            ("2", "https://shop", None),
        ],
    );
    Consumers::build(&[app, shop], clock)
}

#[test]
fn an_api_key_names_its_consumer_and_itself() {
    let found = consumers(&Clock::manual())
        .find_api_key("k-second")
        .unwrap();
    assert_eq!(
        (
            &*found.consumer.name,
            &*found.credential_id,
            found.anonymous
        ),
        ("app", "app-2", false)
    );
    assert_eq!(found.consumer.tier.as_deref(), Some("free"));
    assert_eq!(found.consumer.custom_id.as_deref(), Some("42"));
    assert_eq!(found.consumer.groups, [Arc::from("staff")]);
    assert_eq!(
        found.consumer.metadata.get("plan").map(|plan| &**plan),
        Some("gold")
    );
}

#[test]
fn a_key_must_be_whole_and_exact() {
    let consumers = consumers(&Clock::manual());
    for key in ["", "k-", "k-secon", "k-second ", "K-second", "app-2"] {
        assert_eq!(consumers.find_api_key(key), None, "{key}");
    }
}

#[test]
fn an_issuer_and_a_name_find_the_consumer() {
    let consumers = consumers(&Clock::manual());
    let found = consumers.find_issuer("https://app").unwrap();
    assert_eq!(
        (&*found.consumer.name, &*found.credential_id),
        ("app", "https://app")
    );
    assert_eq!(consumers.find_issuer("app"), None);
    assert_eq!(&*consumers.by_name("shop").unwrap().name, "shop");
    assert_eq!(consumers.by_name("nobody"), None);
}

#[test]
fn what_has_expired_finds_nobody_and_what_follows_it_does() {
    let clock = Clock::manual();
    let consumers = consumers(&clock);
    let found = |key: &str| consumers.find_api_key(key).is_some();
    let issuer = |issuer: &str| consumers.find_issuer(issuer).is_some();
    clock.advance(Duration::from_millis(59_999));
    assert!(found("k-first") && found("k-second") && issuer("https://app"));
    clock.advance(Duration::from_millis(1));
    assert!(!found("k-first") && found("k-second") && issuer("https://app"));
    clock.advance(Duration::from_secs(30));
    assert!(!issuer("https://app") && issuer("https://shop"));
    assert!(found("k-second") && found("k-third"));
}

#[test]
fn keys_are_in_no_output() {
    let consumers = consumers(&Clock::manual());
    assert!(!format!("{consumers:?}").contains("k-"));
    assert!(
        consumers
            .by_api_key
            .keys()
            .all(|digest| !digest.starts_with(b"k-"))
    );
}
