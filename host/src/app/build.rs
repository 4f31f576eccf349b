//! From a checked configuration to a snapshot that can serve: keys, plugins, router, upstreams.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::assembly::Assembly;
use super::key_sets::{FetchedSets, KeySets};
use super::remote::SharedState;
use super::services::{self, State};
use crate::clock::Clock;
use crate::config::{
    Config, FallbackTo, OriginConfig, PluginConfig, Problem, Problems, RouteConfig,
};
use crate::identity::Keys;
use crate::plugin::{Code, Engine, LoadError, Plugin, Services};
use crate::proxy::{Drills, Snapshot};
use crate::router::Router;
use crate::state::Redis;
use crate::telemetry::{AccessLog, ExchangeRecorder, Metrics};
use crate::upstream::discovery::{Discoveries, Prepared};
use crate::upstream::{Dns, Upstreams};

/// What outlives configurations, and makes snapshots of them.
pub(super) struct Builder {
    pub(super) engine: Engine,
    pub(super) metrics: Arc<Metrics>,
    pub(super) access_log: Arc<AccessLog>,
    pub(super) state: Arc<State>,
    /// Where the state is on a server.
    remote: Option<Arc<SharedState>>,
    pub(super) clock: Clock,
    pub(super) workers: usize,
    pub(super) dns: Arc<Dns>,
    pub(super) discoveries: Discoveries,
    key_sets: KeySets,
    /// Where they are allowed.
    pub(super) drills: Option<Arc<Drills>>,
    codes: Mutex<HashMap<PathBuf, Code>>,
}

/// A configuration that serves, and what is needed to replace one of its plugins.
pub(super) struct Generation {
    pub(super) config: Arc<Config>,
    pub(super) services: Services,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) sources: Sources,
}

/// Where others know what a configuration does not say.
#[derive(Clone, Default)]
pub(super) struct Sources {
    targets: Prepared,
    keys: FetchedSets,
}

impl Builder {
    pub(super) fn new(
        engine: Engine,
        metrics: Arc<Metrics>,
        access_log: Arc<AccessLog>,
        clock: Clock,
        (workers, dns): (usize, Arc<Dns>),
        config: &Config,
    ) -> Self {
        let admin = config.admin.as_ref();
        let allows_drills = admin.is_some_and(|admin| admin.allow_drills);
        let drills = allows_drills.then(|| Arc::new(Drills::new(clock.clone())));
        let state = Arc::new(State::new(clock.clone()));
        let remote = config.state.redis.as_ref().map(|config| {
            let redis = Redis::new(config, workers, &metrics.state());
            Arc::new(SharedState::new(redis, Arc::clone(&state)))
        });
        let key_sets = KeySets::new(Arc::clone(&dns));
        let discoveries = Discoveries::new(Arc::clone(&dns), clock.clone(), Arc::clone(&metrics));
        Self {
            engine,
            metrics,
            access_log,
            state,
            remote,
            clock,
            workers,
            dns,
            discoveries,
            key_sets,
            drills,
            codes: Mutex::default(),
        }
    }

    /// Makes a snapshot of a configuration that is to serve, with the targets that its sources find.
    pub(super) async fn begin(
        &self,
        config: Config,
        previous: Option<&Generation>,
    ) -> Result<Generation, Problems> {
        let targets = self.discoveries.prepare(&config.upstreams);
        let (targets, keys) = tokio::join!(targets, self.key_sets.prepare(&config.key_sets));
        self.build(config, Sources { targets, keys }, previous)
            .await
    }

