//! The EndpointSlices of a service, and the targets that they are together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::config::{Placement, ServicePort};
use crate::upstream::discovery::found::Found;

/// How `Gone` is said within a watch.
const GONE: u16 = 410;

/// The slices of a service, as they were at one version.
#[derive(Debug, Default)]
pub(super) struct Slices {
    version: String,
    slices: BTreeMap<String, Slice>,
}

/// What a line of a watch changes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Only the version.
    None,
    /// The slices.
    Slices,
    /// The server no longer knows what came after our version.
    Gone,
}

/// A part of a list.
#[derive(Deserialize)]
struct List {
    metadata: ListMetadata,
    items: Vec<Slice>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
    #[serde(default, rename = "continue")]
    next: String,
}

/// A line of a watch.
#[derive(Deserialize)]
struct Event<'e> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    object: &'e serde_json::value::RawValue,
}

/// What is common to all objects of lines.
#[derive(Deserialize)]
struct Object {
    metadata: ObjectMetadata,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectMetadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    resource_version: String,
}

/// What a server says when it cannot go on.
#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Slice {
    metadata: ObjectMetadata,
    address_type: AddressType,
    ports: Option<Vec<Port>>,
    endpoints: Option<Vec<Endpoint>>,
}

/// The first is preferred: a service with two has the same pods in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
enum AddressType {
    #[serde(rename = "IPv4")]
    Ipv4,
    #[serde(rename = "IPv6")]
    Ipv6,
    #[serde(rename = "FQDN")]
    Fqdn,
}

#[derive(Debug, Deserialize)]
struct Port {
    name: Option<String>,
    port: Option<u16>,
    protocol: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    addresses: Vec<Arc<str>>,
    #[serde(default)]
    conditions: Conditions,
    zone: Option<Arc<str>>,
    node_name: Option<Arc<str>>,
    target_ref: Option<TargetRef>,
}

/// Each may be missing: then it is not known.
#[derive(Debug, Default, Deserialize)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct TargetRef {
    name: Option<Arc<str>>,
}

impl Conditions {
    /// Not knowing is taken for yes, as the API asks for.
    fn is_ready(&self) -> bool {
        self.ready.unwrap_or(true)
    }

    /// It still serves while it ends: better than nothing.
    fn is_last_resort(&self) -> bool {
        self.terminating == Some(true) && self.serving.unwrap_or(self.is_ready())
    }
}

impl Slices {
    /// The version that a watch goes on from.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Adds a part of a list. Returns what the next part is asked for with, if there is one.
    pub(super) fn add_part(&mut self, body: &[u8]) -> Result<Option<String>, String> {
        let List { metadata, items } = serde_json::from_slice(body).map_err(strange)?;
        self.version = metadata.resource_version;
        for slice in items {
            self.slices.insert(slice.metadata.name.clone(), slice);
        }
        let next = utf8_percent_encode(&metadata.next, NON_ALPHANUMERIC).to_string();
        Ok((!next.is_empty()).then_some(next))
    }

    /// Takes a line of a watch.
    pub(super) fn change(&mut self, line: &[u8]) -> Result<Change, String> {
        let Event { kind, object } = serde_json::from_slice(line).map_err(strange)?;
        if kind == "ERROR" {
            let Status { code, message } = serde_json::from_str(object.get()).map_err(strange)?;
            return match code {
                GONE => Ok(Change::Gone),
                _ => Err(format!("the watch failed with {code}: {message}")),
            };
        }
        let Object { metadata } = serde_json::from_str(object.get()).map_err(strange)?;
        let change = match kind.as_str() {
            "ADDED" | "MODIFIED" => {
                let slice = serde_json::from_str(object.get()).map_err(strange)?;
                self.slices.insert(metadata.name, slice);
                Change::Slices
            }
            "DELETED" => {
                self.slices.remove(&metadata.name);
                Change::Slices
            }
            // Bookmarks, and what newer servers may say.
            _ => Change::None,
        };
        if !metadata.resource_version.is_empty() {
            self.version = metadata.resource_version;
        }
        Ok(change)
    }

