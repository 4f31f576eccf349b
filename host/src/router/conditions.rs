//! What a route wants of a request's headers and query, beyond host, path and method.

use std::borrow::Cow;
use std::cmp::Ordering;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode_str;
use regex::bytes::Regex;

use crate::config::{ConditionConfig, TestConfig, whole_regex};

/// Conditions on headers and query parameters: all must hold.
#[derive(Debug, Default)]
pub struct Conditions {
    headers: Vec<(HeaderName, Test)>,
    query: Vec<(Box<str>, Test)>,
}

/// What is wanted of one value.
#[derive(Debug)]
pub enum Test {
    /// It is this.
    Exact(Box<[u8]>),
    /// The whole of it matches.
    Regex(Regex),
    /// It is there, whatever it is.
    Present,
    /// It is not there.
    Absent,
}

impl Test {
    /// Makes a test of its configuration.
    ///
    /// # Errors
    /// A sentence, when it is a regular expression that cannot be used.
    pub fn new(config: &TestConfig) -> Result<Self, String> {
        Ok(match config {
            TestConfig::Exact(text) => Self::Exact(text.as_bytes().into()),
            TestConfig::Regex(text) => Self::Regex(whole_regex(text)?),
            TestConfig::Present => Self::Present,
            TestConfig::Absent => Self::Absent,
        })
    }

    /// Whether a value, or there being none, is what is wanted.
    #[must_use]
    pub fn holds(&self, value: Option<&[u8]>) -> bool {
        match (self, value) {
            (Self::Exact(wanted), Some(value)) => **wanted == *value,
            (Self::Regex(regex), Some(value)) => regex.is_match(value),
            (Self::Present, value) => value.is_some(),
            (Self::Absent, value) => value.is_none(),
            (Self::Exact(_) | Self::Regex(_), None) => false,
        }
    }

    /// Whether no value passes both.
    fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(one), Self::Exact(two)) => one != two,
            (Self::Exact(text), Self::Regex(regex)) | (Self::Regex(regex), Self::Exact(text)) => {
                !regex.is_match(text)
            }
            (Self::Absent, other) | (other, Self::Absent) => !matches!(other, Self::Absent),
            (Self::Regex(_) | Self::Present, _) | (_, Self::Present) => false,
        }
    }
}

/// How much conditions ask for; the greater goes first. How many there are counts before how exact they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    count: usize,
    exact: usize,
    regex: usize,
}

impl Conditions {
    /// Makes conditions of their configuration.
    ///
    /// # Errors
    /// A sentence, when one cannot be used.
    pub fn new(headers: &[ConditionConfig], query: &[ConditionConfig]) -> Result<Self, String> {
        let header = |condition: &ConditionConfig| {
            let name = HeaderName::from_bytes(condition.name.as_bytes())
                .map_err(|_| format!("{:?} is not a header name", condition.name))?;
            Ok((name, Test::new(&condition.test)?))
        };
        let parameter = |condition: &ConditionConfig| {
            Ok((Box::from(&*condition.name), Test::new(&condition.test)?))
        };
        Ok(Self {
            headers: headers.iter().map(header).collect::<Result<_, String>>()?,
            query: query.iter().map(parameter).collect::<Result<_, String>>()?,
        })
    }

    /// Whether all conditions hold.
    #[must_use]
    pub fn hold(&self, headers: &HeaderMap, query: Option<&str>) -> bool {
        let header =
            |(name, test): &(HeaderName, Test)| test.holds(value(headers, name).as_deref());
        let parameter = |(name, test): &(Box<str>, Test)| {
            let found = query.and_then(|query| parameter(query, name));
            test.holds(found.as_deref().map(str::as_bytes))
        };
        self.headers.iter().all(header) && self.query.iter().all(parameter)
    }

    pub(super) fn rank(&self) -> Rank {
        let tests = || {
            let headers = self.headers.iter().map(|(_, test)| test);
            headers.chain(self.query.iter().map(|(_, test)| test))
        };
        Rank {
            count: tests().count(),
            exact: tests()
                .filter(|test| matches!(test, Test::Exact(_)))
                .count(),
            regex: tests()
                .filter(|test| matches!(test, Test::Regex(_)))
                .count(),
        }
    }

    /// Whether no request can meet both.
    pub(super) fn exclude(&self, other: &Self) -> bool {
        excludes(&self.headers, &other.headers) || excludes(&self.query, &other.query)
    }
}

fn excludes<N: PartialEq>(one: &[(N, Test)], two: &[(N, Test)]) -> bool {
    one.iter().any(|(name, test)| {
        let same = two.iter().filter(|(other, _)| other == name);
        same.into_iter().any(|(_, other)| test.excludes(other))
    })
}

