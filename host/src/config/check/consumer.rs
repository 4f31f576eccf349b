//! `[consumer.NAME]` with its credentials, `[tier.NAME]`, `[keys.NAME]`.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;

use super::Checker;
use crate::config::entry::{Entry, Place};
use crate::config::file::{ApiKeyFile, ConsumerFile, Field, JwtFile, KeysFile, TierFile};
use crate::config::reference::{PublicKeyReference, Reference, SecretReference};
use crate::config::resolved::{
    Algorithm, ApiKeyConfig, ConsumerConfig, JwtCredentialConfig, KeyConfig, LimitConfig, Position,
};
use crate::config::secret::Secret;
use crate::config::values::AlgorithmWord;

/// What the `limits` interface takes in one call.
const MAX_LIMITS: usize = 8;

/// What must differ over all consumers, and where it was first.
#[derive(Default)]
struct Seen {
    issuers: BTreeMap<Arc<str>, Position>,
    key_ids: BTreeMap<Arc<str>, Position>,
    keys: BTreeMap<Vec<u8>, Position>,
}

/// The keys of a table that name a key.
struct KeyFields<'f> {
    algorithm: &'f Field<AlgorithmWord>,
    secret: &'f Field<SecretReference>,
    public_key: &'f Field<PublicKeyReference>,
}

/// A key that fits its algorithm, and where it is named.
struct Key {
    algorithm: Algorithm,
    secret: Secret,
    position: Position,
}

