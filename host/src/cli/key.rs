//! `postern key`: API keys, and the digests by which the configuration knows them.

use std::fmt::Write;
use std::io::Read;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::identity::sha256;

/// Letters and digits: a key is one word wherever it is pasted.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 190 bits of chance.
const RANDOM_CHARACTERS: usize = 32;
const CHECK_CHARACTERS: usize = 6;
const MAX_PREFIX: usize = 32;
/// As long as the plugin `api-key` takes, and more.
const MAX_KEY_BYTES: u64 = 4_096;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a key: prints it once, and the `hash` for the configuration.
    New(New),
    /// Print the `hash` of the key that stands on standard input.
    Hash,
}

#[derive(Debug, Args)]
pub(super) struct New {
    /// What the key begins with, so that people and scanners for secrets recognise it.
    #[arg(long, value_name = "TEXT", default_value = "pk")]
    prefix: String,
}

pub(super) fn key(command: &Command) -> ExitCode {
    let made = match command {
        Command::New(New { prefix }) => new(prefix),
        Command::Hash => from_input().map(|key| format!("hash = \"{}\"\n", hash(&key))),
    };
    match made {
        Ok(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(reason) => super::fail(super::EXIT_START, reason),
    }
}

#[expect(clippy::print_stdout, reason = "the answer to the command")]
fn print(text: &str) {
    print!("{text}");
}

fn new(prefix: &str) -> Result<String, String> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if prefix.is_empty() || prefix.len() > MAX_PREFIX || !prefix.bytes().all(is_word) {
        return Err(format!(
            "--prefix: expected 1 to {MAX_PREFIX} letters, digits, _ and -"
        ));
    }
    let key = generate(prefix);
    let digest = hash(&key);
    Ok(format!("key  = \"{key}\"\nhash = \"{digest}\"\n"))
}

/// `PREFIX_RANDOM` and a checksum: the first 32 bits of the SHA-256 digest of what stands before it, to base 62. Whoever
/// finds a key in a text can tell with it that it is one.
fn generate(prefix: &str) -> String {
    let mut key = format!("{prefix}_");
    for _ in 0..RANDOM_CHARACTERS {
        key.push(character(rand::random_range(0..ALPHABET.len())));
    }
    let check = checksum(&key);
    key + &check
}

fn checksum(text: &str) -> String {
    let [a, b, c, d, ..] = sha256(text.as_bytes());
    let mut rest = u32::from_be_bytes([a, b, c, d]) as usize;
    let mut check = vec!['0'; CHECK_CHARACTERS];
    for place in check.iter_mut().rev() {
        *place = character(rest % ALPHABET.len());
        rest /= ALPHABET.len();
    }
    check.into_iter().collect()
}

fn character(index: usize) -> char {
    ALPHABET.get(index).copied().map_or('0', char::from)
}

/// As the configuration writes it.
fn hash(key: &str) -> String {
    let mut text = String::from("sha256:");
    for byte in sha256(key.as_bytes()) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// One line; its end does not belong to the key.
fn from_input() -> Result<String, String> {
    let mut text = String::new();
    std::io::stdin()
        .take(MAX_KEY_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| format!("standard input cannot be read: {error}"))?;
    let key = text.trim_end_matches(['\r', '\n']);
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(String::from(
            "expected a key on standard input: visible ASCII characters",
        ));
    }
    Ok(key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_prefix_its_chance_and_its_checksum() {
        let (first, second) = (generate("shop"), generate("shop"));
        assert_ne!(first, second);
        let (text, check) = first.split_at(first.len() - CHECK_CHARACTERS);
        assert!(text.starts_with("shop_"), "{first}");
        assert_eq!(text.len(), "shop_".len() + RANDOM_CHARACTERS);
        assert_eq!(checksum(text), check);
        assert_ne!(checksum(&text.to_ascii_uppercase()), check);
    }

    #[test]
    fn the_checksum_stays_what_it_is() {
        // SHA-256 of "abc" begins with ba7816bf: 3128432319 to base 62.
        assert_eq!(checksum("abc"), "3Pia9n");
    }

    #[test]
    fn the_hash_is_what_the_configuration_reads() {
        assert_eq!(
            hash("abc"),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn prefixes_are_words() {
        for bad in ["", "a b", "ä", "a\"b", &"x".repeat(33)] {
            assert!(new(bad).is_err(), "{bad:?}");
        }
        assert!(new("shop_live").is_ok());
    }
}
