//! Conditions of the file: `x-version = "2"`, or a table with one of `exact`, `regex`, `present`.

use std::fmt;

use http::header::HeaderName;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::file::ConditionFile;
use super::regex::whole_regex;
use super::resolved::TestConfig;
use super::values::{Refusal, from_text};

/// What the gateway takes out of requests before it looks for a route, and what it may not believe.
const UNSEEN: [&str; 14] = [
    "host",
    "content-length",
    "expect",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "forwarded",
    "x-credential-identifier",
    "x-anonymous-consumer",
];

/// The name of a header that conditions can be on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HeaderKey(pub(super) Box<str>);

impl<'de> Deserialize<'de> for HeaderKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a header name", |text| {
            header_name(text).map(|()| Self(text.into()))
        })
    }
}

fn header_name(text: &str) -> Result<(), Refusal> {
    if HeaderName::from_bytes(text.as_bytes()).is_err() {
        return Err(Refusal::expected("a header name like \"x-version\"", text));
    }
    let lower = text.to_ascii_lowercase();
    if lower == "host" {
        return Err(Refusal::new("a condition cannot be on \"host\"").help("name it in `hosts`"));
    }
    if lower != text {
        return Err(
            Refusal::expected("a header name in lower case", text).help(format!(
                "names are compared without case: write \"{lower}\""
            )),
        );
    }
    if UNSEEN.contains(&text) || text.starts_with("x-consumer-") {
        return Err(Refusal::new(format!("a condition cannot be on {text:?}"))
            .help("the gateway takes this header out before it looks for a route"));
    }
    Ok(())
}

/// What is wanted of a value.
#[derive(Debug, Clone)]
pub(super) struct ConditionValue(pub(super) TestConfig);

const EXPECTED: &str = "a text, or a table with one of `exact`, `regex`, `present`";

impl<'de> Deserialize<'de> for ConditionValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrTable;

        impl<'de> Visitor<'de> for TextOrTable {
            type Value = ConditionValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(ConditionValue(TestConfig::Exact(text.into())))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let file = ConditionFile::deserialize(MapAccessDeserializer::new(map))?;
                test(file).map(ConditionValue).map_err(de::Error::custom)
            }
        }

        deserializer.deserialize_any(TextOrTable)
    }
}

fn test(file: ConditionFile) -> Result<TestConfig, Refusal> {
    match file {
        ConditionFile {
            exact: Some(text),
            regex: None,
            present: None,
        } => Ok(TestConfig::Exact(text.into())),
        ConditionFile {
            exact: None,
            regex: Some(text),
            present: None,
        } => {
            whole_regex(&text).map_err(Refusal::new)?;
            Ok(TestConfig::Regex(text.into()))
        }
        ConditionFile {
            exact: None,
            regex: None,
            present: Some(true),
        } => Ok(TestConfig::Present),
        ConditionFile {
            exact: None,
            regex: None,
            present: Some(false),
        } => Ok(TestConfig::Absent),
        _ => Err(Refusal::new(
            "a condition has exactly one of `exact`, `regex`, `present`",
        )),
    }
}
