//! Metrics that plugins define (`wit/metrics.wit`).
//!
//! What a plugin sends is a stranger's input: the number of metrics, labels and label sets and the length of values are
//! bounded, and no plugin can take the name of a metric of the gateway or give another's metric a second kind.
//! Definitions belong to one load of a plugin, so that a new version may define them differently; metrics that it defines
//! as before go on counting.

mod series;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use prometheus::proto::MetricFamily;

use super::metrics::RESERVED_FOR_PLUGINS;
use series::Series;

/// Most metrics of a plugin.
const MAX_METRICS: usize = 16;
/// Most labels of a metric.
const MAX_LABELS: usize = 4;
/// Most characters of a name.
const MAX_NAME: usize = 64;

/// What a metric of a plugin does with values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestMetricKind {
    /// Adds values that are not negative.
    Counter,
    /// Keeps the last value.
    Gauge,
    /// Counts values in buckets that suit seconds.
    Histogram,
}

impl fmt::Display for GuestMetricKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

/// Why a value was not recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ObserveError {
    /// The number was not returned by `define`.
    #[error("no metric has this number")]
    UnknownMetric,
    /// Label values and labels differ in number.
    #[error("the metric has another number of labels")]
    Labels,
    /// Not a number, or negative for a counter.
    #[error("a value must be a number, and for a counter not negative")]
    Value,
}

/// What the plugins of a gateway have defined.
#[derive(Debug, Default)]
pub(super) struct GuestRegistry {
    published: Mutex<BTreeMap<Arc<str>, Arc<GuestMetrics>>>,
    /// Every metric that some load of some plugin holds, so that its name has one kind.
    known: Arc<Mutex<Vec<Weak<Series>>>>,
}

impl GuestRegistry {
    pub(super) fn prepare(&self, plugin: &str) -> Arc<GuestMetrics> {
        let published = self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = published
            .get(plugin)
            .map(|metrics| metrics.all().cloned().collect())
            .unwrap_or_default();
        let known = self.known.clone();
        Arc::new(GuestMetrics {
            plugin: plugin.into(),
            metrics: Default::default(),
            define: Mutex::new(before),
            known,
        })
    }

    pub(super) fn publish(&self, metrics: &Arc<GuestMetrics>) {
        // What was defined before and is not now may go.
        metrics
            .define
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        let mut published = self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        published.insert(metrics.plugin.clone(), metrics.clone());
    }

    pub(super) fn forget(&self, plugin: &str) {
        self.published
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(plugin);
    }

    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        let published: Vec<_> = self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect();
        let mut families: BTreeMap<String, MetricFamily> = BTreeMap::new();
        for series in published.iter().flat_map(|metrics| metrics.all()) {
            let family = families
                .entry(series.full_name())
                .or_insert_with(|| series.family());
            family.mut_metric().extend(series.gather());
        }
        families
            .into_values()
            .filter(|family| !family.get_metric().is_empty())
            .collect()
    }
}

/// The metrics of one load of a plugin.
#[derive(Debug)]
pub struct GuestMetrics {
    plugin: Arc<str>,
    /// By number. Read without a lock, filled from the front.
    metrics: [OnceLock<Arc<Series>>; MAX_METRICS],
    /// Held while defining: what the load before had, until this one is published.
    define: Mutex<Vec<Arc<Series>>>,
    known: Arc<Mutex<Vec<Weak<Series>>>>,
}

impl GuestMetrics {
    /// The number of a metric. Defining it again gives the same number.
    ///
    /// # Errors
    /// A sentence for the author of the plugin.
    pub fn define(
        &self,
        kind: GuestMetricKind,
        name: &str,
        labels: &[String],
    ) -> Result<u32, String> {
        check_name(name)?;
        check_labels(name, labels)?;
        let before = self.define.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, slot) in (0..).zip(&self.metrics) {
            let Some(known) = slot.get() else {
                let same = before.iter().find(|series| series.is(kind, name, labels));
                let series = match same {
                    Some(series) => series.clone(),
                    None => self.new_series(kind, name, labels)?,
                };
                // Cannot be taken: the lock is held.
                let _ = slot.set(series);
                return Ok(number);
            };
            if known.is(kind, name, labels) {
                return Ok(number);
            }
            if known.name() == name {
                return Err(format!(
                    "metric \"{name}\" is defined twice, with another kind or other labels"
                ));
            }
        }
        Err(format!(
            "metric \"{name}\": a plugin defines at most {MAX_METRICS} metrics"
        ))
    }

    /// Records a value.
    ///
    /// # Errors
    /// When the call does not fit the definition; nothing is recorded then.
    pub fn observe(&self, metric: u32, value: f64, labels: &[String]) -> Result<(), ObserveError> {
        let slot = usize::try_from(metric)
            .ok()
            .and_then(|number| self.metrics.get(number));
        slot.and_then(OnceLock::get)
            .ok_or(ObserveError::UnknownMetric)?
            .observe(value, labels)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Series>> {
        self.metrics.iter().filter_map(OnceLock::get)
    }

    fn new_series(
        &self,
        kind: GuestMetricKind,
        name: &str,
        labels: &[String],
    ) -> Result<Arc<Series>, String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|series| series.strong_count() > 0);
        let others = known
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|other| *other.plugin() != *self.plugin);
        if let Some(other) = others
            .into_iter()
            .find(|other| other.name() == name && other.kind() != kind)
        {
            let (kind, plugin) = (other.kind(), other.plugin());
            return Err(format!(
                "metric \"{name}\" is a {kind} of plugin \"{plugin}\"; a name has one kind"
            ));
        }
        let series = Arc::new(Series::new(self.plugin.clone(), kind, name, labels));
        known.push(Arc::downgrade(&series));
        Ok(series)
    }
}

fn check_name(name: &str) -> Result<(), String> {
    check_word("metric", name)?;
    if RESERVED_FOR_PLUGINS.contains(&name) {
        return Err(format!("metric \"{name}\": the name is the gateway's own"));
    }
    // They would be taken for parts of a histogram.
    if ["_bucket", "_sum", "_count"]
        .iter()
        .any(|ending| name.ends_with(ending))
    {
        return Err(format!(
            "metric \"{name}\": a name cannot end in _bucket, _sum or _count"
        ));
    }
    Ok(())
}

fn check_labels(metric: &str, labels: &[String]) -> Result<(), String> {
    if labels.len() > MAX_LABELS {
        return Err(format!(
            "metric \"{metric}\": at most {MAX_LABELS} labels, these are {}",
            labels.len()
        ));
    }
    for (number, label) in labels.iter().enumerate() {
        check_word("label", label)?;
        if matches!(label.as_str(), "plugin" | "le") {
            return Err(format!(
                "metric \"{metric}\": the label \"{label}\" is the gateway's own"
            ));
        }
        if labels.iter().take(number).any(|other| other == label) {
            return Err(format!(
                "metric \"{metric}\": the label \"{label}\" stands twice"
            ));
        }
    }
    Ok(())
}

fn check_word(what: &str, word: &str) -> Result<(), String> {
    let valid = word
        .bytes()
        .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if valid && word.len() <= MAX_NAME && word.starts_with(|first: char| first.is_ascii_lowercase())
    {
        return Ok(());
    }
    Err(format!(
        "{what} \"{}\": a name consists of lower-case letters, digits and \"_\", begins with a letter and has at most \
         {MAX_NAME} characters",
        word.escape_default()
    ))
}

#[cfg(test)]
mod tests;
