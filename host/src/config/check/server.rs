//! `[server]`, `[admin]`, `[access-log]`, `[log]`, `[plugins]`, `[listen.NAME]`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::Checker;
use super::quantity::TIMEOUT;
use crate::config::address::ListenAddress;
use crate::config::defaults as default;
use crate::config::entry::{Entry, Place};
use crate::config::file::{AccessLogFile, AdminFile, ListenFile, LogFile, PluginsFile, ServerFile};
use crate::config::resolved::{
    AccessLogConfig, AccessLogFormat, AdminConfig, EngineConfig, FrameLimits, ListenerConfig,
    LogConfig, PaceConfig, Position, ServerConfig,
};
use crate::config::suggest;
use crate::config::values::Encoded;
use crate::types::EncodedInPath;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Where a listener listens when its address is missing: never used, there is a problem then.
const STAND_IN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

/// What one instance may have. Below, no guest starts; above is more than 32-bit code can address.
pub(super) const INSTANCE_MEMORY: std::ops::RangeInclusive<u64> = 1 << 20..=4 << 30;

impl Checker<'_> {
    pub(super) fn server(&mut self, table: Option<&Entry<'_, ServerFile>>) -> ServerConfig {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let Some(Entry { file, place, .. }) = table else {
            return ServerConfig {
                workers: cores,
                drain_timeout: default::DEFAULT_SERVER_DRAIN_TIMEOUT,
                readiness_delay: default::DEFAULT_SERVER_READINESS_DELAY,
            };
        };
        ServerConfig {
            workers: self.count(place, &file.workers, cores, 1..=1024),
            // Zero is meant: do not wait.
            drain_timeout: self.duration(
                place,
                &file.drain_timeout,
                default::DEFAULT_SERVER_DRAIN_TIMEOUT,
                Duration::ZERO..=*TIMEOUT.end(),
            ),
            readiness_delay: self.duration(
                place,
                &file.readiness_delay,
                default::DEFAULT_SERVER_READINESS_DELAY,
                Duration::ZERO..=*TIMEOUT.end(),
            ),
        }
    }

    pub(super) fn admin(&mut self, table: Option<&Entry<'_, AdminFile>>) -> Option<AdminConfig> {
        let Entry { file, place, .. } = table?;
        let address = self.required(
            place,
            &place.here(),
            &file.address,
            "address",
            "\"127.0.0.1:9901\"",
        )?;
        let allow_drills = file.allow_drills;
        Some(AdminConfig {
            address: address.get_ref().0,
            allow_drills: allow_drills.unwrap_or(default::DEFAULT_ADMIN_ALLOW_DRILLS),
        })
    }

    pub(super) fn access_log(
        &mut self,
        table: Option<&Entry<'_, AccessLogFile>>,
    ) -> AccessLogConfig {
        let Some(Entry { file, place, .. }) = table else {
            return AccessLogConfig {
                format: AccessLogFormat::Text,
                file: None,
            };
        };
        AccessLogConfig {
            format: file
                .format
                .as_ref()
                .map_or(AccessLogFormat::Text, |format| format.get_ref().0),
            file: file
                .file
                .as_ref()
                .map(|path| place.directory().join(&*self.not_empty(place, path))),
        }
    }

    pub(super) fn log(&mut self, table: Option<&Entry<'_, LogFile>>) -> LogConfig {
        let Some(Entry { file, place, .. }) = table else {
            return LogConfig {
                filter: default::DEFAULT_LOG_LEVEL.into(),
                json: false,
            };
        };
        let level = file
            .level
            .as_ref()
            .inspect(|level| self.filter(place, level));
        LogConfig {
            filter: level.map_or(default::DEFAULT_LOG_LEVEL.into(), |level| {
                level.get_ref().clone()
            }),
            json: file
                .format
                .as_ref()
                .is_some_and(|format| format.get_ref().0),
        }
    }

    /// A filter that means something. The library would take `inof` for the name of a module and log nothing else.
    fn filter(&mut self, place: &Place<'_>, filter: &Spanned<String>) {
        let text = filter.get_ref();
        let is_level = |word: &str| LEVELS.contains(&word.to_ascii_lowercase().as_str());
        let stranger = text
            .split(',')
            .map(str::trim)
            .find(|part| !part.contains(['=', '[']) && !is_level(part));
        if let Some(word) = stranger {
            let hint = suggest::hint(word, "levels", LEVELS);
            let message = format!("expected a level or `module=level`, found {word:?}");
            return self.report.at(&place.at(filter), message, Some(hint));
        }
        if let Err(error) = tracing_subscriber::EnvFilter::builder().parse(text) {
            self.report.at(
                &place.at(filter),
                format!("expected a filter like \"postern=debug,info\": {error}"),
                None,
            );
        }
    }

    pub(super) fn engine(&mut self, table: Option<&Entry<'_, PluginsFile>>) -> EngineConfig {
        let Some(Entry { file, place, .. }) = table else {
            return EngineConfig {
                cache: None,
                max_instances: default::DEFAULT_PLUGINS_MAX_INSTANCES,
                max_memory: default::DEFAULT_PLUGINS_MAX_MEMORY,
                watch: default::DEFAULT_PLUGINS_WATCH,
            };
        };
        EngineConfig {
            cache: file
                .cache
                .as_ref()
                .map(|path| place.directory().join(&*self.not_empty(place, path))),
            max_instances: self.count(
                place,
                &file.max_instances,
                default::DEFAULT_PLUGINS_MAX_INSTANCES,
                1..=100_000,
            ),
            max_memory: self.memory_size(
                place,
                &file.max_memory,
                default::DEFAULT_PLUGINS_MAX_MEMORY,
                INSTANCE_MEMORY,
            ),
            watch: file.watch.unwrap_or(default::DEFAULT_PLUGINS_WATCH),
        }
    }

    /// All listeners; their addresses differ from each other and from the admin listener's.
    pub(super) fn listeners(
        &mut self,
        tables: &[Entry<'_, ListenFile>],
        admin: Option<&Entry<'_, AdminFile>>,
    ) -> Vec<ListenerConfig> {
        let mut addresses = BTreeMap::new();
        if let Some((Entry { place, .. }, address)) =
            admin.and_then(|admin| Some((admin, admin.file.address.as_ref()?)))
        {
            self.address(
                &mut addresses,
                ListenAddress::Tcp(address.get_ref().0),
                place.at(address),
            );
        }
        tables
            .iter()
            .map(|table| self.listener(table, &mut addresses))
            .collect()
    }

    fn listen_address(
        &mut self,
        table: &Entry<'_, ListenFile>,
        addresses: &mut BTreeMap<ListenAddress, Position>,
    ) -> ListenAddress {
        let Entry { file, place, .. } = table;
        let address = self.required(
            place,
            &place.here(),
            &file.address,
            "address",
            "\"0.0.0.0:8080\"",
        );
        let Some(address) = address else {
            return ListenAddress::Tcp(STAND_IN);
        };
        let resolved = match &address.get_ref().0 {
            ListenAddress::Unix(path) => ListenAddress::Unix(place.directory().join(path)),
            tcp => tcp.clone(),
        };
        self.address(addresses, resolved.clone(), place.at(address));
        resolved
    }

    fn listener(
        &mut self,
        table: &Entry<'_, ListenFile>,
        addresses: &mut BTreeMap<ListenAddress, Position>,
    ) -> ListenerConfig {
        let Entry { file, place, .. } = table;
        let mut duration = |value: &_, default| self.duration(place, value, default, TIMEOUT);
        let header_timeout = duration(&file.header_timeout, default::DEFAULT_LISTEN_HEADER_TIMEOUT);
        let idle_timeout = duration(&file.idle_timeout, default::DEFAULT_LISTEN_IDLE_TIMEOUT);
        ListenerConfig {
            name: Arc::clone(&table.name),
            address: self.listen_address(table, addresses),
            max_connections: self.count(
                place,
                &file.max_connections,
                default::DEFAULT_LISTEN_MAX_CONNECTIONS,
                1..=10_000_000,
            ),
            header_timeout,
            idle_timeout,
            // The HTTP/1 reader wants a buffer of 8 KiB at least.
            max_header_bytes: self.memory_size(
                place,
                &file.max_header_bytes,
                default::DEFAULT_LISTEN_MAX_HEADER_BYTES,
                8 << 10..=1 << 20,
            ),
            max_uri_bytes: self.max_uri_bytes(table),
            max_headers: self.count(
                place,
                &file.max_headers,
                default::DEFAULT_LISTEN_MAX_HEADERS,
                1..=10_000,
            ),
            max_streams: self.count(
                place,
                &file.max_streams,
                default::DEFAULT_LISTEN_MAX_STREAMS,
                1..=100_000,
            ),
            allow_encoded: self.allow_encoded(table),
            frames: self.frames(table),
            pace: self.pace(table),
            trusted_proxies: trusted_proxies(file),
            http3: self.http3(table),
            interim_responses: interim_responses(file),
            tls: file
                .tls
                .as_ref()
                .and_then(|tls| self.listen_tls(place, tls)),
            socket_mode: self.socket_mode(table),
            max_connections_per_address: self.max_per_address(table),
            proxy_protocol: file
                .proxy_protocol
                .as_ref()
                .is_some_and(|word| word.get_ref().0),
            redirect_https: self.redirect_https(table),
        }
    }

    fn max_uri_bytes(&mut self, table: &Entry<'_, ListenFile>) -> usize {
        // The HTTP library takes no more.
        let range = 256..=63 << 10;
        self.memory_size(
            &table.place,
            &table.file.max_uri_bytes,
            default::DEFAULT_LISTEN_MAX_URI_BYTES,
            range,
        )
    }

    fn frames(&mut self, table: &Entry<'_, ListenFile>) -> FrameLimits {
        let Entry { file, place, .. } = table;
        FrameLimits {
            resets: self.count(
                place,
                &file.max_resets,
                default::DEFAULT_LISTEN_MAX_RESETS,
                1..=100_000,
            ),
            control: self.count(
                place,
                &file.max_control_frames,
                default::DEFAULT_LISTEN_MAX_CONTROL_FRAMES,
                100..=1_000_000,
            ),
        }
    }

    fn pace(&mut self, table: &Entry<'_, ListenFile>) -> PaceConfig {
        let Entry { file, place, .. } = table;
        let mut duration = |value: &_, default| self.duration(place, value, default, TIMEOUT);
        let body_timeout = duration(&file.body_timeout, default::DEFAULT_LISTEN_BODY_TIMEOUT);
        let write_timeout = duration(&file.write_timeout, default::DEFAULT_LISTEN_WRITE_TIMEOUT);
        PaceConfig {
            body_timeout,
            min_body_rate: self.size(
                place,
                &file.min_body_rate,
                default::DEFAULT_LISTEN_MIN_BODY_RATE,
                1..=1 << 20,
            ),
            write_timeout,
        }
    }

    fn max_per_address(&mut self, table: &Entry<'_, ListenFile>) -> Option<usize> {
        let given = &table.file.max_connections_per_address;
        given.as_ref()?;
        Some(self.count(&table.place, given, 1, 1..=10_000_000))
    }

    fn allow_encoded(&mut self, table: &Entry<'_, ListenFile>) -> EncodedInPath {
        let list = table.file.allow_encoded.as_ref();
        self.distinct(&table.place, list, |word| word.0.as_str().to_owned());
        let has = |wanted| {
            list.into_iter()
                .flatten()
                .any(|word| word.get_ref().0 == wanted)
        };
        EncodedInPath {
            slash: has(Encoded::Slash),
            backslash: has(Encoded::Backslash),
            nul: has(Encoded::Nul),
            control: has(Encoded::Control),
        }
    }

    fn socket_mode(&mut self, table: &Entry<'_, ListenFile>) -> u32 {
        let Entry { file, place, .. } = table;
        let Some(mode) = &file.socket_mode else {
            return default::DEFAULT_LISTEN_SOCKET_MODE;
        };
        let address = file.address.as_ref().map(|address| &address.get_ref().0);
        if let Some(ListenAddress::Tcp(_)) = address {
            let message = "only the socket of a path has permissions";
            let help = "remove it, or listen on \"unix:PATH\"";
            self.report.at(&place.at(mode), message, Some(help.into()));
        }
        mode.get_ref().0
    }

    fn redirect_https(&mut self, table: &Entry<'_, ListenFile>) -> Option<u16> {
        let Entry { file, place, .. } = table;
        let wanted = file.redirect_https.unwrap_or_default();
        if let (Some(port), false) = (&file.redirect_https_port, wanted) {
            let message = "a port to redirect to, but nothing is redirected";
            let help = "add `redirect-https = true`";
            self.report.at(&place.at(port), message, Some(help.into()));
        }
        let port = self.count(
            place,
            &file.redirect_https_port,
            default::DEFAULT_LISTEN_REDIRECT_HTTPS_PORT,
            1..=65_535,
        );
        wanted.then_some(port)
    }

    /// HTTP/3 has TLS inside, and begins with no header of a proxy.
    fn http3(&mut self, table: &Entry<'_, ListenFile>) -> bool {
        let Entry { file, place, .. } = table;
        let Some(http3) = file.http3.as_ref().filter(|http3| *http3.get_ref()) else {
            return default::DEFAULT_LISTEN_HTTP3;
        };
        let position = place.at(http3);
        if file.tls.is_none() && !place.is_lost(&place.here(), "tls") {
            let help = "add certificates: `[listen.NAME.tls]`";
            self.report
                .at(&position, "HTTP/3 needs TLS", Some(help.into()));
        }
        let address = file.address.as_ref().map(|address| &address.get_ref().0);
        if let Some(ListenAddress::Unix(_)) = address {
            let help = "listen on an address and port, or remove `http3`";
            self.report
                .at(&position, "HTTP/3 needs a UDP port", Some(help.into()));
        }
        let proxied = file.proxy_protocol.as_ref();
        if proxied.is_some_and(|word| word.get_ref().0) {
            let message = "HTTP/3 comes without the PROXY protocol, past the proxy that speaks it";
            let help = "use another listener for HTTP/3";
            self.report.at(&position, message, Some(help.into()));
        }
        true
    }

    /// Port 0 picks a free port, so any number of listeners may have it.
    fn address(
        &mut self,
        addresses: &mut BTreeMap<ListenAddress, Position>,
        address: ListenAddress,
        position: Position,
    ) {
        if address.is_fixed() {
            let what = format!("the address \"{address}\"");
            self.unique(addresses, address, position, &what);
        }
    }
}

fn interim_responses(file: &ListenFile) -> bool {
    file.interim_responses
        .unwrap_or(default::DEFAULT_LISTEN_INTERIM_RESPONSES)
}

fn trusted_proxies(file: &ListenFile) -> Vec<ipnet::IpNet> {
    let networks = file.trusted_proxies.iter().flatten();
    networks.map(|network| network.0).collect()
}