/// Whether there are conditions, and how two sets of them are ordered: the one that asks for more goes first.
pub(super) fn order(one: Option<&Conditions>, two: Option<&Conditions>) -> Ordering {
    let rank =
        |conditions: Option<&Conditions>| conditions.map(Conditions::rank).unwrap_or_default();
    rank(two).cmp(&rank(one))
}

/// The value of a field; that of several lines is their list (RFC 9110, 5.3).
fn value<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<Cow<'h, [u8]>> {
    let mut values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let first = values.next()?;
    let Some(second) = values.next() else {
        return Some(Cow::Borrowed(first));
    };
    let mut all = first.to_vec();
    for value in std::iter::once(second).chain(values) {
        all.extend_from_slice(b", ");
        all.extend_from_slice(value);
    }
    Some(Cow::Owned(all))
}

/// The value of the first query parameter of a name, decoded; `+` is a space (URL Standard, 5.1).
fn parameter<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    query.split('&').find_map(|pair| {
        let (found, value) = pair.split_once('=').unwrap_or((pair, ""));
        (!pair.is_empty() && decoded(found) == name).then(|| decoded(value))
    })
}

fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(name: &str, test: TestConfig) -> ConditionConfig {
        ConditionConfig {
            name: name.into(),
            test,
        }
    }

    fn exact(text: &str) -> TestConfig {
        TestConfig::Exact(text.into())
    }

    fn regex(text: &str) -> TestConfig {
        TestConfig::Regex(text.into())
    }

    fn on_header(test: TestConfig) -> Conditions {
        Conditions::new(&[condition("x-a", test)], &[]).unwrap()
    }

    fn on_query(test: TestConfig) -> Conditions {
        Conditions::new(&[], &[condition("a b", test)]).unwrap()
    }

    #[test]
    fn a_header_of_several_lines_is_their_list() {
        let mut headers = HeaderMap::new();
        let holds = |test: TestConfig, headers: &HeaderMap| on_header(test).hold(headers, None);
        assert!(holds(TestConfig::Absent, &headers) && !holds(TestConfig::Present, &headers));
        assert!(!holds(exact(""), &headers) && !holds(regex(".*"), &headers));
        headers.append("x-a", HeaderValue::from_static("1"));
        assert!(holds(exact("1"), &headers) && holds(regex("[0-9]"), &headers));
        assert!(holds(TestConfig::Present, &headers) && !holds(TestConfig::Absent, &headers));
        headers.append("x-a", HeaderValue::from_static("2"));
        assert!(holds(exact("1, 2"), &headers) && !holds(exact("1"), &headers));
        assert!(
            !holds(regex("[0-9]"), &headers),
            "a regular expression matches the whole value"
        );
    }

    #[test]
    fn the_first_query_parameter_of_a_name_counts() {
        let holds =
            |test: TestConfig, query: &str| on_query(test).hold(&HeaderMap::new(), Some(query));
        assert!(holds(exact("x y&"), "b=1&a+b=x%20y%26&a+b=2"));
        assert!(holds(exact(""), "a%20b") && holds(TestConfig::Present, "a%20b="));
        assert!(holds(TestConfig::Absent, "") && holds(TestConfig::Absent, "a=1&&b=2"));
        assert!(!holds(exact("2"), "a+b=1&a+b=2"));
        assert!(on_query(TestConfig::Absent).hold(&HeaderMap::new(), None));
    }

    #[test]
    fn more_conditions_go_before_fewer_and_exact_before_loose_ones() {
        let ordered = [
            Conditions::new(
                &[condition("x-b", TestConfig::Present)],
                &[condition("c", TestConfig::Present)],
            )
            .unwrap(),
            on_header(exact("1")),
            on_header(regex("1")),
            on_header(TestConfig::Present),
        ];
        assert!(ordered.is_sorted_by(|one, two| order(Some(one), Some(two)).is_lt()));
        assert!(order(ordered.last(), None).is_lt());
    }

    #[test]
    fn conditions_exclude_each_other_where_no_value_passes_both() {
        let excludes = |one: TestConfig, two: TestConfig| {
            let (one, two) = (on_header(one), on_header(two));
            assert_eq!(one.exclude(&two), two.exclude(&one));
            one.exclude(&two)
        };
        assert!(excludes(exact("1"), exact("2")) && !excludes(exact("1"), exact("1")));
        assert!(excludes(exact("1"), regex("[a-z]")) && !excludes(exact("1"), regex("[0-9]")));
        assert!(
            excludes(TestConfig::Absent, exact("1"))
                && excludes(TestConfig::Present, TestConfig::Absent)
        );
        assert!(!excludes(TestConfig::Absent, TestConfig::Absent));
        assert!(!excludes(TestConfig::Present, regex("1")) && !excludes(regex("1"), regex("2")));
        assert!(!on_header(exact("1")).exclude(&on_query(exact("2"))));
    }
}
