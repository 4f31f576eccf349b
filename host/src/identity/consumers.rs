//! The consumers, by name and by what they present.
//!
//! API keys are looked up by a digest that is keyed with a random number of this process: a wrong key has an unrelated
//! digest however much of it is right, so the time of a look-up tells nothing about the keys that exist, and a dump of
//! the table reveals none of them.

use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::config::ConsumerConfig;
use crate::types::{Consumer, Identity};

/// All consumers of one configuration.
pub struct Consumers {
    by_name: HashMap<Arc<str>, Arc<Consumer>>,
    by_api_key: HashMap<[u8; 32], Identity>,
    by_issuer: HashMap<Arc<str>, Identity>,
    digest_key: [u8; 32],
}

impl Consumers {
    /// Builds the tables. Where a key or an issuer stands twice, the first counts; the configuration forbids it.
    #[must_use]
    pub fn build(configs: &[ConsumerConfig]) -> Self {
        let mut consumers = Self {
            by_name: HashMap::new(),
            by_api_key: HashMap::new(),
            by_issuer: HashMap::new(),
            digest_key: rand::random(),
        };
        for config in configs {
            let consumer = Arc::new(Consumer::new(
                config.name.clone(),
                config.tier.clone(),
                config.groups.clone(),
                config.custom_id.clone(),
            ));
            let identity = |id: &Arc<str>| Identity {
                consumer: consumer.clone(),
                credential_id: id.clone(),
            };
            for api_key in &config.api_keys {
                let digest = consumers.digest(api_key.key.reveal());
                consumers
                    .by_api_key
                    .entry(digest)
                    .or_insert_with(|| identity(&api_key.id));
            }
            for jwt in &config.jwt {
                consumers
                    .by_issuer
                    .entry(jwt.issuer.clone())
                    .or_insert_with(|| identity(&jwt.issuer));
            }
            consumers.by_name.insert(config.name.clone(), consumer);
        }
        consumers
    }

    /// Whose API key this is.
    #[must_use]
    pub fn find_api_key(&self, key: &str) -> Option<Identity> {
        self.by_api_key.get(&self.digest(key.as_bytes())).cloned()
    }

    /// Whose tokens have this issuer. Says nothing about whether a token is genuine.
    #[must_use]
    pub fn find_issuer(&self, issuer: &str) -> Option<Identity> {
        self.by_issuer.get(issuer).cloned()
    }

    /// The consumer of a `[consumer.NAME]` table.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<Arc<Consumer>> {
        self.by_name.get(name).cloned()
    }

    fn digest(&self, key: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.digest_key, key).as_bytes()
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
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::{Algorithm, ApiKeyConfig, JwtCredentialConfig, Position, Secret};

    fn consumer(name: &str, keys: &[(&str, &str)], issuers: &[&str]) -> ConsumerConfig {
        let position = Position {
            file: Arc::new(PathBuf::new()),
            span: 0..0,
            key: "key".into(),
        };
        ConsumerConfig {
            name: name.into(),
            tier: Some("free".into()),
            groups: vec!["staff".into()],
            custom_id: Some("42".into()),
            jwt: issuers
                .iter()
                .map(|issuer| JwtCredentialConfig {
                    issuer: Arc::from(*issuer),
                    algorithm: Algorithm::HS256,
                    key: Secret::new(&b"secret"[..]),
                    position: position.clone(),
                })
                .collect(),
            api_keys: keys
                .iter()
                .map(|(id, key)| ApiKeyConfig {
                    id: Arc::from(*id),
                    key: Secret::new(key.as_bytes()),
                })
                .collect(),
        }
    }

    fn consumers() -> Consumers {
        Consumers::build(&[
            consumer(
                "app",
                &[("app-1", "k-first"), ("app-2", "k-second")],
                &["https://app"],
            ),
            consumer("shop", &[("shop-1", "k-third")], &[]),
        ])
    }

    #[test]
    fn an_api_key_names_its_consumer_and_itself() {
        let found = consumers().find_api_key("k-second").unwrap();
        assert_eq!(
            (&*found.consumer.name, &*found.credential_id),
            ("app", "app-2")
        );
        assert_eq!(found.consumer.tier.as_deref(), Some("free"));
        assert_eq!(found.consumer.custom_id.as_deref(), Some("42"));
        assert_eq!(found.consumer.groups, [Arc::from("staff")]);
    }

    #[test]
    fn a_key_must_be_whole_and_exact() {
        for key in ["", "k-", "k-secon", "k-second ", "K-second", "app-2"] {
            assert_eq!(consumers().find_api_key(key), None, "{key}");
        }
    }

    #[test]
    fn an_issuer_and_a_name_find_the_consumer() {
        let consumers = consumers();
        let found = consumers.find_issuer("https://app").unwrap();
        assert_eq!(
            (&*found.consumer.name, &*found.credential_id),
            ("app", "https://app")
        );
        assert_eq!(consumers.find_issuer("app"), None);
        assert_eq!(&*consumers.by_name("shop").unwrap().name, "shop");
        assert_eq!(consumers.by_name("nobody"), None);
    }

    #[test]
    fn keys_are_in_no_output() {
        let consumers = consumers();
        assert!(!format!("{consumers:?}").contains("k-"));
        assert!(
            consumers
                .by_api_key
                .keys()
                .all(|digest| !digest.starts_with(b"k-"))
        );
    }
}
