//! Which of several upstreams answers a request: a canary rule's, or one by its weight.

use std::sync::Arc;

use http::{HeaderMap, header};

use crate::config::{CanaryConfig, ConditionConfig};
use crate::exchange::Exchange;
use crate::router::{Conditions, Test};
use crate::upstream::Upstream;

/// Several upstreams of one route.
pub struct Split {
    /// The first that holds decides.
    canaries: Vec<Canary>,
    /// Each with the sum of the weights up to and with its own.
    shares: Vec<(u32, Arc<Upstream>)>,
}

/// Requests that one upstream gets.
struct Canary {
    upstream: Arc<Upstream>,
    headers: Conditions,
    cookies: Vec<(Arc<str>, Test)>,
    consumers: Vec<Arc<str>>,
}

impl Split {
    /// Of upstreams with weights, of which there must be one above 0, and canary rules.
    ///
    /// # Errors
    /// A sentence, when a condition of a rule cannot be used.
    pub fn new(
        weighted: Vec<(Arc<Upstream>, u32)>,
        canaries: Vec<(Arc<Upstream>, &CanaryConfig)>,
    ) -> Result<Self, String> {
        let mut sum = 0;
        let shares = weighted.into_iter().map(|(upstream, weight)| {
            sum += weight;
            (sum, upstream)
        });
        let shares = shares.collect();
        let canaries = canaries
            .into_iter()
            .map(|(upstream, config)| Canary::new(upstream, config));
        Ok(Self {
            canaries: canaries.collect::<Result<_, _>>()?,
            shares,
        })
    }

    /// The upstream of a request.
    pub(super) fn choose(&self, exchange: &Exchange) -> Option<&Arc<Upstream>> {
        let canary = self.canaries.iter().find(|canary| canary.takes(exchange));
        if let Some(canary) = canary {
            return Some(&canary.upstream);
        }
        let (total, last) = self.shares.last()?;
        if self.shares.len() == 1 {
            return Some(last);
        }
        let point = rand::random_range(0..(*total).max(1));
        let share = self.shares.iter().find(|(sum, _)| point < *sum);
        share.map(|(_, upstream)| upstream)
    }
}

impl Canary {
    fn new(upstream: Arc<Upstream>, config: &CanaryConfig) -> Result<Self, String> {
        let cookie = |condition: &ConditionConfig| {
            Ok((Arc::clone(&condition.name), Test::new(&condition.test)?))
        };
        Ok(Self {
            upstream,
            headers: Conditions::new(&config.headers, &[])?,
            cookies: config
                .cookies
                .iter()
                .map(cookie)
                .collect::<Result<_, String>>()?,
            consumers: config.consumers.clone(),
        })
    }

    fn takes(&self, exchange: &Exchange) -> bool {
        let headers = &exchange.request.headers;
        let consumer = || {
            let identity = exchange.identity.as_ref();
            identity.is_some_and(|identity| self.consumers.contains(&identity.consumer.name))
        };
        let has_cookie = |(name, test): &(Arc<str>, Test)| test.holds(cookie(headers, name));
        (self.consumers.is_empty() || consumer())
            && self.headers.hold(headers, None)
            && self.cookies.iter().all(has_cookie)
    }
}

/// The value of the first cookie of a name (RFC 6265, 4.2.1; in several fields in HTTP/2: RFC 9113, 8.2.3).
fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    let fields = headers.get_all(header::COOKIE).iter();
    let pairs = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| {
        let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        // A value may stand in quotes.
        Some(
            value
                .strip_prefix(b"\"")
                .and_then(|value| value.strip_suffix(b"\""))
                .unwrap_or(value),
        )
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let mut headers = HeaderMap::new();
        assert_eq!(cookie(&headers, "a"), None);
        headers.append(
            header::COOKIE,
            HeaderValue::from_static("aa=1; a=2;b=\"3\" ; c"),
        );
        headers.append(header::COOKIE, HeaderValue::from_static("d=x=y; a=9"));
        for (name, value) in [
            ("a", Some("2")),
            ("aa", Some("1")),
            ("b", Some("3")),
            ("c", None),
            ("d", Some("x=y")),
        ] {
            assert_eq!(cookie(&headers, name), value.map(str::as_bytes), "{name}");
        }
    }
}
