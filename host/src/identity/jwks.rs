//! Sets of public keys (JWK Set, RFC 7517) as identity providers publish them.
//!
//! What is not for signatures, or not strong enough, is left out: a set may hold keys for others too.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::verifier::Verifier;
use crate::config::Algorithm;

/// More than any provider has at once. What follows is left out.
const MAX_KEYS: usize = 64;
/// Longer documents are no sets of keys.
const MAX_BYTES: usize = 1 << 20;

/// A key of a set.
pub(super) struct PublishedKey {
    pub(super) id: Option<Arc<str>>,
    pub(super) algorithm: Algorithm,
    pub(super) verifier: Verifier,
}

/// What is in a document.
pub(super) struct Published {
    pub(super) keys: Vec<PublishedKey>,
    /// Why others were left out, each in a sentence.
    pub(super) left_out: Vec<String>,
}

#[derive(Deserialize)]
struct Document<'j> {
    #[serde(borrow)]
    keys: Vec<&'j RawValue>,
}

/// RFC 7517, 4, and RFC 7518, 6. Other members are ignored.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// Reads a set. With `only`, other algorithms are left out.
///
/// # Errors
/// A sentence, when it is no set, or when no key of it can be used.
pub(super) fn parse(document: &[u8], only: Option<Algorithm>) -> Result<Published, String> {
    if document.len() > MAX_BYTES {
        return Err(format!("a set of keys has at most {MAX_BYTES} bytes"));
    }
    let Document { keys } = serde_json::from_slice(document)
        .map_err(|error| format!("this is no set of keys (JWK Set, RFC 7517): {error}"))?;
    let mut published = Published {
        keys: Vec::new(),
        left_out: Vec::new(),
    };
    for (index, json) in keys.into_iter().enumerate() {
        if published.keys.len() == MAX_KEYS {
            let message = format!("there are more than {MAX_KEYS} keys, the others are left out");
            published.left_out.push(message);
            break;
        }
        let key = serde_json::from_str(json.get())
            .map_err(|error| error.to_string())
            .and_then(|jwk: Jwk| jwk.key(only));
        match key {
            Ok(key) => published.keys.push(key),
            Err(reason) => published.left_out.push(format!("keys[{index}]: {reason}")),
        }
    }
    if published.keys.is_empty() {
        let reasons = published.left_out.join("; ");
        return Err(format!("no key of the set can be used: {reasons}"));
    }
    Ok(published)
}

impl Jwk {
    fn key(self, only: Option<Algorithm>) -> Result<PublishedKey, String> {
        let verifies = |ops: &Vec<String>| ops.iter().any(|op| op == "verify");
        if self.usage.as_deref().is_some_and(|usage| usage != "sig")
            || self.key_ops.as_ref().is_some_and(|ops| !verifies(ops))
        {
            return Err("it is not for signatures".into());
        }
        let algorithm = self.algorithm(only)?;
        if only.is_some_and(|only| only != algorithm) {
            return Err(format!("it is for {algorithm:?}"));
        }
        Ok(PublishedKey {
            verifier: self.verifier(algorithm)?,
            id: self.kid.map(Into::into),
            algorithm,
        })
    }

    /// The algorithm that the key says, or else the one that its kind has. For RSA, which has six, that is the one of the
    /// table, or the most usual one.
    fn algorithm(&self, only: Option<Algorithm>) -> Result<Algorithm, String> {
        let own = match &self.alg {
            Some(name) => Some(
                Algorithm::named(name)
                    .ok_or_else(|| format!("its algorithm {name:?} is unknown"))?,
            ),
            None => None,
        };
        let fitting: &[Algorithm] = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
            ("EC", Some("P-256")) => &[Algorithm::ES256],
            ("EC", Some("P-384")) => &[Algorithm::ES384],
            ("EC", Some("P-521")) => &[Algorithm::ES512],
            ("OKP", Some("Ed25519")) => &[Algorithm::EdDSA],
            // Among them `oct`: a secret that is published is none.
            (kind, curve) => {
                let curve = curve.unwrap_or_default();
                return Err(format!("keys of kind {kind} {curve} are not used"));
            }
        };
        let wanted = own.or(only.filter(|only| fitting.contains(only)));
        match wanted {
            Some(algorithm) if !fitting.contains(&algorithm) => Err(format!(
                "{algorithm:?} does not go with a key of kind {}",
                self.kty
            )),
            Some(algorithm) => Ok(algorithm),
            None => fitting.first().copied().ok_or_else(String::new),
        }
    }

    fn verifier(&self, algorithm: Algorithm) -> Result<Verifier, String> {
        let member = |name: &str, value: &Option<String>| {
            let text = value
                .as_deref()
                .ok_or_else(|| format!("it has no {name:?}"))?;
            URL_SAFE_NO_PAD
                .decode(text)
                .map_err(|_| format!("its {name:?} is not base64url"))
        };
        let coordinate = |name, value, length| {
            let bytes: Vec<u8> = member(name, value)?;
            match bytes.len() == length {
                true => Ok(bytes),
                false => Err(format!("its {name:?} has not {length} bytes")),
            }
        };
        let length = match algorithm {
            Algorithm::EdDSA => return Verifier::public(algorithm, &coordinate("x", &self.x, 32)?),
            Algorithm::ES256 => 32,
            Algorithm::ES384 => 48,
            Algorithm::ES512 => 66,
            _ => return Verifier::rsa(algorithm, &member("n", &self.n)?, &member("e", &self.e)?),
        };
        // An uncompressed point (SEC 1, 2.3.3).
        let mut point = vec![4];
        point.extend(coordinate("x", &self.x, length)?);
        point.extend(coordinate("y", &self.y, length)?);
        Verifier::public(algorithm, &point)
    }
}

#[cfg(test)]
mod tests;
