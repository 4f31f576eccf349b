//! From bytes to a component that is linked and ready to be instantiated, or a sentence that says why not.

use std::path::Path;
use std::sync::Arc;

use wasmtime::component::{Component, HasSelf, InstancePre, Linker};

use super::bindings::exports::postern::plugin as exports;
use super::bindings::postern::plugin as imports;
use super::engine::Engine;
use super::error::LoadError;
use super::host::remote;
use super::state::State;
use super::wasi;
use crate::config::{Grant, PluginConfig};

/// The version of the interface that this host speaks; it takes components of the same minor version, up to this patch.
const INTERFACE: (u64, u64, u64) = (0, 1, 0);
const PACKAGE: &str = "postern:plugin/";
const ALWAYS_GRANTED: [&str; 4] = ["log", "exchange", "clock", "types"];

/// The exported phases of a component; an absent one is never called.
pub(super) struct Exports {
    pub(super) lifecycle: exports::lifecycle::GuestIndices,
    pub(super) request: Option<exports::request_phase::GuestIndices>,
    pub(super) request_body: Option<exports::request_body_phase::GuestIndices>,
    pub(super) response: Option<exports::response_phase::GuestIndices>,
    pub(super) response_body: Option<exports::response_body_phase::GuestIndices>,
    pub(super) request_stream: Option<exports::request_stream_phase::GuestIndices>,
    pub(super) response_stream: Option<exports::response_stream_phase::GuestIndices>,
    pub(super) responder: Option<exports::responder::GuestIndices>,
}

/// A component, linked with what it may import.
pub(super) struct Linked {
    pub(super) pre: InstancePre<State>,
    pub(super) exports: Exports,
    /// Whether it imports something that suspends: it must then run on a fiber.
    pub(super) suspends: bool,
}

/// Reads a component file once, whole: what is checked is what is run.
pub(super) fn read(file: &Path) -> Result<Arc<[u8]>, LoadError> {
    match std::fs::read(file) {
        Ok(bytes) => Ok(bytes.into()),
        Err(error) => Err(LoadError::Unreadable {
            file: file.into(),
            reason: error.to_string(),
        }),
    }
}

/// Compiles a component, or takes its code from the cache.
pub(super) fn compile(engine: &Engine, bytes: &[u8]) -> Result<Component, LoadError> {
    engine.begin_ticking();
    check_kind(bytes)?;
    let component = match &engine.cache {
        Some(cache) => cache.load(&engine.wasmtime, bytes),
        None => Component::from_binary(&engine.wasmtime, bytes),
    };
    component.map_err(|error| LoadError::Refused(format!("it is not a valid component: {error:#}")))
}

/// Tells the kinds of WebAssembly files apart by their first bytes.
fn check_kind(bytes: &[u8]) -> Result<(), LoadError> {
    let refused = |what: &str| Err(LoadError::Refused(what.into()));
    let Some((magic, rest)) = bytes.split_first_chunk::<4>() else {
        return refused(
            "it is empty or cut off; write a new file beside it and rename it over the old one",
        );
    };
    if magic != b"\0asm" {
        if wasmtime::Engine::detect_precompiled(bytes).is_some() {
            return refused(
                "it is compiled code (.cwasm), which is never loaded; give the .wasm component it was made from",
            );
        }
        return refused(
            "it is not a WebAssembly file; a component built for wasm32-wasip2 is expected",
        );
    }
    match rest.first_chunk::<4>() {
        Some([0x0d, 0, 1, 0]) => Ok(()),
        Some([1, 0, 0, 0]) => refused(
            "it is a core WebAssembly module, not a component; build it for the target wasm32-wasip2, \
             or wrap it with `wasm-tools component new`",
        ),
        Some(_) => refused(
            "it has an unknown WebAssembly version; a component built for wasm32-wasip2 is expected",
        ),
        None => refused("it is cut off; write a new file beside it and rename it over the old one"),
    }
}

/// Checks what a component imports and exports, and links it with what it was granted.
pub(super) fn link(
    engine: &Engine,
    component: &Component,
    config: &PluginConfig,
    remote_state: bool,
) -> Result<Linked, LoadError> {
    let ty = component.component_type();
    let mut suspends = false;
    for (name, _) in ty.imports(&engine.wasmtime) {
        check_import(name, config)?;
        suspends |= name.starts_with("postern:plugin/outbound@") || remote_state && is_state(name);
    }
    let exported: Vec<&str> = ty.exports(&engine.wasmtime).map(|(name, _)| name).collect();
    check_exports(&exported)?;
    let linker = linker(engine, config, remote_state)
        .map_err(|error| LoadError::Refused(format!("{error:#}")))?;
    let pre = linker.instantiate_pre(component).map_err(|error| {
        LoadError::Refused(format!("its imports do not fit this gateway: {error:#}"))
    })?;
    let exports = find_exports(&pre)?;
    Ok(Linked {
        pre,
        exports,
        suspends,
    })
}

/// Whether an import is about counters or keys that requests share.
fn is_state(name: &str) -> bool {
    name.starts_with("postern:plugin/limits@") || name.starts_with("postern:plugin/store@")
}

fn linker(
    engine: &Engine,
    config: &PluginConfig,
    remote_state: bool,
) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(&engine.wasmtime);
    wasi::add_to_linker(&mut linker)?;
    imports::types::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    imports::log::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    imports::exchange::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    imports::clock::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    for grant in &config.grants {
        match grant {
            Grant::Identity => {
                imports::identity::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?
            }
            Grant::Keys => {
                imports::keys::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?
            }
            Grant::Limits if remote_state => remote::add_limits(&mut linker)?,
            Grant::Store if remote_state => remote::add_store(&mut linker)?,
            Grant::Limits => {
                imports::limits::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?
            }
            Grant::Store => {
                imports::store::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?
            }
            Grant::Metrics => {
                imports::metrics::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?
            }
        }
    }
    if !config.upstreams.is_empty() {
        imports::outbound::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    }
    Ok(linker)
}

