//! A value that must not be printed.

use std::fmt;
use std::sync::Arc;

/// A secret that was read from the environment or a file. Printing it shows `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// Keeps `value` out of every output.
    #[must_use]
    pub fn new(value: impl Into<Arc<[u8]>>) -> Self {
        Self(value.into())
    }

    /// The secret itself; the name is a warning to whoever reads the call.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }

    /// Its SHA-256 digest.
    pub(super) fn sha256(&self) -> KeyDigest {
        let mut digest = [0; 32];
        digest.copy_from_slice(
            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.0).as_ref(),
        );
        KeyDigest(digest)
    }
}

/// The SHA-256 digest of a secret: no secret, but what a guess could be checked against. Printing it shows `***`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// Keeps `digest` out of every output.
    #[must_use]
    pub fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The digest itself.
    #[must_use]
    pub fn reveal(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