    /// Makes a snapshot of a configuration, with the targets that `sources` know. Code and connections that `previous` has
    /// too are kept.
    pub(super) async fn build(
        &self,
        config: Config,
        sources: Sources,
        previous: Option<&Generation>,
    ) -> Result<Generation, Problems> {
        let config = Arc::new(config);
        let mut problems = Vec::new();
        let router = router(&config, &mut problems);
        let keys = keys(&config, &sources.keys, &self.clock, &mut problems);
        let Some(keys) = keys else {
            return Err(Problems::new(problems, &config.texts));
        };
        let services = services::services(
            &config,
            keys,
            (&self.state, self.remote.as_ref()),
            &self.clock,
        );
        let loads = config
            .plugins
            .iter()
            .map(|plugin| self.plugin(plugin, &services));
        let mut plugins = Vec::new();
        for (plugin, config) in futures_util::future::join_all(loads)
            .await
            .into_iter()
            .zip(&config.plugins)
        {
            match plugin {
                Ok(plugin) => plugins.push(Arc::new(plugin)),
                Err(error) => problems.push(self.problem(config, &error)),
            }
        }
        check_roles(&config, &plugins, &mut problems);
        let (Some(router), true) = (router, problems.is_empty()) else {
            return Err(Problems::new(problems, &config.texts));
        };
        let before = previous.map(|generation| &generation.snapshot);
        let kept = before.map(|snapshot| &*snapshot.upstreams);
        let upstreams = Arc::new(Upstreams::new(
            &sources.targets.fill(&config.upstreams),
            kept,
            self.workers,
            &self.clock,
            &self.metrics,
            &self.dns,
        ));
        let generation = before.map_or(1, |snapshot| snapshot.generation + 1);
        let snapshot = self.assemble(&config, generation, router, upstreams, plugins);
        Ok(Generation {
            config,
            services,
            snapshot: Arc::new(snapshot),
            sources,
        })
    }

    /// Loads and configures one plugin.
    pub(super) async fn plugin(
        &self,
        config: &PluginConfig,
        services: &Services,
    ) -> Result<Plugin, LoadError> {
        let code = self.code(config)?;
        let metrics = (
            self.metrics.plugin(&config.name),
            self.metrics.prepare_guest(&config.name),
        );
        Plugin::new(
            &self.engine,
            &code,
            config,
            services.clone(),
            metrics,
            self.workers,
        )
        .await
    }

    /// The same configuration with other plugins.
    pub(super) fn replace(
        &self,
        current: &Generation,
        plugins: Vec<Arc<Plugin>>,
    ) -> Result<Generation, Problems> {
        let config = Arc::clone(&current.config);
        let mut problems = Vec::new();
        check_roles(&config, &plugins, &mut problems);
        let (Some(router), true) = (router(&config, &mut problems), problems.is_empty()) else {
            return Err(Problems::new(problems, &config.texts));
        };
        let generation = current.snapshot.generation + 1;
        let upstreams = Arc::clone(&current.snapshot.upstreams);
        let snapshot = self.assemble(&config, generation, router, upstreams, plugins);
        Ok(Generation {
            config,
            services: current.services.clone(),
            snapshot: Arc::new(snapshot),
            sources: current.sources.clone(),
        })
    }

    /// Brings metrics and discovery in line with the generation that serves from now on.
    pub(super) fn published(&self, generation: &Generation, previous: Option<&Generation>) {
        self.discoveries
            .publish(&generation.sources.targets, &generation.snapshot.upstreams);
        self.key_sets.publish(&generation.sources.keys);
        self.metrics
            .set_config_generation(generation.snapshot.generation);
        for plugin in &generation.snapshot.plugins {
            self.metrics.publish_guest(plugin.guest_metrics());
        }
        let Some(before) = previous.map(|previous| &previous.config) else {
            return;
        };
        let now = &generation.config;
        for route in before
            .routes
            .iter()
            .filter(|old| now.routes.iter().all(|new| new.name != old.name))
        {
            self.metrics.forget_route(&route.name);
        }
        for plugin in before
            .plugins
            .iter()
            .filter(|old| now.plugins.iter().all(|new| new.name != old.name))
        {
            self.metrics.forget_plugin(&plugin.name);
        }
        for upstream in before
            .upstreams
            .iter()
            .filter(|old| now.upstreams.iter().all(|new| new.name != old.name))
        {
            self.metrics.forget_upstream(&upstream.name);
        }
        self.state
            .retain_stores(|name| now.plugins.iter().any(|plugin| *plugin.name == *name));
    }

