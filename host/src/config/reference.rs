//! References to secrets: `env:NAME` and `file:PATH`.
//!
//! A secret in the file itself ends up in version control and in bug reports, so the file only says where it is. Nothing here
//! ever puts a secret, or what might be one, into a message.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, de};

use super::secret::Secret;
use super::values::Refusal;

/// More than any key; less than what would hurt if the path is a mistake.
const MAX_SECRET_BYTES: u64 = 64 << 10;

/// How the environment is asked: tests cannot set variables of their own process.
pub(super) type Environment<'e> = &'e dyn Fn(&str) -> Option<OsString>;

/// Says where a key is, and reads it. Relative paths begin at `directory`.
pub(super) trait Reference {
    /// The file that is read, if one is.
    fn file(&self, directory: &Path) -> Option<PathBuf>;

    /// What is there.
    fn read(&self, directory: &Path, environment: Environment<'_>) -> Result<Secret, Refusal>;
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SecretReference {
    /// `env:NAME`
    Environment(String),
    /// `file:PATH`
    File(String),
}

impl SecretReference {
    fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            _ if rest.is_empty() => None,
            "env" => Some(Self::Environment(rest.to_owned())),
            "file" => Some(Self::File(rest.to_owned())),
            _ => None,
        }
    }
}

impl Reference for SecretReference {
    fn file(&self, directory: &Path) -> Option<PathBuf> {
        match self {
            Self::Environment(_) => None,
            Self::File(path) => Some(directory.join(path)),
        }
    }

    /// Reads the secret. One newline at the end is not part of it: editors and `echo` add it.
    fn read(&self, directory: &Path, environment: Environment<'_>) -> Result<Secret, Refusal> {
        let (mut bytes, place) = match self {
            Self::Environment(name) => {
                let value = environment(name).ok_or_else(|| {
                    Refusal::new(format!("the environment variable \"{name}\" is not set"))
                        .help("set it where the gateway is started")
                })?;
                (
                    value.into_encoded_bytes(),
                    format!("the environment variable \"{name}\""),
                )
            }
            Self::File(path) => {
                let path = directory.join(path);
                let bytes = read_file(&path, MAX_SECRET_BYTES)?;
                (bytes, format!("the file \"{}\"", path.display()))
            }
        };
        if bytes.ends_with(b"\n") {
            bytes.truncate(bytes.len() - if bytes.ends_with(b"\r\n") { 2 } else { 1 });
        }
        if bytes.is_empty() {
            return Err(Refusal::new(format!("{place} is empty")));
        }
        Ok(Secret::new(bytes))
    }
}

/// Reads a file of at most `limit` bytes.
pub(super) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, Refusal> {
    let unreadable = |error: std::io::Error| {
        Refusal::new(format!(
            "cannot read \"{}\": {}",
            path.display(),
            describe(&error)
        ))
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(Refusal::new(format!(
            "\"{}\" is longer than such a file can be",
            path.display()
        )));
    }
    Ok(bytes)
}

/// What the operating system said, without its number: messages are compared in tests and read by people.
pub(super) fn describe(error: &std::io::Error) -> String {
    use std::io::ErrorKind::{IsADirectory, NotFound, PermissionDenied};
    match error.kind() {
        NotFound => "no such file".to_owned(),
        PermissionDenied => "permission denied".to_owned(),
        IsADirectory => "it is a directory".to_owned(),
        _ => error.to_string().to_lowercase(),
    }
}

impl<'de> Deserialize<'de> for SecretReference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Read as any value: serde's own error about a wrong type would quote it.
        let value = toml::Value::deserialize(deserializer)
            .map_err(|_| de::Error::custom(literal_secret()))?;
        value
            .as_str()
            .and_then(Self::parse)
            .ok_or_else(|| de::Error::custom(literal_secret()))
    }
}

/// Whether `text` only says where a secret is.
pub(super) fn is_reference(text: &str) -> bool {
    SecretReference::parse(text).is_some()
}