    /// The targets of all slices: those that are ready, or if none is, those that still serve.
    pub(super) fn merge(&self, port: Option<&ServicePort>) -> Result<Vec<Found>, String> {
        let kinds = self.slices.values().filter(|slice| !slice.is_empty());
        let Some(kind) = kinds.map(|slice| slice.address_type).min() else {
            return Ok(Vec::new());
        };
        let (mut ready, mut last_resort) = (Vec::new(), Vec::new());
        let slices = self.slices.values();
        for slice in slices.filter(|slice| slice.address_type == kind && !slice.is_empty()) {
            let Some(port) = slice.port(port)? else {
                continue;
            };
            for endpoint in slice.endpoints.iter().flatten() {
                let Some(target) = endpoint.target(port) else {
                    continue;
                };
                if endpoint.conditions.is_ready() {
                    ready.push(target);
                } else if endpoint.conditions.is_last_resort() {
                    last_resort.push(target);
                }
            }
        }
        Ok(if ready.is_empty() { last_resort } else { ready })
    }
}

impl Slice {
    fn is_empty(&self) -> bool {
        self.endpoints.as_ref().is_none_or(Vec::is_empty)
    }

    /// The port that is meant, if this slice has it.
    fn port(&self, wanted: Option<&ServicePort>) -> Result<Option<u16>, String> {
        let ports = self.ports.iter().flatten();
        let tcp = |port: &&Port| port.protocol.as_deref().is_none_or(|it| it == "TCP");
        let named = |port: &Port| Some((port.name.clone().unwrap_or_default(), port.port?));
        let ports: BTreeSet<(String, u16)> = ports.filter(tcp).filter_map(named).collect();
        match wanted {
            Some(ServicePort::Number(number)) => Ok(Some(*number)),
            Some(ServicePort::Name(wanted)) => {
                let found = ports.iter().find(|(name, _)| **name == **wanted);
                Ok(found.map(|(_, port)| *port))
            }
            None if ports.len() > 1 => {
                let names: Vec<&str> = ports.iter().map(|(name, _)| name.as_str()).collect();
                let names = names.join(", ");
                Err(format!(
                    "the service has several ports ({names}): name one with `port`"
                ))
            }
            None => Ok(ports.first().map(|(_, port)| *port)),
        }
    }
}

impl Endpoint {
    fn target(&self, port: u16) -> Option<Found> {
        let mut tags = BTreeMap::new();
        let pod = self.target_ref.as_ref().and_then(|it| it.name.as_ref());
        for (key, value) in [("pod", pod), ("node", self.node_name.as_ref())] {
            tags.extend(value.map(|value| (Arc::from(key), Arc::clone(value))));
        }
        Some(Found {
            // All addresses of an endpoint lead to the same pod, and the first is as good as any.
            host: Arc::clone(self.addresses.first()?),
            port,
            name: None,
            secure: None,
            placement: Placement {
                zone: self.zone.clone(),
                tags,
                ..Placement::default()
            },
        })
    }
}

