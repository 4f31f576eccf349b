//! One metric of a plugin: its label sets and their values.

use std::collections::HashMap as StdHashMap;
use std::sync::{Arc, PoisonError, RwLock};

use hashbrown::{Equivalent, HashMap};
use prometheus::core::Metric as _;
use prometheus::proto::{Metric, MetricFamily, MetricType};
use prometheus::{Counter, Gauge, Histogram, HistogramOpts, Opts};
use smallvec::SmallVec;

use super::{GuestMetricKind, MAX_LABELS, ObserveError};

/// Most label sets of a metric, besides the one for all others.
const MAX_SETS: usize = 200;
/// Most bytes of a label value.
const MAX_VALUE_BYTES: usize = 128;
const OTHER: &str = "other";
const HELP: &str = "Defined by a plugin.";

#[derive(Debug)]
pub(super) struct Series {
    plugin: Arc<str>,
    kind: GuestMetricKind,
    name: Box<str>,
    labels: Box<[Box<str>]>,
    sets: RwLock<HashMap<Values, Child>>,
}

/// The label values of a set.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Values(Box<[Box<str>]>);

/// The same, borrowed from a call.
#[derive(Hash)]
struct Query<'a>(SmallVec<[&'a str; MAX_LABELS]>);

impl Equivalent<Values> for Query<'_> {
    fn equivalent(&self, values: &Values) -> bool {
        self.0
            .iter()
            .copied()
            .eq(values.0.iter().map(|value| &**value))
    }
}

#[derive(Debug)]
enum Child {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

impl Series {
    pub(super) fn new(
        plugin: Arc<str>,
        kind: GuestMetricKind,
        name: &str,
        labels: &[String],
    ) -> Self {
        let labels = labels.iter().map(|label| label.as_str().into()).collect();
        Self {
            plugin,
            kind,
            name: name.into(),
            labels,
            sets: RwLock::default(),
        }
    }

    pub(super) fn plugin(&self) -> &str {
        &self.plugin
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn kind(&self) -> GuestMetricKind {
        self.kind
    }

    pub(super) fn full_name(&self) -> String {
        format!("postern_plugin_{}", self.name)
    }

    /// Whether it is defined like this.
    pub(super) fn is(&self, kind: GuestMetricKind, name: &str, labels: &[String]) -> bool {
        let same = self
            .labels
            .iter()
            .map(|label| &**label)
            .eq(labels.iter().map(String::as_str));
        self.kind == kind && *self.name == *name && same
    }

    pub(super) fn observe(&self, value: f64, labels: &[String]) -> Result<(), ObserveError> {
        if labels.len() != self.labels.len() {
            return Err(ObserveError::Labels);
        }
        if value.is_nan()
            || (self.kind == GuestMetricKind::Counter && !(value >= 0.0 && value.is_finite()))
        {
            return Err(ObserveError::Value);
        }
        let query = Query(labels.iter().map(|value| cut(value)).collect());
        if let Some(child) = self
            .sets
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&query)
        {
            child.observe(value);
            return Ok(());
        }
        let mut sets = self.sets.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = !sets.contains_key(&query);
        let query = if is_new && sets.len() >= MAX_SETS {
            Query(labels.iter().map(|_| OTHER).collect())
        } else {
            query
        };
        if let Some(child) = sets.get(&query) {
            child.observe(value);
            return Ok(());
        }
        let child = self.child(&query);
        child.observe(value);
        sets.insert(Values(query.0.into_iter().map(Box::from).collect()), child);
        Ok(())
    }

    pub(super) fn family(&self) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.full_name());
        family.set_help(HELP.to_owned());
        family.set_field_type(match self.kind {
            GuestMetricKind::Counter => MetricType::COUNTER,
            GuestMetricKind::Gauge => MetricType::GAUGE,
            GuestMetricKind::Histogram => MetricType::HISTOGRAM,
        });
        family
    }

    /// All label sets, in a stable order.
    pub(super) fn gather(&self) -> Vec<Metric> {
        let sets = self.sets.read().unwrap_or_else(PoisonError::into_inner);
        let mut sets: Vec<_> = sets.iter().collect();
        sets.sort_by(|(one, _), (other, _)| one.0.cmp(&other.0));
        sets.into_iter().map(|(_, child)| child.metric()).collect()
    }

    fn child(&self, values: &Query<'_>) -> Child {
        let labels = self
            .labels
            .iter()
            .zip(&values.0)
            .map(|(label, value)| (label.to_string(), (*value).to_owned()));
        let mut labels: StdHashMap<_, _> = labels.collect();
        labels.insert("plugin".to_owned(), self.plugin.to_string());
        let options = Opts::new(self.full_name(), HELP).const_labels(labels);
        let valid = "names were checked when the metric was defined";
        match self.kind {
            GuestMetricKind::Counter => Child::Counter(Counter::with_opts(options).expect(valid)),
            GuestMetricKind::Gauge => Child::Gauge(Gauge::with_opts(options).expect(valid)),
            GuestMetricKind::Histogram => {
                let options = HistogramOpts {
                    common_opts: options,
                    buckets: prometheus::DEFAULT_BUCKETS.to_vec(),
                };
                Child::Histogram(Histogram::with_opts(options).expect(valid))
            }
        }
    }
}

impl Child {
    fn observe(&self, value: f64) {
        match self {
            Self::Counter(counter) => counter.inc_by(value),
            Self::Gauge(gauge) => gauge.set(value),
            Self::Histogram(histogram) => histogram.observe(value),
        }
    }

    fn metric(&self) -> Metric {
        match self {
            Self::Counter(counter) => counter.metric(),
            Self::Gauge(gauge) => gauge.metric(),
            Self::Histogram(histogram) => histogram.metric(),
        }
    }
}

fn cut(value: &str) -> &str {
    value
        .get(..value.floor_char_boundary(MAX_VALUE_BYTES))
        .unwrap_or(value)
}
