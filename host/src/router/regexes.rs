//! The routes of one host whose paths are regular expressions.
//!
//! One pass over the path says which of them match, in time that grows with the path only. No two that could match the same
//! path stand unordered: see `overlap`.

use regex::bytes::{Regex, RegexSet, RegexSetBuilder};

use super::Head;
use super::methods::{Claims, Hit, Methods, Target};
use super::tree::Captures;
use crate::config::{MAX_REGEX_SIZE, whole_regex};

/// Regular expressions, while they are collected.
#[derive(Debug, Default)]
pub(super) struct RegexesBuilder {
    texts: Vec<Box<str>>,
    pub(super) claims: Claims,
}

impl RegexesBuilder {
    /// The number of an expression.
    pub(super) fn number(&mut self, text: &str) -> usize {
        let known = self.texts.iter().position(|other| **other == *text);
        known.unwrap_or_else(|| {
            self.texts.push(text.into());
            self.texts.len() - 1
        })
    }

    pub(super) fn text(&self, number: usize) -> &str {
        self.texts
            .get(number)
            .map(|text| &**text)
            .unwrap_or_default()
    }

    /// The finished table; none if there are no expressions.
    pub(super) fn build(self) -> Result<Option<Regexes>, String> {
        if self.texts.is_empty() {
            return Ok(None);
        }
        let whole = self.texts.iter().map(|text| format!("^(?:{text})$"));
        let set = RegexSetBuilder::new(whole)
            .unicode(false)
            .size_limit(MAX_REGEX_SIZE * self.texts.len())
            .build()
            .map_err(|error| {
                format!("the regular expressions of one host cannot be used together: {error}")
            })?;
        let single = self.texts.iter().map(|text| whole_regex(text));
        Ok(Some(Regexes {
            set,
            single: single.collect::<Result<_, _>>()?,
            methods: self.claims.resolve(),
        }))
    }
}

/// Regular expressions and their routes.
#[derive(Debug)]
pub(super) struct Regexes {
    set: RegexSet,
    single: Vec<Regex>,
    methods: Methods,
}

impl Regexes {
    /// The route that takes a request, or that none takes its method, among those whose expression matches.
    pub(super) fn find(&self, head: &Head<'_>, captures: &mut Captures) -> Option<Hit<'_>> {
        let matched = self.set.matches(head.path.as_bytes());
        if !matched.matched_any() {
            return None;
        }
        let hit = self.methods.decide(head, Some(&matched))?;
        if let Hit::Route(target) = &hit {
            self.capture(target, head.path, captures);
        }
        Some(hit)
    }

    fn capture(&self, target: &Target, path: &str, captures: &mut Captures) {
        let regex = target.regex.and_then(|number| self.single.get(number));
        let Some(regex) = regex.filter(|_| !target.names.is_empty()) else {
            return;
        };
        let Some(groups) = regex.captures(path.as_bytes()) else {
            return;
        };
        // A group that took no part has an empty value.
        for group in groups.iter().skip(1).take(target.names.len()) {
            captures.push(group.map_or(path.len()..path.len(), |found| found.range()));
        }
    }
}
