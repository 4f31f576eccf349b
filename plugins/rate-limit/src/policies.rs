//! Which policy counts for whom.

use std::cell::RefCell;
use std::rc::Rc;

use postern_plugin::limits::Limit;

use crate::policy::{Policy, Shape};

/// The policy of everybody, and those of the tiers met so far. Bounded: tiers stand in the configuration, and their limits
/// are constant while the instance lives.
#[derive(Debug)]
pub(crate) struct Policies {
    standard: Rc<Policy>,
    shape: Shape,
    of_tiers: RefCell<Vec<(String, Rc<Policy>)>>,
}

impl Policies {
    pub(crate) fn new(standard: Policy, shape: Shape) -> Self {
        Policies {
            standard: Rc::new(standard),
            shape,
            of_tiers: RefCell::default(),
        }
    }

    /// The policy of a tier; the standard one without a tier, and for a tier without limits.
    pub(crate) fn of(
        &self,
        tier: Option<&str>,
        limits_of: impl FnOnce(&str) -> Vec<Limit>,
    ) -> Rc<Policy> {
        let Some(tier) = tier else {
            return self.standard.clone();
        };
        let mut known = self.of_tiers.borrow_mut();
        if let Some((_, policy)) = known.iter().find(|(name, _)| name == tier) {
            return policy.clone();
        }
        let limits = limits_of(tier);
        let policy = match limits.is_empty() {
            true => self.standard.clone(),
            false => Rc::new(Policy::new(limits, &self.shape)),
        };
        known.push((tier.to_owned(), policy.clone()));
        policy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_is_asked_for_once() {
        let one = |amount| {
            vec![Limit {
                amount,
                window_ms: 1_000,
            }]
        };
        let shape = Shape::default();
        let policies = Policies::new(Policy::new(one(1), &shape), shape);
        let never = |_: &str| -> Vec<Limit> { panic!("is known") };
        assert_eq!(policies.of(None, never).limits(), one(1));
        assert_eq!(policies.of(Some("gold"), |_| one(9)).limits(), one(9));
        assert_eq!(policies.of(Some("bare"), |_| Vec::new()).limits(), one(1));
        assert_eq!(policies.of(Some("gold"), never).limits(), one(9));
        assert_eq!(policies.of(Some("bare"), never).limits(), one(1));
    }
}
