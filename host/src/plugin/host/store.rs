//! `store`: a small key-value store, private to each plugin.

use std::time::Duration;

use wasmtime::Result;

use crate::plugin::bindings::postern::plugin::store::{Entry, Host, StoreError};
use crate::plugin::ports::StoreFailure;
use crate::plugin::state::State;

impl Host for State {
    fn get(&mut self, key: String) -> Result<Result<Option<Entry>, StoreError>> {
        let entry = self.shared.services.stores.get(&self.shared.name, &key);
        let entry = entry.map(|entry| {
            entry.map(|(value, version)| Entry {
                value: value.into(),
                version,
            })
        });
        Ok(entry.map_err(export))
    }

    fn set(&mut self, key: String, value: Vec<u8>, ttl_ms: u64) -> Result<Result<(), StoreError>> {
        let stores = &self.shared.services.stores;
        Ok(stores
            .set(&self.shared.name, &key, value.into(), ttl(ttl_ms))
            .map_err(export))
    }

    fn compare_and_set(
        &mut self,
        key: String,
        expected: Option<u64>,
        value: Vec<u8>,
        ttl_ms: u64,
    ) -> Result<Result<u64, StoreError>> {
        let stores = &self.shared.services.stores;
        let version =
            stores.compare_and_set(&self.shared.name, &key, expected, value.into(), ttl(ttl_ms));
        Ok(version.map_err(export))
    }

    fn delete(&mut self, key: String) -> Result<Result<(), StoreError>> {
        Ok(self
            .shared
            .services
            .stores
            .delete(&self.shared.name, &key)
            .map_err(export))
    }

    fn add(&mut self, key: String, delta: i64, ttl_ms: u64) -> Result<Result<i64, StoreError>> {
        let stores = &self.shared.services.stores;
        Ok(stores
            .add(&self.shared.name, &key, delta, ttl(ttl_ms))
            .map_err(export))
    }
}

pub(super) fn ttl(millis: u64) -> Option<Duration> {
    (millis > 0).then(|| Duration::from_millis(millis))
}

pub(super) fn export(failure: StoreFailure) -> StoreError {
    match failure {
        StoreFailure::TooLarge => StoreError::TooLarge,
        StoreFailure::Conflict => StoreError::Conflict,
        StoreFailure::Unavailable(reason) => StoreError::Unavailable(reason),
    }
}
