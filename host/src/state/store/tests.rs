//! The store by example, against a naive model, and under many threads.

use std::collections::HashMap as Map;

use proptest::prelude::*;

use super::*;

const KEEP: Duration = Duration::ZERO;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn store() -> Store {
    Store::new(10_000, 64 * 1024 * 1024)
}

fn value(store: &Store, key: &str, now: u64) -> Option<Vec<u8>> {
    store
        .get(key, ms(now))
        .unwrap()
        .map(|entry| entry.value.to_vec())
}

#[test]
fn what_was_written_is_read_until_it_expires_or_is_deleted() {
    let store = store();
    store.set("kept", b"1", KEEP, ms(0)).unwrap();
    store.set("short", b"2", ms(10), ms(5)).unwrap();
    assert_eq!(value(&store, "short", 14), Some(b"2".to_vec()));
    assert_eq!(value(&store, "short", 15), None);
    assert_eq!(value(&store, "kept", u64::MAX), Some(b"1".to_vec()));
    store.delete("kept").unwrap();
    store.delete("kept").unwrap();
    assert_eq!(value(&store, "kept", 0), None);
    assert_eq!((store.entries(), store.bytes()), (0, 0));
}

#[test]
fn an_entry_is_only_replaced_at_the_expected_version() {
    let store = store();
    let set = |expected, value| store.compare_and_set("k", expected, value, KEEP, ms(0));
    assert_eq!(set(Some(1), b"a"), Err(StoreError::Conflict));
    let first = set(None, b"a").unwrap();
    assert_eq!(set(None, b"b"), Err(StoreError::Conflict));
    let second = set(Some(first), b"b").unwrap();
    assert_eq!(set(Some(first), b"c"), Err(StoreError::Conflict));
    assert_eq!(
        store.get("k", ms(0)).unwrap(),
        Some(Entry {
            value: b"b"[..].into(),
            version: second
        })
    );
    store.delete("k").unwrap();
    let third = set(None, b"b").unwrap();
    assert!(
        third != first && third != second,
        "a version is never used twice"
    );
}

#[test]
fn an_expired_entry_is_absent_for_a_compare_and_set() {
    let store = store();
    store.set("k", b"a", ms(10), ms(0)).unwrap();
    assert!(store.compare_and_set("k", None, b"b", KEEP, ms(10)).is_ok());
}

#[test]
fn adding_counts_from_zero_and_keeps_the_first_time_to_live() {
    let store = store();
    assert_eq!(store.add("n", 5, ms(100), ms(0)), Ok(5));
    assert_eq!(store.add("n", -7, ms(100), ms(99)), Ok(-2));
    assert_eq!(value(&store, "n", 99), Some(b"-2".to_vec()));
    assert_eq!(store.add("n", 1, ms(100), ms(100)), Ok(1));
}

#[test]
fn what_is_not_a_number_or_has_no_room_for_the_sum_is_left_as_it_is() {
    let store = store();
    store.set("text", b"twelve", KEEP, ms(0)).unwrap();
    assert_eq!(store.add("text", 1, KEEP, ms(0)), Err(StoreError::Conflict));
    store.add("max", i64::MAX, KEEP, ms(0)).unwrap();
    assert_eq!(store.add("max", 1, KEEP, ms(0)), Err(StoreError::Conflict));
    assert_eq!(store.add("max", -1, KEEP, ms(0)), Ok(i64::MAX - 1));
    assert_eq!(value(&store, "text", 0), Some(b"twelve".to_vec()));
}

#[test]
fn keys_and_values_over_the_limit_are_refused() {
    let store = store();
    let (key, long) = ("k".repeat(512), "k".repeat(513));
    let large = vec![0; 64 * 1024 + 1];
    assert_eq!(store.set(&key, &large[1..], KEEP, ms(0)), Ok(()));
    assert_eq!(
        store.set(&key, &large, KEEP, ms(0)),
        Err(StoreError::TooLarge)
    );
    assert_eq!(
        store.compare_and_set(&key, None, &large, KEEP, ms(0)),
        Err(StoreError::TooLarge)
    );
    assert_eq!(
        store.set(&long, b"", KEEP, ms(0)),
        Err(StoreError::TooLarge)
    );
    assert_eq!(store.get(&long, ms(0)), Err(StoreError::TooLarge));
    assert_eq!(store.delete(&long), Err(StoreError::TooLarge));
    assert_eq!(store.add(&long, 1, KEEP, ms(0)), Err(StoreError::TooLarge));
}

#[test]
fn what_was_used_least_lately_is_evicted() {
    // One shard of three entries.
    let store = Store::new(3, 1024 * 1024);
    for key in ["a", "b", "c"] {
        store.set(key, b"", KEEP, ms(0)).unwrap();
    }
    assert!(value(&store, "a", 0).is_some());
    store.set("d", b"", KEEP, ms(0)).unwrap();
    let held: Vec<_> = ["a", "b", "c", "d"]
        .into_iter()
        .filter(|key| value(&store, key, 0).is_some())
        .collect();
    assert_eq!(held, ["a", "c", "d"]);
}

