//! The fake host keeps the promises of `wit/`: a plugin that passes against it must not fail against the gateway.

use std::time::Duration;

use crate::identity::{self, Consumer, Credential, Found};
use crate::keys::{self, Algorithm, Key, Verification};
use crate::limits::{self, Limit};
use crate::metrics::Counter;
use crate::store::{self, StoreError};
use crate::testing::Host;

const MINUTE: Duration = Duration::from_secs(60);

fn consumer(name: &str) -> Consumer {
    Consumer {
        name: name.into(),
        tier: None,
        groups: vec![],
        custom_id: None,
    }
}

#[test]
fn limits_count_all_or_none_and_begin_anew_when_the_window_ends() {
    let host = Host::new();
    let both = [Limit::new(1, MINUTE), Limit::new(5, MINUTE * 60)];
    let first = limits::take("k", &both, 1).expect("available");
    assert!(first.iter().all(|decision| decision.allowed));
    host.advance(MINUTE / 2);
    let second = limits::take("k", &both, 1).expect("available");
    assert_eq!(
        (second[0].allowed, second[0].remaining, second[0].reset_ms),
        (false, 0, 30_000)
    );
    assert_eq!((second[1].allowed, second[1].remaining), (true, 4));
    host.advance(MINUTE / 2);
    let third = limits::take("k", &both, 1).expect("available");
    assert_eq!((third[0].allowed, third[1].remaining), (true, 3));
    assert!(limits::take("k", &[Limit::new(0, MINUTE)], 1).is_err());
    host.state_unavailable("away");
    assert_eq!(limits::take("k", &both, 1), Err(String::from("away")));
}

#[test]
fn the_store_forgets_and_compares() {
    let host = Host::new();
    store::set("k", b"a", Some(MINUTE)).expect("available");
    let entry = store::get("k").expect("available").expect("is there");
    assert_eq!(
        store::compare_and_set("k", None, b"b", None),
        Err(StoreError::Conflict)
    );
    assert_eq!(
        store::compare_and_set("k", Some(entry.version), b"b", Some(MINUTE)),
        Ok(entry.version + 1)
    );
    host.advance(MINUTE);
    assert_eq!(store::get("k"), Ok(None));
    assert_eq!(store::add("n", 2, Some(MINUTE)), Ok(2));
    host.advance(MINUTE / 2);
    assert_eq!(store::add("n", 3, Some(MINUTE)), Ok(5));
    host.advance(MINUTE / 2);
    assert_eq!(store::add("n", 1, None), Ok(1));
    store::set("t", b"text", None).expect("available");
    assert_eq!(store::add("t", 1, None), Err(StoreError::Conflict));
}

#[test]
fn an_exchange_belongs_to_one_consumer() {
    let host = Host::new();
    host.consumer(consumer("a"), Credential::ApiKey("ka".into()), "key-a");
    host.consumer(consumer("b"), Credential::BasicUser("ub".into()), "user-b");
    assert_eq!(identity::find(&Credential::ApiKey("ub".into())), None);
    let Found {
        consumer,
        credential_id,
    } = identity::find(&Credential::ApiKey("ka".into())).expect("is known");
    assert!(identity::authenticate("c", "x").is_err());
    identity::authenticate(&consumer.name, &credential_id).expect("is the first");
    identity::authenticate(&consumer.name, &credential_id).expect("is the same");
    assert!(identity::authenticate("b", "user-b").is_err());
    assert_eq!(
        host.authenticated()
            .map(|found| found.credential_id)
            .as_deref(),
        Some("key-a")
    );
}

#[test]
fn a_key_is_bound_to_its_algorithm() {
    let host = Host::new();
    let key = Key::KeySet("idp".into());
    host.key(
        key.clone(),
        Some("1"),
        Algorithm::Rs256,
        |message, signature| message == signature,
    );
    let verify =
        |id, algorithm, signature: &[u8]| keys::verify(&key, id, algorithm, b"m", signature);
    assert_eq!(
        verify(Some("1"), Algorithm::Rs256, b"m"),
        Verification::Valid
    );
    assert_eq!(
        verify(None, Algorithm::Rs256, b"x"),
        Verification::BadSignature
    );
    assert_eq!(
        verify(Some("2"), Algorithm::Rs256, b"m"),
        Verification::UnknownKey
    );
    assert_eq!(
        verify(Some("1"), Algorithm::Hs256, b"m"),
        Verification::AlgorithmNotAllowed
    );
    assert_eq!(keys::sha256(b"abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
}

#[test]
fn metrics_are_defined_once_and_recorded() {
    let host = Host::new();
    let counter = Counter::define("refused", &["why"]).expect("is right");
    counter.add(1.0, &["a"]);
    Counter::define("refused", &["why"])
        .expect("is the same")
        .add(2.0, &["b"]);
    assert!(Counter::define("refused", &[]).is_err());
    assert!(Counter::define("Not-A-Name", &[]).is_err());
    assert_eq!(
        host.metric("refused"),
        [(1.0, vec!["a".to_owned()]), (2.0, vec!["b".to_owned()])]
    );
}
