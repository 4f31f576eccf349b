//! Small shared types: who asks, who is asked, under which names.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// A consumer of the configuration, as plugins and the log see it.
#[derive(Debug, PartialEq, Eq)]
pub struct Consumer {
    /// The name of its `[consumer.NAME]` table.
    pub name: Arc<str>,
    /// Its tier.
    pub tier: Option<Arc<str>>,
    /// Its groups.
    pub groups: Vec<Arc<str>>,
    /// The operator's own identifier.
    pub custom_id: Option<Arc<str>>,
    /// What else plugins may want to know.
    pub metadata: BTreeMap<Arc<str>, Arc<str>>,
    /// What its requests tell the upstream: made once, when the configuration is loaded.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
}

impl Consumer {
    /// A consumer, with the headers that name it.
    #[must_use]
    pub fn new(
        name: Arc<str>,
        tier: Option<Arc<str>>,
        groups: Vec<Arc<str>>,
        custom_id: Option<Arc<str>>,
    ) -> Self {
        let joined = (!groups.is_empty()).then(|| groups.join(", "));
        let said = [
            ("x-consumer-name", Some(&*name)),
            ("x-consumer-tier", tier.as_deref()),
            ("x-consumer-groups", joined.as_deref()),
            ("x-consumer-custom-id", custom_id.as_deref()),
        ];
        let header = |(header, value): (&'static str, Option<&str>)| {
            let value = http::HeaderValue::from_str(value?).ok()?;
            Some((http::HeaderName::from_static(header), value))
        };
        let headers = said.into_iter().filter_map(header).collect();
        Self {
            name,
            tier,
            groups,
            custom_id,
            metadata: BTreeMap::new(),
            headers,
        }
    }

    /// With what else plugins may want to know.
    #[must_use]
    pub fn with_metadata(mut self, metadata: BTreeMap<Arc<str>, Arc<str>>) -> Self {
        self.metadata = metadata;
        self
    }
}

/// A consumer, and which of its credentials was presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who it is.
    pub consumer: Arc<Consumer>,
    /// Identifies the credential without revealing it; empty where there is none.
    pub credential_id: Arc<str>,
    /// Whether the consumer stands for strangers: nothing was presented.
    pub anonymous: bool,
}

/// Names a request in logs: random, or adopted from the client by a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestId {
    /// Random, printed as 32 hexadecimal digits, and only printed when somebody reads it.
    Generated(u128),
    /// Taken over by a plugin: 1 to 128 visible ASCII characters.
    Adopted(Box<str>),
}

impl RequestId {
    /// Most characters of an adopted id.
    pub const MAX_LENGTH: usize = 128;

    /// A random id.
    #[must_use]
    pub fn generate() -> Self {
        Self::Generated(rand::random())
    }

    /// Adopts a text.
    ///
    /// # Errors
    /// A sentence, when the text is empty, too long, or not visible ASCII.
    pub fn adopt(id: &str) -> Result<Self, String> {
        if id.is_empty() || id.len() > Self::MAX_LENGTH {
            return Err(format!(
                "a request id has 1 to {} characters, this has {}",
                Self::MAX_LENGTH,
                id.len()
            ));
        }
        if !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("a request id consists of visible ASCII characters".into());
        }
        Ok(Self::Adopted(id.into()))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Generated(id) => write!(f, "{id:032x}"),
            Self::Adopted(id) => f.write_str(id),
        }
    }
}

/// The values that a path gave to the parameters of its route, as ranges of the path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathParameters(pub Vec<(Arc<str>, Range<usize>)>);

impl PathParameters {
    /// The still encoded value of a parameter in `path`, the path that was matched.
    #[must_use]
    pub fn get<'p>(&self, name: &str, path: &'p str) -> Option<&'p str> {
        let (_, range) = self.0.iter().find(|(parameter, _)| **parameter == *name)?;
        path.get(range.clone())
    }
}

