//! Targets by Consul's health endpoint, with blocking queries.
//!
//! What is here follows Consul's "Health HTTP Endpoint" and "Blocking Queries".

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::Source;
use super::client::{Client, ClientError};
use super::found::Found;
use super::sink::Sink;
use crate::config::{ConsulDiscovery, Placement, Secret};
use crate::upstream::backoff::Backoff;
use crate::upstream::dns::Dns;

/// Between two questions: a service that changes all the time is not asked about all the time.
const PAUSE: Duration = Duration::from_millis(100);
const INDEX: &str = "x-consul-index";
const TOKEN: HeaderName = HeaderName::from_static("x-consul-token");
const MAX_WEIGHT: u32 = 10_000;

/// Asks what is new, again and again.
pub(super) struct ConsulSource {
    client: Client,
    config: ConsulDiscovery,
    path: String,
}

impl ConsulSource {
    pub(super) fn new(config: ConsulDiscovery, dns: &Arc<Dns>) -> Self {
        Self {
            client: Client::new(&config.server, dns),
            path: path(&config),
            config,
        }
    }

    /// Waits until something is newer than `index`, and returns it with its own.
    async fn ask(&self, index: u64) -> Result<(u64, Vec<Found>), String> {
        let wait = self.config.wait;
        let path = format!("{}&index={index}", self.path);
        // Consul takes up to a sixteenth more, so that not all come back at once.
        let held_back = if index == 0 {
            Duration::ZERO
        } else {
            wait + wait / 16
        };
        let token = self.config.token.as_ref().and_then(token);
        let told = |error: ClientError| error.to_string();
        let answer = self
            .client
            .get(&path, token, held_back)
            .await
            .map_err(told)?;
        let next = next_index(index, answer.number(INDEX));
        let body = answer.body().await.map_err(told)?;
        let found = read(&body, self.config.include_warning)?;
        Ok((next, found))
    }
}

impl Source for ConsulSource {
    async fn watch(self, sink: Sink) {
        let mut backoff = Backoff::default();
        let mut index = 0;
        loop {
            let pause = match self.ask(index).await {
                Ok((next, found)) => {
                    backoff = Backoff::default();
                    index = next;
                    sink.update(found);
                    PAUSE
                }
                Err(error) => {
                    sink.fail(error);
                    // Asked without an index, Consul answers at once.
                    index = 0;
                    backoff.next()
                }
            };
            tokio::time::sleep(pause).await;
        }
    }
}

fn token(secret: &Secret) -> Option<(HeaderName, HeaderValue)> {
    let value = HeaderValue::from_bytes(secret.reveal()).ok()?;
    Some((TOKEN, value))
}

fn path(config: &ConsulDiscovery) -> String {
    let seconds = config.wait.as_secs();
    let mut path = format!("/v1/health/service/{}?wait={seconds}s", config.service);
    if !config.include_warning {
        path += "&passing=1";
    }
    let mut add = |key: &str, value: &str| {
        let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
        path += &format!("&{key}={value}");
    };
    if let Some(datacenter) = &config.datacenter {
        add("dc", datacenter);
    }
    if let Some(namespace) = &config.namespace {
        add("ns", namespace);
    }
    for tag in &config.tags {
        add("tag", tag);
    }
    path
}

/// What to wait for next. An index that goes backwards, as after a restore of a snapshot, is not to be waited for; without
/// one that is more than 0, the next question would not be held back.
fn next_index(before: u64, now: Option<u64>) -> u64 {
    match now.unwrap_or(0) {
        now if now < before => 0,
        now => now.max(1),
    }
}

/// An instance of a service.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Instance {
    node: Node,
    service: Service,
    #[serde(default)]
    checks: Vec<Check>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    address: Arc<str>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    /// Empty where the service is at its node's address.
    #[serde(default)]
    address: Arc<str>,
    port: u16,
    tags: Option<Vec<Arc<str>>>,
    meta: Option<BTreeMap<Arc<str>, Arc<str>>>,
    weights: Option<Weights>,
    locality: Option<Locality>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    passing: u32,
    warning: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Locality {
    zone: Option<Arc<str>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    status: String,
}

