//! How many connections may be open, in all and of one address, and what is said about those that may not.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::telemetry::{ConnectionRefusal, ListenerMetrics};

/// Workers accept at once and must not wait for each other.
const SHARDS: usize = 16;
/// Between two lines about the same thing: a flood must not fill the log.
const SILENCE: Duration = Duration::from_secs(10);

/// The connections of a listener.
pub(super) struct Connections {
    open: AtomicUsize,
    /// How many each address has, where that is limited.
    of_addresses: [Mutex<HashMap<IpAddr, usize>>; SHARDS],
    hasher: RandomState,
    metrics: Arc<ListenerMetrics>,
    complaint: Complaint,
}

/// One of `max-connections`, and perhaps of `max-connections-per-address`. Given back when it is dropped.
pub(super) struct Place {
    connections: Arc<Connections>,
    address: Option<IpAddr>,
}

impl Connections {
    pub(super) fn new(metrics: Arc<ListenerMetrics>) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            of_addresses: Default::default(),
            hasher: RandomState::new(),
            metrics,
            complaint: Complaint::default(),
        })
    }

    /// A place for one more connection, if there is one.
    pub(super) fn enter(self: &Arc<Self>, max: usize) -> Option<Place> {
        if self.open.fetch_add(1, Ordering::Relaxed) >= max {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        self.metrics.opened();
        Some(Place {
            connections: Arc::clone(self),
            address: None,
        })
    }

    /// Counts a connection that is not served, and says so now and then.
    pub(super) fn refuse(&self, listener: &str, client: IpAddr, refusal: ConnectionRefusal) {
        self.metrics.refused(refusal);
        if let Some(unsaid) = self.complaint.due(Instant::now()) {
            let reason = refusal.as_str();
            tracing::warn!(%listener, %client, reason, unsaid, "connection refused");
        }
    }

    fn shard(&self, address: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        let index = usize::try_from(self.hasher.hash_one(address)).unwrap_or_default() % SHARDS;
        let [first, ..] = &self.of_addresses;
        let shard = self.of_addresses.get(index).unwrap_or(first);
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Counts the connection for its client as well. False if the client has as many as it may have.
    pub(super) fn belongs_to(&mut self, client: IpAddr, max: usize) -> bool {
        let address = group(client);
        let mut counts = self.connections.shard(address);
        let count = counts.entry(address).or_default();
        if *count >= max {
            return false;
        }
        *count += 1;
        self.address = Some(address);
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let connections = &self.connections;
        connections.open.fetch_sub(1, Ordering::Relaxed);
        connections.metrics.closed();
        let Some(address) = self.address else { return };
        if let Entry::Occupied(mut count) = connections.shard(address).entry(address) {
            match count.get() {
                0 | 1 => drop(count.remove()),
                _ => *count.get_mut() -= 1,
            }
        }
    }
}

/// Who counts as one: an address, or in IPv6 a /64, which is the least that a single customer gets (RFC 6177).
fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

/// Says something once in a while, and how often it was not said.
pub(super) struct Complaint {
    beginning: Instant,
    /// When it may be said again, in milliseconds from the beginning.
    next: AtomicU64,
    unsaid: AtomicU64,
}

impl Default for Complaint {
    fn default() -> Self {
        Self {
            beginning: Instant::now(),
            next: AtomicU64::new(0),
            unsaid: AtomicU64::new(0),
        }
    }
}

impl Complaint {
    /// Whether it is to be said now: then how often it was not, since the last time.
    pub(super) fn due(&self, now: Instant) -> Option<u64> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let elapsed = millis(now.saturating_duration_since(self.beginning));
        let next = self.next.load(Ordering::Relaxed);
        let after = elapsed.saturating_add(millis(SILENCE));
        let ours = elapsed >= next
            && self
                .next
                .compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if ours {
            return Some(self.unsaid.swap(0, Ordering::Relaxed));
        }
        self.unsaid.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    fn connections() -> Arc<Connections> {
        Connections::new(Metrics::new().listener("public"))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("it is an address")
    }

    #[test]
    fn places_are_given_back() {
        let connections = connections();
        let first = connections.enter(2).expect("there is a place");
        let _second = connections.enter(2).expect("there is a place");
        assert!(connections.enter(2).is_none());
        drop(first);
        assert!(connections.enter(2).is_some());
    }

    #[test]
    fn an_address_has_places_of_its_own_and_ipv6_counts_by_64_bits() {
        let connections = connections();
        let mut places = Vec::new();
        for (address, admitted) in [
            ("192.0.2.1", true),
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", false),
            ("192.0.2.2", true),
            ("2001:db8:0:1::1", true),
            ("2001:db8:0:1:ffff::2", true),
            ("2001:db8:0:1::3", false),
            ("2001:db8:0:2::1", true),
        ] {
            let mut place = connections.enter(100).expect("there is a place");
            assert_eq!(place.belongs_to(ip(address), 2), admitted, "{address}");
            places.push(place);
        }
        drop(places);
        let counted = |shard: &Mutex<HashMap<_, _>>| shard.lock().unwrap().len();
        let left: usize = connections.of_addresses.iter().map(counted).sum();
        assert_eq!(left, 0, "addresses without connections are forgotten");
    }

    #[test]
    fn a_complaint_is_made_now_and_then() {
        let complaint = Complaint::default();
        let start = complaint.beginning;
        assert_eq!(complaint.due(start), Some(0));
        for _ in 0..5 {
            assert_eq!(complaint.due(start + SILENCE / 2), None);
        }
        assert_eq!(complaint.due(start + SILENCE), Some(5));
        assert_eq!(complaint.due(start + SILENCE), None);
    }
}
