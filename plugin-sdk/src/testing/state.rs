//! What the fake host knows.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use crate::bindings::imports::postern::plugin::metrics::Kind;
use crate::identity::{Credential, Found};
use crate::keys::{Algorithm, Key};
use crate::limits::Limit;
use crate::log::Level;
use crate::outbound::{OutboundError, OutboundRequest, OutboundResponse};
use crate::store::Entry;
use crate::{
    Header, HeaderSelection, HttpVersion, Interest, IpAddress, Method, RequestHead, Scheme,
};

/// Whether a signature over a message is right.
pub(super) type Accepts = Box<dyn Fn(&[u8], &[u8]) -> bool>;

pub(super) struct FakeKey {
    pub(super) key: Key,
    pub(super) key_id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) accepts: Accepts,
}

/// One counter of one limit of one key.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) ends_ms: u64,
    pub(super) used: u64,
}

pub(super) struct Stored {
    pub(super) entry: Entry,
    pub(super) expires_ms: Option<u64>,
}

pub(super) struct Metric {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) labels: Vec<String>,
    pub(super) observations: Vec<(f64, Vec<String>)>,
}

pub(super) type Answer = Rc<dyn Fn(&OutboundRequest) -> Result<OutboundResponse, OutboundError>>;

pub(super) struct State {
    pub(super) id: String,
    pub(super) method: Method,
    pub(super) path_and_query: String,
    pub(super) request_headers: Vec<Header>,
    pub(super) path_parameters: HashMap<String, String>,
    pub(super) attributes: HashMap<String, String>,
    pub(super) notes: HashMap<String, Vec<u8>>,
    pub(super) unix_ms: u64,
    pub(super) monotonic: Duration,
    pub(super) consumers: Vec<(Credential, Found)>,
    pub(super) current: Option<Found>,
    pub(super) anonymous: bool,
    pub(super) metadata: HashMap<String, String>,
    pub(super) keys: Vec<FakeKey>,
    pub(super) random_calls: u8,
    pub(super) tiers: HashMap<String, Vec<Limit>>,
    pub(super) windows: HashMap<(String, u64, u64), Window>,
    pub(super) places: HashMap<String, u64>,
    pub(super) store: HashMap<String, Stored>,
    pub(super) unavailable: Option<String>,
    pub(super) metrics: Vec<Metric>,
    pub(super) outbound: Option<Answer>,
    pub(super) outbound_requests: Vec<OutboundRequest>,
    pub(super) log_level: Level,
    pub(super) log_lines: Vec<String>,
}

impl Default for State {
    fn default() -> Self {
        State {
            id: String::from("test-id"),
            method: Method::Get,
            path_and_query: String::from("/"),
            request_headers: Vec::new(),
            path_parameters: HashMap::new(),
            attributes: HashMap::new(),
            notes: HashMap::new(),
            unix_ms: 1_700_000_000_000,
            monotonic: Duration::from_secs(1),
            consumers: Vec::new(),
            current: None,
            anonymous: false,
            metadata: HashMap::new(),
            keys: Vec::new(),
            random_calls: 0,
            tiers: HashMap::new(),
            windows: HashMap::new(),
            places: HashMap::new(),
            store: HashMap::new(),
            unavailable: None,
            metrics: Vec::new(),
            outbound: None,
            outbound_requests: Vec::new(),
            log_level: Level::Trace,
            log_lines: Vec::new(),
        }
    }
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

pub(super) fn with<R>(run: impl FnOnce(&mut State) -> R) -> R {
    STATE.with_borrow_mut(run)
}

impl State {
    pub(super) fn request_head(&self, interest: &Interest) -> RequestHead {
        RequestHead {
            method: self.method.clone(),
            scheme: Scheme::Https,
            version: HttpVersion::Http11,
            authority: String::from("gateway.test"),
            path_and_query: self.path_and_query.clone(),
            client: IpAddress::V4((192, 0, 2, 1)),
            content_length: None,
            has_body: false,
            headers: select(&self.request_headers, &interest.request_headers),
        }
    }

    pub(super) fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.path_and_query.split_once('?')?;
        let mut values = crate::query::values(query, name);
        values.next().map(Cow::into_owned)
    }

    pub(super) fn attribute(&self, name: &str) -> Option<String> {
        let consumer = self.current.as_ref().map(|found| &found.consumer);
        match name {
            "consumer" => consumer.map(|consumer| consumer.name.clone()),
            "consumer.tier" => consumer.and_then(|consumer| consumer.tier.clone()),
            "credential" => {
                let current = self.current.as_ref();
                current.map(|found| found.credential_id.clone())
            }
            "request.method" => Some(self.method.to_string()),
            _ => self.attributes.get(name).cloned(),
        }
    }

    pub(super) fn observations(&self, name: &str) -> Vec<(f64, Vec<String>)> {
        self.metrics
            .iter()
            .find(|metric| metric.name == name)
            .map_or_else(Vec::new, |metric| metric.observations.clone())
    }
}

/// The headers that a selection lets through, with names in lower case as the host hands them over.
pub(super) fn select(headers: &[Header], selection: &HeaderSelection) -> Vec<Header> {
    let wanted = |name: &str| match selection {
        HeaderSelection::None => false,
        HeaderSelection::All => true,
        HeaderSelection::Only(names) => {
            names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
        }
    };
    let chosen = headers.iter().filter(|header| wanted(&header.name));
    chosen
        .map(|header| Header::new(header.name.to_ascii_lowercase(), header.value.clone()))
        .collect()
}
