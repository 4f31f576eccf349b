//! `[upstream.NAME.discovery]` and `[dns]`.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::Checker;
use super::quantity::TIMEOUT;
use crate::config::address::TargetAddress;
use crate::config::defaults as default;
use crate::config::discovery::{Kind, Nameserver, ServiceName};
use crate::config::entry::{Entry, Place};
use crate::config::file::{DiscoveryFile, DnsFile, Field, UpstreamFile};
use crate::config::resolved::{
    AddressFamily, ConsulDiscovery, DiscoveryConfig, DiscoverySource, DnsConfig, DnsDiscovery,
    Endpoint, FileDiscovery, KubernetesDiscovery, Position, ServicePort, SrvDiscovery,
};
use crate::config::suggest;
use crate::config::tls::UpstreamTls;

/// Longer answers of DNS than a week are not believed by anybody else either (RFC 8767, 4).
const TTL: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(7 * 24 * 60 * 60);
/// What Consul takes.
const WAIT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(10 * 60);

/// Where a pod finds who it is (Kubernetes, "Accessing the API from a Pod").
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const KUBERNETES_HOST: &str = "KUBERNETES_SERVICE_HOST";
const KUBERNETES_PORT: &str = "KUBERNETES_SERVICE_PORT";

/// What stands in the table of one upstream.
struct Asked<'f, 'd> {
    place: &'f Place<'d>,
    table: Position,
    span: std::ops::Range<usize>,
    file: &'f DiscoveryFile,
}

impl Kind {
    /// The keys that say something to it.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Dns => &[
                "name",
                "port",
                "scheme",
                "nameservers",
                "family",
                "on-empty",
            ],
            Self::Srv => &["name", "scheme", "nameservers", "family", "on-empty"],
            Self::File => &["path"],
            Self::Consul => &[
                "service",
                "scheme",
                "server",
                "ca",
                "token",
                "namespace",
                "datacenter",
                "tags",
                "include-warning",
                "wait",
            ],
            Self::Kubernetes => &[
                "service",
                "port",
                "scheme",
                "server",
                "ca",
                "token-file",
                "namespace",
                "wait",
            ],
        }
    }

    fn as_str(self) -> &'static str {
        let named = Self::ALL.iter().find(|(_, kind)| *kind == self);
        named.map_or("", |(name, _)| name)
    }
}

