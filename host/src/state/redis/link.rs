//! The connection of one worker, and the breaker in front of it.
//!
//! A request never waits for a connection to be made: where there is none, it is told so at once. A task keeps trying.
//! Only requests that come before the first attempt has ended wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use redis::{Cmd, RedisError, ServerErrorKind, Value};
use tokio::sync::watch;

use super::connect::{self, Connection, Driver};
use super::script::Script;
use crate::config::RedisConfig;
use crate::telemetry::{StateMetrics, StateOutcome};

/// As many requests in a row without a good answer, and the server counts as away.
const MAX_FAILURES: u32 = 3;
/// Before a connection that was lost is made again.
const PAUSE: Duration = Duration::from_millis(100);
/// Between attempts, when one has failed.
const RETRY: Duration = Duration::from_secs(1);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Away(Arc<str>);

/// A connection that is kept.
pub(super) struct Link {
    shared: Arc<Shared>,
    begun: AtomicBool,
}

struct Shared {
    config: Arc<RedisConfig>,
    metrics: StateMetrics,
    phase: watch::Sender<Phase>,
    /// Requests in a row without a good answer.
    failures: AtomicU32,
}

#[derive(Clone)]
enum Phase {
    Begins,
    Up(Connection),
    Away(Away),
}

impl Link {
    pub(super) fn new(config: &Arc<RedisConfig>, metrics: &StateMetrics) -> Self {
        Self {
            shared: Arc::new(Shared {
                config: Arc::clone(config),
                metrics: metrics.clone(),
                phase: watch::Sender::new(Phase::Begins),
                failures: AtomicU32::new(0),
            }),
            begun: AtomicBool::new(false),
        }
    }

    /// Has a script run on a key, and on what `fill` adds to the command.
    pub(super) async fn run(
        &self,
        script: Script,
        key: &[u8],
        fill: &(dyn Fn(&mut Cmd) + Send + Sync),
    ) -> Result<Value, Away> {
        let connection = self.connection().await?;
        let command = |how: &str, what: &str| {
            let mut command = redis::cmd(how);
            command.arg(what).arg(1).arg(key);
            fill(&mut command);
            command
        };
        let named = command("EVALSHA", connection.names.of(script));
        match self.ask(&connection, &named).await? {
            Answer::Value(value) => return Ok(value),
            // The server was started again behind a proxy, or somebody told it to forget.
            Answer::NoScript => {}
        }
        let whole = command("EVAL", script.text());
        match self.ask(&connection, &whole).await? {
            Answer::Value(value) => Ok(value),
            Answer::NoScript => Err(Away("the server runs no scripts".into())),
        }
    }

