//! Native-speed cryptography on keys that stay in the host. Grant: `keys`.

use crate::host::call;

pub use crate::bindings::imports::postern::plugin::keys::{Algorithm, Key, Verification};

/// Verifies `signature` over `message`. `key_id` chooses among several keys of a key set (`kid`, RFC 7515, 4.1.4).
pub fn verify(
    key: &Key,
    key_id: Option<&str>,
    algorithm: Algorithm,
    message: &[u8],
    signature: &[u8],
) -> Verification {
    call!(keys::verify(key, key_id, algorithm, message, signature))
}

/// SHA-256 digest, 32 bytes.
pub fn sha256(data: &[u8]) -> Vec<u8> {
    call!(keys::sha256(data))
}

/// Random bytes from the operating system's generator, at most 1,024.
pub fn random(length: u32) -> Vec<u8> {
    call!(keys::random(length))
}

impl Algorithm {
    /// The algorithm of a JOSE `alg` header (RFC 7518, 3.1, and RFC 8037), for example `RS256`. Other names, `none` first of
    /// all, are no algorithm.
    pub fn from_jose(name: &str) -> Option<Self> {
        Some(match name {
            "HS256" => Algorithm::Hs256,
            "HS384" => Algorithm::Hs384,
            "HS512" => Algorithm::Hs512,
            "RS256" => Algorithm::Rs256,
            "RS384" => Algorithm::Rs384,
            "RS512" => Algorithm::Rs512,
            "PS256" => Algorithm::Ps256,
            "PS384" => Algorithm::Ps384,
            "PS512" => Algorithm::Ps512,
            "ES256" => Algorithm::Es256,
            "ES384" => Algorithm::Es384,
            "ES512" => Algorithm::Es512,
            "EdDSA" => Algorithm::Eddsa,
            _ => return None,
        })
    }
}
