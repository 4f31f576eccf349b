//! What the upstream serves, and who calls: JSON of exact sizes, and tokens.

use serde_json::{Value, json};

use super::scenario::ORIGIN;
use super::template::Values;
use crate::token;

/// Signs the tokens.
pub(super) const SECRET: &str = "bench-only-secret-0123456789-0123456789-0123456789";
/// Who has signed them.
pub(super) const ISSUER: &str = "bench-issuer";
/// How many consumers call.
pub(super) const CONSUMERS: usize = 64;
/// The documents that are aggregated.
pub(super) const PARTS: [&str; 3] = ["a", "b", "c"];

/// The document of 1 KiB.
pub(super) fn one_kib() -> String {
    let items: Vec<_> = (0..16)
        .map(|number| json!({ "number": number, "name": format!("item {number}") }))
        .collect();
    let document =
        json!({ "id": 7, "kind": "order", "total": 12.5, "tags": ["a", "b"], "items": items });
    padded(document, 1024)
}

/// The document of 400 bytes at `/agg/NAME`.
pub(super) fn part(name: &str) -> String {
    let entries: Vec<_> = (0..6)
        .map(|number| json!({ "key": number, "value": format!("entry {name}{number}") }))
        .collect();
    padded(json!({ "document": name, "entries": entries }), 400)
}

/// The text of 64 KiB, of which no part is like another.
pub(super) fn large() -> String {
    let lines = (0..64 * 1024 / 8).map(|number| format!("{number:07}\n"));
    lines.collect()
}

/// A consumer's name.
pub(super) fn consumer(number: usize) -> String {
    format!("consumer-{number:02}")
}

/// The claims of a good token.
pub(super) fn claims(consumer: &str) -> Value {
    json!({ "iss": ISSUER, "sub": consumer, "iat": 1_700_000_000, "exp": token::FAR_AWAY })
}

/// A good token.
pub(super) fn token(consumer: &str) -> String {
    token::sign(&claims(consumer), SECRET)
}

/// The placeholders that do not depend on the run.
pub(super) fn values() -> Values {
    Values::from([
        ("JSON_1K", one_kib()),
        ("JSON_A", part("a")),
        ("JSON_B", part("b")),
        ("JSON_C", part("c")),
        ("JWT_ISSUER", ISSUER.to_owned()),
        ("JWT_SECRET", SECRET.to_owned()),
        ("CORS_ORIGIN", ORIGIN.to_owned()),
    ])
}

/// A document with as much text more as it needs to have this size.
fn padded(mut document: Value, size: usize) -> String {
    document["padding"] = json!("");
    let missing = size - document.to_string().len();
    document["padding"] = json!("x".repeat(missing));
    document.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_their_sizes_and_fit_between_single_quotes() {
        assert_eq!(large().len(), 64 * 1024);
        let all = [(one_kib(), 1024), (part("a"), 400), (part("b"), 400)];
        for (document, size) in all {
            assert_eq!(document.len(), size);
            assert!(!document.contains(['\'', '$', '@']), "{document}");
            serde_json::from_str::<Value>(&document).expect("is JSON");
        }
    }
}