fn strange(error: serde_json::Error) -> String {
    format!("the answer of Kubernetes is not as documented: {error}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn slice(name: &str, kind: &str, endpoints: Value) -> Value {
        json!({
            "metadata": { "name": name, "resourceVersion": "7" },
            "addressType": kind,
            "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
            "endpoints": endpoints,
        })
    }

    fn endpoint(address: &str, conditions: Value) -> Value {
        json!({ "addresses": [address], "conditions": conditions })
    }

    fn slices(items: &[Value]) -> Slices {
        let mut slices = Slices::default();
        let list = json!({ "metadata": { "resourceVersion": "5" }, "items": items });
        assert_eq!(slices.add_part(list.to_string().as_bytes()), Ok(None));
        slices
    }

    fn hosts(slices: &Slices, port: Option<&ServicePort>) -> Vec<String> {
        let found = slices.merge(port).unwrap();
        let shown = |found: &Found| format!("{}:{}", found.host, found.port);
        found.iter().map(shown).collect()
    }

    fn event(kind: &str, object: Value) -> String {
        json!({ "type": kind, "object": object }).to_string()
    }

    #[test]
    fn slices_of_one_service_are_one_list() {
        let one = slice(
            "a",
            "IPv4",
            json!([endpoint("10.0.0.1", json!({ "ready": true }))]),
        );
        let two = slice("b", "IPv4", json!([endpoint("10.0.0.2", json!({}))]));
        let none = slice("c", "IPv4", Value::Null);
        let same = slice("d", "IPv6", json!([endpoint("fd00::1", json!({}))]));
        let slices = slices(&[one, two, none, same]);
        assert_eq!(hosts(&slices, None), ["10.0.0.1:8080", "10.0.0.2:8080"]);
    }

    #[test]
    fn a_service_with_one_family_is_of_that_family() {
        let only = slice("a", "IPv6", json!([endpoint("fd00::1", json!({}))]));
        let empty = slice("b", "IPv4", json!([]));
        assert_eq!(hosts(&slices(&[only, empty]), None), ["fd00::1:8080"]);
    }

    #[test]
    fn what_is_not_ready_is_no_target_and_what_ends_is_the_last_resort() {
        let ready = endpoint("10.0.0.1", json!({ "ready": true, "serving": true }));
        let ending = json!({ "ready": false, "serving": true, "terminating": true });
        let ending = endpoint("10.0.0.2", ending);
        let failing = json!({ "ready": false, "serving": false, "terminating": true });
        let failing = endpoint("10.0.0.3", failing);
        let starting = endpoint("10.0.0.4", json!({ "ready": false }));
        let others = [&ending, &failing, &starting];
        let with = slices(&[slice(
            "a",
            "IPv4",
            json!([ready, ending, failing, starting]),
        )]);
        assert_eq!(hosts(&with, None), ["10.0.0.1:8080"]);
        let without = slices(&[slice("a", "IPv4", json!(others))]);
        assert_eq!(hosts(&without, None), ["10.0.0.2:8080"]);
    }

    #[test]
    fn ports_are_chosen_by_number_or_name_or_there_is_only_one() {
        let mut two = slice("a", "IPv4", json!([endpoint("10.0.0.1", json!({}))]));
        two["ports"] = json!([
            { "name": "http", "port": 8080 },
            { "name": "dns", "port": 53, "protocol": "UDP" },
            { "name": "metrics", "port": 9100 },
        ]);
        let slices = slices(&[two]);
        let named = |name: &str| ServicePort::Name(name.into());
        assert_eq!(hosts(&slices, Some(&named("metrics"))), ["10.0.0.1:9100"]);
        assert_eq!(
            hosts(&slices, Some(&ServicePort::Number(81))),
            ["10.0.0.1:81"]
        );
        assert!(
            hosts(&slices, Some(&named("dns"))).is_empty(),
            "that is UDP"
        );
        let error = slices.merge(None).unwrap_err();
        assert!(error.contains("http, metrics"), "{error}");
    }

    #[test]
    fn a_watch_changes_slices_and_moves_the_version() {
        let mut slices = slices(&[slice("a", "IPv4", json!([endpoint("10.0.0.1", json!({}))]))]);
        assert_eq!(slices.version(), "5");
        let added = slice("b", "IPv4", json!([endpoint("10.0.0.2", json!({}))]));
        assert_eq!(
            slices.change(event("ADDED", added).as_bytes()),
            Ok(Change::Slices)
        );
        assert_eq!(slices.version(), "7");
        assert_eq!(hosts(&slices, None).len(), 2);
        let bookmark = json!({ "metadata": { "resourceVersion": "9" } });
        assert_eq!(
            slices.change(event("BOOKMARK", bookmark).as_bytes()),
            Ok(Change::None)
        );
        assert_eq!(slices.version(), "9");
        let gone = json!({ "metadata": { "name": "a", "resourceVersion": "10" } });
        assert_eq!(
            slices.change(event("DELETED", gone).as_bytes()),
            Ok(Change::Slices)
        );
        assert_eq!(hosts(&slices, None), ["10.0.0.2:8080"]);
    }

    #[test]
    fn errors_of_a_watch_are_told_apart() {
        let mut slices = slices(&[]);
        let gone = json!({ "kind": "Status", "code": 410, "message": "too old" });
        assert_eq!(
            slices.change(event("ERROR", gone).as_bytes()),
            Ok(Change::Gone)
        );
        let other = json!({ "kind": "Status", "code": 500, "message": "sorry" });
        let error = slices.change(event("ERROR", other).as_bytes()).unwrap_err();
        assert!(error.contains("sorry"), "{error}");
        assert!(slices.change(b"{\"type\": \"ADDED\", \"obj").is_err());
        assert_eq!(slices.version(), "5", "nothing was taken from it");
    }

    #[test]
    fn a_list_comes_in_parts() {
        let mut slices = Slices::default();
        let part = |next: &str, name: &str| {
            let items = [slice(name, "IPv4", json!([endpoint(name, json!({}))]))];
            let metadata = json!({ "resourceVersion": "5", "continue": next });
            json!({ "metadata": metadata, "items": items }).to_string()
        };
        let next = slices.add_part(part("a/b", "10.0.0.1").as_bytes());
        assert_eq!(next, Ok(Some("a%2Fb".into())));
        assert_eq!(slices.add_part(part("", "10.0.0.2").as_bytes()), Ok(None));
        assert_eq!(hosts(&slices, None).len(), 2);
    }
}
