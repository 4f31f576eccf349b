//! A configuration looked at without serving: for `postern check`, `postern routes` and `postern explain`.

use std::sync::Arc;

use super::build::Sources;
use super::{StartError, build, builder, control_runtime};
use crate::config::{Config, Problems};
use crate::proxy::Snapshot;
use crate::router::Router;
use crate::telemetry::Metrics;

/// A configuration, and what would serve it.
pub struct Inspection {
    /// The configuration.
    pub config: Arc<Config>,
    /// Its routes, plugins and upstreams.
    pub snapshot: Arc<Snapshot>,
}

/// Does all that a start does, up to opening sockets: plugins are loaded and configured.
///
/// # Errors
/// Everything that is wrong with the configuration.
pub fn inspect(config: Config) -> Result<Inspection, StartError> {
    let control = control_runtime()?;
    let (builder, _) = builder(&config, Arc::new(Metrics::new()), control.handle())?;
    // Nobody is asked for targets: a check must not depend on who is there.
    let generation = control.block_on(builder.build(config, Sources::default(), None));
    let generation = generation.map_err(StartError::Config)?;
    Ok(Inspection {
        config: generation.config,
        snapshot: generation.snapshot,
    })
}

/// Checks a configuration as far as a start would, up to opening sockets. Returns what a person may want to know.
///
/// # Errors
/// Everything that is wrong with it.
pub fn check(config: Config) -> Result<String, StartError> {
    let Inspection { snapshot, .. } = inspect(config)?;
    Ok(format!(
        "{} routes, {} plugins, {} upstreams",
        snapshot.routes.len(),
        snapshot.plugins.len(),
        snapshot.upstreams.iter().count()
    ))
}

/// The router of a configuration, without its plugins.
///
/// # Errors
/// All routes that stand in each other's way.
pub fn router(config: &Config) -> Result<Router, StartError> {
    let mut problems = Vec::new();
    build::router(config, &mut problems)
        .ok_or_else(|| StartError::Config(Problems::new(problems, &config.texts)))
}
