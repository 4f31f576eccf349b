//! Failures in a row, counted where requests end.
//!
//! A success costs one look. A failure costs one step of an atomic, and only a streak that is long enough is told to whoever
//! decides about ejections, on another thread.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::outlier::Reason;
use crate::config::OutlierConfig;
use crate::upstream::Outcome;

/// Bits of one count: three of them share a word.
const BITS: u32 = 21;
const MASK: u64 = (1 << BITS) - 1;
/// The bit that is left: since a body broke off, no other has come to its end. Heads alone prove nothing then.
const BROKEN: u64 = 1 << 63;

/// Which failures are counted, in the order of their counts.
const REASONS: [Reason; 3] = [
    Reason::Consecutive5xx,
    Reason::ConsecutiveGatewayErrors,
    Reason::ConsecutiveConnectFailures,
];

/// The streaks of a target.
#[derive(Default)]
pub(in crate::upstream) struct Streaks {
    counts: AtomicU64,
    /// How long a streak must be; 0 is never.
    limits: [AtomicU32; 3],
    /// Reasons whose streak was long enough, one bit each, until somebody takes them.
    reached: AtomicU32,
}

impl Streaks {
    /// From here on these limits hold.
    pub(in crate::upstream) fn limit(&self, config: &OutlierConfig) {
        let limits = [
            config.consecutive_5xx,
            config.consecutive_gateway_errors,
            config.consecutive_connect_failures,
        ];
        for (limit, value) in self.limits.iter().zip(limits) {
            limit.store(value, Ordering::Relaxed);
        }
    }

    /// Counts an outcome. Whether a streak has become long enough.
    pub(in crate::upstream) fn note(&self, outcome: Outcome) -> bool {
        let counts = self.counts.load(Ordering::Relaxed);
        match outcome {
            Outcome::Unrelated => false,
            _ if !outcome.is_failure() && !outcome.is_grpc_error() => {
                if counts != 0 && counts & BROKEN == 0 {
                    self.counts.store(0, Ordering::Relaxed);
                }
                false
            }
            _ => {
                let is_connect_failure = outcome == Outcome::ConnectFailure;
                self.grow([true, outcome.is_gateway_error(), is_connect_failure], 0)
            }
        }
    }

    /// Counts a body that broke off after a good head, which is no response. Whether a streak has become long enough.
    pub(in crate::upstream) fn broke(&self) -> bool {
        self.grow([true, true, false], BROKEN)
    }

    /// A body has come to its end.
    pub(in crate::upstream) fn proved(&self) {
        if self.counts.load(Ordering::Relaxed) & BROKEN != 0 {
            self.counts.fetch_and(!BROKEN, Ordering::Relaxed);
        }
    }

    fn grow(&self, grows: [bool; 3], mark: u64) -> bool {
        let mut reached = 0;
        let next = |counts: u64| {
            reached = 0;
            let mut next = counts & BROKEN | mark;
            for (place, grows) in (0..).zip(grows) {
                let count = counts >> (place * BITS) & MASK;
                let limit = self.limit_of(place);
                let grown = if grows { (count + 1).min(MASK) } else { 0 };
                // A streak that was told begins anew.
                let kept = match limit > 0 && grown >= limit {
                    true => {
                        reached |= 1 << place;
                        0
                    }
                    false => grown,
                };
                next |= kept << (place * BITS);
            }
            Some(next)
        };
        let _ = self
            .counts
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        if reached != 0 {
            self.reached.fetch_or(reached, Ordering::Relaxed);
        }
        reached != 0
    }

    /// The first reason whose streak was long enough since this was asked last.
    pub(in crate::upstream) fn take(&self) -> Option<Reason> {
        if self.reached.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let reached = self.reached.swap(0, Ordering::Relaxed);
        let reasons = (0..).zip(REASONS);
        reasons
            .filter(|(place, _)| reached & 1 << place != 0)
            .map(|(_, reason)| reason)
            .last()
    }

