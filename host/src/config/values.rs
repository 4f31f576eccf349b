//! Words and addresses of the file that are checked while they are read, so that the parser knows where they stand.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::file::ReplyFile;
use super::resolved::{
    AccessLogFormat, Algorithm, Grant, HashOn, Isolation, SameSite, UpgradeProtocol,
    UpstreamProtocol,
};
use super::suggest;
use super::tls::TlsVersion;

/// Separates message and help in the text of a serde error, which has no room for two.
pub(super) const HELP: &str = "\nhelp: ";

/// The longest name of a table: names become metric labels.
const MAX_NAME_LENGTH: usize = 64;

/// Why a value is refused, and what to write instead.
#[derive(Debug)]
pub(super) struct Refusal {
    message: String,
    help: Option<String>,
}

impl Refusal {
    /// Refuses for the reason in `message`.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
        }
    }

    /// Refuses `found`, which is not `what`.
    pub(super) fn expected(what: &str, found: &str) -> Self {
        Self::new(format!("expected {what}, found {found:?}"))
    }

    /// Adds what to write instead.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Message and help.
    pub(super) fn into_parts(self) -> (String, Option<String>) {
        (self.message, self.help)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.help
            .as_ref()
            .map_or(Ok(()), |help| write!(f, "{HELP}{help}"))
    }
}

/// Reads a string and lets `parse` judge it; anything but a string is an error that says what was `expected`.
pub(super) fn from_text<'de, D, T>(
    deserializer: D,
    expected: &'static str,
    parse: impl Fn(&str) -> Result<T, Refusal>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    struct Text<T, F>(&'static str, F, PhantomData<T>);

    impl<T, F: Fn(&str) -> Result<T, Refusal>> Visitor<'_> for Text<T, F> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            (self.1)(text).map_err(E::custom)
        }
    }

    deserializer.deserialize_str(Text(expected, parse, PhantomData))
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, Refusal> {
    if let Some(&(_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(value);
    }
    let known: Vec<&str> = words.iter().map(|&(word, _)| word).collect();
    let refusal = Refusal::expected(&format!("one of {}", known.join(", ")), text);
    Err(match suggest::nearest(text, &known) {
        Some(near) => refusal.help(format!("did you mean \"{near}\"?")),
        None => refusal,
    })
}

/// Defines a newtype whose `Deserialize` reads a string.
macro_rules! text_value {
    ($(#[$doc:meta])* $name:ident($inner:ty), $expected:literal, $parse:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(super) struct $name(pub(super) $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                from_text(deserializer, $expected, |text| ($parse)(text).map(Self))
            }
        }
    };
}

pub(super) use text_value;

/// Whether clients show certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientAuthKind {
    Off,
    Optional,
    Required,
}

text_value!(
    /// The name of a table or a route.
    Name(Arc<str>), "a name", name
);
text_value!(
    /// `GET`
    Method(http::Method), "a method like \"GET\"", method
);
text_value!(
    /// `off`, `text`, `json`
    AccessFormat(AccessLogFormat), "one of off, text, json",
    |text| one_of(text, &[("off", AccessLogFormat::Off), ("text", AccessLogFormat::Text), ("json", AccessLogFormat::Json)])
);
text_value!(
    /// `text`, `json`: whether it is JSON.
    LogFormat(bool), "one of text, json", |text| one_of(text, &[("text", false), ("json", true)])
);
text_value!(
    /// `1.2`, `1.3`
    TlsVersionWord(TlsVersion), "one of 1.2, 1.3",
    |text| one_of(text, &[("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)])
);
text_value!(
    /// `off`, `optional`, `required`
    ClientAuthWord(ClientAuthKind), "one of off, optional, required",
    |text| one_of(text, &[
        ("off", ClientAuthKind::Off),
        ("optional", ClientAuthKind::Optional),
        ("required", ClientAuthKind::Required),
    ])
);
text_value!(
    /// `reuse`, `request`
    IsolationWord(Isolation), "one of reuse, request",
    |text| one_of(text, &[("reuse", Isolation::Reuse), ("request", Isolation::Request)])
);
text_value!(
    /// `auto`, `http1`, `h2`
    #[derive(Copy)]
    ProtocolWord(UpstreamProtocol), "one of auto, http1, h2",
    |text| one_of(text, &[("auto", UpstreamProtocol::Auto), ("http1", UpstreamProtocol::Http1), ("h2", UpstreamProtocol::H2)])
);
text_value!(
    /// Who gets a request.
    PolicyWord(PolicyKind), "a policy like \"least-request\"", policy
);
text_value!(
    /// `header:x-user`
    HashText(HashOn), "something to hash like \"header:x-user\"", hash_on
);
text_value!(
    /// `any`, `none`: whether it is any.
    SubsetFallbackWord(bool), "one of any, none",
    |text| one_of(text, &[("any", true), ("none", false)])
);
text_value!(
    /// `strict`, `lax`, `none`
    SameSiteWord(SameSite), "one of strict, lax, none",
    |text| one_of(text, &[("strict", SameSite::Strict), ("lax", SameSite::Lax), ("none", SameSite::None)])
);
text_value!(
    /// `http`, `tcp`, `tls`, `grpc`
    ProbeWord(ProbeKind), "one of http, tcp, tls, grpc",
    |text| one_of(text, &ProbeKind::ALL.map(|kind| (kind.as_str(), kind)))
);
text_value!(
    /// `200`, `200-299`
    StatusText((u16, u16)), "a status like \"200\" or \"200-299\"", status
);
text_value!(
    /// `websocket`
    #[derive(Copy)]
    UpgradeWord(UpgradeProtocol), "websocket",
    |text| one_of(text, &[("websocket", UpgradeProtocol::WebSocket)])
);
text_value!(
    /// `off`, `required`: whether it is required.
    ProxyProtocolWord(bool), "one of off, required",
    |text| one_of(text, &[("off", false), ("required", true)])
);
text_value!(
    /// A host interface.
    GrantWord(Grant), "one of identity, keys, limits, store, metrics", grant
);
text_value!(
    /// A signature algorithm.
    AlgorithmWord(Algorithm), "an algorithm like \"RS256\"", algorithm
);

text_value!(
    /// `10%`, as parts of a million.
    Share(u32), "a share like \"10%\"", share
);
text_value!(
    /// What a path may hold in encoded form.
    EncodedWord(Encoded), "one of slash, backslash, nul, control", |text| one_of(
        text,
        &[Encoded::Slash, Encoded::Backslash, Encoded::Nul, Encoded::Control].map(|word| (word.as_str(), word))
    )
);

/// A character, or a kind of them, that a path may hold in encoded form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoded {
    Slash,
    Backslash,
    Nul,
    Control,
}

impl Encoded {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Slash => "slash",
            Self::Backslash => "backslash",
            Self::Nul => "nul",
            Self::Control => "control",
        }
    }
}