/// What a listener lets through in paths where it is percent-encoded. Services disagree about what these mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EncodedInPath {
    /// `%2F`
    pub slash: bool,
    /// `%5C`, also unencoded
    pub backslash: bool,
    /// `%00`
    pub nul: bool,
    /// `%01` to `%1F`, and `%7F`
    pub control: bool,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The name of the listener that accepted it.
    pub listener: Arc<str>,
    /// The address it came from: of the client, or of a proxy in front of us.
    pub address: SocketAddr,
    /// The address that it came to.
    pub local: SocketAddr,
    /// The peer's address as a header value: made once a connection, sent on with every request.
    pub forwarded_for: http::HeaderValue,
    /// Whether its `Forwarded` and `X-Forwarded-*` headers are believed.
    pub trusted: bool,
    /// Whose addresses in `X-Forwarded-For` are proxies, not clients.
    pub trusted_proxies: Arc<[ipnet::IpNet]>,
    /// What its listener lets through in paths.
    pub encoded_in_path: EncodedInPath,
    /// What TLS told about it; none without TLS.
    pub tls: Option<Box<TlsPeer>>,
    /// The port of `https://` that its requests are sent on to, where they must come over TLS and do not.
    pub https_port: Option<u16>,
    /// What its first request named as its host: nearly all requests of a connection name the same, and what follows
    /// from the name is made once.
    pub site: OnceLock<Site>,
}

/// A host that requests name, and what is sent on about it.
#[derive(Debug, Clone)]
pub struct Site {
    /// Host and optional port, lower case.
    pub authority: Arc<str>,
    /// The same as a header value.
    pub value: http::HeaderValue,
    /// The element of `Forwarded` (RFC 7239, 4) for requests of the peer to this host.
    pub forwarded: http::HeaderValue,
}

impl Peer {
    /// The other end of a connection that a listener accepted.
    #[must_use]
    pub fn new(
        listener: Arc<str>,
        address: SocketAddr,
        local: SocketAddr,
        trusted_proxies: Arc<[ipnet::IpNet]>,
    ) -> Self {
        let ip = address.ip().to_canonical();
        let forwarded_for =
            http::HeaderValue::from_str(&ip.to_string()).expect("an address is visible ASCII");
        let trusted = trusted_proxies.iter().any(|range| range.contains(&ip));
        Self {
            listener,
            address,
            local,
            forwarded_for,
            trusted,
            trusted_proxies,
            encoded_in_path: EncodedInPath::default(),
            tls: None,
            https_port: None,
            site: OnceLock::new(),
        }
    }

    /// Whether an address is a trusted proxy's, not a client's.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted_proxies
            .iter()
            .any(|range| range.contains(&address))
    }

    /// The same, of a listener that lets this through in paths.
    #[must_use]
    pub fn allowing(self, encoded_in_path: EncodedInPath) -> Self {
        Self {
            encoded_in_path,
            ..self
        }
    }

    /// The peer's address, an IPv4 one also where the socket is IPv6.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.address.ip().to_canonical()
    }
}

/// What TLS told about the other end of a connection.
#[derive(Debug, Clone)]
pub struct TlsPeer {
    /// `TLSv1.2`, `TLSv1.3`
    pub version: &'static str,
    /// The host that it named in SNI, lower case.
    pub server_name: Option<String>,
    /// The certificate that it showed, which was verified.
    pub client: Option<ClientCertificate>,
    /// Which hosts it may ask for on this connection.
    pub sites: Arc<dyn Sites>,
}

/// What a client's certificate says.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// Its subject (RFC 4514).
    pub subject: String,
    /// Its alternative names, one a line.
    pub alternative_names: String,
}

/// Which hosts are one, as far as TLS is concerned.
pub trait Sites: fmt::Debug + Send + Sync {
    /// Whether a connection on which the client named one host is also for requests to the other (lower case).
    fn are_one(&self, named: &str, host: &str) -> bool;
}

impl TlsPeer {
    /// Whether a request to `authority` does not belong on this connection (RFC 9110, 7.4 and 15.5.20). A client that
    /// named no host may ask for any.
    #[must_use]
    pub fn is_misdirected(&self, authority: &str) -> bool {
        let bare = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        };
        let bare = bare.strip_suffix('.').unwrap_or(bare);
        self.server_name
            .as_ref()
            .is_some_and(|named| !bare.is_empty() && !self.sites.are_one(named, bare))
    }
}

/// How much it matters that a request is served when not all can be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Importance {
    /// The first to be turned away.
    Low,
    /// Most requests.
    #[default]
    Normal,
    /// The last to be turned away.
    High,
}

impl Importance {
    /// How many there are.
    pub const COUNT: usize = 3;
}

/// Where a response was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// By a target of an upstream.
    Upstream,
    /// By a plugin.
    Plugin,
    /// By the gateway itself.
    Gateway,
}

impl Source {
    /// The word for logs and metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Plugin => "plugin",
            Self::Gateway => "gateway",
        }
    }
}
