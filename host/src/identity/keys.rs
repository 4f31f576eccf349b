//! The keys of the configuration, by the handles that plugins hold.

use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;

use super::verifier::{Verifier, min_secret_length};
use crate::config::{Algorithm, ConsumerConfig, KeyConfig, Position, Secret};

/// All keys of one configuration.
pub struct Keys {
    sets: HashMap<Arc<str>, Key>,
    issuers: HashMap<Arc<str>, Key>,
    warnings: Vec<KeyError>,
}

struct Key {
    algorithm: Algorithm,
    id: Option<Arc<str>>,
    verifier: Verifier,
}

/// A handle of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRef<'a> {
    /// A `[keys.NAME]` table.
    Set(&'a str),
    /// The key of the consumer credential with this issuer.
    Issuer(&'a str),
}

/// What became of a verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    /// The signature is right.
    Valid,
    /// It is not.
    BadSignature,
    /// No such key, or it has another id.
    UnknownKey,
    /// The key is bound to another algorithm. Nothing was verified.
    AlgorithmNotAllowed,
}

/// What is wrong with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyError {
    /// Where the configuration names it.
    pub position: Position,
    /// A sentence.
    pub message: String,
}

impl Keys {
    /// Parses every key.
    ///
    /// # Errors
    /// All keys that cannot be used for their algorithm.
    pub fn build(keys: &[KeyConfig], consumers: &[ConsumerConfig]) -> Result<Self, Vec<KeyError>> {
        let mut built = Self {
            sets: HashMap::new(),
            issuers: HashMap::new(),
            warnings: Vec::new(),
        };
        let mut errors = Vec::new();
        for config in keys {
            match Verifier::new(config.algorithm, config.key.reveal()) {
                Ok(verifier) => {
                    built.warn_if_weak(config.algorithm, &config.key, &config.position);
                    let key = Key {
                        algorithm: config.algorithm,
                        id: config.id.clone(),
                        verifier,
                    };
                    built.sets.insert(config.name.clone(), key);
                }
                Err(message) => errors.push(KeyError {
                    position: config.position.clone(),
                    message,
                }),
            }
        }
        for config in consumers.iter().flat_map(|consumer| &consumer.jwt) {
            match Verifier::new(config.algorithm, config.key.reveal()) {
                Ok(verifier) => {
                    built.warn_if_weak(config.algorithm, &config.key, &config.position);
                    let key = Key {
                        algorithm: config.algorithm,
                        id: None,
                        verifier,
                    };
                    built.issuers.entry(config.issuer.clone()).or_insert(key);
                }
                Err(message) => errors.push(KeyError {
                    position: config.position.clone(),
                    message,
                }),
            }
        }
        if errors.is_empty() {
            Ok(built)
        } else {
            Err(errors)
        }
    }

    /// Keys that work but are weaker than they should be.
    #[must_use]
    pub fn warnings(&self) -> &[KeyError] {
        &self.warnings
    }

    /// Verifies a signature. The algorithm is that of the key, whatever a token claims: it is checked before anything
    /// else is looked at.
    #[must_use]
    pub fn verify(
        &self,
        key: KeyRef<'_>,
        key_id: Option<&str>,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Verification {
        let found = match key {
            KeyRef::Set(name) => self.sets.get(name),
            KeyRef::Issuer(issuer) => self.issuers.get(issuer),
        };
        let Some(key) = found else {
            return Verification::UnknownKey;
        };
        if let (Some(own), Some(wanted)) = (&key.id, key_id)
            && **own != *wanted
        {
            return Verification::UnknownKey;
        }
        if key.algorithm != algorithm {
            return Verification::AlgorithmNotAllowed;
        }
        if key.verifier.verify(message, signature) {
            Verification::Valid
        } else {
            Verification::BadSignature
        }
    }

    fn warn_if_weak(&mut self, algorithm: Algorithm, key: &Secret, position: &Position) {
        let (length, least) = (key.reveal().len(), min_secret_length(algorithm));
        if least > 0 && length < least {
            let message = format!(
                "the secret has {length} bytes, {algorithm:?} asks for {least} (RFC 7518, 3.2)"
            );
            self.warnings.push(KeyError {
                position: position.clone(),
                message,
            });
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sets: Vec<_> = self.sets.keys().collect();
        let issuers: Vec<_> = self.issuers.keys().collect();
        f.debug_struct("Keys")
            .field("sets", &sets)
            .field("issuers", &issuers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
