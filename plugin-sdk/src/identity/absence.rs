//! Requests without credentials, for plugins that authenticate: with this, several of them stand in one chain.

use serde::Deserialize;

use crate::{Reply, RequestVerdict, log};

/// Whether a request must carry the credentials that a plugin looks for; for a `config` table.
///
/// Credentials that are there must be right in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Require {
    /// Every request must.
    Always,
    /// Those that no earlier plugin of the chain has authenticated.
    UnlessAuthenticated,
    /// None must: a later plugin decides.
    Never,
}

/// What becomes of a request without credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absence {
    require: Require,
    anonymous: Option<String>,
}

impl Absence {
    /// From the keys `require` and `anonymous` of a `config` table: the default is that credentials are always required. The
    /// error begins with the key.
    pub fn new(require: Option<Require>, anonymous: Option<String>) -> Result<Self, String> {
        if anonymous.as_deref().is_some_and(str::is_empty) {
            return Err(String::from("anonymous: expected the name of a consumer"));
        }
        let require = match (require, &anonymous) {
            (None, None) => Require::Always,
            (None, Some(_)) => Require::UnlessAuthenticated,
            (Some(Require::Always | Require::Never), Some(_)) => {
                return Err(String::from(
                    "anonymous: only with `require = \"unless-authenticated\"`, which is the default then",
                ));
            }
            (Some(require), _) => require,
        };
        Ok(Absence { require, anonymous })
    }

    /// The verdict on a request without credentials: it goes on where it may, as the anonymous consumer's if there is one.
    pub fn verdict(&self, refusal: impl FnOnce() -> Reply) -> RequestVerdict {
        let is_known = || super::current().is_some() && !super::is_anonymous();
        match (self.require, &self.anonymous) {
            (Require::Never, _) => RequestVerdict::Next,
            (Require::UnlessAuthenticated, _) if is_known() => RequestVerdict::Next,
            (Require::UnlessAuthenticated, Some(consumer)) => stranger(consumer),
            (Require::Always | Require::UnlessAuthenticated, _) => refusal().into(),
        }
    }
}

fn stranger(consumer: &str) -> RequestVerdict {
    match super::authenticate_anonymous(consumer) {
        Ok(()) => RequestVerdict::Next,
        Err(reason) => {
            log::error(format_args!("config: anonymous: {reason}"));
            Reply::problem(
                500,
                "consumer-unknown",
                "The gateway is not configured for requests without credentials.",
            )
            .into()
        }
    }
}