fn literal_secret() -> Refusal {
    Refusal::new("a secret is not written into the configuration")
        .help("put it into an environment variable and write \"env:NAME\", or into a file and write \"file:PATH\"")
}

/// A public key, which may also stand in the file itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PublicKeyReference {
    /// PEM text.
    Inline(String),
    /// `env:NAME`, `file:PATH`
    Elsewhere(SecretReference),
}

impl Reference for PublicKeyReference {
    fn file(&self, directory: &Path) -> Option<PathBuf> {
        match self {
            Self::Inline(_) => None,
            Self::Elsewhere(reference) => reference.file(directory),
        }
    }

    /// Reads the key, and refuses a private one: the gateway needs none, so it should not be here at all.
    fn read(&self, directory: &Path, environment: Environment<'_>) -> Result<Secret, Refusal> {
        let key = match self {
            Self::Inline(pem) => Secret::new(pem.clone().into_bytes()),
            Self::Elsewhere(reference) => reference.read(directory, environment)?,
        };
        let marker = b"PRIVATE KEY-----";
        if key
            .reveal()
            .windows(marker.len())
            .any(|window| window == marker)
        {
            return Err(Refusal::new("this is a private key")
                .help("give the public key: whoever signs the tokens keeps the private one"));
        }
        Ok(key)
    }
}

impl<'de> Deserialize<'de> for PublicKeyReference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = || {
            let refusal =
                Refusal::new("expected a public key: \"file:PATH\", \"env:NAME\" or PEM text");
            de::Error::custom(refusal.help("PEM text begins with \"-----BEGIN PUBLIC KEY-----\""))
        };
        let value = toml::Value::deserialize(deserializer).map_err(|_| expected())?;
        let text = value.as_str().ok_or_else(expected)?;
        if text.trim_start().starts_with("-----BEGIN ") {
            return Ok(Self::Inline(text.to_owned()));
        }
        SecretReference::parse(text)
            .map(Self::Elsewhere)
            .ok_or_else(expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(reference: &str, value: &str) -> Result<Vec<u8>, String> {
        let value = value.to_owned();
        let environment = move |name: &str| (name == "NAME").then(|| OsString::from(&value));
        let reference = SecretReference::parse(reference).unwrap();
        let secret = reference
            .read(Path::new(""), &environment)
            .map_err(|refusal| refusal.to_string())?;
        Ok(secret.reveal().to_vec())
    }

    #[test]
    fn one_newline_at_the_end_is_not_part_of_a_secret() {
        assert_eq!(read("env:NAME", "abc").unwrap(), b"abc");
        assert_eq!(read("env:NAME", "abc\n").unwrap(), b"abc");
        assert_eq!(read("env:NAME", "abc\r\n").unwrap(), b"abc");
        assert_eq!(read("env:NAME", "abc\n\n").unwrap(), b"abc\n");
    }

    #[test]
    fn an_absent_or_empty_secret_is_refused() {
        assert!(read("env:NAME", "").unwrap_err().contains("is empty"));
        assert!(read("env:NAME", "\n").unwrap_err().contains("is empty"));
        assert!(read("env:OTHER", "abc").unwrap_err().contains("is not set"));
        assert!(
            read("file:/nonexistent/key", "abc")
                .unwrap_err()
                .contains("no such file")
        );
    }

    #[test]
    fn a_file_is_read_relative_to_the_configuration() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("key"), "abc\n").unwrap();
        let reference = SecretReference::parse("file:key").unwrap();
        assert_eq!(
            reference
                .read(directory.path(), &|_| None)
                .unwrap()
                .reveal(),
            b"abc"
        );
    }

    #[test]
    fn only_references_are_references() {
        for wrong in ["", "abc", "env:", "file:", "vault:x", ":x"] {
            assert_eq!(SecretReference::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_private_key_is_refused() {
        let key = PublicKeyReference::Inline("-----BEGIN PRIVATE KEY-----\nabc".into());
        assert!(
            key.read(Path::new(""), &|_| None)
                .unwrap_err()
                .to_string()
                .contains("private key")
        );
    }
}
