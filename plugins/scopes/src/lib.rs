//! Asks for scopes and claims of the caller's token, by method and path.
//!
//! The plugin that verified the token leaves its claims as notes of the exchange; a token is not looked at again here.

mod config;
mod pattern;
mod rule;

use config::{Config, Unmatched};
use postern_plugin::{Plugin, Reply, RequestHead, RequestPhase, RequestVerdict, exchange};
use rule::{Lack, Rule};

struct Scopes {
    rules: Vec<Rule>,
    /// The key of the note with the scopes.
    scope_note: String,
    unmatched: Unmatched,
    realm: Option<String>,
}

impl Plugin for Scopes {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        Ok(Scopes {
            rules: config.rules()?,
            scope_note: format!("claim.{}", config.scope_claim),
            unmatched: config.unmatched,
            realm: config.realm,
        })
    }
}

impl Scopes {
    fn insufficient(&self, rule: &Rule) -> Reply {
        let mut challenge = String::from("Bearer ");
        if let Some(realm) = &self.realm {
            challenge += &format!("realm=\"{realm}\",");
        }
        // RFC 6750, 3.1.
        challenge += &format!("error=\"insufficient_scope\",scope=\"{}\"", rule.wanted());
        Reply::problem(
            403,
            "scope-missing",
            "The token does not have the scopes that this needs.",
        )
        .header("www-authenticate", challenge)
    }
}

impl RequestPhase for Scopes {
    fn on_request(&self, head: RequestHead) -> RequestVerdict {
        let (method, path) = (head.method.as_str(), head.path());
        let Some(rule) = self.rules.iter().find(|rule| rule.fits(method, path)) else {
            return match self.unmatched {
                Unmatched::Allow => RequestVerdict::Next,
                Unmatched::Deny => {
                    Reply::problem(403, "scope-unmatched", "Nobody is allowed to do this.").into()
                }
            };
        };
        match rule.check(&self.scope_note, note) {
            Ok(()) => RequestVerdict::Next,
            Err(Lack::Scope) => self.insufficient(rule).into(),
            Err(Lack::Claim) => {
                Reply::problem(403, "claim-missing", "The token does not allow to do this.").into()
            }
        }
    }
}

fn note(key: &str) -> String {
    let note = exchange::note(key).unwrap_or_default();
    String::from_utf8(note).unwrap_or_default()
}

postern_plugin::export!(Scopes: request);

#[cfg(test)]
mod tests;