/// The targets of an answer.
fn read(body: &[u8], include_warning: bool) -> Result<Vec<Found>, String> {
    let instances: Vec<Instance> = serde_json::from_slice(body)
        .map_err(|error| format!("the answer of Consul is not as documented: {error}"))?;
    let targets = instances.into_iter().filter_map(|instance| {
        let is = |status: &str| instance.checks.iter().any(|check| check.status == status);
        let warns = is("warning");
        // `maintenance` is a check that is critical.
        let good = !is("critical") && (include_warning || !warns);
        good.then(|| target(instance, warns))
    });
    Ok(targets.collect())
}

fn target(instance: Instance, warns: bool) -> Found {
    let Instance { node, service, .. } = instance;
    let weight = service.weights.map_or(1, |weights| match warns {
        true => weights.warning,
        false => weights.passing,
    });
    let mut tags: BTreeMap<Arc<str>, Arc<str>> = BTreeMap::new();
    for tag in service.tags.into_iter().flatten() {
        // What many write to give a tag a value.
        let (key, value) = tag.split_once('=').unwrap_or((&tag, ""));
        tags.insert(key.into(), value.into());
    }
    let meta = service.meta.unwrap_or_default();
    let zone = service.locality.and_then(|locality| locality.zone);
    let zone = zone.filter(|zone| !zone.is_empty());
    let zone = zone.or_else(|| meta.get("zone").cloned());
    tags.extend(meta);
    let host = match &*service.address {
        "" => node.address,
        _ => service.address,
    };
    Found {
        host,
        port: service.port,
        name: None,
        secure: None,
        placement: Placement {
            weight: weight.clamp(1, MAX_WEIGHT),
            zone,
            tags,
            ..Placement::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(service: &str, status: &str) -> String {
        format!(
            r#"{{"Node": {{"Node": "n", "Address": "10.0.0.9"}}, "Service": {{"Port": 80, {service}}},
                "Checks": [{{"Status": "passing"}}, {{"Status": "{status}"}}]}}"#
        )
    }

    fn one(service: &str, status: &str, include_warning: bool) -> Option<Found> {
        let body = format!("[{}]", instance(service, status));
        read(body.as_bytes(), include_warning).unwrap().pop()
    }

    #[test]
    fn an_index_that_goes_backwards_or_is_none_is_not_waited_for() {
        assert_eq!(next_index(0, Some(17)), 17);
        assert_eq!(next_index(17, Some(17)), 17);
        assert_eq!(next_index(17, Some(3)), 0);
        assert_eq!(next_index(17, None), 0);
        assert_eq!(next_index(0, Some(0)), 1);
        assert_eq!(next_index(0, None), 1);
    }

    #[test]
    fn a_service_without_an_address_is_at_its_node() {
        assert_eq!(
            &*one(r#""Address": """#, "passing", false).unwrap().host,
            "10.0.0.9"
        );
        assert_eq!(
            &*one(r#""Address": "10.0.0.1""#, "passing", false)
                .unwrap()
                .host,
            "10.0.0.1"
        );
    }

    #[test]
    fn weight_zone_and_tags_are_taken_along() {
        let service = r#""Weights": {"Passing": 10, "Warning": 0},
            "Tags": ["primary", "version=2"], "Meta": {"zone": "a", "rack": "7"}"#;
        let found = one(service, "passing", true).unwrap();
        assert_eq!(found.placement.weight, 10);
        assert_eq!(found.placement.zone.as_deref(), Some("a"));
        let tags: Vec<_> = found
            .placement
            .tags
            .iter()
            .map(|(key, value)| (&**key, &**value))
            .collect();
        assert_eq!(
            tags,
            [
                ("primary", ""),
                ("rack", "7"),
                ("version", "2"),
                ("zone", "a")
            ]
        );
        let found = one(service, "warning", true).unwrap();
        assert_eq!(found.placement.weight, 1, "a target has some weight");
    }

    #[test]
    fn instances_that_are_not_well_are_no_targets() {
        let address = r#""Address": "10.0.0.1""#;
        assert!(one(address, "critical", true).is_none());
        assert!(one(address, "warning", false).is_none());
        assert!(one(address, "warning", true).is_some());
    }

    #[test]
    fn half_an_answer_is_none() {
        let whole = format!("[{}]", instance(r#""Tags": null"#, "passing"));
        assert_eq!(read(whole.as_bytes(), false).unwrap().len(), 1);
        for end in [0, 1, 40, whole.len() - 1] {
            assert!(read(&whole.as_bytes()[..end], false).is_err(), "{end}");
        }
        assert_eq!(read(b"[]", false), Ok(Vec::new()));
    }
}
