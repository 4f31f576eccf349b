//! Which of the routes of one path takes a request, by its method and by the routes' conditions.
//!
//! Everything that can be decided when the table is built is; a look-up is one walk over a short list, in which the first
//! entry that fits is the one wanted.

use std::sync::Arc;

use http::Method;
use regex::bytes::SetMatches;

use super::Head;
use super::conditions::{self, Conditions};

/// A route as an entry of the tables: its number and the names that it gave to its parameters.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Number of the route in the configuration.
    pub(super) index: usize,
    /// Names of the path's parameters, in order.
    pub(super) names: Arc<[Arc<str>]>,
    /// Number of the regular expression that the path must match, where the path is one.
    pub(super) regex: Option<usize>,
    /// What else it wants.
    pub(super) conditions: Option<Arc<Conditions>>,
}

impl Target {
    fn accepts(&self, head: &Head<'_>, matched: Option<&SetMatches>) -> bool {
        let path = |number| matched.is_some_and(|matched| matched.matched(number));
        self.regex.is_none_or(path)
            && self
                .conditions
                .as_ref()
                .is_none_or(|conditions| conditions.hold(head.headers, head.query))
    }
}

/// The routes of one path, while they are collected.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Routes with this very path.
    own: Vec<Claim>,
    /// Routes whose tail, cut off, leaves this path: they take only what no own route takes.
    shortened: Vec<Claim>,
}

#[derive(Debug)]
struct Claim {
    methods: Vec<Method>,
    target: Target,
}

impl Claim {
    fn conditions(&self) -> Option<&Conditions> {
        self.target.conditions.as_deref()
    }

    /// What both take, if nothing puts them in an order.
    fn conflict(&self, other: &Self) -> Option<String> {
        let (one, two) = (self.conditions(), other.conditions());
        let are_apart = one.zip(two).is_some_and(|(one, two)| one.exclude(two));
        if are_apart || conditions::order(one, two).is_ne() {
            return None;
        }
        if self.methods.is_empty() && other.methods.is_empty() {
            return Some("every method".into());
        }
        let common = self
            .methods
            .iter()
            .find(|method| other.methods.contains(method))?;
        Some(format!("method {common}"))
    }
}

impl Claims {
    /// Adds a route with this very path. Returns the routes with which it is in conflict, and over what; whether two paths
    /// `overlap` is asked last, since it may take long to say.
    pub(super) fn add(
        &mut self,
        methods: &[Method],
        target: &Target,
        mut overlap: impl FnMut(&Target) -> bool,
    ) -> Vec<(usize, String)> {
        let claim = Claim {
            methods: methods.to_vec(),
            target: target.clone(),
        };
        let mut conflicts = Vec::new();
        for other in &self.own {
            if let Some(what) = claim.conflict(other)
                && overlap(&other.target)
            {
                conflicts.push((other.target.index, what));
            }
        }
        self.own.push(claim);
        conflicts
    }

    /// Adds a route whose tail, cut off, leaves this path.
    pub(super) fn add_shortened(&mut self, methods: &[Method], target: &Target) {
        self.shortened.push(Claim {
            methods: methods.to_vec(),
            target: target.clone(),
        });
    }

    /// Puts all entries in their order.
    pub(super) fn resolve(self) -> Methods {
        let mut entries = Entries::default();
        let mut own = 0;
        for (is_own, mut claims) in [(true, self.own), (false, self.shortened)] {
            claims.sort_by(|one, two| conditions::order(one.conditions(), two.conditions()));
            for claim in &claims {
                for method in &claim.methods {
                    entries.add(Some(method), &claim.target);
                }
            }
            // After the methods that are named: a HEAD route goes before the GET route.
            for claim in claims
                .iter()
                .filter(|claim| claim.methods.contains(&Method::GET))
            {
                entries.add(Some(&Method::HEAD), &claim.target);
            }
            for claim in claims.iter().filter(|claim| claim.methods.is_empty()) {
                entries.add(None, &claim.target);
            }
            if is_own {
                own = entries.0.len();
            }
        }
        Methods::new(entries.0, own)
    }
}

#[derive(Default)]
struct Entries(Vec<Entry>);

