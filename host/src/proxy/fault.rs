//! Faults on purpose: requests that are held, or answered as if their origin had failed. A route's configuration asks for
//! them, or a drill does, for some minutes, on a running gateway.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::StatusCode;

use crate::config::FaultConfig;
use crate::exchange::Exchange;
use crate::router::Conditions;
use crate::telemetry::FaultMetrics;

const MILLION: u32 = 1_000_000;

/// What goes wrong with some requests.
pub struct Fault {
    delay: Option<(Duration, u32)>,
    abort: Option<(StatusCode, u32)>,
    headers: Conditions,
}

impl Fault {
    /// As the configuration says.
    ///
    /// # Errors
    /// A sentence, when a status or a condition cannot be used.
    pub fn new(config: &FaultConfig) -> Result<Self, String> {
        let abort = config.abort.map(|(status, share)| {
            let status = StatusCode::from_u16(status).map_err(|error| error.to_string())?;
            Ok::<_, String>((status, share))
        });
        Ok(Self {
            delay: config.delay,
            abort: abort.transpose()?,
            headers: Conditions::new(&config.headers, &[])?,
        })
    }
}

/// What a drill asks for, and until when.
pub(super) struct Running {
    pub(super) fault: Fault,
    pub(super) until: Duration,
}

/// The place of a route's drill, which outlives configurations.
#[derive(Default)]
pub struct DrillSlot(ArcSwapOption<Running>);

impl DrillSlot {
    pub(super) fn set(&self, running: Option<Running>) {
        self.0.store(running.map(Arc::new));
    }
}

/// The faults of one route.
pub struct Faults {
    /// Those of the configuration.
    pub fault: Option<Fault>,
    /// Those of a drill, where drills are allowed.
    pub drill: Option<Arc<DrillSlot>>,
    /// Counts them.
    pub metrics: FaultMetrics,
}

impl Faults {
    /// Holds a request, if it is one of those; and says with which status it is answered, if it is one of those.
    pub(super) async fn strike(&self, exchange: &Exchange) -> Option<StatusCode> {
        let drill = self.drill.as_ref().and_then(|slot| slot.0.load_full());
        let drill = drill.filter(|drill| exchange.clock.now() < drill.until);
        let fault = match &drill {
            Some(drill) => &drill.fault,
            None => self.fault.as_ref()?,
        };
        if !fault.headers.hold(&exchange.request.headers, None) {
            return None;
        }
        if let Some((delay, share)) = fault.delay
            && is_hit(share)
        {
            self.metrics.delayed();
            tokio::time::sleep(delay).await;
        }
        let (status, _) = fault.abort.filter(|(_, share)| is_hit(*share))?;
        self.metrics.aborted();
        Some(status)
    }
}

fn is_hit(per_million: u32) -> bool {
    per_million >= MILLION || rand::random_range(0..MILLION) < per_million
}
