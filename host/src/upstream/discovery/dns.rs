//! Targets by the addresses of a name.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Source;
use super::found::Found;
use super::sink::Sink;
use crate::config::{DnsDiscovery, Placement};
use crate::upstream::backoff::Backoff;
use crate::upstream::dns::{Answer, Dns, LookupError};

/// Asks for a name whenever its time to live is over.
pub(super) struct DnsSource {
    pub(super) config: DnsDiscovery,
    pub(super) dns: Arc<Dns>,
}

/// What is asked of DNS.
pub(super) trait Question: Sync {
    /// Asks once.
    fn ask(&self) -> impl Future<Output = Result<Answer<Found>, LookupError>> + Send;
}

impl Source for DnsSource {
    async fn watch(self, sink: Sink) {
        poll(&self, &self.dns, self.config.keep_when_empty, &sink).await;
    }
}

impl Question for DnsSource {
    async fn ask(&self) -> Result<Answer<Found>, LookupError> {
        let Self { config, dns } = self;
        let resolver = dns.resolver(&config.nameservers);
        let answer = resolver.addresses(&config.name, config.family).await?;
        let target = |address: &IpAddr| Found {
            host: address.to_string().into(),
            port: config.port,
            name: Some(config.name.trim_end_matches('.').into()),
            secure: None,
            placement: Placement::default(),
        };
        Ok(Answer {
            records: answer.records.iter().map(target).collect(),
            ttl: answer.ttl,
        })
    }
}

/// Asks again and again, as long as each answer is good for.
pub(super) async fn poll(question: &impl Question, dns: &Dns, keep_when_empty: bool, sink: &Sink) {
    let mut backoff = Backoff::default();
    loop {
        let pause: Duration = match question.ask().await {
            Ok(Answer { records, ttl }) => {
                backoff = Backoff::default();
                sink.update(records);
                ttl
            }
            Err(LookupError::Nothing(_)) if !keep_when_empty => {
                sink.update(Vec::new());
                backoff.next()
            }
            Err(error) => {
                sink.fail(error);
                backoff.next()
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = dns.reconfigured() => {}
        }
    }
}
