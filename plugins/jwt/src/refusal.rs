//! Why a request is refused, and what its client is told (RFC 6750, 3).

use postern_plugin::Reply;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No token.
    Missing,
    /// Two different tokens.
    Ambiguous,
    /// Not the form of a token, or a header that is not understood.
    Malformed,
    /// The signature is wrong, or the issuer is not known, or the algorithm is not that of the key: the client is not told
    /// which of them, or it could find out who the issuers are.
    Invalid,
    Expired,
    NotYetValid,
    /// The operator has taken it back.
    Revoked,
    /// For somebody else.
    Audience,
    /// A claim is missing or does not fit; the sentence says which kind of claim.
    Claims(&'static str),
    /// The token of one consumer, in an exchange that another plugin gave to a different one.
    Conflict,
    /// The configuration names a consumer that does not exist.
    NoSuchConsumer,
}

impl Refusal {
    /// The answer, with a challenge that names the realm.
    pub(crate) fn reply(self, realm: Option<&str>) -> Reply {
        let (status, code, error, detail) = self.words();
        let reply = Reply::problem(status, code, detail);
        if status == 500 {
            return reply;
        }
        let mut challenge = String::from("Bearer");
        let mut separator = ' ';
        let error_description = error.map(|_| detail.trim_end_matches('.'));
        let parameters = [
            ("realm", realm),
            ("error", error),
            ("error_description", error_description),
        ];
        for (name, value) in parameters {
            if let Some(value) = value {
                challenge.push(separator);
                challenge.push_str(name);
                challenge.push_str("=\"");
                challenge.push_str(value);
                challenge.push('"');
                separator = ',';
            }
        }
        reply.header("www-authenticate", challenge)
    }

    /// Status, code of the problem, `error` of the challenge, and a sentence for people. The challenge quotes the sentence:
    /// no `"` and no `\` in it.
    fn words(self) -> (u16, &'static str, Option<&'static str>, &'static str) {
        const TOKEN: Option<&str> = Some("invalid_token");
        match self {
            Refusal::Missing => (401, "token-missing", None, "A bearer token is needed."),
            Refusal::Ambiguous => (
                400,
                "token-ambiguous",
                Some("invalid_request"),
                "The request carries two different tokens.",
            ),
            Refusal::Malformed => (401, "token-malformed", TOKEN, "The token is malformed."),
            Refusal::Invalid => (401, "token-invalid", TOKEN, "The token is not valid."),
            Refusal::Expired => (401, "token-expired", TOKEN, "The token has expired."),
            Refusal::NotYetValid => (
                401,
                "token-not-yet-valid",
                TOKEN,
                "The token is not valid yet.",
            ),
            Refusal::Revoked => (401, "token-revoked", TOKEN, "The token has been revoked."),
            Refusal::Audience => (
                401,
                "token-audience",
                TOKEN,
                "The token is meant for another audience.",
            ),
            Refusal::Claims(detail) => (401, "token-claims", TOKEN, detail),
            Refusal::Conflict => (
                401,
                "credentials-conflict",
                TOKEN,
                "The request carries credentials of two different consumers.",
            ),
            Refusal::NoSuchConsumer => (
                500,
                "consumer-unknown",
                None,
                "The gateway is not configured for this token.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_follows_rfc_6750() {
        let challenge = |refusal: Refusal, realm| {
            let reply = refusal.reply(realm);
            (
                reply.status,
                reply.header_text("www-authenticate").map(str::to_owned),
            )
        };
        assert_eq!(
            challenge(Refusal::Missing, None),
            (401, Some("Bearer".into()))
        );
        assert_eq!(
            challenge(Refusal::Missing, Some("shop")),
            (401, Some("Bearer realm=\"shop\"".into()))
        );
        let expired = "Bearer error=\"invalid_token\",error_description=\"The token has expired\"";
        assert_eq!(
            challenge(Refusal::Expired, None),
            (401, Some(expired.into()))
        );
        let two = "Bearer realm=\"shop\",error=\"invalid_request\",error_description=\"The request carries two different tokens\"";
        assert_eq!(
            challenge(Refusal::Ambiguous, Some("shop")),
            (400, Some(two.into()))
        );
        assert_eq!(
            challenge(Refusal::NoSuchConsumer, Some("shop")),
            (500, None)
        );
    }
}
