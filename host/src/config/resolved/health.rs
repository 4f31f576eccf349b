//! When targets are not used.

use std::sync::Arc;
use std::time::Duration;

/// `[upstream.NAME.outlier]`: when a target is ejected because requests to it fail. A count of 0 means never.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlierConfig {
    /// 5xx or no response, in a row. Default 5.
    pub consecutive_5xx: u32,
    /// 502, 503, 504 or no response, in a row. Default 0.
    pub consecutive_gateway_errors: u32,
    /// Attempts without a connection, in a row. Default 5.
    pub consecutive_connect_failures: u32,
    /// How often targets are compared, and the number of past ejections is forgotten by one. Default 10 s.
    pub interval: Duration,
    /// How long the first ejection lasts; each further one lasts longer by that. Default 30 s.
    pub base_ejection_time: Duration,
    /// How long an ejection lasts at most. Default 5 min.
    pub max_ejection_time: Duration,
    /// The part of the targets that may be ejected at once, but at least one. In parts of a million. Default 10 %.
    pub max_ejected: u32,
    /// How many thousandths of a standard deviation a success rate may be below the mean. Default 1,900.
    pub success_rate_stdev_factor: u32,
    /// Targets with enough requests that it takes to compare success rates. Default 5.
    pub success_rate_minimum_hosts: usize,
    /// Requests of an interval that it takes to have a success rate. Default 100.
    pub success_rate_request_volume: u64,
    /// The part of failures in an interval from which on a target is ejected, in parts of a million; 0 is never. Default 0.
    pub failure_percentage: u32,
    /// Requests of an interval that it takes to have a part of failures. Default 50.
    pub failure_percentage_request_volume: u64,
}

/// What holds without the table: who refuses connections is left alone for a while, and nothing that a request can
/// bring about excludes a target.
impl Default for OutlierConfig {
    fn default() -> Self {
        Self {
            consecutive_5xx: 0,
            consecutive_gateway_errors: 0,
            consecutive_connect_failures: 5,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(10),
            max_ejection_time: Duration::from_secs(60),
            max_ejected: 1_000_000,
            success_rate_stdev_factor: 0,
            success_rate_minimum_hosts: 5,
            success_rate_request_volume: 100,
            failure_percentage: 0,
            failure_percentage_request_volume: 50,
        }
    }
}

/// `[upstream.NAME.health]`: how targets are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthConfig {
    /// What is asked of a target.
    pub probe: ProbeConfig,
    /// Between the beginnings of two checks. Default 10 s.
    pub interval: Duration,
    /// How much earlier or later a check is, as a part of the interval, in parts of a million. Default 10 %.
    pub jitter: u32,
    /// For a whole check. Default 1 s.
    pub timeout: Duration,
    /// Checks in a row that must pass before a failing target is used again. Default 2.
    pub rise: u32,
    /// Checks in a row that must fail before a target is not used any more. Default 3.
    pub fall: u32,
}

/// What is asked of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeConfig {
    /// That it takes a connection.
    Tcp,
    /// That it takes a connection, speaks TLS and shows a good certificate.
    Tls,
    /// That it answers GET as expected.
    Http {
        /// Path and query.
        path: Arc<str>,
        /// The `host` of the request. Default the target's address.
        host: Option<Arc<str>>,
        /// First and last status of what is expected. Default 200 to 299.
        status: Vec<(u16, u16)>,
        /// What the body must contain within its first 64 KiB.
        body: Option<Arc<str>>,
        /// Whether checks are made on one connection, as long as it stays open. Default true.
        reuse: bool,
    },
    /// That the gRPC health protocol says SERVING.
    Grpc {
        /// The service that is asked for; empty is the whole server.
        service: Arc<str>,
    },
}