fn check_import(name: &str, config: &PluginConfig) -> Result<(), LoadError> {
    if let Some(rest) = name.strip_prefix(PACKAGE) {
        let interface = check_version(name, rest)?;
        if ALWAYS_GRANTED.contains(&interface) {
            return Ok(());
        }
        return check_grant(interface, config);
    }
    if wasi::offers(name) {
        return Ok(());
    }
    if let Some(rest) = name.strip_prefix("wasi:") {
        let reason = match rest.split('/').next() {
            Some("filesystem") => "plugins have no files; keep what must last in `store`",
            Some("sockets") => "plugins have no sockets; call upstreams with `outbound`",
            Some("http") => {
                "plugins call upstreams with `outbound`, and export the phases of postern:plugin"
            }
            _ => "of WASI, plugins get cli, io, clocks and random only",
        };
        return Err(LoadError::Refused(format!(
            "it imports {name}, which is not offered: {reason}"
        )));
    }
    Err(LoadError::Refused(format!(
        "it imports {name}, which this gateway does not know; it offers postern:plugin {} and a part of WASI 0.2",
        version(INTERFACE)
    )))
}

/// Checks `interface@version` against ours and returns the interface.
fn check_version<'n>(name: &str, rest: &'n str) -> Result<&'n str, LoadError> {
    let (interface, wanted) = rest.split_once('@').unwrap_or((rest, ""));
    let mut numbers = wanted.split('.').map(str::parse::<u64>);
    let wanted = match (
        numbers.next(),
        numbers.next(),
        numbers.next(),
        numbers.next(),
    ) {
        (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch)), None) => (major, minor, patch),
        _ => (u64::MAX, 0, 0),
    };
    let (major, minor, patch) = INTERFACE;
    if (wanted.0, wanted.1) == (major, minor) && wanted.2 <= patch {
        return Ok(interface);
    }
    let remedy = if wanted > INTERFACE && wanted.0 != u64::MAX {
        "use a newer gateway, or rebuild the plugin with an older SDK"
    } else {
        "rebuild the plugin with a current SDK"
    };
    Err(LoadError::Refused(format!(
        "it was built for {name}; this gateway speaks postern:plugin {}: {remedy}",
        version(INTERFACE)
    )))
}

fn version((major, minor, patch): (u64, u64, u64)) -> String {
    format!("{major}.{minor}.{patch}")
}

fn check_grant(interface: &str, config: &PluginConfig) -> Result<(), LoadError> {
    let not_granted = |remedy: String| {
        Err(LoadError::NotGranted {
            import: format!("{PACKAGE}{interface}"),
            remedy,
        })
    };
    let grant = match interface {
        "identity" => Grant::Identity,
        "keys" => Grant::Keys,
        "limits" => Grant::Limits,
        "store" => Grant::Store,
        "metrics" => Grant::Metrics,
        "outbound" if config.upstreams.is_empty() => {
            return not_granted(
                "name the upstreams that it may call: upstreams = [\"...\"]".into(),
            );
        }
        "outbound" => return Ok(()),
        _ => {
            return Err(LoadError::Refused(format!(
                "it imports {PACKAGE}{interface}, which postern:plugin {} does not have",
                version(INTERFACE)
            )));
        }
    };
    if config.grants.contains(&grant) {
        return Ok(());
    }
    not_granted(format!(
        "if it may have it, add \"{interface}\" to its grants"
    ))
}

fn check_exports(exported: &[&str]) -> Result<(), LoadError> {
    let mut phases = 0;
    let mut lifecycle = false;
    for name in exported {
        let Some(rest) = name.strip_prefix(PACKAGE) else {
            continue;
        };
        match check_version(name, rest)? {
            "lifecycle" => lifecycle = true,
            "request-phase"
            | "request-body-phase"
            | "response-phase"
            | "response-body-phase"
            | "request-stream-phase"
            | "response-stream-phase"
            | "responder" => {
                phases += 1;
            }
            other => {
                return Err(LoadError::Refused(format!(
                    "it exports {PACKAGE}{other}, which postern:plugin {} does not have",
                    version(INTERFACE)
                )));
            }
        }
    }
    if lifecycle && phases > 0 {
        return Ok(());
    }
    let found = if exported.is_empty() {
        "nothing".into()
    } else {
        exported.join(", ")
    };
    Err(LoadError::Refused(format!(
        "it is a component, but not a plugin: a plugin exports {PACKAGE}lifecycle@{0} and at least one phase, this exports {found}",
        version(INTERFACE)
    )))
}

fn find_exports(pre: &InstancePre<State>) -> Result<Exports, LoadError> {
    let lifecycle = exports::lifecycle::GuestIndices::new(pre)
        .map_err(|error| LoadError::Refused(format!("its lifecycle does not fit: {error:#}")))?;
    Ok(Exports {
        lifecycle,
        request: exports::request_phase::GuestIndices::new(pre).ok(),
        request_body: exports::request_body_phase::GuestIndices::new(pre).ok(),
        response: exports::response_phase::GuestIndices::new(pre).ok(),
        response_body: exports::response_body_phase::GuestIndices::new(pre).ok(),
        request_stream: exports::request_stream_phase::GuestIndices::new(pre).ok(),
        response_stream: exports::response_stream_phase::GuestIndices::new(pre).ok(),
        responder: exports::responder::GuestIndices::new(pre).ok(),
    })
}
