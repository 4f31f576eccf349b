//! Names: what DNS says about them, asked on the control runtime and never by a worker.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::backoff::Backoff;
use crate::config::{AddressFamily, DnsConfig};

/// How often one question is put to servers that do not answer.
const ATTEMPTS: usize = 2;

/// Resolves names, for everybody who has some.
pub struct Dns {
    /// Where names are followed.
    runtime: Handle,
    config: ArcSwap<DnsConfig>,
    resolver: ArcSwap<Resolver>,
    configured: watch::Sender<()>,
    names: Mutex<HashMap<Arc<str>, Weak<Name>>>,
}

/// A name whose addresses are known from the first time that somebody wants them, as long as somebody holds it.
pub(super) struct Name {
    host: Arc<str>,
    dns: Arc<Dns>,
    followed: OnceLock<Followed>,
}

struct Followed {
    addresses: watch::Receiver<Known>,
    task: AbortHandle,
}

/// What is known of a name.
#[derive(Debug, Clone)]
enum Known {
    /// Nothing yet.
    Asked,
    /// Why there is no address.
    Nothing(Arc<str>),
    /// As they were when DNS last said something.
    Addresses(Arc<[IpAddr]>),
}

/// Asks some servers.
pub(super) struct Resolver {
    inner: TokioResolver,
    min_ttl: Duration,
    max_ttl: Duration,
}

/// What DNS says, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer<T> {
    pub(super) records: Vec<T>,
    pub(super) ttl: Duration,
}

/// A host of a service (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) port: u16,
    pub(super) host: String,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LookupError {
    /// DNS says that there is nothing.
    #[error("DNS knows no such records of {0:?}")]
    Nothing(String),
    /// DNS cannot be asked, or does not know.
    #[error("DNS does not answer for {name:?}: {reason}")]
    Failed {
        /// What was asked for.
        name: String,
        /// In words.
        reason: String,
    },
}

impl Dns {
    /// Resolves names on `runtime`, which outlives them.
    #[must_use]
    pub fn new(config: &DnsConfig, runtime: Handle) -> Self {
        Self {
            runtime,
            config: ArcSwap::from_pointee(config.clone()),
            resolver: ArcSwap::from_pointee(Resolver::new(config)),
            configured: watch::Sender::new(()),
            names: Mutex::default(),
        }
    }

    /// Resolves nothing: for tests that have addresses.
    #[cfg(test)]
    pub(super) fn nowhere() -> Arc<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let config = DnsConfig {
            nameservers: vec![([127, 0, 0, 1], 1).into()],
            timeout: Duration::from_secs(1),
            min_ttl: Duration::ZERO,
            max_ttl: Duration::ZERO,
        };
        Arc::new(Self::new(&config, runtime.handle().clone()))
    }

    /// From here on, asks as `config` says. The files of the system are read again.
    pub fn configure(&self, config: &DnsConfig) {
        self.config.store(Arc::new(config.clone()));
        self.resolver.store(Arc::new(Resolver::new(config)));
        self.configured.send_replace(());
    }

    /// A name, the same for everybody.
    pub(super) fn name(self: &Arc<Self>, host: &Arc<str>) -> Arc<Name> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = names.get(host).and_then(Weak::upgrade) {
            return name;
        }
        let name = Arc::new(Name {
            host: Arc::clone(host),
            dns: Arc::clone(self),
            followed: OnceLock::new(),
        });
        names.retain(|_, name| name.strong_count() > 0);
        names.insert(Arc::clone(host), Arc::downgrade(&name));
        name
    }

    /// Asks the servers that everybody asks, or these.
    pub(super) fn resolver(&self, nameservers: &[SocketAddr]) -> Arc<Resolver> {
        if nameservers.is_empty() {
            return self.resolver.load_full();
        }
        let config = DnsConfig {
            nameservers: nameservers.to_vec(),
            ..DnsConfig::clone(&self.config.load())
        };
        Arc::new(Resolver::new(&config))
    }

    /// Ends when there is another configuration.
    pub(super) async fn reconfigured(&self) {
        let mut configured = self.configured.subscribe();
        // The sender lives as long as we do.
        let _ = configured.changed().await;
    }
}

impl Name {
    /// Its addresses, at least one. Waits for the first answer; whoever asks sees to it that the wait ends.
    pub(super) async fn addresses(&self) -> io::Result<Arc<[IpAddr]>> {
        let mut known = self
            .followed
            .get_or_init(|| self.follow())
            .addresses
            .clone();
        let known = known.wait_for(|known| !matches!(known, Known::Asked)).await;
        match known.as_deref() {
            Ok(Known::Addresses(addresses)) => Ok(Arc::clone(addresses)),
            Ok(Known::Nothing(reason)) => Err(io::Error::other(reason.to_string())),
            Ok(Known::Asked) | Err(_) => Err(io::Error::other("names are resolved no longer")),
        }
    }
}

