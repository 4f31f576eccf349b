//! What binds a request to a target, or to some of them: a hash, a subset, a sticky cookie.

use std::net::IpAddr;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, Uri, header};

use super::balance::hash;
use super::target::Target;
use crate::config::{BalancePolicy, HashOn, SameSite, StickyConfig, UpstreamConfig};

/// What a request is bound to. The default is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Affinity {
    /// Requests with the same hash go to the same target.
    pub(super) hash: Option<u64>,
    /// The value that the tag of the targets must have.
    pub(super) subset: Option<Box<str>>,
    /// The target that the client was bound to.
    pub(super) target: Option<u64>,
}

/// A request, as far as it may be bound by it.
#[derive(Clone, Copy)]
pub struct Features<'r> {
    /// Its headers.
    pub headers: &'r HeaderMap,
    /// Its path and query.
    pub uri: &'r Uri,
    /// Who sends it, if that is known.
    pub client: Option<IpAddr>,
    /// Whose it is.
    pub consumer: Option<&'r str>,
}

/// Finds out what binds the requests to an upstream.
pub(super) struct Binder {
    policy: Option<HashOn>,
    subset: Option<header::HeaderName>,
    sticky: Option<Sticky>,
}

impl Binder {
    /// None where nothing binds.
    pub(super) fn new(config: &UpstreamConfig) -> Option<Self> {
        let policy = match &config.balance.policy {
            BalancePolicy::Hash(on) => Some(on.clone()),
            BalancePolicy::RoundRobin | BalancePolicy::LeastRequest | BalancePolicy::PeakEwma => {
                None
            }
        };
        let subset = config.balance.subset.as_ref();
        if policy.is_none() && subset.is_none() && config.sticky.is_none() {
            return None;
        }
        Some(Self {
            policy,
            subset: subset.map(|subset| subset.header.clone()),
            sticky: config
                .sticky
                .as_ref()
                .map(|sticky| Sticky::new(&config.name, sticky)),
        })
    }

    /// What a request is bound to.
    pub(super) fn affinity(&self, request: &Features<'_>) -> Affinity {
        let text = |name| request.headers.get(name)?.to_str().ok().map(Box::from);
        let sticky = self.sticky.as_ref();
        Affinity {
            hash: self.policy.as_ref().and_then(|on| hash_of(on, request)),
            subset: self.subset.as_ref().and_then(text),
            target: sticky.and_then(|sticky| sticky.read(request.headers)),
        }
    }

    /// The cookie that binds a client to the target that answered, if it is not bound to it yet.
    pub(super) fn cookie(&self, affinity: &Affinity, target: &Target) -> Option<HeaderValue> {
        let sticky = self.sticky.as_ref()?;
        let is_new = affinity.target != Some(target.id());
        is_new.then(|| sticky.cookie(target.id())).flatten()
    }
}

fn hash_of(on: &HashOn, request: &Features<'_>) -> Option<u64> {
    match on {
        HashOn::Header(name) => Some(hash(request.headers.get(name)?.as_bytes(), 0)),
        HashOn::Cookie(name) => Some(hash(cookie(request.headers, name)?, 0)),
        HashOn::Query(name) => {
            let mut pairs = request.uri.query()?.split('&');
            let value = pairs.find_map(|pair| pair.strip_prefix(&**name)?.strip_prefix('='))?;
            Some(hash(value.as_bytes(), 0))
        }
        HashOn::Address => match request.client? {
            IpAddr::V4(address) => Some(hash(&address.octets(), 0)),
            IpAddr::V6(address) => Some(hash(&address.octets(), 0)),
        },
        HashOn::Consumer => Some(hash(request.consumer?.as_bytes(), 0)),
    }
}

/// The first value of a cookie (RFC 6265, 4.2).
fn cookie<'r>(headers: &'r HeaderMap, name: &str) -> Option<&'r [u8]> {
    let lines = headers.get_all(header::COOKIE).iter();
    let mut pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.find_map(|pair| {
        let pair = pair.trim_ascii().strip_prefix(name.as_bytes())?;
        pair.strip_prefix(b"=")
    })
}

/// Writes and reads the cookies that bind clients to targets.
///
/// A value is the target's number and a part of an HMAC over it and the upstream's name: nobody but us can make one, so
/// that nobody chooses a target, and no address is told.
struct Sticky {
    config: StickyConfig,
    upstream: Box<[u8]>,
    key: hmac::Key,
}

/// Bytes of a number and of its signature.
const NUMBER: usize = 8;
const SIGNATURE: usize = 16;

impl Sticky {
    fn new(upstream: &str, config: &StickyConfig) -> Self {
        Self {
            config: config.clone(),
            upstream: upstream.as_bytes().into(),
            key: hmac::Key::new(hmac::HMAC_SHA256, config.secret.reveal()),
        }
    }

