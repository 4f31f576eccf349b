//! The consumers of the configuration. Grant: `identity`.

use crate::host::call;

pub use crate::bindings::imports::postern::plugin::identity::{Consumer, Credential, Found};

/// The headers that tell an upstream who calls: name, tier, groups (separated by commas), custom id, and what identifies
/// the credential. The gateway writes them when the exchange is
/// authenticated, and takes them out of what clients send.
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
