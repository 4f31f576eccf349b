//! What the service is asked about a request, and the answers that are remembered.

use postern_plugin::outbound::{OutboundRequest, OutboundResponse};
use postern_plugin::{Method, RequestEdits, RequestHead, Scheme, keys, log, store};

use crate::config::Config;

/// What the service decides by: everything that it is told.
pub(crate) struct Question<'a> {
    config: &'a Config,
    headers: Vec<(String, Vec<u8>)>,
}

impl<'a> Question<'a> {
    pub(crate) fn new(config: &'a Config, head: &RequestHead) -> Self {
        let scheme = match head.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let facts = [
            ("x-forwarded-method", head.method.as_str().to_owned()),
            ("x-forwarded-proto", scheme.to_owned()),
            ("x-forwarded-host", head.authority.clone()),
            ("x-forwarded-uri", head.path_and_query.clone()),
            (
                "x-forwarded-for",
                head.client_ip().to_canonical().to_string(),
            ),
        ];
        let facts = facts
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into_bytes()));
        let told = config.send_headers.iter().flat_map(|name| {
            let values = head.header_values(name);
            values.map(|value| (name.clone(), value.to_vec()))
        });
        Question {
            config,
            headers: facts.chain(told).collect(),
        }
    }

    pub(crate) fn request(&self) -> OutboundRequest {
        let config = self.config;
        let mut request = OutboundRequest::new(Method::Get, &config.upstream, &config.path)
            .timeout(config.timeout);
        for (name, value) in &self.headers {
            request = request.header(name, value.as_slice());
        }
        let wanted = config
            .request_headers
            .iter()
            .chain(&config.response_headers);
        // The body of a refusal says what it is.
        let wanted = wanted.map(String::as_str).chain(["content-type"]);
        wanted.fold(request, |request, name| request.wanted_header(name))
    }

    /// The name of the answer in the store: no two questions have the same.
    pub(crate) fn key(&self) -> String {
        let mut text = Vec::with_capacity(512);
        for (name, value) in &self.headers {
            for part in [name.as_bytes(), value] {
                text.extend_from_slice(&part.len().to_be_bytes());
                text.extend_from_slice(part);
            }
        }
        keys::sha256(&text)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// The headers that an answer gives to the request: set, or removed where the answer lacks them, so that no client can
/// send them itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Grant(Vec<(String, Option<String>)>);

impl Grant {
    pub(crate) fn of(config: &Config, response: &OutboundResponse) -> Self {
        let value = |name: &String| response.header(name).map(str::to_owned);
        let headers = config.request_headers.iter();
        Grant(headers.map(|name| (name.clone(), value(name))).collect())
    }

    /// No headers: those that the client sent are removed.
    pub(crate) fn nothing(config: &Config) -> Self {
        let headers = config.request_headers.iter();
        Grant(headers.map(|name| (name.clone(), None)).collect())
    }

    pub(crate) fn edits(self) -> RequestEdits {
        self.0
            .into_iter()
            .fold(RequestEdits::new(), |edits, (name, value)| match value {
                Some(value) => edits.set(name, value),
                None => edits.remove(name),
            })
    }

    /// What is remembered under a key. No header value holds the end of a line.
    pub(crate) fn recall(config: &Config, key: &str) -> Option<Self> {
        let entry = store::get(key).ok()??;
        let text = String::from_utf8(entry.value).ok()?;
        let headers = config.request_headers.iter().map(|name| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name.as_str()));
            let value = line.and_then(|line| line.strip_prefix(':'));
            (name.clone(), value.map(str::to_owned))
        });
        Some(Grant(headers.collect()))
    }

    pub(crate) fn remember(&self, config: &Config, key: &str) {
        let lines = self
            .0
            .iter()
            .filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let text: String = lines
            .map(|(name, value)| format!("{name}:{value}\n"))
            .collect();
        if let Err(error) = store::set(key, text.as_bytes(), config.cache) {
            log::warn(format_args!("an answer is not remembered: {error:?}"));
        }
    }
}