fn name(text: &str) -> Result<Arc<str>, Refusal> {
    let legal = |character: char| {
        character.is_ascii_lowercase()
            || character.is_ascii_digit()
            || character == '-'
            || character == '_'
    };
    if text.is_empty() || text.len() > MAX_NAME_LENGTH {
        return Err(Refusal::new(format!(
            "a name has 1 to {MAX_NAME_LENGTH} characters, found {}",
            text.len()
        )));
    }
    if !text.chars().all(legal) {
        return Err(Refusal::new(format!(
            "a name consists of a-z, 0-9, \"-\" and \"_\", found {text:?}"
        ))
        .help(suggested_name(text)));
    }
    Ok(text.into())
}

/// Whether `text` may name a table.
pub(super) fn check_name(text: &str) -> Result<(), Refusal> {
    name(text).map(|_| ())
}

fn suggested_name(text: &str) -> String {
    let mapped: String = text
        .to_lowercase()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' {
                c
            } else {
                '-'
            }
        })
        .collect();
    format!("for example \"{}\"", mapped.trim_matches('-'))
}

/// A percentage with at most four decimals.
fn share(text: &str) -> Result<u32, Refusal> {
    let expected = || Refusal::expected("a share like \"10%\"", text);
    let number = text
        .strip_suffix('%')
        .ok_or_else(|| expected().help("add the unit: \"%\""))?;
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |digits: &str, most: usize| {
        (1..=most).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit())
    };
    if !is_number(whole, 3) || !is_number(decimals, 4) {
        return Err(expected().help("a percentage with at most four decimals"));
    }
    let parts = |digits: &str| digits.parse::<u32>().map_err(|_| expected());
    let share = parts(whole)? * 10_000 + parts(&format!("{decimals:0<4}"))?;
    if share > 1_000_000 {
        return Err(expected().help("\"100%\" is the most"));
    }
    Ok(share)
}

fn method(text: &str) -> Result<http::Method, Refusal> {
    let refusal = || Refusal::expected("a method like \"GET\"", text);
    let method = http::Method::from_bytes(text.as_bytes()).map_err(|_| refusal())?;
    if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(refusal().help(format!(
            "methods are upper case: \"{}\"",
            text.to_ascii_uppercase()
        )));
    }
    Ok(method)
}

fn grant(text: &str) -> Result<Grant, Refusal> {
    match text {
        "log" | "exchange" | "clock" => Err(Refusal::new(format!("\"{text}\" needs no grant"))
            .help("it is always granted: remove it")),
        "outbound" => Err(Refusal::new("\"outbound\" is granted by naming upstreams")
            .help("list them in `upstreams` instead")),
        _ => one_of(
            text,
            &[
                ("identity", Grant::Identity),
                ("keys", Grant::Keys),
                ("limits", Grant::Limits),
                ("store", Grant::Store),
                ("metrics", Grant::Metrics),
            ],
        ),
    }
}

