//! Targets by the SRV records of a name (RFC 2782).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::future::join_all;

use super::Source;
use super::dns::{Question, poll};
use super::found::Found;
use super::sink::Sink;
use crate::config::{Placement, SrvDiscovery};
use crate::upstream::dns::{Answer, Dns, LookupError, Resolver, Service};

/// What a target's weight may be at most; in DNS it has 16 bits.
const MAX_WEIGHT: u32 = 10_000;

/// Asks for the records of a name, and for the addresses of the hosts that they name.
pub(super) struct SrvSource {
    pub(super) config: SrvDiscovery,
    pub(super) dns: Arc<Dns>,
}

impl Source for SrvSource {
    async fn watch(self, sink: Sink) {
        poll(&self, &self.dns, self.config.keep_when_empty, &sink).await;
    }
}

impl Question for SrvSource {
    async fn ask(&self) -> Result<Answer<Found>, LookupError> {
        let resolver = self.dns.resolver(&self.config.nameservers);
        ask(&self.config, &resolver).await
    }
}

/// Without the addresses of one host, the rest would get its load: an answer with a hole is none.
async fn ask(config: &SrvDiscovery, resolver: &Resolver) -> Result<Answer<Found>, LookupError> {
    let Answer { records, mut ttl } = resolver.services(&config.name).await?;
    let lookups = records
        .iter()
        .map(|service| resolver.addresses(&service.host, config.family));
    let mut addresses = Vec::new();
    for answer in join_all(lookups).await {
        match answer {
            Ok(answer) => {
                ttl = ttl.min(answer.ttl);
                addresses.push(answer.records);
            }
            Err(LookupError::Nothing(_)) => addresses.push(Vec::new()),
            Err(error) => return Err(error),
        }
    }
    let records = merge(&records, &addresses);
    if records.is_empty() {
        return Err(LookupError::Nothing(config.name.to_string()));
    }
    Ok(Answer { records, ttl })
}

/// Targets of services, each with the addresses of its host.
fn merge(services: &[Service], addresses: &[Vec<IpAddr>]) -> Vec<Found> {
    let priorities: BTreeSet<u16> = services.iter().map(|service| service.priority).collect();
    let heaviest = services.iter().map(|service| service.weight).max();
    let heaviest = u32::from(heaviest.unwrap_or(0)).max(MAX_WEIGHT);
    let placement = |service: &Service| Placement {
        // 0 is a very small chance (RFC 2782).
        weight: (u32::from(service.weight) * MAX_WEIGHT / heaviest).max(1),
        // What counts is the order.
        priority: priorities
            .iter()
            .position(|priority| *priority == service.priority)
            .and_then(|rank| u8::try_from(rank).ok())
            .unwrap_or(u8::MAX),
        ..Placement::default()
    };
    let mut targets = Vec::new();
    for (service, addresses) in services.iter().zip(addresses) {
        targets.extend(addresses.iter().map(|address| Found {
            host: address.to_string().into(),
            port: service.port,
            name: Some(service.host.trim_end_matches('.').into()),
            secure: None,
            placement: placement(service),
        }));
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(services: &[(u16, u16)]) -> Vec<(u8, u32)> {
        let service = |&(priority, weight): &(u16, u16)| Service {
            priority,
            weight,
            port: 80,
            host: "a.".into(),
        };
        let services: Vec<Service> = services.iter().map(service).collect();
        let addresses = vec![vec![IpAddr::from([10, 0, 0, 1])]; services.len()];
        let shown = |found: Found| (found.placement.priority, found.placement.weight);
        merge(&services, &addresses)
            .into_iter()
            .map(shown)
            .collect()
    }

    #[test]
    fn priorities_become_ranks() {
        assert_eq!(
            merged(&[(10, 1), (0, 1), (60_000, 1), (10, 1)]),
            [(1, 1), (0, 1), (2, 1), (1, 1)]
        );
    }

    #[test]
    fn weights_keep_their_ratio_and_none_is_nothing() {
        assert_eq!(merged(&[(0, 0), (0, 0)]), [(0, 1), (0, 1)]);
        assert_eq!(
            merged(&[(0, 30), (0, 70), (0, 0)]),
            [(0, 30), (0, 70), (0, 1)]
        );
        assert_eq!(
            merged(&[(0, 50_000), (0, 25_000), (0, 1)]),
            [(0, 10_000), (0, 5_000), (0, 1)]
        );
    }

    #[test]
    fn each_address_of_a_host_is_a_target_with_the_name_of_the_host() {
        let service = |host: &str, port| Service {
            priority: 0,
            weight: 1,
            port,
            host: host.into(),
        };
        let addresses = [
            vec![IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])],
            Vec::new(),
        ];
        let found = merge(
            &[service("a.example.", 81), service("b.example.", 82)],
            &addresses,
        );
        let shown: Vec<_> = found
            .iter()
            .map(|it| (&*it.host, it.port, it.name.as_deref()))
            .collect();
        let name = Some("a.example");
        assert_eq!(shown, [("10.0.0.1", 81, name), ("10.0.0.2", 81, name)]);
    }
}