    /// Sends a command.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, Away> {
        let connection = self.connection().await?;
        match self.ask(&connection, command).await? {
            Answer::Value(value) => Ok(value),
            Answer::NoScript => Err(Away("the server answers another question".into())),
        }
    }

    async fn connection(&self) -> Result<Connection, Away> {
        if !self.begun.swap(true, Ordering::Relaxed) {
            // On the runtime of the worker that asks first: its requests wake no other thread.
            tokio::spawn(keep(Arc::clone(&self.shared)));
        }
        let settled = match &*self.shared.phase.borrow() {
            Phase::Begins => None,
            Phase::Up(connection) => Some(Ok(connection.clone())),
            Phase::Away(away) => Some(Err(away.clone())),
        };
        let settled = match settled {
            Some(settled) => settled,
            None => self.first().await,
        };
        if settled.is_err() {
            self.shared.metrics.asked(StateOutcome::Away);
        }
        settled
    }

    /// What comes of the first attempt to connect, which takes as long as it may at most.
    async fn first(&self) -> Result<Connection, Away> {
        let mut phases = self.shared.phase.subscribe();
        let settled = phases.wait_for(|phase| !matches!(phase, Phase::Begins));
        match settled.await.as_deref() {
            Ok(Phase::Up(connection)) => Ok(connection.clone()),
            Ok(Phase::Away(away)) => Err(away.clone()),
            Ok(Phase::Begins) | Err(_) => Err(Away("it was not asked yet".into())),
        }
    }

    async fn ask(&self, connection: &Connection, command: &Cmd) -> Result<Answer, Away> {
        let Shared {
            config,
            metrics,
            failures,
            ..
        } = &*self.shared;
        let mut requests = connection.requests.clone();
        let answer = command.query_async::<Value>(&mut requests);
        let (outcome, reason) = match tokio::time::timeout(config.timeout, answer).await {
            Ok(Ok(value)) => {
                failures.store(0, Ordering::Relaxed);
                metrics.asked(StateOutcome::Answered);
                return Ok(Answer::Value(value));
            }
            Ok(Err(error)) if is_no_script(&error) => return Ok(Answer::NoScript),
            Ok(Err(error)) if error.is_connection_dropped() || error.is_unrecoverable_error() => {
                failures.store(MAX_FAILURES, Ordering::Relaxed);
                (StateOutcome::Failed, describe(&error))
            }
            Ok(Err(error)) => (StateOutcome::Failed, describe(&error)),
            Err(_) => {
                let reason = format!("no answer within {:?}", config.timeout);
                (StateOutcome::Late, reason)
            }
        };
        metrics.asked(outcome);
        let away = Away(reason.into());
        if failures.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_FAILURES {
            self.shared.lose(connection, &away);
        }
        Err(away)
    }
}

enum Answer {
    Value(Value),
    NoScript,
}

impl Shared {
    /// Has requests go over a connection until it is lost. Returns why it was.
    async fn serve(&self, connection: Connection, driver: Driver) -> Away {
        let lost = Arc::clone(&connection.lost);
        self.failures.store(0, Ordering::Relaxed);
        self.metrics.connected();
        self.phase.send_replace(Phase::Up(connection));
        let mut driver = tokio::spawn(driver);
        tokio::select! {
            _ = &mut driver => {}
            () = lost.notified() => {}
        }
        driver.abort();
        self.metrics.disconnected();
        match &*self.phase.borrow() {
            Phase::Away(away) => away.clone(),
            Phase::Begins | Phase::Up(_) => Away("it closed the connection".into()),
        }
    }

    /// A connection is of no more use.
    fn lose(&self, lost: &Connection, away: &Away) {
        let was_in_use = self.phase.send_if_modified(|phase| {
            let is_it = matches!(phase, Phase::Up(current) if current.number == lost.number);
            if is_it {
                *phase = Phase::Away(away.clone());
            }
            is_it
        });
        if was_in_use {
            lost.lost.notify_one();
        }
    }
}

/// Makes a connection, and another one when it is lost, until the runtime ends.
async fn keep(shared: Arc<Shared>) {
    let config = Arc::clone(&shared.config);
    let server = format!("{}:{}", config.host, config.port);
    let mut is_away = false;
    for number in 1.. {
        let connecting = connect::connect(&config, number);
        let made = tokio::time::timeout(config.connect_timeout, connecting).await;
        let (reason, pause) = match made {
            Ok(Ok((connection, driver))) => {
                if is_away {
                    tracing::info!(%server, "the state is back");
                }
                is_away = false;
                (shared.serve(connection, driver).await, PAUSE)
            }
            Ok(Err(error)) => (Away(describe(&error).into()), RETRY),
            Err(_) => {
                let reason = format!("no connection within {:?}", config.connect_timeout);
                (Away(reason.into()), RETRY)
            }
        };
        // Once for each time that it goes, not for each attempt.
        if !is_away {
            tracing::warn!(%server, %reason, "the state is away");
        }
        is_away = true;
        shared.phase.send_replace(Phase::Away(reason));
        tokio::time::sleep(pause).await;
    }
}

fn is_no_script(error: &RedisError) -> bool {
    error.kind() == redis::ErrorKind::Server(ServerErrorKind::NoScript)
}

/// What went wrong, without what was sent.
fn describe(error: &RedisError) -> String {
    error.to_string()
}
