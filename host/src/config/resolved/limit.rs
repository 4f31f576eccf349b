//! Limits, and how they count.

use std::time::Duration;

/// `"100/minute"`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitConfig {
    /// Requests in a window, 1 to 2^32 - 1.
    pub amount: u64,
    /// `second`, `minute`, `hour`, `day`, or a duration such as `10s`; 31 days at most.
    pub window: Duration,
}

/// How a limit counts: as the `limits` interface of plugins says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitAlgorithm {
    /// Windows that begin with the first request counted in them.
    FixedWindow,
    /// Windows that follow each other, and a part of the last one.
    SlidingWindow,
    /// A bucket that fills evenly.
    TokenBucket,
}

/// A limit, and how it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitRule {
    /// How much in which time.
    pub limit: LimitConfig,
    /// How it counts.
    pub algorithm: LimitAlgorithm,
    /// What a bucket holds. Otherwise the amount.
    pub burst: u64,
}

impl From<LimitConfig> for LimitRule {
    fn from(limit: LimitConfig) -> Self {
        Self {
            limit,
            algorithm: LimitAlgorithm::FixedWindow,
            burst: limit.amount,
        }
    }
}
