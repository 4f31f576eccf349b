//! The claims that a configuration needs, and what a verified token must say in them.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::json::{self, Member};
use crate::refusal::Refusal;

/// The last second of the year 9999. Later dates are no dates: most are milliseconds, which would let a token live for
/// fifty thousand years.
const MAX_DATE: f64 = 253_402_300_799.0;

const ISS: usize = 0;
const EXP: usize = 1;
const NBF: usize = 2;
const IAT: usize = 3;
const AUD: usize = 4;
const SUB: usize = 5;
const JTI: usize = 6;
const REGISTERED: [&str; 7] = ["iss", "exp", "nbf", "iat", "aud", "sub", "jti"];

/// The names of the claims that are read.
#[derive(Debug)]
pub(crate) struct Names(Vec<Cow<'static, str>>);

/// A claim that is read, by its place among the names.
pub(crate) type Claim = usize;

/// The claims of one token, as they are written. Absent and `null` are the same.
#[derive(Debug)]
pub(crate) struct Claims<'j>(Vec<Member<'j>>);

/// What a verified token must say.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// One of them, where there are any.
    pub(crate) issuers: Vec<String>,
    /// One of them, where there are any.
    pub(crate) audience: Vec<String>,
    pub(crate) required: Vec<Claim>,
    pub(crate) requires_exp: bool,
    /// Seconds by which clocks may differ.
    pub(crate) leeway: f64,
    /// Seconds from issue, and from now, to expiry.
    pub(crate) maximum_lifetime: Option<f64>,
    pub(crate) revoked: Revoked,
}

/// Tokens that count no more.
#[derive(Debug, Default)]
pub(crate) struct Revoked {
    pub(crate) ids: BTreeSet<String>,
    pub(crate) subjects: BTreeSet<String>,
    /// Seconds since 1970.
    pub(crate) issued_before: Option<f64>,
}

impl Names {
    pub(crate) fn new() -> Self {
        Names(REGISTERED.map(Cow::Borrowed).to_vec())
    }

    /// The claim of this name, which is read from now on.
    pub(crate) fn claim(&mut self, name: &str) -> Claim {
        let known = self.0.iter().position(|known| known == name);
        known.unwrap_or_else(|| {
            self.0.push(Cow::Owned(name.to_owned()));
            self.0.len() - 1
        })
    }

    /// Reads the payload of a token.
    pub(crate) fn read<'j>(&self, payload: &'j str) -> Result<Claims<'j>, Refusal> {
        json::members(payload, &self.0)
            .map(Claims)
            .ok_or(Refusal::Malformed)
    }
}

impl<'j> Claims<'j> {
    /// The JSON of a claim.
    pub(crate) fn json(&self, claim: Claim) -> Option<&'j str> {
        self.0.get(claim).copied().flatten()
    }

    /// A claim that names somebody: a string, not empty.
    pub(crate) fn name(&self, claim: Claim) -> Option<Cow<'j, str>> {
        let name = json::string(self.json(claim)?)?;
        (!name.is_empty()).then_some(name)
    }

    pub(crate) fn issuer(&self) -> Option<Cow<'j, str>> {
        self.name(ISS)
    }

    fn date(&self, claim: Claim) -> Result<Option<f64>, Refusal> {
        let Some(json) = self.json(claim) else {
            return Ok(None);
        };
        match json::number(json) {
            Some(seconds) if seconds <= MAX_DATE => Ok(Some(seconds)),
            _ => Err(Refusal::Claims(
                "The token has a date that is not in seconds since 1970.",
            )),
        }
    }
}

impl Rules {
    /// Checks the claims of a token whose signature is right; `now` in seconds since 1970.
    pub(crate) fn check(&self, claims: &Claims<'_>, now: f64) -> Result<(), Refusal> {
        if !self.issuers.is_empty() {
            let issuer = claims.issuer().ok_or(Refusal::Invalid)?;
            if !self.issuers.iter().any(|known| *known == *issuer) {
                return Err(Refusal::Invalid);
            }
        }
        let exp = claims.date(EXP)?;
        match exp {
            Some(exp) if now >= exp + self.leeway => return Err(Refusal::Expired),
            None if self.requires_exp => {
                return Err(Refusal::Claims("The token does not say when it expires."));
            }
            _ => {}
        }
        if claims.date(NBF)?.is_some_and(|nbf| now + self.leeway < nbf) {
            return Err(Refusal::NotYetValid);
        }
        if let (Some(maximum), Some(exp)) = (self.maximum_lifetime, exp) {
            let issued = claims.date(IAT)?.unwrap_or(now);
            if exp - issued > maximum || exp - now > maximum + self.leeway {
                return Err(Refusal::Claims("The token is valid for too long."));
            }
        }
        self.revoked.check(claims)?;
        if !self.audience.is_empty() && !self.is_for_us(claims) {
            return Err(Refusal::Audience);
        }
        if self
            .required
            .iter()
            .any(|claim| claims.json(*claim).is_none())
        {
            return Err(Refusal::Claims(
                "The token lacks a claim that is required here.",
            ));
        }
        Ok(())
    }

    /// `aud` is a string or an array of them (RFC 7519, 4.1.3).
    fn is_for_us(&self, claims: &Claims<'_>) -> bool {
        let Some(json) = claims.json(AUD) else {
            return false;
        };
        let is_ours = |json| {
            json::string(json).is_some_and(|name| self.audience.iter().any(|ours| *ours == *name))
        };
        match json::elements(json) {
            Some(names) => names.into_iter().any(is_ours),
            None => is_ours(json),
        }
    }
}

impl Revoked {
    fn check(&self, claims: &Claims<'_>) -> Result<(), Refusal> {
        let is_listed = |list: &BTreeSet<String>, claim: Claim| match claims.json(claim) {
            // A claim that is no text could be another way to write one that is listed.
            Some(json) if !list.is_empty() => {
                json::string(json).is_none_or(|text| list.contains(&*text))
            }
            _ => false,
        };
        if is_listed(&self.ids, JTI) || is_listed(&self.subjects, SUB) {
            return Err(Refusal::Revoked);
        }
        match (self.issued_before, claims.date(IAT)?) {
            (None, _) => Ok(()),
            (Some(moment), Some(issued)) if issued >= moment => Ok(()),
            (Some(_), _) => Err(Refusal::Revoked),
        }
    }
}

#[cfg(test)]
mod tests;
