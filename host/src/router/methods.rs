//! Which route of one path takes which method.
//!
//! Everything is decided when the table is built, so that a look-up is one walk over a short list.

use std::sync::Arc;

use http::Method;

/// A route as an entry of the tables: its number and the names that it gave to its parameters.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Number of the route in the configuration.
    pub(super) index: usize,
    /// Names of the path's parameters, in order.
    pub(super) names: Arc<[Arc<str>]>,
}

/// The routes of one path, while they are collected.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Routes with this very path.
    own: Claim,
    /// Routes whose tail, cut off, leaves this path: they take only what no own route takes.
    shortened: Claim,
}

#[derive(Debug, Default)]
struct Claim {
    specific: Vec<(Method, Target)>,
    any: Option<Target>,
}

impl Claims {
    /// Adds a route with this very path. Returns the routes that take one of its methods already.
    pub(super) fn add(&mut self, methods: &[Method], target: &Target) -> Vec<(usize, String)> {
        let mut conflicts = Vec::new();
        if methods.is_empty() {
            match &self.own.any {
                Some(other) => conflicts.push((other.index, "every method".into())),
                None => self.own.any = Some(target.clone()),
            }
        }
        for method in methods {
            match self.own.specific.iter().find(|(other, _)| other == method) {
                // A method that one route names twice is no conflict.
                Some((_, other)) if other.index == target.index => {}
                Some((_, other)) => conflicts.push((other.index, format!("method {method}"))),
                None => self.own.specific.push((method.clone(), target.clone())),
            }
        }
        conflicts
    }

    /// Adds a route whose tail, cut off, leaves this path. The first one wins.
    pub(super) fn add_shortened(&mut self, methods: &[Method], target: &Target) {
        if methods.is_empty() {
            self.shortened.any.get_or_insert_with(|| target.clone());
        }
        for method in methods {
            if !self
                .shortened
                .specific
                .iter()
                .any(|(other, _)| other == method)
            {
                self.shortened
                    .specific
                    .push((method.clone(), target.clone()));
            }
        }
    }

    /// Decides every method.
    pub(super) fn resolve(self) -> Methods {
        let mut methods: Vec<(Method, Target)> = Vec::new();
        let mut rest = None;
        for claim in [self.own, self.shortened] {
            if rest.is_some() {
                break;
            }
            for (method, target) in claim.specific.clone() {
                if !methods.iter().any(|(other, _)| *other == method) {
                    methods.push((method, target));
                }
            }
            // After the methods that are named: a HEAD route goes before the GET route.
            let get = claim
                .specific
                .into_iter()
                .find(|(method, _)| *method == Method::GET);
            if let Some((_, target)) = get
                && !methods.iter().any(|(other, _)| *other == Method::HEAD)
            {
                methods.push((Method::HEAD, target));
            }
            rest = claim.any;
        }
        let mut names: Vec<&str> = methods.iter().map(|(method, _)| method.as_str()).collect();
        names.sort_unstable();
        let allow = names.join(", ").into();
        Methods {
            named: methods,
            rest,
            allow,
        }
    }
}

/// The routes of one path.
#[derive(Debug)]
pub(super) struct Methods {
    named: Vec<(Method, Target)>,
    /// Takes what the others leave.
    rest: Option<Target>,
    allow: Box<str>,
}

impl Methods {
    /// The route that takes a method.
    pub(super) fn find(&self, method: &Method) -> Option<&Target> {
        let named = self.named.iter().find(|(name, _)| name == method);
        named.map(|(_, target)| target).or(self.rest.as_ref())
    }

    /// The value of an `Allow` header.
    pub(super) fn allow(&self) -> &str {
        &self.allow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(index: usize) -> Target {
        Target {
            index,
            names: Arc::from([]),
        }
    }

    fn found(methods: &Methods, method: Method) -> Option<usize> {
        methods.find(&method).map(|target| target.index)
    }

    #[test]
    fn a_route_without_methods_takes_what_others_leave() {
        let mut claims = Claims::default();
        assert!(claims.add(&[], &target(0)).is_empty());
        assert!(claims.add(&[Method::POST], &target(1)).is_empty());
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
        claims.add(&[Method::GET], &target(0));
        claims.add(&[], &target(1));
        assert_eq!(found(&claims.resolve(), Method::HEAD), Some(0));

        let mut claims = Claims::default();
        claims.add(&[Method::GET], &target(0));
        claims.add(&[Method::HEAD], &target(1));
        assert_eq!(found(&claims.resolve(), Method::HEAD), Some(1));
    }

    #[test]
    fn own_routes_go_before_shortened_ones_method_by_method() {
        let mut claims = Claims::default();
        claims.add_shortened(&[Method::GET, Method::POST], &target(0));
        claims.add(&[Method::POST], &target(1));
        let methods = claims.resolve();
        assert_eq!(found(&methods, Method::POST), Some(1));
        assert_eq!(found(&methods, Method::GET), Some(0));
        assert_eq!(found(&methods, Method::HEAD), Some(0));
        assert_eq!(found(&methods, Method::PUT), None);
        assert_eq!(methods.allow(), "GET, HEAD, POST");

        let mut claims = Claims::default();
        claims.add_shortened(&[Method::GET], &target(0));
        claims.add(&[], &target(1));
        assert_eq!(found(&claims.resolve(), Method::GET), Some(1));
    }

    #[test]
    fn two_routes_cannot_take_one_method() {
        let mut claims = Claims::default();
        claims.add(&[Method::GET, Method::GET], &target(0));
        assert_eq!(
            claims.add(&[Method::POST, Method::GET], &target(1)),
            [(0, "method GET".to_owned())]
        );
        claims.add(&[], &target(2));
        assert_eq!(
            claims.add(&[], &target(3)),
            [(2, "every method".to_owned())]
        );
    }
}
