//! Targets by the EndpointSlices of a service in Kubernetes: listed once, then watched.
//!
//! What is here follows "Kubernetes API Concepts" (efficient detection of changes) and the `discovery.k8s.io/v1` group.

mod slices;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, header};

use super::Source;
use super::client::{Client, ClientError};
use super::sink::Sink;
use crate::config::KubernetesDiscovery;
use crate::upstream::backoff::Backoff;
use crate::upstream::dns::Dns;
use slices::{Change, Slices};

/// How much longer than it was asked to a server may keep a watch.
const SLACK: Duration = Duration::from_secs(3);
/// Between two watches, where the server ends them at once.
const PAUSE: Duration = Duration::from_millis(250);
/// Slices in one part of a list.
const LIMIT: usize = 500;
/// More parts than that are no list.
const MAX_PARTS: usize = 200;

/// Lists and watches the slices of one service.
pub(super) struct KubernetesSource {
    client: Client,
    config: KubernetesDiscovery,
    path: String,
}

/// Why a watch ended.
enum Ended {
    /// It was time: it goes on where it was.
    InTime,
    /// What is known is too old to go on from: everything is listed again.
    Gone,
    /// Something failed.
    Failed(String),
}

impl KubernetesSource {
    pub(super) fn new(config: KubernetesDiscovery, dns: &Arc<Dns>) -> Self {
        let path = format!(
            "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices\
             ?labelSelector=kubernetes.io%2Fservice-name%3D{}",
            config.namespace, config.service
        );
        Self {
            client: Client::new(&config.server, dns),
            config,
            path,
        }
    }

    async fn list(&self) -> Result<Slices, String> {
        let mut slices = Slices::default();
        let mut next = String::new();
        for _ in 0..MAX_PARTS {
            let path = format!("{}&limit={LIMIT}{next}", self.path);
            let answer = self.client.get(&path, self.token()?, Duration::ZERO).await;
            let body = match answer {
                Ok(answer) => answer.body().await,
                Err(error) => Err(error),
            };
            let body = body.map_err(|error| error.to_string())?;
            match slices.add_part(&body)? {
                None => return Ok(slices),
                Some(token) => next = format!("&continue={token}"),
            }
        }
        Err(format!("a list of more than {MAX_PARTS} parts"))
    }

    /// Follows the changes of `slices` for a while.
    async fn follow(&self, slices: &mut Slices, sink: &Sink) -> Ended {
        let token = match self.token() {
            Ok(token) => token,
            Err(error) => return Ended::Failed(error),
        };
        let path = format!(
            "{}&watch=1&allowWatchBookmarks=true&timeoutSeconds={}&resourceVersion={}",
            self.path,
            self.config.wait.as_secs(),
            slices.version()
        );
        let answer = self.client.get(&path, token, Duration::ZERO).await;
        let mut lines = match answer {
            Ok(answer) => answer.lines(),
            Err(error) if error.status() == Some(StatusCode::GONE) => return Ended::Gone,
            Err(error) => return Ended::Failed(error.to_string()),
        };
        loop {
            let line = match lines.next(self.config.wait + SLACK).await {
                Ok(Some(line)) => line,
                Ok(None) => return Ended::InTime,
                // What came before is known, and the version with it: nothing is lost by going on there.
                Err(ClientError::Silent(_)) => return Ended::InTime,
                Err(error) => return Ended::Failed(error.to_string()),
            };
            match slices.change(&line) {
                Ok(Change::None) => sink.confirm(),
                Ok(Change::Slices) => self.tell(slices, sink),
                Ok(Change::Gone) => return Ended::Gone,
                Err(error) => return Ended::Failed(error),
            }
        }
    }

    fn tell(&self, slices: &Slices, sink: &Sink) {
        match slices.merge(self.config.port.as_ref()) {
            Ok(found) => sink.update(found),
            Err(error) => sink.fail(error),
        }
    }

    /// Who we are. The token is exchanged for a new one while we run.
    fn token(&self) -> Result<Option<(HeaderName, HeaderValue)>, String> {
        let Some(file) = &self.config.token_file else {
            return Ok(None);
        };
        let token = read(file)?;
        let value = HeaderValue::try_from(format!("Bearer {}", token.trim()));
        let value = value.map_err(|_| format!("there is no token in {}", file.display()))?;
        Ok(Some((header::AUTHORIZATION, value)))
    }
}

fn read(file: &Path) -> Result<String, String> {
    let read = std::fs::read_to_string(file);
    read.map_err(|error| format!("the token cannot be read from {}: {error}", file.display()))
}

impl Source for KubernetesSource {
    async fn watch(self, sink: Sink) {
        let mut backoff = Backoff::default();
        let mut known: Option<Slices> = None;
        loop {
            let slices = match &mut known {
                Some(slices) => slices,
                None => match self.list().await {
                    Ok(slices) => {
                        self.tell(&slices, &sink);
                        known.insert(slices)
                    }
                    Err(error) => {
                        sink.fail(error);
                        tokio::time::sleep(backoff.next()).await;
                        continue;
                    }
                },
            };
            let before = slices.version().to_owned();
            let pause = match self.follow(slices, &sink).await {
                Ended::InTime => PAUSE,
                Ended::Gone => {
                    known = None;
                    PAUSE
                }
                Ended::Failed(error) => {
                    sink.fail(error);
                    if slices.version() != before {
                        backoff = Backoff::default();
                    }
                    // What was missed meanwhile is in the list.
                    known = None;
                    backoff.next()
                }
            };
            if known.is_some() {
                backoff = Backoff::default();
            }
            tokio::time::sleep(pause).await;
        }
    }
}
