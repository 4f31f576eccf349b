//! `[keys.NAME]`, and the keys of credentials.

use toml::Spanned;

use std::sync::Arc;

use super::Checker;
use crate::config::entry::{Entry, Place};
use crate::config::file::{Field, KeysFile};
use crate::config::reference::{PublicKeyReference, Reference, SecretReference};
use crate::config::resolved::{Algorithm, KeyConfig, Position};
use crate::config::secret::Secret;
use crate::config::values::AlgorithmWord;

/// The keys of a table that name a key.
pub(super) struct KeyFields<'f> {
    pub(super) algorithm: &'f Field<AlgorithmWord>,
    pub(super) secret: &'f Field<SecretReference>,
    pub(super) public_key: &'f Field<PublicKeyReference>,
}

/// A key that fits its algorithm, and where it is named.
pub(super) struct Key {
    pub(super) algorithm: Algorithm,
    pub(super) secret: Secret,
    pub(super) position: Position,
}

impl Checker<'_> {
    pub(super) fn keys(&mut self, tables: &[Entry<'_, KeysFile>]) -> Vec<KeyConfig> {
        tables
            .iter()
            .filter(|table| table.file.jwks.is_none())
            .filter(|table| !table.place.is_lost(&table.place.here(), "jwks"))
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
            ca,
            refresh,
            ..
        } = file;
        self.only_fetched(place, "ca", ca);
        self.only_fetched(place, "refresh", refresh);
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

    /// The key of a table: a secret for HS*, a public key for the others.
    pub(super) fn key(
        &mut self,
        place: &Place<'_>,
        here: &Position,
        fields: &KeyFields<'_>,
    ) -> Option<Key> {
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
        | Algorithm::ES512
        | Algorithm::EdDSA => None,
    }
}