impl Name {
    fn follow(&self) -> Followed {
        let (known, addresses) = watch::channel(Known::Asked);
        let following = follow(Arc::clone(&self.dns), Arc::clone(&self.host), known);
        let task = self.dns.runtime.spawn(following).abort_handle();
        Followed { addresses, task }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Asks for the addresses of a host again and again. What was known is kept while DNS has nothing better to say.
async fn follow(dns: Arc<Dns>, host: Arc<str>, known: watch::Sender<Known>) {
    let mut backoff = Backoff::default();
    loop {
        let resolver = dns.resolver(&[]);
        let pause = match resolver.addresses(&host, AddressFamily::Both).await {
            Ok(Answer { records, ttl }) => {
                backoff = Backoff::default();
                known.send_replace(Known::Addresses(records.into()));
                ttl
            }
            Err(error) => {
                let reason: Arc<str> = error.to_string().into();
                known.send_if_modified(|known| fail(known, &host, reason));
                backoff.next()
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = dns.reconfigured() => {}
        }
    }
}

/// Takes note of a failure, and says so once. Whether anybody who waits has something to see.
fn fail(known: &mut Known, host: &str, reason: Arc<str>) -> bool {
    match known {
        Known::Addresses(_) => {
            tracing::debug!(host, %reason, "the addresses of a host are kept as they were");
            false
        }
        Known::Nothing(before) if *before == reason => false,
        Known::Nothing(_) | Known::Asked => {
            tracing::warn!(host, %reason, "a host has no address");
            *known = Known::Nothing(reason);
            true
        }
    }
}

impl Resolver {
    fn new(config: &DnsConfig) -> Self {
        let (servers, mut options) = match config.nameservers.as_slice() {
            [] => read_system_conf().unwrap_or_else(|error| {
                tracing::warn!(%error, "there are no DNS servers: only the hosts file is known");
                Default::default()
            }),
            servers => {
                let servers = servers.iter().map(nameserver).collect();
                (
                    ResolverConfig::from_name_servers(servers),
                    ResolverOpts::default(),
                )
            }
        };
        options.timeout = config.timeout;
        options.attempts = ATTEMPTS;
        // We keep what we know ourselves, and ask only for what is new.
        options.cache_size = 0;
        let builder = TokioResolver::builder_with_config(servers, TokioRuntimeProvider::default());
        let inner = builder.with_options(options).build();
        Self {
            inner: inner.expect("without TLS of its own, a resolver can always be made"),
            min_ttl: config.min_ttl,
            max_ttl: config.max_ttl,
        }
    }

    /// The addresses of a host, at least one.
    pub(super) async fn addresses(
        &self,
        host: &str,
        family: AddressFamily,
    ) -> Result<Answer<IpAddr>, LookupError> {
        let ipv4 = async {
            match family {
                AddressFamily::Ipv6 => Err(LookupError::Nothing(host.to_owned())),
                _ => self.ask(host, RecordType::A, address).await,
            }
        };
        let ipv6 = async {
            match family {
                AddressFamily::Ipv4 => Err(LookupError::Nothing(host.to_owned())),
                _ => self.ask(host, RecordType::AAAA, address).await,
            }
        };
        let (ipv4, ipv6) = tokio::join!(ipv4, ipv6);
        merge(ipv4, ipv6, family)
    }

    /// The hosts of a service, at least one.
    pub(super) async fn services(&self, name: &str) -> Result<Answer<Service>, LookupError> {
        self.ask(name, RecordType::SRV, service).await
    }

    async fn ask<T>(
        &self,
        name: &str,
        kind: RecordType,
        read: impl Fn(&RData) -> Option<T>,
    ) -> Result<Answer<T>, LookupError> {
        let answer = self.inner.lookup(name, kind).await;
        let answer = answer.map_err(|error| self.failed(name, &error))?;
        let read = |record: &Record| read(&record.data).map(|data| (data, record.ttl));
        let (records, ttls): (Vec<T>, Vec<u32>) = answer.answers().iter().filter_map(read).unzip();
        let ttl = ttls.into_iter().min();
        let ttl = ttl.ok_or_else(|| LookupError::Nothing(name.to_owned()))?;
        let ttl = Duration::from_secs(ttl.into());
        Ok(Answer {
            records,
            ttl: ttl.clamp(self.min_ttl, self.max_ttl),
        })
    }

    fn failed(&self, name: &str, error: &NetError) -> LookupError {
        match error {
            // Some servers say SERVFAIL in this way, and it says nothing about the name.
            NetError::Dns(DnsError::NoRecordsFound(nothing))
                if matches!(
                    nothing.response_code,
                    ResponseCode::NXDomain | ResponseCode::NoError
                ) =>
            {
                LookupError::Nothing(name.to_owned())
            }
            error => LookupError::Failed {
                name: name.to_owned(),
                reason: error.to_string(),
            },
        }
    }
}

/// The answers about both families as one. What one server did not answer does not hide what another did.
fn merge(
    ipv4: Result<Answer<IpAddr>, LookupError>,
    ipv6: Result<Answer<IpAddr>, LookupError>,
    family: AddressFamily,
) -> Result<Answer<IpAddr>, LookupError> {
    match (ipv4, ipv6) {
        (Ok(ipv4), Ok(_)) if family == AddressFamily::Auto => Ok(ipv4),
        (Ok(mut ipv4), Ok(ipv6)) => {
            ipv4.records.extend(ipv6.records);
            ipv4.ttl = ipv4.ttl.min(ipv6.ttl);
            Ok(ipv4)
        }
        (Ok(one), Err(_)) => Ok(one),
        // Other hosts than a moment ago would be strange company: that there is no IPv4 is not known.
        (Err(failed @ LookupError::Failed { .. }), Ok(_)) if family == AddressFamily::Auto => {
            Err(failed)
        }
        (Err(_), Ok(other)) => Ok(other),
        (Err(LookupError::Nothing(_)), Err(other)) => Err(other),
        (Err(failed), Err(_)) => Err(failed),
    }
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(address.0.into()),
        RData::AAAA(address) => Some(address.0.into()),
        _ => None,
    }
}

fn service(data: &RData) -> Option<Service> {
    let RData::SRV(record) = data else {
        return None;
    };
    // A target of "." says that there is no such service (RFC 2782).
    let host = record.target.to_ascii();
    (host != ".").then_some(Service {
        priority: record.priority,
        weight: record.weight,
        port: record.port,
        host,
    })
}

fn nameserver(address: &SocketAddr) -> NameServerConfig {
    let at = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
    NameServerConfig::new(address.ip(), true, connections)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(addresses: &[&str], seconds: u64) -> Result<Answer<IpAddr>, LookupError> {
        Ok(Answer {
            records: addresses.iter().map(|it| it.parse().unwrap()).collect(),
            ttl: Duration::from_secs(seconds),
        })
    }

    fn nothing() -> Result<Answer<IpAddr>, LookupError> {
        Err(LookupError::Nothing("a".into()))
    }

    fn failed() -> Result<Answer<IpAddr>, LookupError> {
        Err(LookupError::Failed {
            name: "a".into(),
            reason: "timeout".into(),
        })
    }

    #[test]
    fn one_family_is_chosen_or_both_are_taken() {
        let (ipv4, ipv6) = (|| answer(&["10.0.0.1"], 9), || answer(&["::1"], 5));
        assert_eq!(merge(ipv4(), ipv6(), AddressFamily::Auto), ipv4());
        assert_eq!(merge(nothing(), ipv6(), AddressFamily::Auto), ipv6());
        let both = answer(&["10.0.0.1", "::1"], 5);
        assert_eq!(merge(ipv4(), ipv6(), AddressFamily::Both), both);
    }

    #[test]
    fn half_an_answer_is_an_answer_unless_it_would_change_the_family() {
        let (ipv4, ipv6) = (|| answer(&["10.0.0.1"], 9), || answer(&["::1"], 5));
        assert_eq!(merge(ipv4(), failed(), AddressFamily::Both), ipv4());
        assert_eq!(merge(failed(), ipv6(), AddressFamily::Both), ipv6());
        assert_eq!(merge(ipv4(), failed(), AddressFamily::Auto), ipv4());
        assert_eq!(merge(failed(), ipv6(), AddressFamily::Auto), failed());
    }

    #[test]
    fn only_where_both_say_nothing_there_is_nothing() {
        for family in [AddressFamily::Auto, AddressFamily::Both] {
            assert_eq!(merge(nothing(), nothing(), family), nothing());
            assert_eq!(merge(nothing(), failed(), family), failed());
            assert_eq!(merge(failed(), nothing(), family), failed());
        }
    }

    #[test]
    fn what_is_known_is_kept_when_dns_fails() {
        let mut known = Known::Asked;
        assert!(fail(&mut known, "a", "timeout".into()));
        assert!(!fail(&mut known, "a", "timeout".into()), "it is told once");
        known = Known::Addresses([IpAddr::from([10, 0, 0, 1])].into());
        assert!(!fail(&mut known, "a", "timeout".into()));
        assert!(matches!(known, Known::Addresses(_)));
    }
}