#[test]
fn neither_entries_nor_bytes_grow_past_their_bounds() {
    let store = Store::new(1_000, 2 * 1024 * 1024);
    for number in 0..100_000u64 {
        store
            .set(
                &format!("key-{number}"),
                &vec![0; (number % 7_000) as usize],
                KEEP,
                ms(0),
            )
            .unwrap();
    }
    assert!(store.entries() <= 1_000);
    assert!(store.bytes() <= 2 * 1024 * 1024);
    assert!(
        store.bytes() > 1024 * 1024,
        "room is used: {}",
        store.bytes()
    );
    assert!(value(&store, "key-99999", 0).is_some());
}

#[test]
fn a_sweep_forgets_what_has_expired() {
    let store = store();
    store.set("short", b"1", ms(10), ms(0)).unwrap();
    store.set("kept", b"1", KEEP, ms(0)).unwrap();
    store.sweep(ms(10));
    assert_eq!((store.entries(), store.bytes()), (1, 4 + 1 + ENTRY_BYTES));
}

#[test]
fn plugins_have_stores_of_their_own_that_outlive_their_instances() {
    let stores = Stores::new(10, 1024 * 1024);
    stores.of("a").set("k", b"1", KEEP, ms(0)).unwrap();
    assert_eq!(value(&stores.of("a"), "k", 0), Some(b"1".to_vec()));
    assert_eq!(value(&stores.of("b"), "k", 0), None);
    stores.retain(|plugin| plugin == "b");
    assert_eq!(value(&stores.of("a"), "k", 0), None);
}

#[test]
fn nothing_is_lost_between_threads() {
    let store = store();
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                for _ in 0..200 {
                    store.add("sum", 1, KEEP, ms(0)).unwrap();
                    loop {
                        let entry = store.get("cas", ms(0)).unwrap();
                        let count = entry.as_ref().map_or(0, |entry| entry.value.len());
                        let version = entry.map(|entry| entry.version);
                        let value = vec![0; count + 1];
                        if store
                            .compare_and_set("cas", version, &value, KEEP, ms(0))
                            .is_ok()
                        {
                            break;
                        }
                    }
                }
            });
        }
    });
    assert_eq!(value(&store, "sum", 0), Some(b"12800".to_vec()));
    assert_eq!(value(&store, "cas", 0).unwrap().len(), 12_800);
}

#[derive(Debug, Clone)]
enum Call {
    Get,
    Set(u8, u64),
    Swap(bool, u8, u64),
    Delete,
    Add(i64, u64),
    Sweep,
}

fn call() -> impl Strategy<Value = Call> {
    let ttl = 0u64..30;
    prop_oneof![
        Just(Call::Get),
        (any::<u8>(), ttl.clone()).prop_map(|(value, ttl)| Call::Set(value, ttl)),
        (any::<bool>(), any::<u8>(), ttl.clone())
            .prop_map(|(right, value, ttl)| Call::Swap(right, value, ttl)),
        Just(Call::Delete),
        (-9i64..9, ttl).prop_map(|(delta, ttl)| Call::Add(delta, ttl)),
        Just(Call::Sweep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_as_a_naive_model_does(
        calls in prop::collection::vec((0u64..12, prop::sample::select(vec!["a", "b"]), call()), 1..100),
    ) {
        let store = store();
        let mut model: Map<&str, (Vec<u8>, Option<u64>)> = Map::new();
        let mut now = 0;
        for (passed, key, call) in calls {
            now += passed;
            model.retain(|_, (_, expires)| expires.is_none_or(|expires| expires > now));
            let expires = |ttl| (ttl > 0).then_some(now + ttl);
            match call {
                Call::Get => {}
                Call::Set(value, ttl) => {
                    store.set(key, &[value], ms(ttl), ms(now)).unwrap();
                    model.insert(key, (vec![value], expires(ttl)));
                }
                Call::Swap(right, value, ttl) => {
                    let version = store.get(key, ms(now)).unwrap().map(|entry| entry.version);
                    let expected = if right { version } else { Some(version.unwrap_or(0) + 1_000) };
                    let result = store.compare_and_set(key, expected, &[value], ms(ttl), ms(now));
                    prop_assert_eq!(result.is_ok(), right);
                    if right {
                        model.insert(key, (vec![value], expires(ttl)));
                    }
                }
                Call::Delete => {
                    store.delete(key).unwrap();
                    model.remove(key);
                }
                Call::Add(delta, ttl) => {
                    let (value, until) = model.get(key).cloned().unwrap_or((b"0".to_vec(), expires(ttl)));
                    let number = String::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
                    let sum = number.map(|number| number + delta);
                    prop_assert_eq!(store.add(key, delta, ms(ttl), ms(now)).ok(), sum);
                    if let Some(sum) = sum {
                        model.insert(key, (sum.to_string().into_bytes(), until));
                    }
                }
                Call::Sweep => store.sweep(ms(now)),
            }
            let expected = model.get(key).map(|(value, _)| value.clone());
            prop_assert_eq!(value(&store, key, now), expected);
        }
    }
}
