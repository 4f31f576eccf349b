//! The configuration, made ready for tokens.

use std::borrow::Cow;

use postern_plugin::keys::Key;
use postern_plugin::{RequestEdits, exchange};

use crate::claims::{Claim, Claims, Names, Revoked, Rules};
use crate::config::Config;
use crate::forward;
use crate::refusal::Refusal;

/// The configuration, made ready for tokens.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) config: Config,
    pub(crate) names: Names,
    pub(crate) rules: Rules,
    key_set: Option<Key>,
    consumer: Claim,
    forwarded: Vec<(Claim, String)>,
    /// With the keys of their notes.
    noted: Vec<(Claim, String)>,
}

impl Policy {
    /// `config` is checked already.
    pub(crate) fn new(config: Config) -> Self {
        let mut names = Names::new();
        let rules = Rules {
            issuers: config.issuer.clone(),
            audience: config.audience.clone(),
            required: config
                .required_claims
                .iter()
                .map(|name| names.claim(name))
                .collect(),
            requires_exp: config.require_exp,
            leeway: config.leeway.as_secs_f64(),
            maximum_lifetime: config
                .maximum_lifetime
                .map(|lifetime| lifetime.as_secs_f64()),
            revoked: Revoked {
                ids: config.revoked.ids.clone(),
                subjects: config.revoked.subjects.clone(),
                issued_before: config.revoked.issued_before.map(|ms| ms as f64 / 1000.0),
            },
        };
        let forwarded = config.forward_claims.iter();
        Policy {
            forwarded: forwarded
                .map(|(claim, header)| (names.claim(claim), header.clone()))
                .collect(),
            noted: config
                .note_claims
                .iter()
                .map(|name| (names.claim(name), format!("claim.{name}")))
                .collect(),
            consumer: names.claim(config.consumer_claim()),
            key_set: config.key_set.clone().map(Key::KeySet),
            names,
            rules,
            config,
        }
    }

    /// The key that must have signed a token with these claims.
    pub(crate) fn key(&self, claims: &Claims<'_>) -> Result<Cow<'_, Key>, Refusal> {
        match &self.key_set {
            Some(key) => Ok(Cow::Borrowed(key)),
            None => Ok(Cow::Owned(Key::Issuer(self.caller(claims)?.into_owned()))),
        }
    }

    /// By whom a token says that it was issued.
    pub(crate) fn caller<'j>(&self, claims: &Claims<'j>) -> Result<Cow<'j, str>, Refusal> {
        claims
            .name(self.consumer)
            .ok_or(Refusal::Claims("The token does not name its issuer."))
    }

    /// Tells the upstream the claims that it is to know. What a client sent under these names is replaced or removed.
    pub(crate) fn forward(&self, claims: &Claims<'_>) -> Result<RequestEdits, Refusal> {
        self.forwarded
            .iter()
            .try_fold(RequestEdits::new(), |edits, (claim, header)| {
                let Some(json) = claims.json(*claim) else {
                    return Ok(edits.remove(header));
                };
                let value = forward::header_value(json).ok_or(Refusal::Claims(
                    "The token has a claim that no header can carry.",
                ))?;
                Ok(edits.set(header, value))
            })
    }

    /// Leaves claims for later plugins. What an earlier plugin may have left under their names is replaced in any case.
    pub(crate) fn note(&self, claims: &Claims<'_>) {
        for (claim, key) in &self.noted {
            let values = claims.json(*claim).map(forward::lines).unwrap_or_default();
            exchange::set_note(key, values.as_bytes());
        }
    }
}
