//! Durations, sizes and counts within sane ranges.
//!
//! The ranges are wide: they catch a slip, such as `"30days"` for `"30s"`, and what would break a layer below.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;

use super::Checker;
use crate::config::entry::Place;
use crate::config::file::Field;
use crate::config::units::{DurationText, SizeText, show_size};

const MILLISECOND: Duration = Duration::from_millis(1);

/// What a timeout may be: no zero, which some programs read as "never" and others as "at once".
pub(super) const TIMEOUT: RangeInclusive<Duration> =
    MILLISECOND..=Duration::from_secs(24 * 60 * 60);

impl Checker<'_> {
    /// A duration within `range`.
    pub(super) fn duration(
        &mut self,
        place: &Place<'_>,
        field: &Field<DurationText>,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(value) = field else {
            return default;
        };
        let show = |duration: &Duration| humantime::format_duration(*duration).to_string();
        self.within(place, value, &value.get_ref().0, &range, show);
        value.get_ref().0
    }

    /// A timeout, if there is one.
    pub(super) fn timeout(
        &mut self,
        place: &Place<'_>,
        field: &Field<DurationText>,
    ) -> Option<Duration> {
        let is_some = field.is_some();
        is_some.then(|| self.duration(place, field, *TIMEOUT.end(), TIMEOUT))
    }

    /// A size within `range`.
    pub(super) fn size(
        &mut self,
        place: &Place<'_>,
        field: &Field<SizeText>,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> u64 {
        let Some(value) = field else {
            return default;
        };
        self.within(place, value, &value.get_ref().0, &range, |size| {
            show_size(*size)
        });
        value.get_ref().0
    }

    /// A size that fits into memory.
    pub(super) fn memory_size(
        &mut self,
        place: &Place<'_>,
        field: &Field<SizeText>,
        default: usize,
        range: RangeInclusive<u64>,
    ) -> usize {
        usize::try_from(self.size(place, field, default as u64, range)).unwrap_or(usize::MAX)
    }

    /// A number within `range`, if there is one.
    pub(super) fn limit<N>(
        &mut self,
        place: &Place<'_>,
        field: &Field<u64>,
        range: RangeInclusive<u64>,
    ) -> Option<N>
    where
        N: TryFrom<u64> + Default,
    {
        let is_some = field.is_some();
        is_some.then(|| self.count(place, field, N::default(), range))
    }

    /// A number within `range`.
    pub(super) fn count<N>(
        &mut self,
        place: &Place<'_>,
        field: &Field<u64>,
        default: N,
        range: RangeInclusive<u64>,
    ) -> N
    where
        N: TryFrom<u64>,
    {
        let Some(value) = field else {
            return default;
        };
        self.within(place, value, value.get_ref(), &range, u64::to_string);
        // Outside of the range there is a problem already, and the stand-in is never used.
        N::try_from(*value.get_ref()).unwrap_or(default)
    }

    fn within<V, T, S>(
        &mut self,
        place: &Place<'_>,
        value: &Spanned<V>,
        found: &T,
        range: &RangeInclusive<T>,
        show: S,
    ) where
        T: PartialOrd,
        S: Fn(&T) -> String,
    {
        if !range.contains(found) {
            let message = outside(show(range.start()), show(range.end()), show(found));
            self.report.at(&place.at(value), message, None);
        }
    }
}

fn outside(least: impl Display, most: impl Display, found: impl Display) -> String {
    format!("expected {least} to {most}, found {found}")
}
