//! Why a branch gave nothing.

use postern_plugin::outbound::OutboundError;

/// A branch that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub cause: Cause,
    /// For the log only.
    pub detail: String,
}

/// The kinds of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The request has no value for a place of the path.
    ValueAbsent,
    /// A value would have led to another path.
    ValueRefused,
    /// The gateway did not let the call pass: not granted, or a budget is used up.
    Denied,
    Timeout,
    Unreachable,
    /// The answer was not HTTP, or broke off.
    BrokenAnswer,
    /// The answer is larger than `max-body`.
    TooLarge,
    /// An answer with another status than 2xx.
    Status(u16),
    /// The answer is not JSON, or nested too deeply.
    NotJson,
    /// The answer has nothing at `target`.
    TargetMissing,
    /// The answer has no keys to merge, and no `group` to stand under.
    NotAnObject,
}

impl Cause {
    /// A stable word for clients and logs.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Cause::ValueAbsent => "value-absent",
            Cause::ValueRefused => "value-refused",
            Cause::Denied => "denied",
            Cause::Timeout => "timeout",
            Cause::Unreachable => "unreachable",
            Cause::BrokenAnswer => "broken-answer",
            Cause::TooLarge => "too-large",
            Cause::Status(_) => "status",
            Cause::NotJson => "not-json",
            Cause::TargetMissing => "target-missing",
            Cause::NotAnObject => "not-an-object",
        }
    }

    /// The status that the branch was answered with, if another than 2xx.
    pub(crate) fn branch_status(self) -> Option<u16> {
        if let Cause::Status(status) = self {
            Some(status)
        } else {
            None
        }
    }

    /// The status of the whole answer when nothing makes up for the branch.
    pub(crate) fn status(self) -> u16 {
        match self {
            Cause::ValueAbsent | Cause::ValueRefused => 400,
            Cause::Timeout => 504,
            Cause::Denied
            | Cause::Unreachable
            | Cause::BrokenAnswer
            | Cause::TooLarge
            | Cause::Status(_)
            | Cause::NotJson
            | Cause::TargetMissing
            | Cause::NotAnObject => 502,
        }
    }

    /// With a detail for the log.
    pub(crate) fn because(self, detail: impl Into<String>) -> Failure {
        Failure {
            cause: self,
            detail: detail.into(),
        }
    }
}

impl From<OutboundError> for Failure {
    fn from(error: OutboundError) -> Self {
        match error {
            OutboundError::Denied(reason) => Cause::Denied.because(reason),
            OutboundError::Timeout => Cause::Timeout.because("no answer in time"),
            OutboundError::Unavailable(reason) => Cause::Unreachable.because(reason),
            OutboundError::Protocol(reason) => Cause::BrokenAnswer.because(reason),
            OutboundError::TooLarge => {
                Cause::TooLarge.because("the answer is larger than max-body")
            }
        }
    }
}