impl Entries {
    /// Adds an entry, unless one before it takes all that it would.
    fn add(&mut self, method: Option<&Method>, target: &Target) {
        let takes_all = |entry: &Entry| {
            let any = entry.method.is_none() || entry.method.as_ref() == method;
            any && entry.target.regex.is_none() && entry.target.conditions.is_none()
        };
        if !self.0.iter().any(takes_all) {
            self.0.push(Entry {
                method: method.cloned(),
                target: target.clone(),
            });
        }
    }
}

#[derive(Debug)]
struct Entry {
    /// None is every method.
    method: Option<Method>,
    target: Target,
}

/// What came of a look-up.
#[derive(Debug)]
pub(super) enum Hit<'t> {
    /// A route takes the request.
    Route(&'t Target),
    /// There are routes for all of the request but its method: the value of an `Allow` header.
    MethodNotAllowed(String),
}

/// The routes of one path.
#[derive(Debug)]
pub(super) struct Methods {
    entries: Vec<Entry>,
    /// How many of the entries, at the beginning, are of routes with this very path.
    own: usize,
}

impl Methods {
    fn new(entries: Vec<Entry>, own: usize) -> Self {
        Self { entries, own }
    }

    /// The route that takes a request. Nothing, where all routes have conditions that do not hold: it is as if the path
    /// were not there.
    pub(super) fn decide(&self, head: &Head<'_>, matched: Option<&SetMatches>) -> Option<Hit<'_>> {
        let fits = |entry: &&Entry| {
            entry
                .method
                .as_ref()
                .is_none_or(|method| method == head.method)
                && entry.target.accepts(head, matched)
        };
        if let Some(entry) = self.entries.iter().find(fits) {
            return Some(Hit::Route(&entry.target));
        }
        let accepting = self
            .entries
            .iter()
            .filter(|entry| entry.target.accepts(head, matched));
        let mut names: Vec<&str> = accepting
            .filter_map(|entry| entry.method.as_ref().map(Method::as_str))
            .collect();
        names.sort_unstable();
        names.dedup();
        (!names.is_empty()).then(|| Hit::MethodNotAllowed(names.join(", ")))
    }

    /// Whether a route with this very path is for the request, but for its method.
    pub(super) fn own(&self, head: &Head<'_>) -> bool {
        let own = self.entries.iter().take(self.own);
        own.into_iter()
            .any(|entry| entry.target.accepts(head, None))
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::config::{ConditionConfig, TestConfig};

    fn target(index: usize) -> Target {
        Target {
            index,
            names: Arc::from([]),
            regex: None,
            conditions: None,
        }
    }

    fn with_header(index: usize, value: &str) -> Target {
        let condition = ConditionConfig {
            name: "x".into(),
            test: TestConfig::Exact(value.into()),
        };
        Target {
            conditions: Some(Arc::new(Conditions::new(&[condition], &[]).unwrap())),
            ..target(index)
        }
    }

    fn add(claims: &mut Claims, methods: &[Method], target: &Target) -> Vec<(usize, String)> {
        claims.add(methods, target, |_| true)
    }

    fn decide(
        methods: &Methods,
        method: &Method,
        x: Option<&'static str>,
    ) -> Result<usize, Option<String>> {
        let mut headers = HeaderMap::new();
        headers.extend(x.map(|x| {
            (
                http::HeaderName::from_static("x"),
                HeaderValue::from_static(x),
            )
        }));
        let head = Head {
            method,
            headers: &headers,
            ..Head::of("", "/")
        };
        match methods.decide(&head, None) {
            Some(Hit::Route(target)) => Ok(target.index),
            Some(Hit::MethodNotAllowed(allow)) => Err(Some(allow)),
            None => Err(None),
        }
    }

    fn found(methods: &Methods, method: Method) -> Option<usize> {
        decide(methods, &method, None).ok()
    }

    #[test]
    fn a_route_without_methods_takes_what_others_leave() {
        let mut claims = Claims::default();
        assert!(add(&mut claims, &[], &target(0)).is_empty());
        assert!(add(&mut claims, &[Method::POST], &target(1)).is_empty());
        let methods = claims.resolve();
        assert_eq!(found(&methods, Method::POST), Some(1));
        assert_eq!(found(&methods, Method::GET), Some(0));
        assert_eq!(
            found(&methods, Method::from_bytes(b"PURGE").unwrap()),
            Some(0)
        );
    }

    #[test]
    fn head_goes_to_the_get_route_unless_a_route_names_it() {
        let mut claims = Claims::default();
        add(&mut claims, &[Method::GET], &target(0));
        add(&mut claims, &[], &target(1));
        assert_eq!(found(&claims.resolve(), Method::HEAD), Some(0));

        let mut claims = Claims::default();
        add(&mut claims, &[Method::GET], &target(0));
        add(&mut claims, &[Method::HEAD], &target(1));
        assert_eq!(found(&claims.resolve(), Method::HEAD), Some(1));
    }

    #[test]
    fn own_routes_go_before_shortened_ones_method_by_method() {
        let mut claims = Claims::default();
        claims.add_shortened(&[Method::GET, Method::POST], &target(0));
        add(&mut claims, &[Method::POST], &target(1));
        let methods = claims.resolve();
        assert_eq!(found(&methods, Method::POST), Some(1));
        assert_eq!(found(&methods, Method::GET), Some(0));
        assert_eq!(found(&methods, Method::HEAD), Some(0));
        assert_eq!(
            decide(&methods, &Method::PUT, None),
            Err(Some("GET, HEAD, POST".into()))
        );

        let mut claims = Claims::default();
        claims.add_shortened(&[Method::GET], &target(0));
        add(&mut claims, &[], &target(1));
        assert_eq!(found(&claims.resolve(), Method::GET), Some(1));
    }

    #[test]
    fn two_routes_cannot_take_one_method() {
        let mut claims = Claims::default();
        assert!(add(&mut claims, &[Method::GET, Method::GET], &target(0)).is_empty());
        assert_eq!(
            add(&mut claims, &[Method::POST, Method::GET], &target(1)),
            [(0, "method GET".to_owned())]
        );
        assert!(add(&mut claims, &[], &target(2)).is_empty());
        assert_eq!(
            add(&mut claims, &[], &target(3)),
            [(2, "every method".to_owned())]
        );
    }

    #[test]
    fn a_route_whose_conditions_do_not_hold_is_not_there() {
        let mut claims = Claims::default();
        assert!(add(&mut claims, &[Method::GET], &with_header(0, "a")).is_empty());
        assert!(add(&mut claims, &[Method::PUT], &with_header(1, "b")).is_empty());
        assert!(add(&mut claims, &[Method::GET], &with_header(2, "b")).is_empty());
        let conditional = claims.resolve();
        assert_eq!(decide(&conditional, &Method::GET, Some("a")), Ok(0));
        assert_eq!(decide(&conditional, &Method::GET, Some("b")), Ok(2));
        assert_eq!(
            decide(&conditional, &Method::PUT, Some("a")),
            Err(Some("GET, HEAD".into()))
        );
        assert_eq!(decide(&conditional, &Method::GET, None), Err(None));
    }

    #[test]
    fn conditions_go_before_none_and_named_methods_before_conditions() {
        let mut claims = Claims::default();
        assert!(add(&mut claims, &[Method::GET], &target(0)).is_empty());
        assert!(add(&mut claims, &[Method::GET], &with_header(1, "a")).is_empty());
        assert!(add(&mut claims, &[], &with_header(2, "a")).is_empty());
        let methods = claims.resolve();
        assert_eq!(decide(&methods, &Method::GET, Some("a")), Ok(1));
        assert_eq!(decide(&methods, &Method::GET, Some("b")), Ok(0));
        assert_eq!(decide(&methods, &Method::PUT, Some("a")), Ok(2));
        assert_eq!(
            decide(&methods, &Method::PUT, None),
            Err(Some("GET, HEAD".into()))
        );
    }

    #[test]
    fn conditions_that_cannot_be_ordered_are_a_conflict() {
        let mut claims = Claims::default();
        add(&mut claims, &[], &with_header(0, "a"));
        assert_eq!(
            add(&mut claims, &[], &with_header(1, "a")),
            [(0, "every method".to_owned())]
        );
    }
}
