//! One live instance: a store, the guest's exports, and a call under its budgets.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{ComponentNamedList, Lift, Lower, TypedFunc};
use wasmtime::{Store, Trap, UpdateDeadline, WasmBacktrace};

use super::bindings::exports::postern::plugin as exports;
use super::bindings::exports::postern::plugin::lifecycle::Interest;
use super::component::Linked;
use super::cpu::Tick;
use super::error::{CallError, FailureReason};
use super::pool::Worker;
use super::state::{Shared, State};
use crate::exchange::Exchange;

/// What `configure` may take on a fiber: it runs seldom, and compiles patterns and the like.
const CONFIGURE_TIME: Duration = Duration::from_secs(1);
/// The same where it runs on a worker's stack.
const INLINE_CONFIGURE_TIME: Duration = Duration::from_millis(3);
/// An instance whose memory grew by more than this is not kept: linear memory never shrinks.
const KEPT_GROWTH_BYTES: usize = 1 << 20;
/// Handles that a guest may hold; it gets them only for standard streams.
const MAX_HANDLES: usize = 100;

/// A guest that has been configured.
pub(super) struct Instance {
    store: Store<State>,
    guests: Guests,
    calls: u32,
    memory_at_start: usize,
}

/// The exports of one instance.
pub(super) struct Guests {
    pub(super) request: Option<exports::request_phase::Guest>,
    pub(super) request_body: Option<exports::request_body_phase::Guest>,
    pub(super) response: Option<exports::response_phase::Guest>,
    pub(super) response_body: Option<exports::response_body_phase::Guest>,
    pub(super) request_stream: Option<exports::request_stream_phase::Guest>,
    pub(super) response_stream: Option<exports::response_stream_phase::Guest>,
    pub(super) responder: Option<exports::responder::Guest>,
}

impl Instance {
    /// Makes an instance and configures it. On a fiber, unless `inline`: then `configure` is known to be short.
    pub(super) async fn start(
        linked: &Linked,
        shared: &Arc<Shared>,
        worker: &Worker,
        config: &str,
        inline: bool,
    ) -> Result<(Self, Interest), CallError> {
        let inline = inline && !linked.suspends;
        let mut store = new_store(linked, shared, worker);
        let mode = if inline {
            Mode::Inline(INLINE_CONFIGURE_TIME)
        } else {
            Mode::Fiber(CONFIGURE_TIME)
        };
        // What runs at instantiation may take as long as `configure`.
        begin_time(&mut store, mode);
        let made = async {
            let instance = if inline {
                linked.pre.instantiate(&mut store)?
            } else {
                linked.pre.instantiate_async(&mut store).await?
            };
            let lifecycle = linked.exports.lifecycle.load(&mut store, &instance)?;
            let guests = load_guests(&mut store, &instance, &linked.exports)?;
            Ok::<_, wasmtime::Error>((lifecycle, guests))
        };
        let (lifecycle, guests) = made.await.map_err(|error| {
            let detail = format!("it cannot be instantiated: {error:#}");
            CallError::new(FailureReason::Start, detail)
        })?;
        let mut instance = Self {
            store,
            guests,
            calls: 0,
            memory_at_start: 0,
        };
        let interest = instance
            .call(lifecycle.func_configure(), (config,), mode)
            .await?;
        let interest = interest.map_err(|message| CallError::new(FailureReason::Error, message))?;
        instance.memory_at_start = instance.store.data().memory.used;
        Ok((instance, interest))
    }

    /// What the guest exports.
    pub(super) fn guests(&self) -> &Guests {
        &self.guests
    }

    /// Gives the instance the exchange that its next call serves.
    pub(super) fn begin(&mut self, exchange: Box<Exchange>) {
        self.store.data_mut().exchange = Some(exchange);
    }

    /// Takes the exchange back.
    pub(super) fn end(&mut self) -> Option<Box<Exchange>> {
        let state = self.store.data_mut();
        state.end_of_call();
        state.exchange.take()
    }

    /// Calls an export. After an error the instance is dead and must be dropped.
    pub(super) async fn call<P, R>(
        &mut self,
        func: TypedFunc<P, (R,)>,
        params: P,
        mode: Mode,
    ) -> Result<R, CallError>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        R: Lift + Send + Sync + 'static,
        (R,): ComponentNamedList,
    {
        self.calls = self.calls.saturating_add(1);
        begin_time(&mut self.store, mode);
        let result = match mode {
            Mode::Inline(_) => func.call(&mut self.store, params),
            Mode::Fiber(_) => func.call_async(&mut self.store, params).await,
        };
        result
            .map(|(value,)| value)
            .map_err(|error| self.explain(&error))
    }