    /// The code of a plugin's file, compiled now if the file is not what it was.
    fn code(&self, config: &PluginConfig) -> Result<Code, LoadError> {
        let digest = crate::plugin::digest(&config.file)?;
        let known = self
            .lock()
            .get(&config.file)
            .filter(|code| code.digest() == digest)
            .cloned();
        if let Some(code) = known {
            return Ok(code);
        }
        // The compiler takes its time; the admin listener, on the same runtime, must not wait for it.
        let code = tokio::task::block_in_place(|| Code::load(&self.engine, &config.file))?;
        self.lock().insert(config.file.clone(), code.clone());
        Ok(code)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Code>> {
        self.codes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A load error, at the place in the configuration that it is about.
    pub(super) fn problem(&self, config: &PluginConfig, error: &LoadError) -> Problem {
        let help = match error {
            LoadError::Configuration(_) => None,
            _ => Some(format!("the plugin's file is {}", config.file.display())),
        };
        Problem::at(
            &config.position,
            format!("plugin {:?}: {error}", config.name),
            help,
        )
    }

    fn assemble(
        &self,
        config: &Config,
        generation: u64,
        router: Router,
        upstreams: Arc<Upstreams>,
        plugins: Vec<Arc<Plugin>>,
    ) -> Snapshot {
        let assembly = Assembly::new(&upstreams, &plugins, &self.metrics, self.drills.as_deref());
        let routes = config
            .routes
            .iter()
            .map(|route| assembly.route(route))
            .collect();
        let (metrics, access_log) = (Arc::clone(&self.metrics), Arc::clone(&self.access_log));
        let route_names = config.routes.iter().map(|route| &route.name);
        let upstream_names = config.upstreams.iter().map(|upstream| &upstream.name);
        let recorder = Arc::new(ExchangeRecorder::new(
            metrics,
            access_log,
            route_names,
            upstream_names,
        ));
        Snapshot {
            generation,
            router,
            routes,
            upstreams,
            plugins,
            importances: config.importances.clone(),
            recorder,
        }
    }
}

/// The router, or what is wrong with the routes.
pub(super) fn router(config: &Config, problems: &mut Vec<Problem>) -> Option<Router> {
    let conflicts = match Router::build(&config.routes) {
        Ok(router) => return Some(router),
        Err(conflicts) => conflicts,
    };
    for conflict in conflicts {
        let (Some(first), Some(second)) = (
            config.routes.get(conflict.first),
            config.routes.get(conflict.second),
        ) else {
            continue;
        };
        if conflict.first == conflict.second {
            let message = format!("route {:?}: {}", first.name, conflict.reason);
            problems.push(Problem::at(&first.position, message, None));
            continue;
        }
        let message = format!(
            "route {:?} and route {:?}: {}",
            first.name, second.name, conflict.reason
        );
        let help = "give one of them a `priority`, other hosts, another path, other methods, or more conditions";
        problems.push(Problem::at(&second.position, message, Some(help.into())));
    }
    None
}

fn keys(
    config: &Config,
    fetched: &FetchedSets,
    clock: &Clock,
    problems: &mut Vec<Problem>,
) -> Option<Keys> {
    let keys = Keys::build(&config.keys, &config.consumers, clock);
    match keys.and_then(|keys| keys.with_sets(&config.key_sets, fetched.keys())) {
        Ok(keys) => {
            for warning in keys.warnings() {
                tracing::warn!(key = %warning.position.key, "{}", warning.message);
            }
            Some(keys)
        }
        Err(errors) => {
            problems.extend(
                errors
                    .into_iter()
                    .map(|error| Problem::at(&error.position, error.message, None)),
            );
            None
        }
    }
}

fn find<'p>(plugins: &'p [Arc<Plugin>], name: &str) -> Option<&'p Arc<Plugin>> {
    plugins.iter().find(|plugin| **plugin.name() == *name)
}

/// The plugins that a route names as responders.
fn responders(route: &RouteConfig) -> impl Iterator<Item = &Arc<str>> {
    let origin = match &route.origin {
        OriginConfig::Responder(name) => Some(name),
        _ => None,
    };
    let fallbacks = route.fallback.iter().filter_map(|step| match &step.to {
        FallbackTo::Responder(name) => Some(name),
        _ => None,
    });
    origin.into_iter().chain(fallbacks)
}

/// A responder must respond, and a plugin in a chain must have something to do there.
fn check_roles(config: &Config, plugins: &[Arc<Plugin>], problems: &mut Vec<Problem>) {
    for route in &config.routes {
        let unfit = responders(route)
            .filter(|name| find(plugins, name).is_some_and(|plugin| !plugin.is_responder()));
        for name in unfit {
            let message = format!(
                "plugin {name:?} cannot be a responder: it does not export postern:plugin/responder"
            );
            problems.push(Problem::at(&route.position, message, None));
        }
        for name in &route.plugins {
            if find(plugins, name).is_some_and(|plugin| !plugin.has_phases()) {
                let message = format!(
                    "plugin {name:?} does nothing in a chain: it exports no request or response phase"
                );
                let help = Some(format!(
                    "name it as the route's responder: responder = {name:?}"
                ));
                problems.push(Problem::at(&route.position, message, help));
            }
        }
    }
}