impl Checker<'_> {
    pub(super) fn dns(&mut self, table: Option<&Entry<'_, DnsFile>>) -> DnsConfig {
        let mut config = DnsConfig {
            nameservers: Vec::new(),
            timeout: default::DEFAULT_DNS_TIMEOUT,
            min_ttl: default::DEFAULT_DNS_MIN_TTL,
            max_ttl: default::DEFAULT_DNS_MAX_TTL,
        };
        let Some(Entry { file, place, .. }) = table else {
            return config;
        };
        config.nameservers = self.nameservers(place, &place.here(), &file.nameservers);
        config.timeout = self.duration(place, &file.timeout, config.timeout, TIMEOUT);
        config.min_ttl = self.duration(place, &file.min_ttl, config.min_ttl, TTL);
        config.max_ttl = self.duration(place, &file.max_ttl, config.max_ttl, TTL);
        if config.min_ttl > config.max_ttl {
            let position = file.min_ttl.as_ref().map(|value| place.at(value));
            let message = "`min-ttl` is longer than `max-ttl`";
            self.report
                .at(&position.unwrap_or_else(|| place.here()), message, None);
        }
        config
    }

    /// Where the targets of an upstream come from, if the file does not list them.
    pub(super) fn discovery(
        &mut self,
        upstream: &Entry<'_, UpstreamFile>,
        tls: Option<&UpstreamTls>,
    ) -> Option<DiscoveryConfig> {
        let place = &upstream.place;
        let file = upstream.file.discovery.as_ref()?;
        let asked = Asked {
            place,
            table: place.at(file),
            span: file.span(),
            file: file.get_ref(),
        };
        if let Some(targets) = &upstream.file.targets {
            let message = "an upstream has `targets` or `discovery`, not both";
            self.report.at(&place.at(targets), message, None);
        }
        let kind = self.needed(&asked, &asked.file.kind, "kind", "\"dns\"")?.0;
        self.strangers(&asked, kind);
        let source = match kind {
            Kind::Dns => DiscoverySource::Dns(self.by_dns(&asked)?),
            Kind::Srv => DiscoverySource::Srv(self.by_srv(&asked)?),
            Kind::File => DiscoverySource::File(self.by_file(&asked)?),
            Kind::Consul => DiscoverySource::Consul(self.by_consul(&asked)?),
            Kind::Kubernetes => DiscoverySource::Kubernetes(self.by_kubernetes(&asked)?),
        };
        let tls = tls.cloned();
        Some(DiscoveryConfig { source, tls })
    }

    /// Keys of other kinds are mistakes: nobody would look at them.
    fn strangers(&mut self, asked: &Asked<'_, '_>, kind: Kind) {
        let keys = kind.keys();
        for (key, position) in written(asked) {
            if !keys.contains(&key) {
                let message = format!("`{key}` says nothing with `kind = \"{}\"`", kind.as_str());
                let hint = suggest::hint(key, "its keys", keys.iter().copied());
                self.report.at(&position, message, Some(hint));
            }
        }
    }

    fn by_dns(&mut self, asked: &Asked<'_, '_>) -> Option<DnsDiscovery> {
        let name = self.needed(asked, &asked.file.name, "name", "\"orders.internal\"");
        let port = self.needed(asked, &asked.file.port, "port", "8080");
        let port = port.map(|port| match port.0 {
            ServicePort::Number(number) => number,
            ServicePort::Name(_) => {
                let position = asked.file.port.as_ref().map(|port| asked.place.at(port));
                let help = Some("addresses have no named ports: write `port = 8080`".into());
                let position = position.unwrap_or_else(|| asked.table.clone());
                self.report.at(&position, "expected a number", help);
                0
            }
        });
        Some(DnsDiscovery {
            name: Arc::clone(&name?.0),
            port: port?,
            family: family(asked),
            nameservers: self.nameservers(asked.place, &asked.table, &asked.file.nameservers),
            keep_when_empty: keeps(asked),
        })
    }

    fn by_srv(&mut self, asked: &Asked<'_, '_>) -> Option<SrvDiscovery> {
        let example = "\"_http._tcp.orders.internal\"";
        let name = self.needed(asked, &asked.file.name, "name", example)?;
        Some(SrvDiscovery {
            name: Arc::clone(&name.0),
            family: family(asked),
            nameservers: self.nameservers(asked.place, &asked.table, &asked.file.nameservers),
            keep_when_empty: keeps(asked),
        })
    }

    fn by_file(&mut self, asked: &Asked<'_, '_>) -> Option<FileDiscovery> {
        let name = self.needed(asked, &asked.file.path, "path", "\"orders.json\"")?;
        let path = asked.place.directory().join(name);
        if !path
            .extension()
            .is_some_and(|it| it == "json" || it == "toml")
        {
            let position = asked.file.path.as_ref().map(|path| asked.place.at(path));
            let message = "a list of targets is a file whose name ends in .json or .toml";
            self.report.at(
                &position.unwrap_or_else(|| asked.table.clone()),
                message,
                None,
            );
        }
        Some(FileDiscovery { path })
    }

    fn by_consul(&mut self, asked: &Asked<'_, '_>) -> Option<ConsulDiscovery> {
        let Asked { place, file, .. } = asked;
        let service = self.needed(asked, &file.service, "service", "\"orders\"");
        let server = file.server.as_ref().map_or_else(
            || TargetAddress {
                host: default::DEFAULT_CONSUL_HOST.into(),
                port: default::DEFAULT_CONSUL_PORT,
                secure: false,
            },
            |server| server.get_ref().0.clone(),
        );
        let server = self.asked_server(asked, &server, file.ca.as_ref());
        let token = file
            .token
            .as_ref()
            .and_then(|reference| self.read(place, reference));
        let tags = file.tags.as_ref().map(Spanned::get_ref);
        self.distinct(place, tags, String::clone);
        let wait = self.duration(place, &file.wait, default::DEFAULT_DISCOVERY_WAIT, WAIT);
        Some(ConsulDiscovery {
            server: server?,
            service: Arc::clone(&service?.0),
            datacenter: named(&file.datacenter),
            namespace: named(&file.namespace),
            tags: tags
                .into_iter()
                .flatten()
                .map(|tag| tag.get_ref().as_str().into())
                .collect(),
            token: token.map(|(_, token)| token),
            include_warning: file
                .include_warning
                .as_ref()
                .is_some_and(|word| *word.get_ref()),
            wait,
        })
    }

    fn by_kubernetes(&mut self, asked: &Asked<'_, '_>) -> Option<KubernetesDiscovery> {
        let Asked { place, file, .. } = asked;
        let service = self.needed(asked, &file.service, "service", "\"orders\"");
        let inside = file.server.is_none();
        let of_pod = |name: &str| PathBuf::from(SERVICE_ACCOUNT).join(name);
        let namespace = named(&file.namespace).or_else(|| {
            let own = std::fs::read_to_string(of_pod("namespace")).ok();
            own.map(|own| own.trim().into())
        });
        if namespace.is_none() {
            let message = "the key `namespace` is missing";
            let help =
                "outside of a cluster there is no own one; for example `namespace = \"shop\"`";
            self.report.at(&asked.table, message, Some(help.into()));
        }
        let server = match &file.server {
            Some(server) => Some(server.get_ref().0.clone()),
            None => self.own_cluster(asked),
        };
        let own_ca = inside.then(|| {
            let path = of_pod("ca.crt").to_string_lossy().into_owned();
            Spanned::new(asked.span.clone(), path)
        });
        let ca = file.ca.as_ref().or(own_ca.as_ref());
        let server = server.and_then(|server| self.asked_server(asked, &server, ca));
        let token_file = file.token_file.as_ref();
        let token_file = token_file.map(|path| place.directory().join(path.get_ref()));
        let wait = self.duration(place, &file.wait, default::DEFAULT_DISCOVERY_WAIT, WAIT);
        Some(KubernetesDiscovery {
            server: server?,
            service: Arc::clone(&service?.0),
            namespace: namespace?,
            port: file.port.as_ref().map(|port| port.get_ref().0.clone()),
            token_file: token_file.or_else(|| inside.then(|| of_pod("token"))),
            wait,
        })
    }

    /// The API server of the cluster that we run in.
    fn own_cluster(&mut self, asked: &Asked<'_, '_>) -> Option<TargetAddress> {
        let variable = |name| (self.environment)(name)?.into_string().ok();
        let host = variable(KUBERNETES_HOST).filter(|host| !host.is_empty());
        let port = variable(KUBERNETES_PORT).map_or(Some(443), |port| port.parse().ok());
        let (Some(host), Some(port)) = (host, port) else {
            let message = "this gateway runs in no cluster";
            let help = "name the API server: `server = \"https://10.0.0.1:6443\"`, \
                        and who we are: `token-file = \"...\"`";
            self.report.at(&asked.table, message, Some(help.into()));
            return None;
        };
        let host = host.into();
        let secure = true;
        Some(TargetAddress { host, port, secure })
    }

    /// A server that is asked, with what it needs to be spoken to.
    fn asked_server(
        &mut self,
        asked: &Asked<'_, '_>,
        server: &TargetAddress,
        ca: Option<&Spanned<String>>,
    ) -> Option<Endpoint> {
        if let Some(ca) = ca.filter(|_| !server.secure) {
            let message = "this server is not spoken to over TLS";
            let help = "write `server = \"https://...\"`";
            self.report
                .at(&asked.place.at(ca), message, Some(help.into()));
            return None;
        }
        let tls = match server.secure {
            true => Some(self.tls_of_server(asked.place, ca)?),
            false => None,
        };
        Some(self.endpoint(asked.place, server, tls.as_ref()))
    }

    fn nameservers(
        &mut self,
        place: &Place<'_>,
        table: &Position,
        field: &Field<Vec<Nameserver>>,
    ) -> Vec<std::net::SocketAddr> {
        let is_empty = |list: &&Spanned<Vec<_>>| {
            list.get_ref().is_empty() && !place.is_lost(table, "nameservers")
        };
        if let Some(list) = field.as_ref().filter(is_empty) {
            let help = "to ask the servers of /etc/resolv.conf, leave it out";
            self.report.at(
                &place.at(list),
                "expected at least one server",
                Some(help.into()),
            );
        }
        let list = field.iter().flat_map(|list| list.get_ref());
        list.map(|server| server.0).collect()
    }

    fn needed<'f, T>(
        &mut self,
        asked: &Asked<'f, '_>,
        field: &'f Field<T>,
        key: &str,
        example: &str,
    ) -> Option<&'f T> {
        let found = self.required(asked.place, &asked.table, field, key, example);
        found.map(Spanned::get_ref)
    }
}