impl Checker<'_> {
    pub(super) fn consumers(&mut self, tables: &[Entry<'_, ConsumerFile>]) -> Vec<ConsumerConfig> {
        let mut seen = Seen::default();
        tables
            .iter()
            .map(|table| self.consumer(table, &mut seen))
            .collect()
    }

    fn consumer(&mut self, table: &Entry<'_, ConsumerFile>, seen: &mut Seen) -> ConsumerConfig {
        let Entry { name, file, place } = table;
        self.distinct(place, file.groups.as_ref(), String::clone);
        let api_keys = file.api_key.iter().enumerate();
        ConsumerConfig {
            name: Arc::clone(name),
            tier: file
                .tier
                .as_ref()
                .map(|tier| self.existing_one(place, tier, "tier")),
            groups: file
                .groups
                .iter()
                .flatten()
                .map(|group| self.not_empty(place, group))
                .collect(),
            custom_id: file.custom_id.as_ref().map(|id| self.not_empty(place, id)),
            jwt: file
                .jwt
                .iter()
                .filter_map(|jwt| self.jwt(place, jwt, seen))
                .collect(),
            api_keys: api_keys
                .filter_map(|(index, key)| {
                    self.api_key(place, key, &format!("{name}-{}", index + 1), seen)
                })
                .collect(),
        }
    }

    fn jwt(
        &mut self,
        place: &Place<'_>,
        table: &Spanned<JwtFile>,
        seen: &mut Seen,
    ) -> Option<JwtCredentialConfig> {
        let here = place.at(table);
        let JwtFile {
            issuer,
            algorithm,
            secret,
            public_key,
        } = table.get_ref();
        let issuer = self
            .required(place, &here, issuer, "issuer", "\"https://login.example\"")
            .map(|issuer| {
                let text = self.not_empty(place, issuer);
                self.unique(
                    &mut seen.issuers,
                    Arc::clone(&text),
                    place.at(issuer),
                    &format!("the issuer {text:?}"),
                );
                text
            });
        let key = self.key(
            place,
            &here,
            &KeyFields {
                algorithm,
                secret,
                public_key,
            },
        )?;
        Some(JwtCredentialConfig {
            issuer: issuer?,
            algorithm: key.algorithm,
            key: key.secret,
            position: key.position,
        })
    }

    fn api_key(
        &mut self,
        place: &Place<'_>,
        table: &Spanned<ApiKeyFile>,
        default_id: &str,
        seen: &mut Seen,
    ) -> Option<ApiKeyConfig> {
        let here = place.at(table);
        let ApiKeyFile { name, key } = table.get_ref();
        let id: Arc<str> = name
            .as_ref()
            .map_or_else(|| default_id.into(), |name| Arc::clone(&name.get_ref().0));
        let id_position = name
            .as_ref()
            .map_or_else(|| here.clone(), |name| place.at(name));
        self.unique(
            &mut seen.key_ids,
            Arc::clone(&id),
            id_position,
            &format!("the key name \"{id}\""),
        );
        let reference = self.required(place, &here, key, "key", "\"env:NAME\"")?;
        let (position, key) = self.read(place, reference)?;
        if !key.reveal().iter().all(u8::is_ascii_graphic) {
            let message = "this API key can never be sent: a key has only visible ASCII characters";
            self.report.at(&position, message, None);
        }
        self.unique(
            &mut seen.keys,
            key.reveal().to_vec(),
            position,
            "this API key",
        );
        Some(ApiKeyConfig { id, key })
    }

    pub(super) fn keys(&mut self, tables: &[Entry<'_, KeysFile>]) -> Vec<KeyConfig> {
        tables
            .iter()
            .filter_map(|table| self.key_table(table))
            .collect()
    }

    fn key_table(&mut self, table: &Entry<'_, KeysFile>) -> Option<KeyConfig> {
        let Entry { name, file, place } = table;
        let KeysFile {
            algorithm,
            id,
            secret,
            public_key,
        } = file;
        let id = id.as_ref().map(|id| self.not_empty(place, id));
        let key = self.key(
            place,
            &place.here(),
            &KeyFields {
                algorithm,
                secret,
                public_key,
            },
        )?;
        Some(KeyConfig {
            name: Arc::clone(name),
            algorithm: key.algorithm,
            id,
            key: key.secret,
            position: key.position,
        })
    }

    pub(super) fn tiers(
        &mut self,
        tables: &[Entry<'_, TierFile>],
    ) -> BTreeMap<Arc<str>, Vec<LimitConfig>> {
        tables
            .iter()
            .map(|table| (Arc::clone(&table.name), self.tier(table)))
            .collect()
    }

    fn tier(&mut self, table: &Entry<'_, TierFile>) -> Vec<LimitConfig> {
        let Entry { file, place, .. } = table;
        let limits = self.required(
            place,
            &place.here(),
            &file.limits,
            "limits",
            "[\"100/minute\"]",
        );
        if let Some(limits) = limits.filter(|limits| limits.get_ref().len() > MAX_LIMITS) {
            let message = format!(
                "a tier has at most {MAX_LIMITS} limits, found {}",
                limits.get_ref().len()
            );
            self.report.at(&place.at(limits), message, None);
        }
        limits
            .iter()
            .flat_map(|limits| limits.get_ref())
            .map(|limit| limit.0)
            .collect()
    }

    /// The key of a table: a secret for HS*, a public key for the others.
    fn key(&mut self, place: &Place<'_>, here: &Position, fields: &KeyFields<'_>) -> Option<Key> {
        let KeyFields {
            algorithm,
            secret,
            public_key,
        } = fields;
        let algorithm = self
            .required(place, here, algorithm, "algorithm", "\"RS256\"")
            .map(|word| word.get_ref().0);
        let kept = secret
            .as_ref()
            .and_then(|reference| self.read(place, reference));
        let published = public_key
            .as_ref()
            .and_then(|reference| self.read(place, reference));
        let algorithm = algorithm?;
        let (position, secret) = match digest_bytes(algorithm) {
            Some(least) => {
                if !self.wrong_key(
                    place,
                    public_key,
                    algorithm,
                    "is verified with a shared secret",
                    "secret",
                ) {
                    self.required(place, here, secret, "secret", "\"env:NAME\"");
                }
                let (position, secret) = kept?;
                self.long_enough(&position, &secret, algorithm, least);
                (position, secret)
            }
            None => {
                if !self.wrong_key(
                    place,
                    secret,
                    algorithm,
                    "is verified with a public key",
                    "public-key",
                ) {
                    self.required(place, here, public_key, "public-key", "\"file:key.pem\"");
                }
                published?
            }
        };
        Some(Key {
            algorithm,
            secret,
            position,
        })
    }

    /// Whether the key of the other kind is there, which is a problem.
    fn wrong_key<T>(
        &mut self,
        place: &Place<'_>,
        wrong: &Field<T>,
        algorithm: Algorithm,
        why: &str,
        right: &str,
    ) -> bool {
        if let Some(wrong) = wrong {
            self.report.at(
                &place.at(wrong),
                format!("{algorithm:?} {why}"),
                Some(format!("the key for that is `{right}`")),
            );
        }
        wrong.is_some()
    }

    fn long_enough(
        &mut self,
        position: &Position,
        secret: &Secret,
        algorithm: Algorithm,
        least: usize,
    ) {
        if secret.reveal().len() < least {
            let message = format!(
                "a secret for {algorithm:?} has at least {least} bytes, as many as its digest (RFC 7518, 3.2)"
            );
            self.report.at(
                position,
                message,
                Some(format!("make one: `openssl rand -base64 {least}`")),
            );
        }
    }

    /// What `reference` refers to and where it stands; or a problem there.
    pub(super) fn read<R: Reference>(
        &mut self,
        place: &Place<'_>,
        reference: &Spanned<R>,
    ) -> Option<(Position, Secret)> {
        let position = place.at(reference);
        self.sources
            .extend(reference.get_ref().file(place.directory()));
        match reference
            .get_ref()
            .read(place.directory(), self.environment)
        {
            Ok(secret) => Some((position, secret)),
            Err(refusal) => {
                let (message, help) = refusal.into_parts();
                self.report.at(&position, message, help);
                None
            }
        }
    }
}

/// The length of the digest of an algorithm with a shared secret.
fn digest_bytes(algorithm: Algorithm) -> Option<usize> {
    match algorithm {
        Algorithm::HS256 => Some(32),
        Algorithm::HS384 => Some(48),
        Algorithm::HS512 => Some(64),
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512
        | Algorithm::ES256
        | Algorithm::ES384
        | Algorithm::EdDSA => None,
    }
}
