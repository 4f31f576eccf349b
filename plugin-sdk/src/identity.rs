//! The consumers of the configuration. Grant: `identity`.

use crate::HeaderEdit;
use crate::host::call;

pub use crate::bindings::imports::postern::plugin::identity::{Consumer, Credential, Found};

/// The headers that tell an upstream who calls: name, tier, groups (separated by commas), custom id, and what identifies
/// the credential. Every authenticating plugin writes them with [`crate::RequestEdits::consumer`].
pub const CONSUMER_HEADERS: [&str; 5] = [
    "x-consumer-name",
    "x-consumer-tier",
    "x-consumer-groups",
    "x-consumer-custom-id",
    "x-credential-identifier",
];

/// Looks a credential up, in time that does not depend on how much of it is right.
pub fn find(credential: &Credential) -> Option<Found> {
    call!(identity::find(credential))
}

/// From here on the exchange belongs to the consumer. Repeating it for the same consumer is allowed; a second, different
/// one is an error, and so is a name that is not in the configuration.
pub fn authenticate(consumer: &str, credential_id: &str) -> Result<(), String> {
    call!(identity::authenticate(consumer, credential_id))
}

/// The consumer that this exchange belongs to, and its credential.
pub fn current() -> Option<Found> {
    call!(identity::current())
}

/// Sets what is known and removes the rest, so that no client can claim to be somebody.
pub(crate) fn push_consumer_edits(edits: &mut Vec<HeaderEdit>, found: Option<&Found>) {
    let consumer = found.map(|found| &found.consumer);
    let groups = consumer
        .filter(|consumer| !consumer.groups.is_empty())
        .map(|consumer| consumer.groups.join(", "));
    let values = [
        consumer.map(|consumer| consumer.name.as_str()),
        consumer.and_then(|consumer| consumer.tier.as_deref()),
        groups.as_deref(),
        consumer.and_then(|consumer| consumer.custom_id.as_deref()),
        found.map(|found| found.credential_id.as_str()),
    ];
    edits.reserve(values.len());
    edits.extend(
        CONSUMER_HEADERS
            .into_iter()
            .zip(values)
            .map(|(name, value)| match value {
                Some(value) => HeaderEdit::set(name, value),
                None => HeaderEdit::remove(name),
            }),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RequestEdits;

    #[test]
    fn what_is_known_of_a_consumer_is_set_and_the_rest_removed() {
        let consumer = Consumer {
            name: "app".into(),
            tier: None,
            groups: vec!["a".into(), "b".into()],
            custom_id: None,
        };
        let edits = RequestEdits::new().consumer(&Found {
            consumer,
            credential_id: "key-1".into(),
        });
        let expected = [
            HeaderEdit::set("x-consumer-name", "app"),
            HeaderEdit::remove("x-consumer-tier"),
            HeaderEdit::set("x-consumer-groups", "a, b"),
            HeaderEdit::remove("x-consumer-custom-id"),
            HeaderEdit::set("x-credential-identifier", "key-1"),
        ];
        assert_eq!(edits.headers, expected);
    }

    #[test]
    fn nobody_may_send_consumer_headers() {
        let edits = RequestEdits::new().anonymous();
        assert_eq!(edits.headers, CONSUMER_HEADERS.map(HeaderEdit::remove));
    }
}
