//! The tables of consumers and their credentials.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::Field;
use crate::config::credential::{Expiry, KeyHash};
use crate::config::key_set::KeySetReference;
use crate::config::reference::{PublicKeyReference, SecretReference};
use crate::config::resilience::ImportanceWord;
use crate::config::units::{DurationText, LimitText};
use crate::config::values::{AlgorithmWord, Name};

/// `[consumer.NAME]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct ConsumerFile {
    /// Which limits hold.
    pub(in crate::config) tier: Field<String>,
    /// Names of groups.
    pub(in crate::config) groups: Option<Vec<Spanned<String>>>,
    /// The operator's own identifier.
    pub(in crate::config) custom_id: Field<String>,
    /// What else plugins may want to know.
    #[serde(default)]
    pub(in crate::config) metadata: BTreeMap<Spanned<String>, Spanned<String>>,
    /// Tokens that the consumer's issuer signs.
    #[serde(default)]
    pub(in crate::config) jwt: Vec<Spanned<JwtFile>>,
    /// Keys that the consumer presents.
    #[serde(default)]
    pub(in crate::config) api_key: Vec<Spanned<ApiKeyFile>>,
}

/// `[[consumer.NAME.jwt]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct JwtFile {
    /// The `iss` claim.
    pub(in crate::config) issuer: Field<String>,
    /// The only algorithm that is accepted.
    pub(in crate::config) algorithm: Field<AlgorithmWord>,
    /// `kid`, where tokens name one.
    pub(in crate::config) id: Field<String>,
    /// Where the shared secret is.
    pub(in crate::config) secret: Field<SecretReference>,
    /// The public key or where it is.
    pub(in crate::config) public_key: Field<PublicKeyReference>,
    /// From when on it counts no more.
    pub(in crate::config) expires: Field<Expiry>,
}

/// `[[consumer.NAME.api-key]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct ApiKeyFile {
    /// Identifies the key in logs and headers.
    pub(in crate::config) name: Field<Name>,
    /// Where the key is.
    pub(in crate::config) key: Field<SecretReference>,
    /// Its digest, where the key itself is nowhere.
    pub(in crate::config) hash: Field<KeyHash>,
    /// From when on it counts no more.
    pub(in crate::config) expires: Field<Expiry>,
}

/// `[tier.NAME]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct TierFile {
    /// How much is allowed how often.
    pub(in crate::config) limits: Field<Vec<LimitText>>,
    /// How much its requests matter when not all can be served.
    pub(in crate::config) importance: Option<ImportanceWord>,
}

/// `[keys.NAME]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct KeysFile {
    /// The only algorithm that is accepted.
    pub(in crate::config) algorithm: Field<AlgorithmWord>,
    /// `kid`, where tokens name one.
    pub(in crate::config) id: Field<String>,
    /// Where the shared secret is.
    pub(in crate::config) secret: Field<SecretReference>,
    /// The public key or where it is.
    pub(in crate::config) public_key: Field<PublicKeyReference>,
    /// Where a set of public keys is.
    pub(in crate::config) jwks: Field<KeySetReference>,
    /// Whom to believe that the server of the set is who it says.
    pub(in crate::config) ca: Field<String>,
    /// After how long the set is fetched again.
    pub(in crate::config) refresh: Field<DurationText>,
}