/// The keys that are there, besides `kind`.
fn written(asked: &Asked<'_, '_>) -> Vec<(&'static str, Position)> {
    fn at<T>(place: &Place<'_>, field: &Field<T>) -> Option<Position> {
        field.as_ref().map(|value| place.at(value))
    }
    let Asked { place, file, .. } = asked;
    let all = [
        ("name", at(place, &file.name)),
        ("service", at(place, &file.service)),
        ("port", at(place, &file.port)),
        ("scheme", at(place, &file.scheme)),
        ("nameservers", at(place, &file.nameservers)),
        ("family", at(place, &file.family)),
        ("on-empty", at(place, &file.on_empty)),
        ("path", at(place, &file.path)),
        ("server", at(place, &file.server)),
        ("ca", at(place, &file.ca)),
        ("token", at(place, &file.token)),
        ("token-file", at(place, &file.token_file)),
        ("namespace", at(place, &file.namespace)),
        ("datacenter", at(place, &file.datacenter)),
        ("tags", at(place, &file.tags)),
        ("include-warning", at(place, &file.include_warning)),
        ("wait", at(place, &file.wait)),
    ];
    let there = |(key, position): (_, Option<Position>)| position.map(|position| (key, position));
    all.into_iter().filter_map(there).collect()
}

fn family(asked: &Asked<'_, '_>) -> AddressFamily {
    let family = asked.file.family.as_ref();
    family.map_or(AddressFamily::Auto, |word| word.get_ref().0)
}

fn keeps(asked: &Asked<'_, '_>) -> bool {
    asked
        .file
        .on_empty
        .as_ref()
        .is_none_or(|word| word.get_ref().0)
}

fn named(field: &Field<ServiceName>) -> Option<Arc<str>> {
    field.as_ref().map(|name| Arc::clone(&name.get_ref().0))
}
