//! What a server that keeps the state does.

use prometheus::{IntCounter, IntGauge};

use super::{Metrics, counters, gauge};

/// How a request to the state's server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateOutcome {
    /// It was answered.
    Answered,
    /// The server refused it, or broke off.
    Failed,
    /// It was not answered in time.
    Late,
    /// It was not sent: the server is known to be away.
    Away,
}

/// The metrics of the state's server.
#[derive(Debug, Clone)]
pub struct StateMetrics {
    answered: IntCounter,
    failed: IntCounter,
    late: IntCounter,
    away: IntCounter,
    connections: IntGauge,
}

impl StateMetrics {
    /// A request ended.
    pub fn asked(&self, outcome: StateOutcome) {
        match outcome {
            StateOutcome::Answered => self.answered.inc(),
            StateOutcome::Failed => self.failed.inc(),
            StateOutcome::Late => self.late.inc(),
            StateOutcome::Away => self.away.inc(),
        }
    }

    /// A connection was made.
    pub fn connected(&self) {
        self.connections.inc();
    }

    /// A connection was lost.
    pub fn disconnected(&self) {
        self.connections.dec();
    }
}

impl Metrics {
    /// The handle of the state's server. To be asked for once, by a gateway that has one.
    #[must_use]
    pub fn state(&self) -> StateMetrics {
        let requests = counters(
            "postern_state_requests_total",
            "Requests to the server that keeps counters and keys, by how they ended; those of the outcome away were not sent.",
            &[],
            &["outcome"],
        );
        let connections = gauge(
            "postern_state_connections",
            "Connections to the server that keeps counters and keys: one for each worker that asked it.",
            &[],
        );
        self.register(vec![
            Box::new(requests.clone()),
            Box::new(connections.clone()),
        ]);
        let of = |outcome: &str| requests.with_label_values(&[outcome]);
        StateMetrics {
            answered: of("answered"),
            failed: of("failed"),
            late: of("late"),
            away: of("away"),
            connections,
        }
    }
}
