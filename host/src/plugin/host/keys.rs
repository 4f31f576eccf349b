//! `keys`: cryptography on keys that stay in the host.

use wasmtime::{Result, bail};

use crate::config;
use crate::plugin::bindings::postern::plugin::keys::{Algorithm, Host, Key, Verification};
use crate::plugin::ports::{KeyName, Verified};
use crate::plugin::state::State;

const MAX_RANDOM_BYTES: u32 = 1_024;

impl Host for State {
    fn verify(
        &mut self,
        key: Key,
        key_id: Option<String>,
        algorithm: Algorithm,
        message: Vec<u8>,
        signature: Vec<u8>,
    ) -> Result<Verification> {
        let name = match &key {
            Key::KeySet(name) => KeyName::Set(name),
            Key::Issuer(issuer) => KeyName::Issuer(issuer),
        };
        let keys = &self.shared.services.keys;
        Ok(
            match keys.verify(
                name,
                key_id.as_deref(),
                import(algorithm),
                &message,
                &signature,
            ) {
                Verified::Valid => Verification::Valid,
                Verified::BadSignature => Verification::BadSignature,
                Verified::UnknownKey => Verification::UnknownKey,
                Verified::AlgorithmNotAllowed => Verification::AlgorithmNotAllowed,
            },
        )
    }

    fn sha256(&mut self, data: Vec<u8>) -> Result<Vec<u8>> {
        Ok(self.shared.services.keys.sha256(&data).to_vec())
    }

    fn random(&mut self, length: u32) -> Result<Vec<u8>> {
        if length > MAX_RANDOM_BYTES {
            bail!("{length} random bytes wanted, at most {MAX_RANDOM_BYTES} are given at once");
        }
        let mut bytes = vec![0; usize::try_from(length)?];
        rand::fill(&mut bytes[..]);
        Ok(bytes)
    }
}

/// The algorithm as keys are bound to it.
fn import(algorithm: Algorithm) -> config::Algorithm {
    match algorithm {
        Algorithm::Hs256 => config::Algorithm::HS256,
        Algorithm::Hs384 => config::Algorithm::HS384,
        Algorithm::Hs512 => config::Algorithm::HS512,
        Algorithm::Rs256 => config::Algorithm::RS256,
        Algorithm::Rs384 => config::Algorithm::RS384,
        Algorithm::Rs512 => config::Algorithm::RS512,
        Algorithm::Ps256 => config::Algorithm::PS256,
        Algorithm::Ps384 => config::Algorithm::PS384,
        Algorithm::Ps512 => config::Algorithm::PS512,
        Algorithm::Es256 => config::Algorithm::ES256,
        Algorithm::Es384 => config::Algorithm::ES384,
        Algorithm::Es512 => config::Algorithm::ES512,
        Algorithm::Eddsa => config::Algorithm::EdDSA,
    }
}
