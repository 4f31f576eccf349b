//! Refuses requests that are too large, before anything of their bodies is read.

mod config;

use config::Config;
use postern_plugin::{Plugin, Reply, RequestHead, RequestPhase, RequestVerdict, exchange};

struct RequestSize {
    config: Config,
    /// For everybody whose tier says nothing else.
    max: u64,
}

impl Plugin for RequestSize {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        let max = config
            .max
            .ok_or("max: say how large a body may be, for example \"1MiB\"")?;
        Ok(RequestSize {
            config,
            max: max.into(),
        })
    }
}

impl RequestSize {
    fn limit(&self) -> u64 {
        if self.config.tiers.is_empty() {
            return self.max;
        }
        let tier = exchange::attribute("consumer.tier");
        let limit = tier.and_then(|tier| self.config.tiers.get(&tier));
        limit.map_or(self.max, |size| size.0.into())
    }
}

impl RequestPhase for RequestSize {
    fn on_request(&self, head: RequestHead) -> RequestVerdict {
        match head.content_length {
            Some(length) if length > self.limit() => Reply::problem(
                413,
                "request-too-large",
                "The body of the request is larger than is allowed.",
            )
            .into(),
            None if head.has_body && !self.config.allow_unknown_length => Reply::problem(
                411,
                "length-required",
                "The request must say in Content-Length how long its body is.",
            )
            .into(),
            _ => RequestVerdict::Next,
        }
    }
}

postern_plugin::export!(RequestSize: request);

#[cfg(test)]
mod tests {
    use super::*;
    use postern_plugin::Interest;
    use postern_plugin::testing::{Host, configure};

    /// The status of a request with such a body; 200 when it passes.
    fn status(config: &str, tier: Option<&str>, length: Option<u64>, has_body: bool) -> u16 {
        let plugin: RequestSize = configure(config).expect("config is right");
        let host = Host::new();
        if let Some(tier) = tier {
            host.authenticate(postern_plugin::identity::Found {
                consumer: postern_plugin::identity::Consumer {
                    name: "app".into(),
                    tier: Some(tier.into()),
                    groups: Vec::new(),
                    custom_id: None,
                },
                credential_id: String::new(),
            });
        }
        let head = RequestHead {
            content_length: length,
            has_body,
            ..host.request_head(&Interest::new())
        };
        plugin
            .on_request(head)
            .reply()
            .map_or(200, |reply| reply.status)
    }

    #[test]
    fn bodies_are_as_large_as_the_tier_allows() {
        let config = r#"{"max": "1KiB", "tiers": {"premium": "2KiB", "trial": "1B"}}"#;
        for (tier, length, expected) in [
            (None, 1024, 200),
            (None, 1025, 413),
            (Some("other"), 1025, 413),
            (Some("premium"), 2048, 200),
            (Some("premium"), 2049, 413),
            (Some("trial"), 1, 200),
            (Some("trial"), 2, 413),
            (None, u64::MAX, 413),
        ] {
            let found = status(config, tier, Some(length), true);
            assert_eq!(found, expected, "{tier:?} {length}");
        }
    }

    #[test]
    fn bodies_of_unknown_length_pass_only_where_that_is_wanted() {
        assert_eq!(status(r#"{"max": "1KiB"}"#, None, None, true), 411);
        assert_eq!(status(r#"{"max": "1KiB"}"#, None, None, false), 200);
        let open = r#"{"max": "1KiB", "allow-unknown-length": true}"#;
        assert_eq!(status(open, None, None, true), 200);
        assert_eq!(status(open, None, Some(1025), true), 413);
    }

    #[test]
    fn errors_name_the_field() {
        for (json, expected) in [
            ("{}", "max: say how large"),
            (r#"{"max": 10}"#, "max: expected a size"),
            (
                r#"{"max": "1KiB", "tiers": {"a": "many"}}"#,
                "tiers.a: expected a size",
            ),
            (r#"{"maximum": "1KiB"}"#, "unknown field `maximum`"),
        ] {
            let error = configure::<RequestSize>(json).map(|_| ()).expect_err(json);
            assert!(error.starts_with(expected), "{json}: {error}");
        }
    }
}
