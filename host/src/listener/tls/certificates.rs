//! Which certificate a client is shown: by the host that it names in SNI (RFC 6066, 3).

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::CertificateConfig;
use crate::types::Sites;

/// Numbers of certificates, in the order of the configuration.
type Choice = Box<[usize]>;

/// The certificates of a listener.
#[derive(Debug)]
pub(crate) struct Certificates {
    all: Vec<Arc<CertifiedKey>>,
    exact: HashMap<Box<str>, Choice>,
    /// By what follows `*`.
    wildcards: HashMap<Box<str>, Choice>,
    /// For clients that name no host, or one that no certificate is for.
    others: Choice,
    /// Whether a connection is for the one host only that the client named first.
    strict: bool,
}

impl Certificates {
    pub(super) fn new(configs: &[CertificateConfig], strict: bool) -> Self {
        let mut exact: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        let mut wildcards: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        for (index, config) in configs.iter().enumerate() {
            for host in &config.hosts {
                let (names, name) = match host.strip_prefix('*') {
                    Some(suffix) => (&mut wildcards, suffix),
                    None => (&mut exact, host.as_str()),
                };
                names.entry(name.into()).or_default().push(index);
            }
        }
        let boxed = |names: HashMap<Box<str>, Vec<usize>>| {
            let boxed = |(name, choice): (Box<str>, Vec<usize>)| (name, choice.into());
            names.into_iter().map(boxed).collect()
        };
        Self {
            all: configs
                .iter()
                .map(|config| Arc::clone(&config.key))
                .collect(),
            exact: boxed(exact),
            wildcards: boxed(wildcards),
            others: (0..configs.len()).collect(),
            strict,
        }
    }

    /// The certificates for a host. A wildcard is for exactly one label (RFC 9525, 6.3).
    fn choice(&self, host: &str) -> &[usize] {
        let wildcard = || {
            let dot = host.find('.')?;
            self.wildcards.get(host.get(dot..)?)
        };
        self.exact
            .get(host)
            .or_else(wildcard)
            .unwrap_or(&self.others)
    }
}

impl ResolvesServerCert for Certificates {
    /// Of several for the same host, the first whose key the client can verify.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let choice = match hello.server_name() {
            Some(host) => self.choice(&host.to_ascii_lowercase()),
            None => &self.others,
        };
        let certificates = || choice.iter().filter_map(|index| self.all.get(*index));
        let schemes = hello.signature_schemes();
        certificates()
            .find(|certificate| certificate.key.choose_scheme(schemes).is_some())
            .or_else(|| certificates().next())
            .cloned()
    }
}

impl Sites for Certificates {
    fn are_one(&self, named: &str, host: &str) -> bool {
        named == host || (!self.strict && self.choice(named) == self.choice(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::PrivateKeyDer;

    fn certificates(hosts: &[&[&str]], strict: bool) -> Certificates {
        let config = |hosts: &&[&str]| {
            let names: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
            let made = rcgen::generate_simple_self_signed(names.clone()).unwrap();
            let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
            let chain = vec![made.cert.der().clone()];
            let provider = crate::config::tls::provider();
            CertificateConfig {
                file: "x.pem".into(),
                key: Arc::new(CertifiedKey::from_der(chain, key, &provider).unwrap()),
                hosts: names,
                not_after: 0,
                digest: blake3::hash(b""),
            }
        };
        Certificates::new(&hosts.iter().map(config).collect::<Vec<_>>(), strict)
    }

    #[test]
    fn a_name_is_better_than_a_wildcard_and_a_wildcard_is_one_label() {
        let all = certificates(
            &[
                &["default.example"],
                &["*.shop.example"],
                &["a.shop.example"],
            ],
            false,
        );
        assert_eq!(all.choice("a.shop.example"), [2]);
        assert_eq!(all.choice("b.shop.example"), [1]);
        for other in ["shop.example", "x.b.shop.example", "other.example", ""] {
            assert_eq!(all.choice(other), [0, 1, 2], "{other}");
        }
    }

    #[test]
    fn hosts_of_one_certificate_may_share_a_connection_unless_clients_are_known() {
        let all = certificates(&[&["a.example", "b.example"], &["c.example"]], false);
        assert!(all.are_one("a.example", "b.example"));
        assert!(!all.are_one("a.example", "c.example"));
        let all = certificates(&[&["a.example", "b.example"], &["c.example"]], true);
        assert!(all.are_one("a.example", "a.example"));
        assert!(!all.are_one("a.example", "b.example"));
    }
}
