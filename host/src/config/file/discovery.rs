//! Where targets come from when the file does not list them, and how names are resolved.

use serde::Deserialize;
use toml::Spanned;

use super::Field;
use crate::config::address::Target;
use crate::config::discovery::{
    FamilyWord, KindWord, Nameserver, OnEmptyWord, PortWord, SchemeWord, ServiceName,
};
use crate::config::reference::SecretReference;
use crate::config::units::DurationText;

/// `[dns]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct DnsFile {
    /// Who is asked.
    pub(in crate::config) nameservers: Field<Vec<Nameserver>>,
    /// For one server to answer.
    pub(in crate::config) timeout: Field<DurationText>,
    /// The shortest that an answer is believed.
    pub(in crate::config) min_ttl: Field<DurationText>,
    /// The longest that an answer is believed.
    pub(in crate::config) max_ttl: Field<DurationText>,
}

/// `[upstream.NAME.discovery]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct DiscoveryFile {
    /// Who knows the targets.
    pub(in crate::config) kind: Field<KindWord>,
    /// What is asked for in DNS.
    pub(in crate::config) name: Field<ServiceName>,
    /// What is asked for in Consul or Kubernetes.
    pub(in crate::config) service: Field<ServiceName>,
    /// Where the service listens.
    pub(in crate::config) port: Field<PortWord>,
    /// Whether targets are spoken to over TLS.
    pub(in crate::config) scheme: Field<SchemeWord>,
    /// Who is asked, instead of those of `[dns]`.
    pub(in crate::config) nameservers: Field<Vec<Nameserver>>,
    /// Addresses of which kind.
    pub(in crate::config) family: Field<FamilyWord>,
    /// What an answer without addresses means.
    pub(in crate::config) on_empty: Field<OnEmptyWord>,
    /// The file that is watched.
    pub(in crate::config) path: Field<String>,
    /// Where Consul or Kubernetes is.
    pub(in crate::config) server: Field<Target>,
    /// Authorities of its certificate.
    pub(in crate::config) ca: Field<String>,
    /// Who we are to Consul.
    pub(in crate::config) token: Field<SecretReference>,
    /// Who we are to Kubernetes.
    pub(in crate::config) token_file: Field<String>,
    /// Of Kubernetes, or of Consul.
    pub(in crate::config) namespace: Field<ServiceName>,
    /// Of Consul.
    pub(in crate::config) datacenter: Field<ServiceName>,
    /// What instances in Consul must have.
    pub(in crate::config) tags: Field<Vec<Spanned<String>>>,
    /// Whether instances with warnings are targets.
    pub(in crate::config) include_warning: Field<bool>,
    /// How long Consul may hold back an answer.
    pub(in crate::config) wait: Field<DurationText>,
}