    fn read(&self, headers: &HeaderMap) -> Option<u64> {
        let value = cookie(headers, &self.config.cookie)?;
        let mut bytes = [0; NUMBER + SIGNATURE];
        let length = URL_SAFE_NO_PAD.decode_slice(value, &mut bytes).ok()?;
        let (number, signature) = bytes.get(..length)?.split_first_chunk::<NUMBER>()?;
        let expected = self.sign(number);
        let is_ours = subtle::ConstantTimeEq::ct_eq(signature, &expected[..]);
        bool::from(is_ours).then(|| u64::from_be_bytes(*number))
    }

    fn sign(&self, number: &[u8; NUMBER]) -> [u8; SIGNATURE] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(number);
        context.update(&self.upstream);
        let tag = context.sign();
        tag.as_ref().first_chunk().copied().unwrap_or_default()
    }

    fn cookie(&self, id: u64) -> Option<HeaderValue> {
        let config = &self.config;
        let number = id.to_be_bytes();
        let mut bytes = number.to_vec();
        bytes.extend(self.sign(&number));
        let mut text = format!(
            "{}={}; Path={}",
            config.cookie,
            URL_SAFE_NO_PAD.encode(bytes),
            config.path
        );
        if let Some(age) = config.max_age {
            text += &format!("; Max-Age={}", age.as_secs());
        }
        let flags = [
            (config.secure, "; Secure"),
            (config.http_only, "; HttpOnly"),
        ];
        for (_, flag) in flags.iter().filter(|(is_set, _)| *is_set) {
            text += flag;
        }
        text += match config.same_site {
            SameSite::Strict => "; SameSite=Strict",
            SameSite::Lax => "; SameSite=Lax",
            SameSite::None => "; SameSite=None",
        };
        HeaderValue::try_from(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sticky(secret: &str, upstream: &str) -> Sticky {
        let config = StickyConfig {
            cookie: "target".into(),
            secret: crate::config::Secret::new(secret.as_bytes()),
            max_age: Some(std::time::Duration::from_secs(3_600)),
            path: "/".into(),
            secure: true,
            http_only: true,
            same_site: SameSite::Strict,
        };
        Sticky::new(upstream, &config)
    }

    fn sent(value: &str) -> HeaderMap {
        let line = format!("other=1; targets=2; {value}; target=later");
        HeaderMap::from_iter([(
            header::COOKIE,
            HeaderValue::try_from(line).expect("a header"),
        )])
    }

    fn written(sticky: &Sticky) -> String {
        let cookie = sticky.cookie(0x0102_0304_0506_0708).expect("a cookie");
        cookie.to_str().expect("text").to_owned()
    }

    #[test]
    fn only_our_own_cookies_bind() {
        let ours = sticky("correct-horse", "orders");
        let text = written(&ours);
        let (value, rest) = text.split_once("; ").expect("attributes");
        assert_eq!(
            rest,
            "Path=/; Max-Age=3600; Secure; HttpOnly; SameSite=Strict"
        );
        assert_eq!(ours.read(&sent(value)), Some(0x0102_0304_0506_0708));
        assert_eq!(sticky("battery-staple", "orders").read(&sent(value)), None);
        assert_eq!(sticky("correct-horse", "payments").read(&sent(value)), None);
        for index in 7..value.len() {
            let mut changed = value.to_owned();
            let other = if changed.as_bytes()[index] == b'A' {
                "B"
            } else {
                "A"
            };
            changed.replace_range(index..=index, other);
            assert_eq!(ours.read(&sent(&changed)), None, "{changed}");
        }
        for wrong in ["target=", "target=AAAA", "target", "target=%%"] {
            assert_eq!(ours.read(&sent(wrong)), None, "{wrong}");
        }
    }

    #[test]
    fn equal_values_have_equal_hashes_and_others_hardly() {
        let (uri, other) = (
            Uri::from_static("/a?x=1&user=7&user=8"),
            Uri::from_static("/b?user=7"),
        );
        let (header, empty) = (sent("session=abc"), HeaderMap::new());
        let features = |headers, uri, client| Features {
            headers,
            uri,
            client,
            consumer: Some("mobile-app"),
        };
        let client = Some(IpAddr::from([10, 0, 0, 1]));
        let (one, two) = (
            features(&header, &uri, client),
            features(&empty, &other, None),
        );
        let on = HashOn::Query("user".into());
        assert_eq!(hash_of(&on, &one), hash_of(&on, &two));
        assert!(hash_of(&on, &one).is_some());
        assert_eq!(
            hash_of(&HashOn::Consumer, &one),
            hash_of(&HashOn::Consumer, &two)
        );
        assert_eq!(
            hash_of(&HashOn::Cookie("session".into()), &one),
            Some(hash(b"abc", 0))
        );
        assert_eq!(hash_of(&HashOn::Cookie("session".into()), &two), None);
        assert_ne!(hash_of(&HashOn::Address, &one), None);
        assert_eq!(hash_of(&HashOn::Address, &two), None);
        assert_eq!(hash_of(&HashOn::Header(header::ACCEPT), &one), None);
    }
}
