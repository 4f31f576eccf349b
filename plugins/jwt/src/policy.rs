//! The configuration, made ready for tokens.

use std::borrow::Cow;

use postern_plugin::RequestEdits;
use postern_plugin::keys::Key;

use crate::claims::{Claim, Claims, Names, Rules};
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
        };
        let forwarded = config.forward_claims.iter();
        Policy {
            forwarded: forwarded
                .map(|(claim, header)| (names.claim(claim), header.clone()))
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
}
