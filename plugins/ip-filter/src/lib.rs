//! Lets addresses pass, or keeps them out.

mod config;

use config::Config;
use postern_plugin::address::Ranges;
use postern_plugin::{Plugin, Reply, RequestHead, RequestPhase, RequestVerdict};

struct IpFilter {
    /// None where all may pass that are not kept out.
    allow: Option<Ranges>,
    deny: Ranges,
}

impl Plugin for IpFilter {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        if config.allow.is_empty() && config.deny.is_empty() {
            return Err(String::from(
                "allow: name the addresses that may pass, or in `deny` those that may not",
            ));
        }
        let allow = Ranges::parse("allow", &config.allow)?;
        Ok(IpFilter {
            allow: (!config.allow.is_empty()).then_some(allow),
            deny: Ranges::parse("deny", &config.deny)?,
        })
    }
}

impl RequestPhase for IpFilter {
    fn on_request(&self, head: RequestHead) -> RequestVerdict {
        let client = head.client_ip();
        let is_allowed = || self.allow.as_ref().is_none_or(|allow| allow.holds(client));
        if !self.deny.holds(client) && is_allowed() {
            return RequestVerdict::Next;
        }
        Reply::problem(
            403,
            "address-denied",
            "Requests from this address are not allowed.",
        )
        .into()
    }
}

postern_plugin::export!(IpFilter: request);

#[cfg(test)]
mod tests {
    use super::*;
    use postern_plugin::testing::{Host, configure};
    use postern_plugin::{Interest, IpAddress};

    fn passes(config: &str, client: IpAddress) -> bool {
        let plugin: IpFilter = configure(config).expect("config is right");
        let head = RequestHead {
            client,
            ..Host::new().request_head(&Interest::new())
        };
        match plugin.on_request(head) {
            RequestVerdict::Next => true,
            verdict => {
                let reply = verdict.reply().expect("is refused");
                assert_eq!((reply.status, reply.code.as_str()), (403, "address-denied"));
                false
            }
        }
    }

    #[test]
    fn what_is_kept_out_is_out_whatever_is_allowed() {
        let v4 = |a, b, c, d| IpAddress::V4((a, b, c, d));
        let v6 = |a, h| IpAddress::V6((a, 0xdb8, 0, 0, 0, 0, 0, h));
        let mapped = IpAddress::V6((0, 0, 0, 0, 0, 0xffff, 0x0a01, 0x0203));
        let allow = r#"{"allow": ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"]}"#;
        let deny = r#"{"deny": ["10.1.0.0/16"]}"#;
        let both = r#"{"allow": ["10.0.0.0/8"], "deny": ["10.1.0.0/16"]}"#;
        for (config, client, expected) in [
            (allow, v4(10, 255, 255, 255), true),
            (allow, v4(11, 0, 0, 0), false),
            (allow, v4(9, 255, 255, 255), false),
            (allow, v4(192, 0, 2, 7), true),
            (allow, v4(192, 0, 2, 8), false),
            (allow, v6(0x2001, 1), true),
            (allow, v6(0x2002, 1), false),
            // An IPv4 address in the clothes of an IPv6 one.
            (allow, mapped, true),
            (deny, mapped, false),
            (deny, v4(10, 2, 0, 0), true),
            (deny, v6(0x2001, 1), true),
            (both, v4(10, 0, 255, 255), true),
            (both, v4(10, 1, 0, 0), false),
            (both, v4(10, 2, 0, 0), true),
            (both, v4(192, 0, 2, 1), false),
        ] {
            assert_eq!(passes(config, client), expected, "{config} {client:?}");
        }
    }

    #[test]
    fn errors_name_the_field() {
        for (json, expected) in [
            ("{}", "allow: name the addresses"),
            (r#"{"allow": ["10.0.0.0/33"]}"#, "allow[0]: "),
            (r#"{"deny": ["10.0.0.1", "host"]}"#, "deny[1]: "),
            (r#"{"deny": ["10.0.0.1/8"]}"#, "deny[0]: "),
            (r#"{"block": []}"#, "unknown field `block`"),
        ] {
            let error = configure::<IpFilter>(json).map(|_| ()).expect_err(json);
            assert!(error.starts_with(expected), "{json}: {error}");
        }
    }
}