fn algorithm(text: &str) -> Result<Algorithm, Refusal> {
    if text == "none" {
        return Err(Refusal::new(
            "\"none\" is not an algorithm that a gateway may accept",
        ));
    }
    one_of(
        text,
        &[
            ("HS256", Algorithm::HS256),
            ("HS384", Algorithm::HS384),
            ("HS512", Algorithm::HS512),
            ("RS256", Algorithm::RS256),
            ("RS384", Algorithm::RS384),
            ("RS512", Algorithm::RS512),
            ("PS256", Algorithm::PS256),
            ("PS384", Algorithm::PS384),
            ("PS512", Algorithm::PS512),
            ("ES256", Algorithm::ES256),
            ("ES384", Algorithm::ES384),
            ("ES512", Algorithm::ES512),
            ("EdDSA", Algorithm::EdDSA),
        ],
    )
}

/// Who gets a request, without what it needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PolicyKind {
    RoundRobin,
    LeastRequest,
    PeakEwma,
    Hash,
}

/// What is asked of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProbeKind {
    Http,
    Tcp,
    Tls,
    Grpc,
}

impl ProbeKind {
    const ALL: [Self; 4] = [Self::Http, Self::Tcp, Self::Tls, Self::Grpc];

    /// As it is written.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Grpc => "grpc",
        }
    }
}

pub(super) fn policy(text: &str) -> Result<PolicyKind, Refusal> {
    one_of(
        text,
        &[
            ("round-robin", PolicyKind::RoundRobin),
            ("least-request", PolicyKind::LeastRequest),
            ("peak-ewma", PolicyKind::PeakEwma),
            ("hash", PolicyKind::Hash),
        ],
    )
}

fn hash_on(text: &str) -> Result<HashOn, Refusal> {
    let expected = || {
        Refusal::expected("something to hash like \"header:x-user\"", text)
            .help("one of header:NAME, cookie:NAME, query:NAME, address, consumer")
    };
    match text.split_once(':') {
        None if text == "address" => Ok(HashOn::Address),
        None if text == "consumer" => Ok(HashOn::Consumer),
        Some(("header", name)) => name.parse().map(HashOn::Header).map_err(|_| expected()),
        Some(("cookie", name)) if !name.is_empty() => Ok(HashOn::Cookie(name.into())),
        Some(("query", name)) if !name.is_empty() => Ok(HashOn::Query(name.into())),
        _ => Err(expected()),
    }
}

fn status(text: &str) -> Result<(u16, u16), Refusal> {
    let expected = || Refusal::expected("a status like \"200\" or \"200-299\"", text);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| {
        let number = text.parse().ok();
        number.filter(|number: &u16| text.len() == 3 && (100..=599).contains(number))
    };
    let (first, last) = number(first).zip(number(last)).ok_or_else(expected)?;
    match first <= last {
        true => Ok((first, last)),
        false => Err(expected().help("the smaller one comes first")),
    }
}

/// What `on-failure` may be: a word or a reply.
#[derive(Debug, Clone)]
pub(super) enum OnFailureValue {
    /// `"closed"`
    Closed,
    /// `"open"`
    Open,
    /// `{ status = 503, body = "..." }`
    Reply(ReplyFile),
}

impl<'de> Deserialize<'de> for OnFailureValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordOrReply;

        impl<'de> Visitor<'de> for WordOrReply {
            type Value = OnFailureValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"closed\", \"open\" or { status = ..., body = ... }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                match text {
                    "closed" => Ok(OnFailureValue::Closed),
                    "open" => Ok(OnFailureValue::Open),
                    _ => Err(E::custom(Refusal::expected(
                        "\"closed\", \"open\" or { status = ..., body = ... }",
                        text,
                    ))),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                ReplyFile::deserialize(MapAccessDeserializer::new(map)).map(OnFailureValue::Reply)
            }
        }

        deserializer.deserialize_any(WordOrReply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for good in ["a", "jwt", "mobile-app_2", &"a".repeat(64)] {
            assert!(name(good).is_ok(), "{good}");
        }
        for wrong in ["", "A", "a b", "a.b", "ä", &"a".repeat(65)] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
        assert!(
            name("Mobile App")
                .unwrap_err()
                .to_string()
                .contains("\"mobile-app\"")
        );
    }

    #[test]
    fn shares_are_percentages() {
        for (text, parts) in [
            ("100%", 1_000_000),
            ("10%", 100_000),
            ("0.5%", 5_000),
            ("0.0001%", 1),
            ("0%", 0),
        ] {
            assert_eq!(share(text).unwrap(), parts, "{text}");
        }
        for wrong in [
            "", "10", "%", "101%", "1.00001%", "-1%", ".5%", "1e1%", "100.1%",
        ] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn methods_are_upper_case_tokens() {
        assert_eq!(method("PURGE").unwrap().as_str(), "PURGE");
        for wrong in ["", "get", "G ET", "Get"] {
            assert!(method(wrong).is_err(), "{wrong}");
        }
    }
}
