//! `[consumer.NAME]` with its credentials, `[tier.NAME]`.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;

use super::Checker;
use super::keys::KeyFields;
use crate::config::KeyDigest;
use crate::config::credential::Expiry;
use crate::config::entry::{Entry, Place};
use crate::config::file::{ApiKeyFile, ConsumerFile, Field, JwtFile, TierFile};
use crate::config::resolved::{
    ApiKeyConfig, ConsumerConfig, JwtCredentialConfig, LimitConfig, Position,
};

/// What the `limits` interface takes in one call.
const MAX_LIMITS: usize = 8;
/// All of them may be tried for one token.
const MAX_KEYS_OF_ISSUER: usize = 4;
/// Of one consumer: plugins may ask for all of it with every request.
const MAX_METADATA: usize = 32;
const MAX_METADATA_BYTES: usize = 1_024;

/// What must differ over all consumers, and where it was first.
#[derive(Default)]
struct Seen {
    issuers: BTreeMap<Arc<str>, IssuerSeen>,
    key_ids: BTreeMap<Arc<str>, Position>,
    keys: BTreeMap<KeyDigest, Position>,
}

/// An issuer, which belongs to one consumer.
struct IssuerSeen {
    consumer: Arc<str>,
    first: Position,
    keys: usize,
    key_ids: BTreeMap<Arc<str>, Position>,
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
            metadata: self.metadata(place, &file.metadata),
            jwt: file
                .jwt
                .iter()
                .filter_map(|jwt| self.jwt(name, place, jwt, seen))
                .collect(),
            api_keys: api_keys
                .filter_map(|(index, key)| {
                    self.api_key(place, key, &format!("{name}-{}", index + 1), seen)
                })
                .collect(),
        }
    }

    fn metadata(
        &mut self,
        place: &Place<'_>,
        metadata: &BTreeMap<Spanned<String>, Spanned<String>>,
    ) -> BTreeMap<Arc<str>, Arc<str>> {
        for (count, (key, value)) in metadata.iter().enumerate() {
            if count == MAX_METADATA {
                let message = format!("a consumer has at most {MAX_METADATA} metadata");
                self.report.at(&place.at(key), message, None);
            }
            let length = value.get_ref().len();
            if length > MAX_METADATA_BYTES {
                let message = format!("at most {MAX_METADATA_BYTES} bytes, found {length}");
                self.report.at(&place.at(value), message, None);
            }
        }
        metadata
            .iter()
            .map(|(key, value)| {
                (
                    key.get_ref().as_str().into(),
                    value.get_ref().as_str().into(),
                )
            })
            .collect()
    }

    fn jwt(
        &mut self,
        consumer: &Arc<str>,
        place: &Place<'_>,
        table: &Spanned<JwtFile>,
        seen: &mut Seen,
    ) -> Option<JwtCredentialConfig> {
        let here = place.at(table);
        let JwtFile {
            issuer,
            algorithm,
            id,
            secret,
            public_key,
            expires,
        } = table.get_ref();
        let id = id
            .as_ref()
            .map(|id| (self.not_empty(place, id), place.at(id)));
        let issuer = self
            .required(place, &here, issuer, "issuer", "\"https://login.example\"")
            .map(|issuer| {
                let text = self.not_empty(place, issuer);
                self.one_consumer(
                    &mut seen.issuers,
                    consumer,
                    &text,
                    place.at(issuer),
                    id.clone(),
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
            id: id.map(|(id, _)| id),
            key: key.secret,
            expires: moment(expires),
            position: key.position,
        })
    }

    /// Notes one more key of an issuer: it may have several, so that one can follow the other, but all of one consumer.
    fn one_consumer(
        &mut self,
        issuers: &mut BTreeMap<Arc<str>, IssuerSeen>,
        consumer: &Arc<str>,
        issuer: &Arc<str>,
        position: Position,
        id: Option<(Arc<str>, Position)>,
    ) {
        let seen = issuers
            .entry(Arc::clone(issuer))
            .or_insert_with(|| IssuerSeen {
                consumer: Arc::clone(consumer),
                first: position.clone(),
                keys: 0,
                key_ids: BTreeMap::new(),
            });
        seen.keys += 1;
        if seen.consumer != *consumer {
            let first = self.report.place(&seen.first);
            let message = format!("the issuer {issuer:?} belongs to another consumer");
            let help = format!("it is that of \"{}\", at {first}", seen.consumer);
            return self.report.at(&position, message, Some(help));
        }
        if seen.keys > MAX_KEYS_OF_ISSUER {
            let message = format!("an issuer has at most {MAX_KEYS_OF_ISSUER} keys");
            let help = "remove those that have expired".to_owned();
            self.report.at(&position, message, Some(help));
        }
        if let Some((id, position)) = id {
            let what = format!("the key id {id:?} of this issuer");
            self.unique(&mut seen.key_ids, id, position, &what);
        }
    }

    fn api_key(
        &mut self,
        place: &Place<'_>,
        table: &Spanned<ApiKeyFile>,
        default_id: &str,
        seen: &mut Seen,
    ) -> Option<ApiKeyConfig> {
        let here = place.at(table);
        let ApiKeyFile {
            name,
            key,
            hash,
            expires,
        } = table.get_ref();
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
        let (position, digest) = match (key, hash) {
            (Some(_), Some(hash)) => {
                let message = "an API key has either a `key` or a `hash`";
                self.report.at(&place.at(hash), message, None);
                return None;
            }
            (None, Some(hash)) => (place.at(hash), hash.get_ref().0),
            (key, None) if place.is_lost(&here, "hash") => {
                let reference = key.as_ref()?;
                self.read(place, reference);
                return None;
            }
            (key, None) => {
                let example = "\"env:NAME\"`, or a `hash`, which `postern key new` prints: `hash = \"sha256:...\"";
                let reference = self.required(place, &here, key, "key", example)?;
                let (position, key) = self.read(place, reference)?;
                if !key.reveal().iter().all(u8::is_ascii_graphic) {
                    let message =
                        "this API key can never be sent: a key has only visible ASCII characters";
                    self.report.at(&position, message, None);
                }
                (position, key.sha256())
            }
        };
        self.unique(&mut seen.keys, digest, position, "this API key");
        Some(ApiKeyConfig {
            id,
            digest,
            expires: moment(expires),
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
}

fn moment(expires: &Field<Expiry>) -> Option<u64> {
    expires.as_ref().map(|expires| expires.get_ref().0)
}
