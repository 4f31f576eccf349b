//! The keys of the configuration, by the handles that plugins hold.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use tokio::sync::Notify;

use super::jwks::{self, PublishedKey};
use super::verifier::{Verifier, min_secret_length};
use crate::clock::Clock;
use crate::config::{
    Algorithm, ConsumerConfig, KeyConfig, KeySetConfig, KeySetSource, Position, Secret,
};

/// Signatures that are tried for one token: each takes up to a hundred microseconds, and strangers choose the tokens.
const MAX_TRIES: usize = 4;

/// All keys of one configuration.
pub struct Keys {
    sets: HashMap<Arc<str>, Vec<Key>>,
    fetched: HashMap<Arc<str>, Arc<FetchedKeys>>,
    issuers: HashMap<Arc<str>, Vec<Key>>,
    warnings: Vec<KeyError>,
    clock: Clock,
}

struct Key {
    algorithm: Algorithm,
    id: Option<Arc<str>>,
    /// Milliseconds since 1970.
    expires: Option<u64>,
    verifier: Verifier,
}

/// A set of keys that a server publishes, as it was last seen. It outlives configurations.
pub struct FetchedKeys {
    keys: ArcSwap<Vec<Key>>,
    only: Option<Algorithm>,
    asked_for: Notify,
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
    pub fn build(
        keys: &[KeyConfig],
        consumers: &[ConsumerConfig],
        clock: &Clock,
    ) -> Result<Self, Vec<KeyError>> {
        let mut built = Self {
            sets: HashMap::new(),
            fetched: HashMap::new(),
            issuers: HashMap::new(),
            warnings: Vec::new(),
            clock: clock.clone(),
        };
        let mut errors = Vec::new();
        for config in keys {
            let parsed = built.parse(config.algorithm, &config.key, &config.position);
            let key = parsed.map(|verifier| Key {
                algorithm: config.algorithm,
                id: config.id.clone(),
                expires: None,
                verifier,
            });
            match key {
                Ok(key) => built.sets.entry(config.name.clone()).or_default().push(key),
                Err(error) => errors.push(error),
            }
        }
        for config in consumers.iter().flat_map(|consumer| &consumer.jwt) {
            let parsed = built.parse(config.algorithm, &config.key, &config.position);
            let key = parsed.map(|verifier| Key {
                algorithm: config.algorithm,
                id: config.id.clone(),
                expires: config.expires,
                verifier,
            });
            match key {
                Ok(key) => built
                    .issuers
                    .entry(config.issuer.clone())
                    .or_default()
                    .push(key),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            Ok(built)
        } else {
            Err(errors)
        }
    }

    /// The same with sets of keys that are read already.
    ///
    /// # Errors
    /// All sets that cannot be used.
    pub fn with_sets(
        mut self,
        sets: &[KeySetConfig],
        fetched: impl IntoIterator<Item = (Arc<str>, Arc<FetchedKeys>)>,
    ) -> Result<Self, Vec<KeyError>> {
        let mut errors = Vec::new();
        for config in sets {
            let KeySetSource::Document(document) = &config.source else {
                continue;
            };
            let error = |message| KeyError {
                position: config.position.clone(),
                message,
            };
            match jwks::parse(document.reveal(), config.algorithm) {
                Ok(published) => {
                    self.warnings
                        .extend(published.left_out.into_iter().map(error));
                    let keys = published.keys.into_iter().map(Key::from).collect();
                    self.sets.insert(Arc::clone(&config.name), keys);
                }
                Err(message) => errors.push(error(message)),
            }
        }
        self.fetched.extend(fetched);
        if errors.is_empty() {
            Ok(self)
        } else {
            Err(errors)
        }
    }

    fn parse(
        &mut self,
        algorithm: Algorithm,
        key: &Secret,
        position: &Position,
    ) -> Result<Verifier, KeyError> {
        let verifier = Verifier::new(algorithm, key.reveal()).map_err(|message| KeyError {
            position: position.clone(),
            message,
        })?;
        self.warn_if_weak(algorithm, key, position);
        Ok(verifier)
    }

    /// Keys that work but are weaker than they should be.
    #[must_use]
    pub fn warnings(&self) -> &[KeyError] {
        &self.warnings
    }

    /// Verifies a signature. The algorithm is that of the key, whatever a token claims: it is checked before anything
    /// else is looked at. Of several keys those that have the id, or none, are tried.
    #[must_use]
    pub fn verify(
        &self,
        key: KeyRef<'_>,
        key_id: Option<&str>,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Verification {
        let verify = |keys: &[Key]| self.try_keys(keys, key_id, algorithm, message, signature);
        let found = match key {
            KeyRef::Set(name) => self.sets.get(name),
            KeyRef::Issuer(issuer) => self.issuers.get(issuer),
        };
        match (found, key) {
            (Some(keys), _) => verify(keys),
            (None, KeyRef::Set(name)) => match self.fetched.get(name) {
                Some(fetched) => {
                    let verification = verify(&fetched.keys.load());
                    if verification == Verification::UnknownKey && key_id.is_some() {
                        fetched.asked_for.notify_one();
                    }
                    verification
                }
                None => Verification::UnknownKey,
            },
            (None, KeyRef::Issuer(_)) => Verification::UnknownKey,
        }
    }

    fn try_keys(
        &self,
        keys: &[Key],
        key_id: Option<&str>,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Verification {
        let mut verification = Verification::UnknownKey;
        let mut tries = 0;
        for key in keys {
            if !is_meant(key, key_id) || !self.counts(key) {
                continue;
            }
            if key.algorithm != algorithm {
                if verification == Verification::UnknownKey {
                    verification = Verification::AlgorithmNotAllowed;
                }
                continue;
            }
            if tries == MAX_TRIES {
                break;
            }
            tries += 1;
            if key.verifier.verify(message, signature) {
                return Verification::Valid;
            }
            verification = Verification::BadSignature;
        }
        verification
    }

    fn counts(&self, key: &Key) -> bool {
        key.expires
            .is_none_or(|expires| self.clock.unix_ms() < expires)
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

impl FetchedKeys {
    /// Without keys, of this algorithm only if one is said.
    #[must_use]
    pub fn new(only: Option<Algorithm>) -> Self {
        Self {
            keys: ArcSwap::default(),
            only,
            asked_for: Notify::new(),
        }
    }

    /// Takes a document in the place of the former one. Returns how many keys it has, and why others were left out.
    ///
    /// # Errors
    /// A sentence; the former keys still count then.
    pub fn renew(&self, document: &[u8]) -> Result<(usize, Vec<String>), String> {
        let published = jwks::parse(document, self.only)?;
        let keys: Vec<Key> = published.keys.into_iter().map(Key::from).collect();
        let count = keys.len();
        self.keys.store(Arc::new(keys));
        Ok((count, published.left_out))
    }

    /// Waits until a token names a key that is not there.
    pub async fn asked_for(&self) {
        self.asked_for.notified().await;
    }
}

impl fmt::Debug for FetchedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchedKeys").finish_non_exhaustive()
    }
}

impl From<PublishedKey> for Key {
    fn from(key: PublishedKey) -> Self {
        Self {
            algorithm: key.algorithm,
            id: key.id,
            expires: None,
            verifier: key.verifier,
        }
    }
}

/// Whether a token that names `key_id` may be signed with the key.
fn is_meant(key: &Key, key_id: Option<&str>) -> bool {
    match (&key.id, key_id) {
        (Some(own), Some(wanted)) => **own == *wanted,
        _ => true,
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
