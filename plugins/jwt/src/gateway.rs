//! What the gateway is asked about a token: whether its signature is right, and whose it is.

use postern_plugin::identity::{self, Credential};
use postern_plugin::keys::{self, Key, Verification};
use postern_plugin::log;

use crate::claims::Claims;
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::token::Token;

/// Passes a token of the right type whose signature is right for the key; the gateway knows with which algorithm.
pub(crate) fn verify(token: &Token<'_>, kind: Option<&str>, key: &Key) -> Result<(), Refusal> {
    let header = token.header()?;
    if kind.is_some_and(|kind| !header.is_of_type(kind)) {
        return Err(Refusal::Claims(
            "The token is not of the type that is needed here.",
        ));
    }
    let key_id = header.key_id.as_deref();
    let verification = keys::verify(
        key,
        key_id,
        header.algorithm,
        token.signing_input,
        &token.signature,
    );
    match verification {
        Verification::Valid => return Ok(()),
        Verification::BadSignature => {}
        // Nothing was computed: about as much as an HMAC takes, so that the time of an answer does not list the issuers.
        Verification::UnknownKey | Verification::AlgorithmNotAllowed => {
            keys::sha256(token.signing_input);
        }
    }
    log::debug(format_args!("token refused: {verification:?} for {key:?}"));
    Err(Refusal::Invalid)
}

/// Whose token it is; from here on, the exchange is theirs.
pub(crate) fn authenticate(policy: &Policy, claims: &Claims<'_>) -> Result<(), Refusal> {
    if let Some(consumer) = &policy.config.consumer {
        return authenticate_as(consumer, &claims.issuer().unwrap_or_default());
    }
    let caller = policy.caller(claims)?.into_owned();
    let found = identity::find(&Credential::JwtIssuer(caller)).ok_or(Refusal::Invalid)?;
    identity::authenticate(&found.consumer.name, &found.credential_id)
        .map_err(|_| Refusal::Conflict)
}

fn authenticate_as(consumer: &str, credential_id: &str) -> Result<(), Refusal> {
    let authenticated = identity::authenticate(consumer, credential_id);
    match (authenticated, identity::current()) {
        (Ok(()), Some(_)) => Ok(()),
        (Err(_), Some(_)) => Err(Refusal::Conflict),
        (_, None) => {
            log::error(format_args!("config: there is no consumer {consumer:?}"));
            Err(Refusal::NoSuchConsumer)
        }
    }
}
