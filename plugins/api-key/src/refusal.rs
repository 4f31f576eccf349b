//! Why a request is refused, and what its client is told.

use postern_plugin::Reply;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No key.
    Missing,
    /// Two different keys.
    Ambiguous,
    /// A key that nobody has.
    Invalid,
    /// The key of one consumer, in an exchange that another plugin gave to a different one.
    Conflict,
}

impl Refusal {
    /// The answer, with a challenge that names the realm.
    pub(crate) fn reply(self, realm: Option<&str>) -> Reply {
        let (status, code, detail) = match self {
            Refusal::Missing => (401, "api-key-missing", "An API key is needed."),
            Refusal::Ambiguous => (
                400,
                "api-key-ambiguous",
                "The request carries two different API keys.",
            ),
            Refusal::Invalid => (401, "api-key-invalid", "The API key is not valid."),
            Refusal::Conflict => (
                401,
                "credentials-conflict",
                "The request carries credentials of two different consumers.",
            ),
        };
        let reply = Reply::problem(status, code, detail);
        if status != 401 {
            return reply;
        }
        let challenge = realm.map_or_else(
            || String::from("ApiKey"),
            |realm| format!("ApiKey realm=\"{realm}\""),
        );
        reply.header("www-authenticate", challenge)
    }
}
