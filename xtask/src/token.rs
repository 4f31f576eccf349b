//! JSON Web Tokens for the consumers of the demo and the bench.
//!
//! Twenty lines instead of the gateway's own crate for this, whose C code would have to be compiled before `xtask`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// 2100-01-01: printed lines should work as long as anybody reads them.
pub(crate) const FAR_AWAY: u64 = 4_102_444_800;
/// 2001-09-09.
pub(crate) const LONG_AGO: u64 = 1_000_000_000;

/// An HS256 token of an issuer.
pub(crate) fn mint(issuer: &str, expires: u64, secret: &str) -> String {
    sign(
        &json!({ "iss": issuer, "sub": "demo", "exp": expires }),
        secret,
    )
}

/// An HS256 token with these claims.
pub(crate) fn sign(claims: &Value, secret: &str) -> String {
    let message = format!(
        "{}.{}",
        part(&json!({ "alg": "HS256", "typ": "JWT" })),
        part(claims)
    );
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of every length");
    mac.update(message.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    format!("{message}.{signature}")
}

/// A token that says that it is not signed, and is not.
pub(crate) fn unsigned(claims: &Value) -> String {
    format!("{}.{}.", part(&json!({ "alg": "none" })), part(claims))
}

fn part(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with Python's `hmac`.
    const PYTHON_SIGNATURE: &str = "NAMD_qduZrEO9Qk0FLI3dSWU24IuylBhr2hmbNS1uuw";

    #[test]
    fn a_token_has_three_parts_and_the_signature_that_others_compute() {
        let token = mint("a", LONG_AGO, "secret");
        let parts: Vec<_> = token.split('.').collect();
        assert_eq!(parts.len(), 3);
        let claims = URL_SAFE_NO_PAD.decode(parts[1]).expect("base64url");
        assert_eq!(claims, br#"{"exp":1000000000,"iss":"a","sub":"demo"}"#);
        assert_eq!(parts[2], PYTHON_SIGNATURE);
    }
}
