//! The sources of all upstreams: begun with a configuration, kept when it changes nothing for them, ended with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::AbortHandle;

use super::Source;
use super::consul::ConsulSource;
use super::dns::DnsSource;
use super::file::FileSource;
use super::kubernetes::KubernetesSource;
use super::sink::{DiscoveryReport, Sink, Watched};
use super::srv::SrvSource;
use crate::clock::Clock;
use crate::config::{DiscoveryConfig, DiscoverySource, UpstreamConfig};
use crate::telemetry::Metrics;
use crate::upstream::Upstreams;
use crate::upstream::dns::Dns;

/// How long a configuration waits for the first answers of its sources, before it serves without.
const FIRST_ANSWERS: Duration = Duration::from_secs(2);

/// The sources of the configuration that serves.
pub struct Discoveries {
    dns: Arc<Dns>,
    clock: Clock,
    metrics: Arc<Metrics>,
    running: Mutex<Prepared>,
}

/// The sources of a configuration. They end when nobody holds them any more.
#[derive(Clone, Default)]
pub struct Prepared(BTreeMap<Arc<str>, Arc<Running>>);

struct Running {
    config: DiscoveryConfig,
    watched: Arc<Watched>,
    task: AbortHandle,
}

impl Discoveries {
    /// Without any.
    #[must_use]
    pub fn new(dns: Arc<Dns>, clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self {
            dns,
            clock,
            metrics,
            running: Mutex::default(),
        }
    }

    /// The sources of a configuration that is about to serve: those that serve now where nothing changes for them.
    /// Waits a little for the others to say something.
    pub async fn prepare(&self, upstreams: &[UpstreamConfig]) -> Prepared {
        let running = self.lock().clone();
        let (mut prepared, mut begun) = (Prepared::default(), Vec::new());
        for upstream in upstreams {
            let Some(config) = &upstream.discovery else {
                continue;
            };
            let name = &upstream.name;
            let before = running.0.get(name);
            let source = match before.filter(|before| before.config == *config) {
                Some(same) => Arc::clone(same),
                None => {
                    let new =
                        Arc::new(self.begin(name, config, before.map(|before| &*before.watched)));
                    begun.push(Arc::clone(&new));
                    new
                }
            };
            prepared.0.insert(Arc::clone(name), source);
        }
        let heard = begun.iter().map(|source| source.watched.heard());
        let _ = tokio::time::timeout(FIRST_ANSWERS, join_all(heard)).await;
        prepared
    }

    /// The upstreams of these sources serve from here on: they are told of changes, and others no longer.
    pub fn publish(&self, prepared: &Prepared, upstreams: &Upstreams) {
        for (name, source) in &prepared.0 {
            let Some(upstream) = upstreams.get(name).map(Arc::clone) else {
                continue;
            };
            let receiver = move |targets: &[_]| upstream.replace_targets(targets);
            source.watched.connect(Box::new(receiver));
        }
        let mut running = self.lock();
        for name in running
            .0
            .keys()
            .filter(|name| !prepared.0.contains_key(*name))
        {
            self.metrics.forget_discovery(name);
        }
        *running = prepared.clone();
    }

    /// What operators see, by upstream.
    #[must_use]
    pub fn report(&self) -> BTreeMap<String, DiscoveryReport> {
        let running = self.lock();
        let sources = running.0.iter();
        let report = |(name, source): (&Arc<str>, &Arc<Running>)| {
            (name.to_string(), source.watched.report())
        };
        sources.map(report).collect()
    }

    fn begin(
        &self,
        name: &Arc<str>,
        config: &DiscoveryConfig,
        before: Option<&Watched>,
    ) -> Running {
        let metrics = self.metrics.discovery(name);
        let named = (name, config.source.kind());
        let watched = Watched::new(named, config.tls.clone(), &self.clock, metrics);
        if let Some(before) = before {
            watched.inherit(before);
        }
        let watched = Arc::new(watched);
        let (sink, dns) = (Sink(Arc::clone(&watched)), Arc::clone(&self.dns));
        let task = match config.source.clone() {
            DiscoverySource::Dns(config) => spawn(DnsSource { config, dns }, sink),
            DiscoverySource::Srv(config) => spawn(SrvSource { config, dns }, sink),
            DiscoverySource::File(config) => spawn(FileSource { config }, sink),
            DiscoverySource::Consul(config) => spawn(ConsulSource::new(config, &dns), sink),
            DiscoverySource::Kubernetes(config) => spawn(KubernetesSource::new(config, &dns), sink),
        };
        Running {
            config: config.clone(),
            watched,
            task,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Prepared> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Prepared {
    /// The upstreams of the configuration, with the targets that are known of those that list none.
    #[must_use]
    pub fn fill(&self, upstreams: &[UpstreamConfig]) -> Vec<UpstreamConfig> {
        let mut upstreams = upstreams.to_vec();
        for upstream in &mut upstreams {
            if let Some(source) = self.0.get(&upstream.name) {
                upstream.targets = source.watched.targets();
            }
        }
        upstreams
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn spawn(source: impl Source + Send + 'static, sink: Sink) -> AbortHandle {
    tokio::spawn(async move { source.watch(sink).await }).abort_handle()
}
