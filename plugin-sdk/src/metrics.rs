//! A plugin's own metrics, on the gateway's metrics page as `postern_plugin_NAME` with a `plugin` label. Grant: `metrics`.
//!
//! Define them in `configure`, keep them in the plugin. At most 16 metrics of at most 4 labels, and 200 different label
//! sets each; further ones count under the label value `other`. Names: lower-case letters, digits and `_`. Errors say which
//! of these rules is broken.

use crate::bindings::imports::postern::plugin::metrics::Kind;
use crate::host::call;

/// A number that only grows.
#[derive(Clone, Copy, Debug)]
pub struct Counter(u32);

/// A number that goes up and down.
#[derive(Clone, Copy, Debug)]
pub struct Gauge(u32);

/// A distribution; the buckets suit durations in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Histogram(u32);

impl Counter {
    /// Defines a counter; only from `configure`.
    pub fn define(name: &str, labels: &[&str]) -> Result<Self, String> {
        define(Kind::Counter, name, labels).map(Counter)
    }

    /// Adds a value that is not negative. Label values come in the order of the definition.
    pub fn add(&self, value: f64, labels: &[&str]) {
        observe(self.0, value, labels);
    }
}

impl Gauge {
    /// Defines a gauge; only from `configure`.
    pub fn define(name: &str, labels: &[&str]) -> Result<Self, String> {
        define(Kind::Gauge, name, labels).map(Gauge)
    }

    /// Sets the value. Label values come in the order of the definition.
    pub fn set(&self, value: f64, labels: &[&str]) {
        observe(self.0, value, labels);
    }
}

impl Histogram {
    /// Defines a histogram; only from `configure`.
    pub fn define(name: &str, labels: &[&str]) -> Result<Self, String> {
        define(Kind::Histogram, name, labels).map(Histogram)
    }

    /// Adds an observation. Label values come in the order of the definition.
    pub fn observe(&self, value: f64, labels: &[&str]) {
        observe(self.0, value, labels);
    }
}

fn define(kind: Kind, name: &str, labels: &[&str]) -> Result<u32, String> {
    call!(metrics::define(kind, name, &owned(labels)))
}

fn observe(metric: u32, value: f64, labels: &[&str]) {
    call!(metrics::observe(metric, value, &owned(labels)));
}

fn owned(labels: &[&str]) -> Vec<String> {
    labels.iter().map(|&label| label.to_owned()).collect()
}
