//! Words of `[state]`.

use std::sync::Arc;

use serde::{Deserialize, Deserializer};

use super::address::{split_port, target_host};
use super::resolved::OnStateFailure;
use super::values::{Refusal, from_text, one_of, text_value};

/// Where Redis listens.
const REDIS_PORT: u16 = 6379;
const URL: &str = "an address like \"redis://127.0.0.1:6379\"";

/// Where counters and keys are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backend {
    Memory,
    Redis,
}

/// Where a server of Redis is, and which of its databases is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RedisAddress {
    /// Name or address, without brackets.
    pub(super) host: Arc<str>,
    pub(super) port: u16,
    pub(super) database: u16,
    pub(super) secure: bool,
}

text_value!(
    /// `memory`, `redis`
    #[derive(Copy)]
    BackendWord(Backend), "one of memory, redis",
    |text| one_of(text, &[("memory", Backend::Memory), ("redis", Backend::Redis)])
);
text_value!(
    /// `local`, `open`, `closed`
    #[derive(Copy)]
    OnStateFailureWord(OnStateFailure), "one of local, open, closed",
    |text| one_of(text, &[
        ("local", OnStateFailure::Local),
        ("open", OnStateFailure::Open),
        ("closed", OnStateFailure::Closed),
    ])
);
text_value!(
    /// `redis://127.0.0.1:6379/0`, `rediss://redis.example`
    RedisUrl(RedisAddress), "an address like \"redis://127.0.0.1:6379\"", redis_url
);

/// `redis://HOST[:PORT][/DATABASE]`, with `rediss` for TLS.
fn redis_url(text: &str) -> Result<RedisAddress, Refusal> {
    if text.contains('@') {
        // Not echoed: what stands before the `@` is usually a password.
        return Err(Refusal::new("the address has no user name and no password")
            .help("write them as `username = \"...\"` and `password = \"env:REDIS_PASSWORD\"`"));
    }
    let expected = || Refusal::expected(URL, text);
    let (secure, rest) = match text.split_once("://") {
        Some(("redis", rest)) => (false, rest),
        Some(("rediss", rest)) => (true, rest),
        _ => {
            return Err(expected().help("begin with \"redis://\", or with \"rediss://\" for TLS"));
        }
    };
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let database = match database {
        "" => 0,
        number => number
            .parse()
            .map_err(|_| expected().help("what follows the `/` is the number of a database"))?,
    };
    let (host, port) = split_port(authority).ok_or_else(expected)?;
    let port = port.map_or(Some(REDIS_PORT), |port| {
        port.parse().ok().filter(|&port: &u16| port != 0)
    });
    let port = port.ok_or_else(|| expected().help("a port is 1 to 65535"))?;
    let host =
        target_host(host).ok_or_else(|| expected().help("the host is a name or an address"))?;
    Ok(RedisAddress {
        host,
        port,
        database,
        secure,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_defaults() {
        let address = |host: &str, port, database, secure| RedisAddress {
            host: host.into(),
            port,
            database,
            secure,
        };
        let cases = [
            ("redis://localhost", address("localhost", 6379, 0, false)),
            (
                "redis://10.0.0.1:7000/",
                address("10.0.0.1", 7000, 0, false),
            ),
            ("rediss://[::1]:7000/3", address("::1", 7000, 3, true)),
        ];
        for (text, expected) in cases {
            assert_eq!(redis_url(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_showing_a_password() {
        for text in [
            "localhost:6379",
            "http://localhost",
            "redis://",
            "redis://a b",
            "redis://localhost:0",
            "redis://localhost/one",
            "redis://localhost/0/1",
            "redis://[::1",
        ] {
            assert!(redis_url(text).is_err(), "{text}");
        }
        let refused = redis_url("redis://me:hunter2@localhost").unwrap_err();
        assert!(!refused.to_string().contains("hunter2"), "{refused}");
    }
}
