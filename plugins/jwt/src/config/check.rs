//! What of the `config` table the types cannot check.

use std::time::Duration;

use postern_plugin::header::{editable_name, is_token};
use postern_plugin::identity::CONSUMER_HEADERS;

use super::Config;

/// "no more than a few minutes" (RFC 7519, 4.1.4).
const MAX_LEEWAY: Duration = Duration::from_secs(10 * 60);

/// Of the 16 that an exchange takes; other plugins leave some too.
const MAX_NOTES: usize = 12;

impl Config {
    /// Checks what the types cannot; the headers come back in lower case.
    pub(crate) fn validate(mut self) -> Result<Self, String> {
        let cookies_are_names = self.cookie.iter().all(|name| is_token(name));
        let lives = self.maximum_lifetime;
        let checks = [
            (
                "query",
                !self.query.iter().any(String::is_empty),
                "expected names of parameters",
            ),
            ("cookie", cookies_are_names, "expected names of cookies"),
            (
                "realm",
                self.realm.as_deref().is_none_or(is_quotable),
                "expected ASCII without \" and \\",
            ),
            (
                "consumer-claim",
                self.consumer_claim.as_deref() != Some(""),
                "expected the name of a claim",
            ),
            (
                "key-set",
                self.key_set.as_deref() != Some(""),
                "expected the name of a [keys.NAME] table",
            ),
            (
                "issuer",
                !self.issuer.iter().any(String::is_empty),
                "expected issuers, found an empty one",
            ),
            (
                "audience",
                !self.audience.iter().any(String::is_empty),
                "expected audiences, found an empty one",
            ),
            (
                "required-claims",
                !self.required_claims.iter().any(String::is_empty),
                "expected names of claims",
            ),
            (
                "forward-claims",
                !self.forward_claims.contains_key(""),
                "expected names of claims",
            ),
            (
                "note-claims",
                !self.note_claims.iter().any(String::is_empty),
                "expected names of claims",
            ),
            (
                "note-claims",
                self.note_claims.len() <= MAX_NOTES,
                "expected at most 12: an exchange has room for 16 notes",
            ),
            (
                "token-type",
                self.token_type.as_deref().is_none_or(is_media_type),
                "expected a media type, as in \"at+jwt\"",
            ),
            ("leeway", self.leeway <= MAX_LEEWAY, "expected at most 10m"),
            (
                "maximum-lifetime",
                lives != Some(Duration::ZERO),
                "expected more than nothing",
            ),
            (
                "maximum-lifetime",
                lives.is_none() || self.require_exp,
                "needs require-exp = true",
            ),
            (
                "consumer",
                self.consumer.as_deref() != Some(""),
                "expected the name of a [consumer.NAME] table",
            ),
            (
                "consumer",
                self.consumer.is_none() || self.key_set.is_some(),
                "needs key-set: without one, the token names its consumer",
            ),
            (
                "consumer-claim",
                self.consumer.is_none() || self.consumer_claim.is_none(),
                "means nothing with consumer, which all tokens belong to",
            ),
            (
                "issuer",
                self.key_set.is_none() || !self.issuer.is_empty(),
                "key-set needs it: other issuers may sign with the same keys",
            ),
        ];
        if let Some((field, _, problem)) = checks.iter().find(|(_, is_right, _)| !is_right) {
            return Err(format!("{field}: {problem}"));
        }
        self.check_forwarded()?;
        Ok(self)
    }

    fn check_forwarded(&mut self) -> Result<(), String> {
        let mut used: Vec<&str> = CONSUMER_HEADERS.to_vec();
        for (claim, header) in &mut self.forward_claims {
            *header = editable_name(header)
                .map_err(|reason| format!("forward-claims.{claim}: {reason}"))?;
            if used.contains(&header.as_str()) {
                return Err(format!(
                    "forward-claims.{claim}: header {header:?} is written already"
                ));
            }
            used.push(header);
        }
        Ok(())
    }
}

/// Whether a text can stand between the quotes of a challenge as it is.
fn is_quotable(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\')
}

fn is_media_type(text: &str) -> bool {
    !text.is_empty() && text.split('/').all(is_token)
}
