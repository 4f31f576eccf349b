//! The consumers of the configuration. Grant: `identity`.

mod absence;

use crate::host::call;

pub use absence::{Absence, Require};

pub use crate::bindings::imports::postern::plugin::identity::{Consumer, Credential, Found};

/// The headers that tell an upstream who calls: name, tier, groups (separated by commas), custom id, what identifies
/// the credential, and whether the consumer stands for strangers. The gateway writes them when the exchange is
/// authenticated, and takes them out of what clients send.
pub const CONSUMER_HEADERS: [&str; 6] = [
    "x-consumer-name",
    "x-consumer-tier",
    "x-consumer-groups",
    "x-consumer-custom-id",
    "x-credential-identifier",
    "x-anonymous-consumer",
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

/// Unless the exchange belongs to somebody: from here on it belongs to this consumer, which stands for strangers. A name that
/// is not in the configuration is an error.
pub fn authenticate_anonymous(consumer: &str) -> Result<(), String> {
    call!(identity::authenticate_anonymous(consumer))
}

/// Whether the consumer that this exchange belongs to stands for strangers; not so where it belongs to nobody.
pub fn is_anonymous() -> bool {
    call!(identity::is_anonymous())
}

/// A value of the `metadata` of the consumer that this exchange belongs to.
pub fn metadata(key: &str) -> Option<String> {
    call!(identity::metadata(key))
}

/// The consumer that this exchange belongs to, and its credential. Where the consumer stands for strangers, the
/// credential's id is empty.
pub fn current() -> Option<Found> {
    call!(identity::current())
}
