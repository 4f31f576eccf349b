//! The consumers, by name and by what they present.
//!
//! API keys are looked up by their SHA-256 digest. Whoever measures the time of look-ups learns at most something about
//! digests, and a digest leads to no key: keys are long and random. A dump of the table reveals none of them.

use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::clock::Clock;
use crate::config::ConsumerConfig;
use crate::types::{Consumer, Identity};

/// All consumers of one configuration.
pub struct Consumers {
    by_name: HashMap<Arc<str>, Arc<Consumer>>,
    by_api_key: HashMap<[u8; 32], Credential>,
    by_issuer: HashMap<Arc<str>, Credential>,
    clock: Clock,
}

/// Something that a consumer presents.
struct Credential {
    identity: Identity,
    /// Milliseconds since 1970.
    expires: Option<u64>,
}

impl Consumers {
    /// Builds the tables. Where a key stands twice, the first counts; the configuration forbids it.
    #[must_use]
    pub fn build(configs: &[ConsumerConfig], clock: &Clock) -> Self {
        let mut consumers = Self {
            by_name: HashMap::with_capacity(configs.len()),
            by_api_key: HashMap::with_capacity(configs.len()),
            by_issuer: HashMap::new(),
            clock: clock.clone(),
        };
        for config in configs {
            consumers.add(config);
        }
        consumers
    }

    fn add(&mut self, config: &ConsumerConfig) {
        let consumer = Consumer::new(
            config.name.clone(),
            config.tier.clone(),
            config.groups.clone(),
            config.custom_id.clone(),
        );
        let consumer = Arc::new(consumer.with_metadata(config.metadata.clone()));
        let credential = |id: &Arc<str>, expires| Credential {
            identity: Identity {
                consumer: consumer.clone(),
                credential_id: id.clone(),
                anonymous: false,
            },
            expires,
        };
        for key in &config.api_keys {
            self.by_api_key
                .entry(*key.digest.reveal())
                .or_insert_with(|| credential(&key.id, key.expires));
        }
        for jwt in &config.jwt {
            // An issuer is known for as long as one of its keys counts.
            self.by_issuer
                .entry(jwt.issuer.clone())
                .and_modify(|known| {
                    known.expires = known.expires.zip(jwt.expires).map(|(a, b)| a.max(b));
                })
                .or_insert_with(|| credential(&jwt.issuer, jwt.expires));
        }
        self.by_name.insert(config.name.clone(), consumer);
    }

    /// Whose API key this is.
    #[must_use]
    pub fn find_api_key(&self, key: &str) -> Option<Identity> {
        self.current(self.by_api_key.get(&super::sha256(key.as_bytes())))
    }

    /// Whose tokens have this issuer. Says nothing about whether a token is genuine.
    #[must_use]
    pub fn find_issuer(&self, issuer: &str) -> Option<Identity> {
        self.current(self.by_issuer.get(issuer))
    }

    /// The consumer of a `[consumer.NAME]` table.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<Arc<Consumer>> {
        self.by_name.get(name).cloned()
    }

    /// Whom a credential belongs to, unless it has expired.
    fn current(&self, found: Option<&Credential>) -> Option<Identity> {
        let counts = |expires| self.clock.unix_ms() < expires;
        found
            .filter(|credential| credential.expires.is_none_or(counts))
            .map(|credential| credential.identity.clone())
    }
}

impl fmt::Debug for Consumers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumers")
            .field("by_name", &self.by_name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
