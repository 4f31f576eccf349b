//! Lets groups of consumers pass, or keeps them out.

mod config;

use config::Config;
use postern_plugin::{Plugin, Reply, RequestHead, RequestPhase, RequestVerdict, identity};

struct Acl(Config);

impl Plugin for Acl {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        config.validate().map(Acl)
    }
}

impl RequestPhase for Acl {
    fn on_request(&self, _: RequestHead) -> RequestVerdict {
        let Some(found) = identity::current() else {
            return refusal(
                "consumer-missing",
                "The request does not say who it comes from.",
            );
        };
        match self.0.admits(&found.consumer.groups) {
            true => RequestVerdict::Next,
            false => refusal("group-denied", "The caller is not allowed to do this."),
        }
    }
}

/// 403, not 401: this plugin knows of no credentials that would help (RFC 9110, 15.5.2).
fn refusal(code: &str, detail: &str) -> RequestVerdict {
    Reply::problem(403, code, detail).into()
}

postern_plugin::export!(Acl: request);

#[cfg(test)]
mod tests {
    use super::*;
    use postern_plugin::identity::{Consumer, Found};
    use postern_plugin::testing::{Host, configure};

    /// The code of the refusal of a consumer with these groups; empty when it passes.
    fn code(config: &str, groups: Option<&[&str]>) -> String {
        let host = Host::new();
        if let Some(groups) = groups {
            host.authenticate(Found {
                consumer: Consumer {
                    name: "app".into(),
                    tier: None,
                    groups: groups.iter().map(|&group| group.to_owned()).collect(),
                    custom_id: None,
                },
                credential_id: "key".into(),
            });
        }
        let plugin: Acl = configure(config).expect("config is right");
        let verdict = host.on_request(&plugin);
        verdict.reply().map_or_else(String::new, |reply| {
            format!("{} {}", reply.status, reply.code)
        })
    }

    #[test]
    fn groups_decide() {
        let allow = r#"{"allow": ["staff", "ops"]}"#;
        let deny = r#"{"deny": ["trial"]}"#;
        let both = r#"{"allow": ["staff"], "deny": ["trial"]}"#;
        let cases: [(&str, Option<&[&str]>, &str); 11] = [
            (allow, Some(&["ops"]), ""),
            (allow, Some(&["other", "staff"]), ""),
            (allow, Some(&["Staff"]), "403 group-denied"),
            (allow, Some(&[]), "403 group-denied"),
            (deny, Some(&[]), ""),
            (deny, Some(&["staff", "trial"]), "403 group-denied"),
            (both, Some(&["staff"]), ""),
            (both, Some(&["staff", "trial"]), "403 group-denied"),
            (both, Some(&["other"]), "403 group-denied"),
            // Strangers are in no group, also not in one that is kept out.
            (allow, None, "403 consumer-missing"),
            (deny, None, "403 consumer-missing"),
        ];
        for (config, groups, expected) in cases {
            assert_eq!(code(config, groups), expected, "{config} {groups:?}");
        }
    }
}