    fn limit_of(&self, place: u32) -> u64 {
        let limit = self.limits.get(place as usize);
        limit.map_or(0, |limit| u64::from(limit.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn streaks(limits: [u32; 3]) -> Streaks {
        let streaks = Streaks::default();
        streaks.limit(&OutlierConfig {
            consecutive_5xx: limits[0],
            consecutive_gateway_errors: limits[1],
            consecutive_connect_failures: limits[2],
            ..OutlierConfig::default()
        });
        streaks
    }

    fn answered(status: u16) -> Outcome {
        let status = StatusCode::from_u16(status).unwrap_or_default();
        Outcome::Answered { status, grpc: None }
    }

    #[test]
    fn failures_in_a_row_are_told_once_they_are_enough() {
        let streaks = streaks([3, 0, 0]);
        let outcomes = [500, 503, 200, 500, 500, 404, 500, 500, 500, 500].map(answered);
        let told = outcomes.map(|outcome| streaks.note(outcome));
        assert_eq!(told.iter().position(|told| *told), Some(8));
        assert_eq!(told.iter().filter(|told| **told).count(), 1);
        assert_eq!(streaks.take(), Some(Reason::Consecutive5xx));
        assert_eq!(streaks.take(), None);
    }

    #[test]
    fn kinds_of_failures_have_streaks_of_their_own() {
        let streaks = streaks([0, 2, 2]);
        for outcome in [answered(502), answered(500), answered(504)] {
            assert!(!streaks.note(outcome));
        }
        assert!(
            streaks.note(Outcome::ConnectFailure),
            "504 and this are two gateway errors"
        );
        assert_eq!(streaks.take(), Some(Reason::ConsecutiveGatewayErrors));
        assert!(streaks.note(Outcome::ConnectFailure));
        assert_eq!(streaks.take(), Some(Reason::ConsecutiveConnectFailures));
    }

    #[test]
    fn what_is_not_the_targets_fault_neither_counts_nor_ends_a_streak() {
        let streaks = streaks([2, 0, 0]);
        let outcomes = [answered(500), Outcome::Unrelated, answered(500)];
        assert_eq!(
            outcomes.map(|outcome| streaks.note(outcome)),
            [false, false, true]
        );
    }

    #[test]
    fn trouble_that_grpc_tells_of_counts_as_a_server_error() {
        let streaks = streaks([2, 0, 0]);
        let told = |code| Outcome::Answered {
            status: StatusCode::OK,
            grpc: Some(code),
        };
        // UNAVAILABLE, NOT_FOUND, UNAVAILABLE, INTERNAL.
        let outcomes = [14, 5, 14, 13].map(told);
        let noted = outcomes.map(|outcome| streaks.note(outcome));
        assert_eq!(noted, [false, false, false, true]);
    }

    #[test]
    fn heads_do_not_make_up_for_bodies_that_break_off() {
        let streaks = streaks([3, 3, 0]);
        let ok = answered(200);
        let broken = || streaks.note(ok) || streaks.broke();
        assert!(!broken() && !broken());
        streaks.note(ok);
        streaks.proved();
        streaks.note(ok);
        let told = [broken(), broken(), broken()];
        assert_eq!(
            told,
            [false, false, true],
            "a body that ended made an end of it"
        );
        assert_eq!(streaks.take(), Some(Reason::ConsecutiveGatewayErrors));
    }

    #[test]
    fn bodies_that_break_off_and_errors_are_one_streak() {
        let streaks = streaks([3, 0, 0]);
        assert!(!streaks.broke() && !streaks.note(answered(500)));
        // The body of the error came to its end.
        streaks.proved();
        assert!(streaks.broke());
        assert_eq!(streaks.take(), Some(Reason::Consecutive5xx));
    }

    #[test]
    fn without_limits_nothing_is_told() {
        let streaks = streaks([0, 0, 0]);
        assert!((0..100).all(|_| !streaks.note(Outcome::ConnectFailure)));
    }
}
