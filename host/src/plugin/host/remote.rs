//! `limits` and `store` where the state is on a server: calls wait for its answer, so they suspend the guest.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::Linker;
use wasmtime::{Result, StoreContextMut};

use super::{limits, store};
use crate::plugin::bindings::postern::plugin::limits::{Host as _, Limit, Outcome, Rule};
use crate::plugin::bindings::postern::plugin::store::{Entry, StoreError};
use crate::plugin::ports::{Cost, RemoteState, StoreFailure};
use crate::plugin::state::State;

const LIMITS: &str = "postern:plugin/limits@0.1.0";
const STORE: &str = "postern:plugin/store@0.1.0";
const NOWHERE: &str = "configure cannot use the state";

type Context<'c> = StoreContextMut<'c, State>;

/// Links `limits`.
pub(in crate::plugin) fn add_limits(linker: &mut Linker<State>) -> Result<()> {
    let mut instance = linker.instance(LIMITS)?;
    instance.func_wrap_async(
        "take",
        |mut context: Context<'_>, (key, wanted, cost): (String, Vec<Limit>, u64)| {
            Box::new(async move {
                let state = context.data_mut();
                let rules = limits::plain(&key, &wanted);
                let decisions = take(state, &key, rules, limits::asked(cost)).await;
                let export = |all: Decided| all.iter().map(limits::export).collect::<Vec<_>>();
                Ok((decisions.map(export),))
            })
        },
    )?;
    instance.func_wrap_async(
        "decide",
        |mut context: Context<'_>, (key, wanted, cost): (String, Vec<Rule>, u64)| {
            Box::new(async move {
                let state = context.data_mut();
                let rules = limits::check(&key, &wanted);
                let decisions = take(state, &key, rules, limits::asked(cost)).await;
                Ok((decisions.map(outcomes),))
            })
        },
    )?;
    instance.func_wrap_async(
        "charge",
        |mut context: Context<'_>, (key, wanted, cost): (String, Vec<Rule>, u64)| {
            Box::new(async move {
                let state = context.data_mut();
                let rules = limits::check(&key, &wanted);
                let decisions = take(state, &key, rules, limits::spent(cost)).await;
                Ok((decisions.map(outcomes),))
            })
        },
    )?;
    instance.func_wrap(
        "enter",
        |mut context: Context<'_>, (key, most): (String, u64)| {
            Ok((context.data_mut().enter(key, most)?,))
        },
    )?;
    instance.func_wrap("of-tier", |mut context: Context<'_>, (tier,): (String,)| {
        Ok((context.data_mut().of_tier(tier)?,))
    })
}

/// Links `store`.
pub(in crate::plugin) fn add_store(linker: &mut Linker<State>) -> Result<()> {
    let mut instance = linker.instance(STORE)?;
    instance.func_wrap_async("get", |mut context: Context<'_>, (key,): (String,)| {
        Box::new(async move {
            let entry = get(context.data_mut(), &key).await;
            Ok((resumed(&context, entry),))
        })
    })?;
    instance.func_wrap_async(
        "set",
        |mut context: Context<'_>, (key, value, ttl): (String, Vec<u8>, u64)| {
            Box::new(async move {
                let written = set(context.data_mut(), &key, value, ttl).await;
                Ok((resumed(&context, written),))
            })
        },
    )?;
    instance.func_wrap_async(
        "compare-and-set",
        |mut context: Context<'_>,
         (key, expected, value, ttl): (String, Option<u64>, Vec<u8>, u64)| {
            Box::new(async move {
                let state = context.data_mut();
                let version = compare_and_set(state, &key, expected, value, ttl).await;
                Ok((resumed(&context, version),))
            })
        },
    )?;
    instance.func_wrap_async("delete", |mut context: Context<'_>, (key,): (String,)| {
        Box::new(async move {
            let deleted = delete(context.data_mut(), &key).await;
            Ok((resumed(&context, deleted),))
        })
    })?;
    instance.func_wrap_async(
        "add",
        |mut context: Context<'_>, (key, delta, ttl): (String, i64, u64)| {
            Box::new(async move {
                let sum = add(context.data_mut(), &key, delta, ttl).await;
                Ok((resumed(&context, sum),))
            })
        },
    )
}

/// Others ran while the guest waited: their time is not its own.
fn resumed<T>(
    context: &Context<'_>,
    result: std::result::Result<T, StoreFailure>,
) -> std::result::Result<T, StoreError> {
    context.data().cpu.running().begins();
    result.map_err(store::export)
}

type Decided = Vec<crate::plugin::ports::Decision>;

fn outcomes(decisions: Decided) -> Vec<Outcome> {
    decisions.iter().map(limits::export_outcome).collect()
}

async fn take(
    state: &State,
    key: &str,
    rules: std::result::Result<limits::Rules, String>,
    cost: Cost,
) -> std::result::Result<Decided, String> {
    let rules = rules?;
    let (remote, name) = remote(state).ok_or(NOWHERE)?;
    let decisions = remote.take(state.worker, name, key, &rules, cost).await;
    state.cpu.running().begins();
    decisions
}

type Stored<T> = std::result::Result<T, StoreFailure>;

async fn get(state: &State, key: &str) -> Stored<Option<Entry>> {
    let (remote, name) = place(state)?;
    let entry = remote.get(state.worker, name, key).await?;
    Ok(entry.map(|(value, version)| Entry {
        value: value.into(),
        version,
    }))
}

async fn set(state: &State, key: &str, value: Vec<u8>, ttl: u64) -> Stored<()> {
    let (remote, name) = place(state)?;
    let (value, ttl) = (Bytes::from(value), store::ttl(ttl));
    remote.set(state.worker, name, key, value, ttl).await
}

async fn compare_and_set(
    state: &State,
    key: &str,
    expected: Option<u64>,
    value: Vec<u8>,
    ttl: u64,
) -> Stored<u64> {
    let (remote, name) = place(state)?;
    let (value, ttl) = (Bytes::from(value), store::ttl(ttl));
    remote
        .compare_and_set(state.worker, name, key, expected, value, ttl)
        .await
}

async fn delete(state: &State, key: &str) -> Stored<()> {
    let (remote, name) = place(state)?;
    remote.delete(state.worker, name, key).await
}

async fn add(state: &State, key: &str, delta: i64, ttl: u64) -> Stored<i64> {
    let (remote, name) = place(state)?;
    remote
        .add(state.worker, name, key, delta, store::ttl(ttl))
        .await
}

fn place(state: &State) -> Stored<(&Arc<dyn RemoteState>, &str)> {
    let nowhere = || StoreFailure::Unavailable(NOWHERE.into());
    remote(state).ok_or_else(nowhere)
}

/// The server, and the namespace of the plugin. None in `configure`, which runs on no worker.
fn remote(state: &State) -> Option<(&Arc<dyn RemoteState>, &str)> {
    state.exchange.as_ref()?;
    let remote = state.shared.services.remote.as_ref()?;
    Some((remote, &state.shared.name))
}