    /// Whether it may serve again.
    pub(super) fn is_worth_keeping(&self, max_calls: u32) -> bool {
        self.calls < max_calls
            && self.store.data().memory.used <= self.memory_at_start + KEPT_GROWTH_BYTES
    }

    fn explain(&mut self, error: &wasmtime::Error) -> CallError {
        let state = self.store.data();
        let budget = &state.shared.budget;
        let (reason, detail) = if matches!(error.downcast_ref::<Trap>(), Some(Trap::Interrupt)) {
            (
                FailureReason::Cpu,
                format!(
                    "the call took more than {:?} of CPU time (budget.cpu)",
                    budget.cpu
                ),
            )
        } else if state.memory.refused {
            (
                FailureReason::Memory,
                format!(
                    "it wanted more than {} bytes of memory (budget.memory)",
                    budget.memory
                ),
            )
        } else if error
            .root_cause()
            .to_string()
            .contains("fuel allocated for hostcalls")
        {
            let detail = format!(
                "it wanted to hand over more than {} bytes at once (budget.host-call-bytes)",
                budget.host_call_bytes
            );
            (FailureReason::HostCallBytes, detail)
        } else {
            (FailureReason::Trap, error.root_cause().to_string())
        };
        let backtrace = error
            .downcast_ref::<WasmBacktrace>()
            .map(frames)
            .unwrap_or_default();
        CallError {
            reason,
            detail,
            backtrace,
        }
    }
}

fn begin_time(store: &mut Store<State>, mode: Mode) {
    let (limit, yields) = match mode {
        Mode::Inline(limit) => (limit, false),
        Mode::Fiber(limit) => (limit, true),
    };
    store.data_mut().cpu.begin(limit, yields);
    store.set_epoch_deadline(1);
}

/// A store with its limits, and with the rules for a guest that runs on: see [`Mode`].
fn new_store(linked: &Linked, shared: &Arc<Shared>, worker: &Worker) -> Store<State> {
    let state = State::new(Arc::clone(shared), worker);
    let mut store = Store::new(linked.pre.engine(), state);
    store.limiter(|state| &mut state.memory);
    store.set_hostcall_fuel(shared.budget.host_call_bytes);
    store.set_max_component_handles(MAX_HANDLES);
    store.epoch_deadline_callback(|mut store| {
        let cpu = &mut store.data_mut().cpu;
        Ok(match cpu.tick() {
            Tick::GoOn => UpdateDeadline::Continue(1),
            Tick::Stop => UpdateDeadline::Interrupt,
            Tick::Yield => {
                let running = cpu.running();
                let pause = async move {
                    tokio::task::yield_now().await;
                    running.begins();
                };
                UpdateDeadline::YieldCustom(1, Box::pin(pause))
            }
        })
    });
    store
}

fn frames(backtrace: &WasmBacktrace) -> Vec<String> {
    let name = |frame: &wasmtime::FrameInfo| match frame.func_name() {
        Some(name) => rustc_name(name),
        None => format!("function {}", frame.func_index()),
    };
    backtrace.frames().iter().map(name).collect()
}

/// A function's name without the compiler's hash at its end.
fn rustc_name(name: &str) -> String {
    let demangled = rustc_demangle::demangle(name).to_string();
    match demangled.rsplit_once("::h") {
        Some((path, hash))
            if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
        {
            path.into()
        }
        _ => demangled,
    }
}

fn load_guests(
    store: &mut Store<State>,
    instance: &wasmtime::component::Instance,
    exports: &super::component::Exports,
) -> wasmtime::Result<Guests> {
    macro_rules! load {
        ($phase:ident) => {
            exports
                .$phase
                .as_ref()
                .map(|indices| indices.load(&mut *store, instance))
                .transpose()?
        };
    }
    Ok(Guests {
        request: load!(request),
        request_body: load!(request_body),
        response: load!(response),
        response_body: load!(response_body),
        request_stream: load!(request_stream),
        response_stream: load!(response_stream),
        responder: load!(responder),
    })
}

/// How a call runs, and how much CPU time it may use.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mode {
    /// On the worker's stack; nothing else runs on the worker meanwhile.
    Inline(Duration),
    /// On a fiber that yields at every tick.
    Fiber(Duration),
}
