//! `[state]`: who keeps counters and keys.

use std::sync::Arc;
use std::time::Duration;

use super::Checker;
use super::quantity::TIMEOUT;
use crate::config::defaults as default;
use crate::config::entry::{Entry, Place};
use crate::config::file::{Field, RedisFile, StateFile};
use crate::config::resolved::{Position, RedisConfig, StateConfig};
use crate::config::secret::Secret;
use crate::config::state::{Backend, RedisAddress};
use crate::config::tls::TargetTls;

/// Longer than this, and clients wait for a server that is not there.
const MAX_ANSWER: Duration = Duration::from_secs(5);

impl Checker<'_> {
    pub(super) fn state(&mut self, table: Option<&Entry<'_, StateFile>>) -> StateConfig {
        let Some(Entry { file, place, .. }) = table else {
            return StateConfig::default();
        };
        let backend = file.backend.map_or(Backend::Memory, |word| word.0);
        if backend == Backend::Memory {
            if !place.is_lost(&place.here(), "backend") {
                self.of_servers_only(place, file);
            }
            return StateConfig::default();
        }
        let example = "{ url = \"redis://127.0.0.1:6379\" }";
        let redis = self.required(place, &place.here(), &file.redis, "redis", example);
        let redis = redis.and_then(|redis| {
            let here = place.at(redis);
            self.redis(place, &here, file, redis.get_ref())
        });
        StateConfig { redis }
    }

    /// What means nothing without a server.
    fn of_servers_only(&mut self, place: &Place<'_>, file: &StateFile) {
        let places = [
            file.redis.as_ref().map(|it| ("redis", place.at(it))),
            file.nodes.as_ref().map(|it| ("nodes", place.at(it))),
            file.on_failure
                .as_ref()
                .map(|it| ("on-failure", place.at(it))),
        ];
        for (key, position) in places.into_iter().flatten() {
            let message = format!("`{key}` means nothing with the state in memory");
            let help = "add `backend = \"redis\"` to `[state]`";
            self.report.at(&position, message, Some(help.into()));
        }
    }

    fn redis(
        &mut self,
        place: &Place<'_>,
        here: &Position,
        state: &StateFile,
        file: &RedisFile,
    ) -> Option<RedisConfig> {
        let timeout = self.duration(
            place,
            &file.timeout,
            default::DEFAULT_REDIS_TIMEOUT,
            Duration::from_millis(1)..=MAX_ANSWER,
        );
        let connect_timeout = self.duration(
            place,
            &file.connect_timeout,
            default::DEFAULT_REDIS_CONNECT_TIMEOUT,
            TIMEOUT,
        );
        let nodes = self.count(place, &state.nodes, default::DEFAULT_STATE_NODES, 1..=1_000);
        self.together(
            place,
            (&file.username, "username"),
            (&file.password, "password"),
        );
        let username = file.username.as_ref();
        let username = username.map(|name| self.not_empty(place, name));
        let password = self.password(place, &file.password);
        let url = self.required(place, here, &file.url, "url", "\"redis://127.0.0.1:6379\"")?;
        let address = url.get_ref().0.clone();
        let tls = self.redis_tls(place, &address, file);
        let prefix = file.prefix.as_ref();
        let on_failure = state.on_failure.as_ref();
        Some(RedisConfig {
            host: address.host,
            port: address.port,
            tls,
            database: address.database,
            username,
            password,
            prefix: prefix.map_or(default::DEFAULT_REDIS_PREFIX.into(), |prefix| {
                Arc::clone(&prefix.get_ref().0)
            }),
            timeout,
            connect_timeout,
            on_failure: on_failure
                .map_or(default::DEFAULT_STATE_ON_FAILURE, |word| word.get_ref().0),
            nodes,
        })
    }

    fn password(
        &mut self,
        place: &Place<'_>,
        reference: &Field<crate::config::reference::SecretReference>,
    ) -> Option<Secret> {
        let (position, password) = self.read(place, reference.as_ref()?)?;
        if std::str::from_utf8(password.reveal()).is_err() {
            self.report.at(&position, "the password is not UTF-8", None);
        }
        Some(password)
    }

    fn redis_tls(
        &mut self,
        place: &Place<'_>,
        address: &RedisAddress,
        file: &RedisFile,
    ) -> Option<TargetTls> {
        if !address.secure {
            if let Some(ca) = &file.ca {
                let help = "write `url = \"rediss://...\"`";
                let message = "TLS is not spoken to this server";
                self.report.at(&place.at(ca), message, Some(help.into()));
            }
            return None;
        }
        let tls = self.tls_of_server(place, file.ca.as_ref())?;
        let tls = tls.of_target(&address.host);
        if tls.is_none() {
            let message = format!("no certificate can be for {:?}", address.host);
            self.report.at(&place.here(), message, None);
        }
        tls
    }
}
