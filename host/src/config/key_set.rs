//! How sets of public keys are named: a file, or a URL.

use serde::{Deserialize, Deserializer};

use super::address::{TargetAddress, target};
use super::reference::SecretReference;
use super::values::{Refusal, from_text};

/// What it looks like, for messages.
const JWKS: &str = "a set of keys like \"https://login.example/jwks.json\" or \"file:jwks.json\"";

/// Where a set of public keys is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeySetReference {
    /// `file:PATH`
    File(SecretReference),
    /// `https://HOST/PATH`
    Url { server: TargetAddress, path: String },
}

impl<'de> Deserialize<'de> for KeySetReference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, JWKS, parse)
    }
}

fn parse(text: &str) -> Result<KeySetReference, Refusal> {
    let expected = || Refusal::expected(JWKS, text);
    if let Some(path) = text.strip_prefix("file:").filter(|path| !path.is_empty()) {
        return Ok(KeySetReference::File(SecretReference::File(
            path.to_owned(),
        )));
    }
    let (scheme, rest) = text.split_once("://").ok_or_else(expected)?;
    if rest.contains('@') {
        // Not echoed: what stands before the `@` is usually a password.
        return Err(Refusal::new(
            "a set of keys has no user name and no password",
        ));
    }
    if rest.contains('#') || !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(expected());
    }
    let path = rest
        .find('/')
        .ok_or_else(|| expected().help("the path is missing"))?;
    let (authority, path) = rest.split_at(path);
    let server = target(&format!("{scheme}://{authority}"))?;
    if !server.secure && !is_this_machine(&server.host) {
        return Err(Refusal::new(
            "keys are fetched over TLS: whoever is in between could give others",
        )
        .help(format!("write \"https://{rest}\"")));
    }
    let path = path.to_owned();
    Ok(KeySetReference::Url { server, path })
}

fn is_this_machine(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_server_and_a_path() {
        let parsed = parse("https://login.example:8443/a/jwks.json?v=1").unwrap();
        let KeySetReference::Url { server, path } = parsed else {
            panic!("it is a URL")
        };
        assert_eq!(
            (&*server.host, server.port, server.secure),
            ("login.example", 8443, true)
        );
        assert_eq!(path, "/a/jwks.json?v=1");
        for local in [
            "http://127.0.0.1:1/k",
            "http://[::1]:1/k",
            "http://localhost/k",
        ] {
            assert!(parse(local).is_ok(), "{local}");
        }
    }

    #[test]
    fn what_is_no_place_for_keys_is_refused() {
        for wrong in [
            "",
            "file:",
            "env:JWKS",
            "https://login.example",
            "https://user:secret@login.example/k",
            "https://login.example/k#f",
            "https://login.example/k k",
            "http://login.example/k",
            "http://10.0.0.1/k",
            "ftp://login.example/k",
            "unix:///run/idp/k",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
