//! Who asks: the consumers of the configuration, how they are recognised, and the keys that verify their tokens.
//!
//! Secrets stay here. API keys are kept only as digests, and nothing hands out key material.

mod consumers;
mod jwks;
mod keys;
mod verifier;

pub use consumers::Consumers;
pub use keys::{FetchedKeys, KeyError, KeyRef, Keys, Verification};

/// SHA-256 digest.
#[must_use]
pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, data).as_ref());
    digest
}

#[cfg(test)]
mod tests {
    #[test]
    fn sha256_is_that_of_fips_180() {
        let hex: String = super::sha256(b"abc")
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            hex,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
