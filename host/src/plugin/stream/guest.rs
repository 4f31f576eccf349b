//! An instance that serves one body: a call for each piece, and one for the end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use crate::body::BodyError;
use crate::exchange::Exchange;
use crate::plugin::bindings::postern::plugin::types::{HeaderParam, StreamEnd};
use crate::plugin::error::{CallError, FailureReason};
use crate::plugin::instance::Instance;
use crate::plugin::pool::Worker;
use crate::plugin::{Plugin, convert, verdict};
use crate::telemetry::{PluginOutcome, PluginPhase as Phase};

/// Whose body it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    Request,
    Response,
}

/// An instance that serves one body. Dropping it drops the instance: what it keeps of the body must not meet another.
pub(super) struct Guest {
    plugin: Arc<Plugin>,
    worker: Worker,
    instance: Instance,
    side: Side,
}

/// What a call made of a piece.
pub(super) struct Piece {
    /// For the next piece.
    pub(super) guest: Guest,
    /// To be sent on, if there is any.
    pub(super) bytes: Bytes,
    /// What it took.
    pub(super) time: Duration,
}

impl Guest {
    pub(super) fn new(
        plugin: Arc<Plugin>,
        worker: Worker,
        mut instance: Instance,
        facts: Box<Exchange>,
        side: Side,
    ) -> Self {
        instance.begin(facts);
        Self {
            plugin,
            worker,
            instance,
            side,
        }
    }

    /// Hands a piece over.
    pub(super) async fn piece(mut self, chunk: Bytes) -> Result<Piece, BodyError> {
        let side = self.side;
        let (result, time) = self
            .measure(async |instance, mode| {
                let guests = instance.guests();
                let (request, response) = (
                    guests.request_stream.clone(),
                    guests.response_stream.clone(),
                );
                let made = match (side, request, response) {
                    (Side::Request, Some(guest), _) => {
                        let call = guest.func_on_request_chunk();
                        instance.call(call, (&chunk[..],), mode).await
                    }
                    (Side::Response, _, Some(guest)) => {
                        let call = guest.func_on_response_chunk();
                        instance.call(call, (&chunk[..],), mode).await
                    }
                    _ => Ok(Err("it has no stream phase".into())),
                };
                made?.map_err(|message| CallError::new(FailureReason::Error, message))
            })
            .await;
        let result = result.and_then(|bytes| self.checked(bytes));
        let bytes = self.record(result, time)?;
        Ok(Piece {
            guest: self,
            bytes,
            time,
        })
    }

    /// Says that the body has ended, and lets the instance serve others again.
    pub(super) async fn end(
        mut self,
        trailers: HeaderMap,
    ) -> Result<(Bytes, HeaderMap), BodyError> {
        let trailers: Vec<HeaderParam<'_>> = trailers
            .iter()
            .filter(|(name, _)| convert::header_name(name.as_str()).is_ok())
            .map(|(name, value)| HeaderParam {
                name: name.as_str(),
                value: value.as_bytes(),
            })
            .collect();
        let side = self.side;
        let (result, time) = self
            .measure(async |instance, mode| {
                let guests = instance.guests();
                let (request, response) = (
                    guests.request_stream.clone(),
                    guests.response_stream.clone(),
                );
                let made: Result<StreamEnd, String> = match (side, request, response) {
                    (Side::Request, Some(guest), _) => {
                        let call = guest.func_on_request_end();
                        instance.call(call, (&trailers[..],), mode).await?
                    }
                    (Side::Response, _, Some(guest)) => {
                        let call = guest.func_on_response_end();
                        instance.call(call, (&trailers[..],), mode).await?
                    }
                    _ => Err("it has no stream phase".into()),
                };
                made.map_err(|message| CallError::new(FailureReason::Error, message))
            })
            .await;
        let result = result.and_then(|end| {
            let trailers = verdict::trailers(end.trailers)?;
            Ok((self.checked(end.chunk)?, trailers))
        });
        let left = self.record(result, time)?;
        self.instance.end();
        self.plugin.check_in(&self.worker, self.instance);
        Ok(left)
    }

    async fn measure<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut Instance, crate::plugin::instance::Mode) -> Result<T, CallError>,
    ) -> (Result<T, CallError>, Duration) {
        let plugin = Arc::clone(&self.plugin);
        let _turn = plugin.turn(&self.worker).await;
        let clock = &plugin.shared.services.clock;
        let begun = clock.now();
        let result = plugin.spend(&mut self.instance, call).await;
        (result, clock.now().saturating_sub(begun))
    }

    /// What comes back is bounded.
    fn checked(&self, bytes: Vec<u8>) -> Result<Bytes, CallError> {
        let limit = self.plugin.shared.budget.chunk_size;
        if bytes.len() <= limit {
            return Ok(bytes.into());
        }
        let detail = format!(
            "it returned {} bytes for a chunk, at most {limit} are allowed (budget.chunk-size)",
            bytes.len()
        );
        Err(CallError::new(FailureReason::BadVerdict, detail))
    }

    fn record<T>(&mut self, result: Result<T, CallError>, time: Duration) -> Result<T, BodyError> {
        let phase = match self.side {
            Side::Request => Phase::RequestChunk,
            Side::Response => Phase::ResponseChunk,
        };
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        match result {
            Ok(made) => {
                let metrics = &self.plugin.shared.metrics;
                metrics.called(phase, PluginOutcome::Edit, nanos);
                Ok(made)
            }
            Err(error) => {
                if let Some(facts) = self.instance.end() {
                    self.plugin.failed(phase, &error, nanos, &facts);
                }
                Err(BodyError::Plugin(Arc::clone(self.plugin.name())))
            }
        }
    }
}
